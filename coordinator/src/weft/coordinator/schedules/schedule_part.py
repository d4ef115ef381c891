"""Schedules as a part of a mesh: their service, and the passes over their ticks."""

from __future__ import annotations

from typing import Any

from weft.coordinator.calls.submission import SubmissionService
from weft.coordinator.identity.makers import Makers
from weft.coordinator.mesh_part import MeshPart
from weft.coordinator.pass_runner import PassRunner
from weft.coordinator.schedules.schedule_codec import KIND
from weft.coordinator.schedules.schedule_service import ScheduleService
from weft.coordinator.schedules.schedule_table import ScheduleTable
from weft.coordinator.schedules.tick_pass import TickPass
from weft.coordinator.store.base import Store
from weft.rpc.errors import WeftError
from weft.rpc.identity.edge import Edge
from weft.v1 import schedule_pb2_grpc


class SchedulePart(MeshPart):
    """The schedules of a mesh."""

    def __init__(
        self,
        store: Store,
        submissions: SubmissionService,
        cancel_grace_s: float,
        edge: Edge,
        makers: Makers,
    ) -> None:
        self._service = ScheduleService(store, submissions, edge)
        self._table = ScheduleTable(store)
        passes = TickPass(store, submissions, cancel_grace_s, makers)
        self._passes = PassRunner(store, passes.run, "schedules")

    def add_to(self, server: Any) -> None:
        schedule_pb2_grpc.add_ScheduleServiceServicer_to_server(self._service, server)

    def start(self) -> None:
        self._passes.start()

    async def stop(self, why: WeftError | None) -> None:  # noqa: ARG002  # nobody waits here
        await self._passes.stop()

    def rows_changed(self, kind: str) -> bool:
        if kind == KIND:
            self._passes.changed()
        return False

    async def methods(self) -> set[str]:
        return await self._table.methods()

    @property
    def next_at(self) -> float | None:
        return self._passes.next_at

    async def run_due(self) -> None:
        await self._passes.run_due()
