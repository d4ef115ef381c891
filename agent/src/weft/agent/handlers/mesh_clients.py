"""The agent's clients of its own mesh: made when a handler first asks for one, closed with the agent.

The client library is imported no sooner: most agents never call others.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING

from weft.rpc.process.logs import get_logger

if TYPE_CHECKING:
    from weft.client import Mesh

_log = get_logger("weft.agent")

# For the calls that are open when the agent ends.
CLOSE_TIMEOUT_S = 1.0


class MeshClients:
    """The clients of one agent, or of one of its isolated processes.

    Args:
        targets: the agent's coordinators.
        use_proxy: reach them by the environment's proxy.
        max_message_bytes: largest request or response of a direct call.
    """

    def __init__(self, targets: Sequence[str], *, use_proxy: bool, max_message_bytes: int) -> None:
        self._targets = tuple(targets)
        self._use_proxy = use_proxy
        self._max_message_bytes = max_message_bytes
        self._making = threading.Lock()
        self._mesh: Mesh | None = None

    def __reduce__(self) -> tuple[object, ...]:
        # An isolated process makes clients of its own.
        return _make, (self._targets, self._use_proxy, self._max_message_bytes)

    def enter(self) -> None:
        """These are the clients of what runs in the current contextvars context and its children."""
        _clients.set(self)

    @property
    def mesh(self) -> Mesh:
        """The asynchronous client; it belongs to the event loop on which it is first used."""
        with self._making:
            if self._mesh is None:
                from weft.client import connect

                self._mesh = connect(
                    self._targets, use_proxy=self._use_proxy, max_message_bytes=self._max_message_bytes
                )
            return self._mesh

    async def close(self) -> None:
        """Close the clients that were made."""
        if self._mesh is None:
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._mesh.close()
        except Exception as error:  # it must not hold up the agent's end
            _log.warning("the agent's client of its mesh could not be closed", error=repr(error))


def _make(targets: Sequence[str], use_proxy: bool, max_message_bytes: int) -> MeshClients:
    return MeshClients(targets, use_proxy=use_proxy, max_message_bytes=max_message_bytes)


_clients: ContextVar[MeshClients] = ContextVar("weft_mesh_clients")


def own_clients() -> MeshClients | None:
    """The clients of the agent that runs this code; None: none does."""
    return _clients.get(None)
