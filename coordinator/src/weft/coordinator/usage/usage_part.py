"""Usage and budgets as a part of a mesh."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.mesh_part import MeshPart
from weft.coordinator.store.base import Store
from weft.coordinator.usage.usage_keeper import UsageKeeper
from weft.coordinator.usage.usage_service import UsageService
from weft.rpc.errors import WeftError
from weft.v1 import usage_pb2_grpc


class UsagePart(MeshPart):
    """The usage of a mesh's tasks."""

    def __init__(self, store: Store, contracts: Contracts, hasten: Callable[[], None]) -> None:
        self.keeper = UsageKeeper(store, contracts, hasten)
        self._service = UsageService(store, self.keeper)

    def add_to(self, server: Any) -> None:
        usage_pb2_grpc.add_UsageServiceServicer_to_server(self._service, server)

    async def stop(self, why: WeftError | None) -> None:  # noqa: ARG002  # nobody waits here
        # The store may be away: then what was counted last is lost.
        with contextlib.suppress(WeftError):
            await self.keeper.write()

    def rows_changed(self, kind: str) -> bool:
        return self.keeper.rows_changed(kind)

    async def keep_house(self, now_s: float) -> None:
        await self.keeper.look(now_s)
