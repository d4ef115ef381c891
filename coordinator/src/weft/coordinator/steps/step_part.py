"""Steps as a part of a mesh: their service."""

from __future__ import annotations

from typing import Any

from weft.coordinator.mesh_part import MeshPart
from weft.coordinator.steps.step_service import StepService
from weft.coordinator.store.base import Store
from weft.rpc.identity.edge import Edge
from weft.v1 import step_pb2_grpc


class StepPart(MeshPart):
    """The steps of a mesh's tasks."""

    def __init__(self, store: Store, edge: Edge) -> None:
        self._service = StepService(store, edge)

    def add_to(self, server: Any) -> None:
        step_pb2_grpc.add_StepServiceServicer_to_server(self._service, server)
