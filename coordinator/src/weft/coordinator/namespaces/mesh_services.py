"""Adds the services of weft that each mesh has to a server."""

from __future__ import annotations

from typing import Any, NamedTuple

from weft.coordinator.fleet.method_service import MethodService
from weft.coordinator.groups.group_service import GroupService
from weft.coordinator.schedules.schedule_service import ScheduleService
from weft.coordinator.service import CoordinatorService
from weft.coordinator.statistics.stats_service import StatsService
from weft.coordinator.task_logs.log_service import LogService
from weft.v1 import (
    coordinator_pb2_grpc,
    group_pb2_grpc,
    logs_pb2_grpc,
    method_pb2_grpc,
    schedule_pb2_grpc,
    stats_pb2_grpc,
)


class MeshServices(NamedTuple):
    """The servicers."""

    coordinator: CoordinatorService
    schedules: ScheduleService
    groups: GroupService
    logs: LogService
    methods: MethodService
    stats: StatsService

    def add_to(self, server: Any) -> None:
        """Serve them.

        Args:
            server: a server for generated code.
        """
        coordinator_pb2_grpc.add_CoordinatorServiceServicer_to_server(self.coordinator, server)
        schedule_pb2_grpc.add_ScheduleServiceServicer_to_server(self.schedules, server)
        group_pb2_grpc.add_GroupServiceServicer_to_server(self.groups, server)
        logs_pb2_grpc.add_LogServiceServicer_to_server(self.logs, server)
        method_pb2_grpc.add_MethodServiceServicer_to_server(self.methods, server)
        stats_pb2_grpc.add_StatsServiceServicer_to_server(self.stats, server)
