"""Commands to agents as a part of a mesh: their service, and those that are under way."""

from __future__ import annotations

from typing import Any

from weft.coordinator.commands.command_service import CommandService
from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.fleet.fleet_view import FleetView
from weft.coordinator.mesh_part import MeshPart
from weft.coordinator.sessions.agent_session import AgentSession
from weft.coordinator.sessions.sessions_by_agent import SessionsByAgent
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.base import Store
from weft.rpc import refusals
from weft.rpc.errors import WeftError
from weft.rpc.identity.edge import Edge
from weft.v1 import command_pb2, command_pb2_grpc, post_pb2


class CommandPart(MeshPart):
    """The commands of a mesh."""

    def __init__(
        self,
        store: Store,
        sessions: SessionsByAgent,
        register: AgentRegister,
        fleet: FleetView,
        settings: CoordinatorSettings,
        edge: Edge,
    ) -> None:
        self._service = CommandService(store, register, sessions, fleet, settings, edge)

    def add_to(self, server: Any) -> None:
        command_pb2_grpc.add_CommandServiceServicer_to_server(self._service, server)

    async def stop(self, why: WeftError | None) -> None:
        stopping = "the coordinator is stopping; look at the agents, then ask again"
        await self._service.stop(why or refusals.stopping(stopping, retry_after_s=1.0))

    def answered(self, session: AgentSession, reply: command_pb2.CommandReply) -> None:
        """An agent has answered a command."""
        self._service.runs.answered(session, reply)

    def posted(self, post: post_pb2.CoordinatorPost) -> None:
        if post.HasField("command"):
            self._service.runs.posted(post.command)

    def session_ended(self, session: AgentSession) -> None:
        self._service.runs.session_ended(session)
