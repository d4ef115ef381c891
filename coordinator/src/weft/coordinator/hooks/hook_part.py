"""Hooks as a part of a mesh: their service, the requests that come for them, and their counts."""

from __future__ import annotations

import contextlib
from typing import Any

from weft.coordinator.hooks.hook_counts import HookCounts
from weft.coordinator.hooks.hook_intake import HookIntake
from weft.coordinator.hooks.hook_service import HookService
from weft.coordinator.hooks.hook_table import HookTable
from weft.coordinator.hooks.hook_tools import HookTools
from weft.coordinator.hooks.outgoing_part import OutgoingPart
from weft.coordinator.mesh_part import MeshPart
from weft.rpc.errors import WeftError
from weft.v1 import hook_pb2_grpc


class HookPart(MeshPart):
    """The hooks of a mesh. Its `outgoing` is a part of its own."""

    def __init__(self, tools: HookTools) -> None:
        self.tools = tools
        self._table = HookTable(tools.store)
        self.counts = HookCounts(tools.store)
        self.intake = HookIntake(
            tools.store, tools.contracts, tools.submissions, tools.secrets, tools.makers, self.counts
        )
        self.outgoing = OutgoingPart(tools, self.counts)
        self._service = HookService(tools, self.intake, self.outgoing)

    def add_to(self, server: Any) -> None:
        hook_pb2_grpc.add_HookServiceServicer_to_server(self._service, server)

    async def stop(self, why: WeftError | None) -> None:  # noqa: ARG002  # nobody waits here
        # The last counts; without them nothing is wrong.
        with contextlib.suppress(WeftError):
            await self.counts.write()

    async def keep_house(self, now_s: float) -> None:
        await self.counts.keep_house(now_s)
        await self.intake.seen.keep_house(now_s)

    async def methods(self) -> set[str]:
        return await self._table.methods()
