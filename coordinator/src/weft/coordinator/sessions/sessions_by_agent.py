"""The sessions of this coordinator, as those see them that ask agents something."""

from __future__ import annotations

from typing import Protocol

from weft.coordinator.sessions.agent_session import AgentSession


class SessionsByAgent(Protocol):
    """The sessions of this coordinator."""

    def get(self, agent_id: str) -> AgentSession | None:
        """The session of an agent; None: it is not here."""
        ...
