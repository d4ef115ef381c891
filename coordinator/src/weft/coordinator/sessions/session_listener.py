"""The events that sessions report to the other parts of the coordinator."""

from __future__ import annotations

from typing import Protocol

from weft.coordinator.sessions.agent_session import AgentSession
from weft.rpc.identity.caller import Caller
from weft.v1 import command_pb2, logs_pb2, session_pb2


class SessionListener(Protocol):
    """Hears of sessions, on the event loop. All but one of the methods return at once."""

    async def admit(self, caller: Caller, hello: session_pb2.Hello) -> None:
        """Let an agent in, before its session is opened.

        Raises:
            PermissionDenied
            Unavailable
        """
        ...

    def session_changed(self, session: AgentSession) -> None:
        """A session was opened, its agent's description or state has changed, or it has ended."""
        ...

    def slots_changed(self, session: AgentSession, *, wake: bool = True) -> None:
        """The agent may take more, less or other work than before; `wake`: it may take more."""
        ...

    def session_ended(self, session: AgentSession) -> None:
        """The stream is over: the agent takes no work."""
        ...

    def log_answered(self, reply: logs_pb2.LogReply) -> None:
        """An agent has answered a request for lines of its log."""
        ...

    def command_answered(self, session: AgentSession, reply: command_pb2.CommandReply) -> None:
        """An agent has answered a command."""
        ...

    def ready(self) -> None:
        """Some task may have become ready."""
        ...
