"""Adds the services of weft that each mesh has to a server."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from weft.coordinator.fleet.method_service import MethodService
from weft.coordinator.mesh_part import MeshPart
from weft.coordinator.service import CoordinatorService
from weft.coordinator.statistics.stats_service import StatsService
from weft.v1 import coordinator_pb2_grpc, method_pb2_grpc, stats_pb2_grpc


class MeshServices(NamedTuple):
    """The servicers, and the parts that have their own."""

    coordinator: CoordinatorService
    methods: MethodService
    stats: StatsService
    parts: Iterable[MeshPart]

    def add_to(self, server: Any) -> None:
        """Serve them.

        Args:
            server: a server for generated code.
        """
        coordinator_pb2_grpc.add_CoordinatorServiceServicer_to_server(self.coordinator, server)
        method_pb2_grpc.add_MethodServiceServicer_to_server(self.methods, server)
        stats_pb2_grpc.add_StatsServiceServicer_to_server(self.stats, server)
        for part in self.parts:
            part.add_to(server)
