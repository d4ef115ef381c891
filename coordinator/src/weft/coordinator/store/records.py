"""What a store is told and what it tells: submissions, claims, reports, tasks as they are, agents."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from weft.coordinator.store.rules import (
    ANY_AGENT,
    DEFAULT_PRIORITY,
    DEFAULT_RETRY,
    REQUEST_ID_TTL_S,
    QueueKey,
    Requirements,
    State,
    TaskRetryPolicy,
)


class Owner(NamedTuple):
    """Who holds an attempt: an agent in one of its sessions."""

    agent_id: str
    epoch: int


class AttemptRef(NamedTuple):
    """One attempt at one task."""

    task_id: str
    attempt: int


# Not frozen: that would triple the cost of making one, and each task makes several.
@dataclass(slots=True)
class Submission:
    """A task to store. Already checked: a store refuses nothing but a reused request id."""

    method: str
    payload: bytes = b""
    # From `Store.new_task_id`, by callers that follow the task from before it is stored; empty: the store mints one.
    task_id: str = ""
    # "The same request" for a reused request id means the same method and payload: time limits and trace context
    # differ between honest repeats.
    request_id: str = ""
    priority: int = DEFAULT_PRIORITY
    delay_s: float = 0.0
    schedule_to_start_s: float | None = None
    start_to_close_s: float | None = None
    schedule_to_close_s: float | None = None
    retry: TaskRetryPolicy = DEFAULT_RETRY
    requirements: Requirements = ANY_AGENT
    # Serialized weft.v1.CallContext.
    context: bytes = b""
    result_ttl_s: float = 3600.0
    failure_ttl_s: float = 7 * 86400.0
    # How long the request id is kept from the submission on.
    request_id_ttl_s: float = REQUEST_ID_TTL_S
    # Of method and payload, the same for all serializations of a request (`identity.request_digest`); needed with a
    # request id alone. Empty: that of the payload as it is.
    request_digest: bytes = b""


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What became of a submission: the task's id, and whether the request id was known already."""

    task_id: str
    existed: bool = False


class TooManyQueues(NamedTuple):
    """A submission that was not stored: its requirements would make one queue more than its method may have."""

    method: str
    limit: int


class RequestIdReused(NamedTuple):
    """The request id belongs to another request: that task's id."""

    task_id: str


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """Claim for `owner` at most `limit` tasks that fit `slots`, the best (priority, age) over all its queues first.

    `costs` maps each queue that the owner can serve to the slots that one of its tasks takes. When the best task
    costs more than what is left of `slots`, the claim ends: a dear task is not overtaken for ever by cheap ones.
    """

    owner: Owner
    costs: Mapping[QueueKey, int]
    slots: int
    limit: int


@dataclass(slots=True)
class Claimed:
    """An attempt to make."""

    task_id: str
    attempt: int
    owner: Owner
    method: str
    payload: bytes
    context: bytes
    request_id: str
    priority: int
    cost: int
    # When the attempt must have ended: the nearer of start_to_close and schedule_to_close; None: no limit.
    deadline_at: float | None


@dataclass(frozen=True, slots=True)
class AttemptReport:
    """The end of an attempt, as its owner reports it."""

    owner: Owner
    task_id: str
    attempt: int
    # A google.rpc.Code; 0 is success.
    code: int
    # Serialized weft.v1.Outcome.
    outcome: bytes
    # RetryInfo among the status details.
    retry_after_s: float | None = None
    # The process that ran the handler died: a crash, not a failure.
    crashed: bool = False
    # No policy may retry this one.
    final: bool = False


class Verdict(enum.Enum):
    """What a report came to."""

    # The task has this outcome.
    STORED = "stored"
    # The attempt is over; the task will be tried again.
    RETRYING = "retrying"
    # Refused: the attempt was not the owner's any more.
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class ProgressItem:
    """A response of a streaming attempt; `index` counts from 1 within the attempt, without gaps.

    `headers` is the initial metadata that was sent before it, as `codec.packed_headers` makes it; empty: there was none.
    """

    owner: Owner
    task_id: str
    attempt: int
    index: int
    payload: bytes
    headers: bytes = b""


class ProgressVerdict(enum.Enum):
    """What a progress item came to."""

    STORED = "stored"
    # The index was stored before; acknowledge it again.
    KNOWN = "known"
    STALE = "stale"
    # The task has as many, or as large ones, as it may have.
    LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class ProgressRow:
    """A stored response: `sequence` counts from 1 over all attempts of the task."""

    sequence: int
    attempt: int
    payload: bytes
    headers: bytes = b""


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt at a task, as the store remembers it."""

    number: int
    agent_id: str
    # None: not known.
    started_at: float | None
    # None: it has not ended.
    ended_at: float | None
    # Serialized weft.v1.Outcome; of an earlier attempt trimmed (`history.brief`). Empty: it had none.
    outcome: bytes = b""
    # Lost with its agent, or with the process that ran its handler.
    crashed: bool = False
    # Handed back unstarted.
    released: bool = False


# Not frozen: that would triple the cost of making one, and each task makes several.
@dataclass(slots=True)
class TaskRecord:
    """A task as the store knows it; `payload`, `context`, `outcome` and `history` are empty where they were not asked for."""

    task_id: str
    state: State
    submission: Submission
    attempt: int = 0
    crashes: int = 0
    agent_id: str = ""
    cancel_requested: bool = False
    progress_count: int = 0
    created_at: float = 0.0
    ready_at: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    # When it will be forgotten; None before the end.
    expires_at: float | None = None
    # Serialized weft.v1.Outcome; of the last failed attempt while the task waits for a retry.
    outcome: bytes = b""
    # The payload and the outcome were dropped after the result's TTL; only the rest is known.
    expired: bool = False
    # Of a task that has not ended: attempts that count as failures, and when schedule_to_close passes.
    failures: int = 0
    close_at: float | None = None
    # Attempts before the current or last one, and that one where it was over before the task was (`history`).
    history: Sequence[AttemptRecord] = ()


@dataclass(frozen=True, slots=True)
class ListFilter:
    """Which tasks; every part that is set must match."""

    states: frozenset[State] = frozenset()
    method: str = ""
    created_from: float | None = None
    created_to: float | None = None
    agent_id: str = ""
    request_id: str = ""
    # Of the last failure: its code, its reason or the type that was raised, and text within its message.
    error_codes: frozenset[int] = frozenset()
    error_reason: str = ""
    error_text: str = ""

    @property
    def asks_for_error(self) -> bool:
        """Whether only tasks match that have a failure to show."""
        return bool(self.error_codes or self.error_reason or self.error_text)


@dataclass(frozen=True, slots=True)
class Page:
    """Tasks, newest first, and where the next page starts; an empty cursor: this was the last."""

    records: Sequence[TaskRecord]
    cursor: str = ""


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """What is durable of an agent. `description` is a serialized weft.v1.Agent."""

    agent_id: str
    instance_id: str
    epoch: int
    description: bytes
    connected: bool
    desired_state: int
    # It is not connected since it said goodbye.
    left: bool = False
    # A serialized weft.v1.Agent: how the coordinator that serves it sees it, but for how busy it is. Empty: none does.
    view: bytes = b""


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How many tasks a queue holds, by state. `oldest_at`: when its oldest ready task became ready."""

    queued: int = 0
    scheduled: int = 0
    running: int = 0
    oldest_at: float | None = None


def by_base(depths: Iterable[tuple[QueueKey, QueueDepth]]) -> dict[QueueKey, QueueDepth]:
    """Depths as people see them: retries with the queue that they were submitted to."""
    total: dict[QueueKey, QueueDepth] = {}
    for key, depth in depths:
        known = total.get(key.base)
        total[key.base] = depth if known is None else _sum(known, depth)
    return total


def _sum(one: QueueDepth, other: QueueDepth) -> QueueDepth:
    oldest = [depth.oldest_at for depth in (one, other) if depth.oldest_at is not None]
    return QueueDepth(
        one.queued + other.queued,
        one.scheduled + other.scheduled,
        one.running + other.running,
        min(oldest, default=None),
    )


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What one sweep did, and when the next thing is due (None: nothing is known to be)."""

    promoted: int = 0
    expired: int = 0
    reclaimed: int = 0
    forgotten: int = 0
    lost_owners: Sequence[Owner] = field(default=())
    next_due_at: float | None = None
