"""Export and import of the state as a part of a mesh."""

from __future__ import annotations

from typing import Any

from weft.coordinator.mesh_part import MeshPart
from weft.coordinator.state.state_service import StateService
from weft.coordinator.state.state_writer import MeshState, StateMakers
from weft.rpc import refusals
from weft.rpc.errors import WeftError
from weft.rpc.identity.edge import Edge
from weft.v1 import state_pb2_grpc


class StatePart(MeshPart):
    """The state of a mesh."""

    def __init__(
        self,
        mesh: MeshState,
        makers: StateMakers,
        edge: Edge,
        stalled_stream_s: float,
    ) -> None:
        self._service = StateService(mesh, makers, edge, stalled_stream_s)

    def add_to(self, server: Any) -> None:
        state_pb2_grpc.add_StateServiceServicer_to_server(self._service, server)

    async def stop(self, why: WeftError | None) -> None:
        self._service.stop(
            why or refusals.stopping("the coordinator is stopping; begin again", retry_after_s=1.0)
        )
