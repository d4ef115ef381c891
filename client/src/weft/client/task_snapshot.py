"""The coordinator's answers as values: a task and a progress event at one moment.

They are thin views of the messages, so that thousands of them a second cost little.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from google.rpc import status_pb2

from weft.rpc.calls import metadata
from weft.rpc.errors import WeftError, from_status

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from weft.v1 import task_pb2


class OpenEnum(enum.IntEnum):
    """An enum of the contract. A newer coordinator's number without a name here is a member too: `UNKNOWN_7`."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, int):
            return None
        member = int.__new__(cls, value)
        member._name_, member._value_ = f"UNKNOWN_{value}", value
        return member


class TaskState(OpenEnum):
    """The state of a task; the numbers are those of `weft.v1.TaskState`."""

    SCHEDULED = 1
    QUEUED = 2
    RUNNING = 3
    SUCCEEDED = 4
    FAILED = 5
    CANCELLED = 6

    @property
    def ended(self) -> bool:
        return self >= TaskState.SUCCEEDED


class WaitReason(OpenEnum):
    """The reason why a task does not run yet. The numbers are those of `weft.v1.WaitReason`."""

    NONE = 0
    START_TIME = 1
    RETRY = 2
    PAUSED = 3
    NO_AGENT = 4
    AGENTS_BUSY = 5
    TURN = 6
    LIMIT = 7
    LOCK = 8
    RESOURCE = 9
    SUSPENDED = 12


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a task."""

    proto: task_pb2.Attempt

    @property
    def number(self) -> int:
        """From 1. The number of an attempt that was released before it started is used again."""
        return self.proto.number

    @property
    def agent_id(self) -> str:
        return self.proto.agent_id

    @property
    def started_at(self) -> datetime | None:
        return moment(self.proto, "start_time")

    @property
    def ended_at(self) -> datetime | None:
        """None: it is running."""
        return moment(self.proto, "end_time")

    @property
    def status(self) -> status_pb2.Status:
        """The status with which it ended; of earlier attempts without details."""
        return self.proto.status

    @property
    def choice(self) -> str:
        """Why this agent had it, where there is something to tell."""
        return self.proto.choice

    @property
    def raised(self) -> task_pb2.HandlerError | None:
        """The exception of the handler; of earlier attempts without the stack."""
        return self.proto.error if self.proto.HasField("error") else None

    @property
    def suspended(self) -> bool:
        """Its handler only waited, and gave its slot back; `status` says for what."""
        return self.proto.HasField("suspension")

    @property
    def crashed(self) -> bool:
        """It was lost with its agent, or with the process that ran the handler."""
        return self.proto.crashed

    @property
    def released(self) -> bool:
        """It was released before it started."""
        return self.proto.released


@dataclass(frozen=True, slots=True, repr=False)
class Task:
    """A task at one moment. It does not change; `Tasks.get` gives a newer one.

    Large because it has a property for each field of the message.
    """

    proto: task_pb2.Task

    @property
    def id(self) -> str:
        return self.proto.id

    @property
    def method(self) -> str:
        return self.proto.method

    @property
    def state(self) -> TaskState:
        return TaskState(self.proto.state)

    @property
    def ended(self) -> bool:
        return self.proto.state >= TaskState.SUCCEEDED

    @property
    def succeeded(self) -> bool:
        return self.state is TaskState.SUCCEEDED

    @property
    def request_id(self) -> str:
        return self.proto.request_id

    @property
    def priority(self) -> int:
        return self.proto.options.priority

    @property
    def attempt(self) -> int:
        """Number of the current or last attempt, from 1; 0 before the first."""
        return self.proto.attempt

    @property
    def crashes(self) -> int:
        """Attempts that were lost with their agent."""
        return self.proto.crashes

    @property
    def attempts(self) -> Sequence[Attempt]:
        """Its attempts, oldest first: the first one and the newest 15. Only `Tasks.get` fetches them."""
        return [Attempt(attempt) for attempt in self.proto.attempts]

    @property
    def failures(self) -> int:
        """Failed attempts that count towards its retry policy's `max_attempts`; 0 once it has ended."""
        return self.proto.failures

    @property
    def wait_reason(self) -> WaitReason:
        """The reason why it does not run yet. Only `Tasks.get` fetches it."""
        return WaitReason(self.proto.waiting.reason)

    @property
    def waits_for(self) -> str:
        """The explanation of `wait_reason`. Empty if the task runs or has ended."""
        return self.proto.waiting.text

    @property
    def group(self) -> str:
        """The name of its group; empty: none."""
        return self.proto.group

    @property
    def limited_by(self) -> str:
        """The run limit or the lock that it waits for; empty: none."""
        return self.proto.limited_by

    @property
    def fallback_of(self) -> str:
        """The method that it was submitted to, if a fallback of that one runs now, or ran last. Empty: it has not fallen back."""
        return self.proto.fallback_of

    @property
    def deadline(self) -> datetime | None:
        """The time by which it must end; None: no limit, or it has ended."""
        return moment(self.proto, "deadline")

    @property
    def agent_id(self) -> str:
        """The agent of the current or last attempt."""
        return self.proto.agent_id

    @property
    def avoid_agent_id(self) -> str:
        """The agent that should not make the next attempt, because the last one failed there. Empty: none, or it has ended."""
        return self.proto.avoid_agent_id

    @property
    def cancel_requested(self) -> bool:
        return self.proto.cancel_requested

    @property
    def progress_count(self) -> int:
        return self.proto.progress_count

    @property
    def created_at(self) -> datetime | None:
        return moment(self.proto, "create_time")

    @property
    def ready_at(self) -> datetime | None:
        return moment(self.proto, "ready_time")

    @property
    def started_at(self) -> datetime | None:
        return moment(self.proto, "start_time")

    @property
    def finished_at(self) -> datetime | None:
        return moment(self.proto, "finish_time")

    @property
    def expires_at(self) -> datetime | None:
        return moment(self.proto, "expire_time")

    @property
    def request(self) -> bytes:
        """The serialized request, if it was fetched."""
        return self.proto.payload

    @property
    def response(self) -> bytes:
        """The serialized response of a unary method that succeeded."""
        return self.proto.outcome.response

    @property
    def status(self) -> status_pb2.Status:
        """The handler's status; while the task waits for a retry, that of the last failed attempt."""
        return self.proto.outcome.status

    @property
    def raised(self) -> task_pb2.HandlerError | None:
        """The handler's exception. None if it raised none, or if its agent hides exceptions. In lists it has no
        stack."""
        return self.proto.outcome.error if self.proto.outcome.HasField("error") else None

    @property
    def headers(self) -> metadata.Pairs:
        """The handler's initial metadata."""
        return metadata.from_proto(self.proto.outcome.headers)

    @property
    def trailers(self) -> metadata.Pairs:
        """The handler's trailing metadata."""
        return metadata.from_proto(self.proto.outcome.trailers)

    def error(self) -> WeftError | None:
        """The error of a task that FAILED or was CANCELLED, or whose result has expired (RESULT_EXPIRED); None otherwise."""
        if self.proto.state < TaskState.SUCCEEDED or (self.succeeded and not self.proto.outcome.status.code):
            return None
        error = from_status(self.proto.outcome.status)
        if self.raised is not None:
            error.tell_raised(self.raised)
        return error

    def __repr__(self) -> str:
        agent = f" on {self.agent_id}" if self.agent_id else ""
        return f"<Task {self.id} {self.method} {self.state.name} attempt {self.attempt}{agent}>"


@dataclass(frozen=True, slots=True)
class Progress:
    """One response of a streaming method, stored."""

    task_id: str
    # Position among the task's events, from 1, over all attempts. A watcher resumes after it.
    sequence: int
    # The attempt that sent it. If the number grows, the stream has begun again.
    attempt: int
    # The serialized response.
    response: bytes


def moment(message: object, field: str) -> datetime | None:
    """A timestamp field as a time in UTC; None if it is not set, or is outside of Python's range."""
    if not message.HasField(field):  # type: ignore[attr-defined]
        return None
    value: Timestamp = getattr(message, field)
    try:
        return value.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        # Outside of the years 1 to 9999, from a coordinator with a wrong clock.
        return None
