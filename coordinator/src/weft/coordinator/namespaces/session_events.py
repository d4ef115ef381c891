"""What sessions ask and tell their mesh (`SessionListener`), passed on to the parts that handle it."""

from __future__ import annotations

from weft.coordinator.commands.command_part import CommandPart
from weft.coordinator.dispatch.dispatcher import Dispatcher
from weft.coordinator.dispatch.session_index import SessionIndex
from weft.coordinator.fleet.fleet_sync import FleetSync
from weft.coordinator.hooks.hook_worker import DELIVER, OWN, hosts_deliveries
from weft.coordinator.identity.identity import Identity
from weft.coordinator.mesh_part import MeshPart
from weft.coordinator.sessions.agent_session import AgentSession
from weft.coordinator.task_logs.log_part import LogPart
from weft.rpc import refusals
from weft.rpc.identity.caller import Caller
from weft.v1 import command_pb2, logs_pb2, session_pb2


class SessionEvents:
    """A mesh as the listener of its sessions. The mesh makes the parts."""

    _identity: Identity
    _fleet_sync: FleetSync
    _index: SessionIndex
    _dispatcher: Dispatcher
    _logs: LogPart
    _commands: CommandPart
    _parts: tuple[MeshPart, ...]

    async def admit(self, caller: Caller, hello: session_pb2.Hello) -> None:
        if caller is not OWN and hosts_deliveries(hello):
            raise refusals.contract_invalid(
                f"coordinators host {DELIVER} themselves: no agent may", field="hello.methods"
            )
        await self._identity.admit(caller, hello)

    def session_changed(self, session: AgentSession) -> None:
        self._fleet_sync.session_changed(session)

    def slots_changed(self, session: AgentSession, *, wake: bool = True) -> None:
        self._index.changed(session)
        if wake:
            self._dispatcher.wake()

    def log_answered(self, reply: logs_pb2.LogReply) -> None:
        self._logs.answered(reply)

    def command_answered(self, session: AgentSession, reply: command_pb2.CommandReply) -> None:
        self._commands.answered(session, reply)

    def session_ended(self, session: AgentSession) -> None:
        self._index.left(session)
        for part in self._parts:
            part.session_ended(session)
