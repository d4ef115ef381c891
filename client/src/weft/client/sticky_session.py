"""Sticky sessions: as calls say them, and as coordinators tell of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from weft.rpc.calls.session_keys import (
    DEFAULT_IDLE_TTL_S,
    HARD,
    SESSION_KEY,
    SESSION_MODE_KEY,
    SESSION_TTL_KEY,
    SOFT,
    StickyCall,
    said_session,
)
from weft.rpc.times import seconds
from weft.v1 import sticky_pb2, task_pb2

SessionMode = Literal["soft", "hard"]


@dataclass(frozen=True, slots=True)
class StickySession:
    """A sticky session: calls of one service with the same key go to one agent, as long as that agent lives.

    A key alone, as text, is a soft session.

    Raises:
        weft.rpc.errors.InvalidArgument: the key, the mode or the time is out of its bounds.
    """

    # 1 to 256 printable ASCII characters, such as the id of a conversation.
    key: str
    # "soft": the session moves to another agent when its own takes no calls. "hard": it stays with one process, and is lost with it.
    mode: SessionMode = SOFT  # type: ignore[assignment]
    # How long it is kept without a call, in seconds: 10 s to 7 days.
    idle_ttl_s: float = DEFAULT_IDLE_TTL_S

    def __post_init__(self) -> None:
        said_session(self.to_metadata())

    def to_metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata that says it."""
        return (
            (SESSION_KEY, self.key),
            (SESSION_MODE_KEY, self.mode),
            (SESSION_TTL_KEY, f"{self.idle_ttl_s:.6g}"),
        )

    def to_proto(self) -> task_pb2.StickySession:
        """As the options of a task have it."""
        return StickyCall(self.key, self.mode == HARD, self.idle_ttl_s).message()


def as_session(session: StickySession | str) -> StickySession:
    """A session, or that of a key."""
    return StickySession(session) if isinstance(session, str) else session


@dataclass(frozen=True, slots=True)
class StickySessionInfo:
    """A sticky session that has an agent."""

    # The service whose calls it has, such as "acme.chat.v1.ChatService".
    service: str
    session: StickySession
    agent_id: str
    # When it began, or moved to this agent; and when it ends, if no call comes.
    began_at: datetime
    expires_at: datetime
    # Why a hard session is lost, such as "has left"; empty: it is not.
    lost: str = ""

    @classmethod
    def of(cls, proto: sticky_pb2.StickySessionRecord) -> StickySessionInfo:
        said = proto.session
        mode: SessionMode = "hard" if said.mode == task_pb2.SESSION_MODE_HARD else "soft"
        return cls(
            service=proto.service,
            session=StickySession(said.key, mode, seconds(said.idle_ttl)),
            agent_id=said.agent_id,
            began_at=proto.begin_time.ToDatetime(tzinfo=UTC),
            expires_at=proto.expire_time.ToDatetime(tzinfo=UTC),
            lost=proto.lost,
        )
