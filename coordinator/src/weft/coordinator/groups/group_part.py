"""Groups as a part of a mesh: their service, the calls that wait for their end, and the passes that submit their callbacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from weft.coordinator.calls.submission import SubmissionService
from weft.coordinator.groups.callback_pass import CallbackPass, callback_methods
from weft.coordinator.groups.group_ends import GroupEnds
from weft.coordinator.groups.group_service import GroupService
from weft.coordinator.identity.makers import Makers
from weft.coordinator.mesh_part import MeshPart
from weft.coordinator.pass_runner import PassRunner
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.base import Store
from weft.coordinator.store.group_store import GROUPS
from weft.rpc import refusals
from weft.rpc.errors import WeftError
from weft.rpc.identity.edge import Edge
from weft.v1 import group_pb2_grpc


class GroupPart(MeshPart):
    """The groups of a mesh."""

    def __init__(
        self,
        store: Store,
        submissions: SubmissionService,
        settings: CoordinatorSettings,
        edge: Edge,
        makers: Makers,
    ) -> None:
        self._store = store
        self._ends = GroupEnds(store, settings.max_watchers)
        self._service = GroupService(store, submissions, self._ends, settings.cancel_grace_s, edge)
        self._passes = PassRunner(store, CallbackPass(store, submissions, makers).run, "callbacks")

    def tell_ends(self, wanted: Callable[[], bool]) -> None:
        """Publish the ends of groups while somebody follows them."""
        self._service.tells_ends = wanted

    def add_to(self, server: Any) -> None:
        group_pb2_grpc.add_GroupServiceServicer_to_server(self._service, server)

    def start(self) -> None:
        self._passes.start()

    async def stop(self, why: WeftError | None) -> None:
        self._ends.close(
            why
            or refusals.stopping(
                "the coordinator is stopping; wait for the group at another one", retry_after_s=1.0
            )
        )
        await self._passes.stop()

    def rows_changed(self, kind: str) -> bool:
        if kind == GROUPS:
            self._passes.changed()
            self._ends.changed()
        return False

    async def methods(self) -> set[str]:
        return await callback_methods(self._store)

    @property
    def next_at(self) -> float | None:
        return self._passes.next_at

    async def run_due(self) -> None:
        await self._passes.run_due()
