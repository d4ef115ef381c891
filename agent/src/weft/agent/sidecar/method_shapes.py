"""The shapes of the mesh's methods, by the coordinator's reflection, and what else the egress needs of their contracts. A
call of known shape costs half as much to pass on.

They are read again when a contract comes to the fleet or leaves it. Calls of unknown shape pass as streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import cast

from grpc import aio

from weft.rpc.contracts.contract_reader import ContractReader
from weft.rpc.errors import WeftError
from weft.rpc.process.logs import get_logger
from weft.v1 import fleet_pb2, options_pb2

_log = get_logger("weft.sidecar")

RETRY_S = 1.0


class Shapes:
    """The known shapes of methods.

    Args:
        coordinator: the channel for reflection.
    """

    def __init__(self, coordinator: aio.Channel) -> None:
        self._reader = ContractReader(coordinator)
        self._kinds: dict[str, fleet_pb2.MethodKind] = {}
        # Methods whose calls may run twice.
        self._repeatable: frozenset[str] = frozenset()
        # Methods whose contract says that calls are durable.
        self._durable: frozenset[str] = frozenset()
        # Digests of the contracts behind the known shapes.
        self._hashes: frozenset[str] | None = None
        # The coordinator's contracts were read, and no new one has come since.
        self._known = False
        self._reading: asyncio.Task[None] | None = None

    def kind(self, method: str) -> fleet_pb2.MethodKind:
        """The shape of a method, "pkg.Service/Method"; UNSPECIFIED: not known."""
        return self._kinds.get(method, fleet_pb2.METHOD_KIND_UNSPECIFIED)

    def may_run_twice(self, method: str) -> bool:
        """Whether calls of the method may run twice, by its contract."""
        return method in self._repeatable

    def is_durable(self, method: str) -> bool:
        """Whether calls of the method are durable by default, by its contract."""
        return method in self._durable

    def lacks(self, method: str) -> bool:
        """Whether it is certain that no contract of the mesh has this method."""
        return self._known and method not in self._kinds

    def fleet_changed(self, agents: Iterable[fleet_pb2.Agent], changed: Callable[[], None]) -> None:
        """Take in a changed fleet. Calls `changed` if shapes have changed with it."""
        hashes = frozenset(agent.contract_hash for agent in agents)
        if hashes == self._hashes:
            return
        self._hashes = hashes
        self._known = False
        if self._reading is not None:
            self._reading.cancel()
        self._reading = asyncio.get_running_loop().create_task(self._read(changed), name="shapes")

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})

    async def _read(self, changed: Callable[[], None]) -> None:
        while True:
            try:
                entries = await self._reader.methods()
            except WeftError as error:
                _log.debug("app.shapes_unknown", error=error.message)
                await asyncio.sleep(RETRY_S)
                continue
            self._kinds = {entry.name: cast("fleet_pb2.MethodKind", entry.kind) for entry in entries}
            self._repeatable = frozenset(entry.name for entry in entries if entry.may_run_twice)
            self._durable = frozenset(
                entry.name for entry in entries if entry.mode == options_pb2.CALL_MODE_DURABLE
            )
            self._known = True
            changed()
            return
