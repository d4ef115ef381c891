"""Logs of tasks as a part of a mesh: their service, and the questions to agents that have not been answered."""

from __future__ import annotations

from typing import Any

from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.mesh_part import MeshPart
from weft.coordinator.sessions.sessions_by_agent import SessionsByAgent
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.base import Store
from weft.coordinator.task_logs.log_service import LogService
from weft.rpc import refusals
from weft.rpc.errors import WeftError
from weft.rpc.identity.edge import Edge
from weft.v1 import logs_pb2, logs_pb2_grpc, post_pb2


class LogPart(MeshPart):
    """The logs of a mesh's tasks."""

    def __init__(
        self,
        store: Store,
        sessions: SessionsByAgent,
        register: AgentRegister,
        settings: CoordinatorSettings,
        edge: Edge,
    ) -> None:
        self._service = LogService(store, sessions, register, settings, edge)

    def add_to(self, server: Any) -> None:
        logs_pb2_grpc.add_LogServiceServicer_to_server(self._service, server)

    async def stop(self, why: WeftError | None) -> None:
        await self._service.stop(
            why or refusals.stopping("the coordinator is stopping; ask again", retry_after_s=1.0)
        )

    def answered(self, reply: logs_pb2.LogReply) -> None:
        """An agent has answered a question."""
        self._service.asked.answered(reply)

    def posted(self, post: post_pb2.CoordinatorPost) -> None:
        if post.HasField("log"):
            self._service.asked.posted(post.log)

    def session_ended(self, session: Any) -> None:
        self._service.asked.session_ended(session)
