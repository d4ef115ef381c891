"""Keyed states as a part of a mesh: their service. Their changes by tasks come with the ends of attempts."""

from __future__ import annotations

from typing import Any

from weft.coordinator.keyed_states.keyed_state_service import KeyedStateService
from weft.coordinator.mesh_part import MeshPart
from weft.coordinator.store.base import Store
from weft.rpc.identity.edge import Edge
from weft.v1 import keyed_state_pb2_grpc


class KeyedStatePart(MeshPart):
    """The keyed states of a mesh."""

    def __init__(self, store: Store, max_state_bytes: int, edge: Edge) -> None:
        self._service = KeyedStateService(store, max_state_bytes, edge)

    def add_to(self, server: Any) -> None:
        keyed_state_pb2_grpc.add_KeyedStateServiceServicer_to_server(self._service, server)
