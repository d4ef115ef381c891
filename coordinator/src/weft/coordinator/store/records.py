"""The records that go into a store and come out of it: submissions, claims, reports, tasks, agents."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from weft.coordinator.store.alternatives import Alternative
from weft.coordinator.store.event_store import NewEventRow, TooManyTopics
from weft.coordinator.store.group_store import GroupRefusal
from weft.coordinator.store.reruns import Rerun
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
from weft.coordinator.store.run_limits import GateKey, LockClaim
from weft.coordinator.store.state_store import StateWrite, StoredState, TooManyStates
from weft.coordinator.store.step_store import StepRecord, StepSuspension
from weft.rpc.calls.session_keys import StickyCall

# Holders that a listing names of one lock.
MAX_HOLDERS = 100


class Owner(NamedTuple):
    """The holder of an attempt: an agent in one of its sessions."""

    agent_id: str
    epoch: int


class AttemptRef(NamedTuple):
    """One attempt at one task."""

    task_id: str
    attempt: int


# Not frozen: a frozen one costs three times as much to make, and each task makes several.
@dataclass(slots=True)
class Submission:
    """A task to store, already checked: a store refuses only a reused request id, what run limits refuse, a closed group,
    and what is one too many."""

    method: str
    payload: bytes = b""
    # From `TaskStore.new_task_id`, for callers that subscribe before the task is stored. Empty: the store generates one.
    task_id: str = ""
    # The same request means the same method and payload: honest repeats differ in time limits and trace context.
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
    # How long the request id is kept, from the submission on.
    request_id_ttl_s: float = REQUEST_ID_TTL_S
    # Digest of method and payload, the same for all serializations of a request (`task_ids.request_digest`). Only needed
    # with a request id. Empty: the digest of the payload as it is.
    request_digest: bytes = b""
    # Tasks of a queue with different keys are served in turns, by weight (`fairness`). Empty: a key like any other.
    fairness_key: str = ""
    fairness_weight: float = 1.0
    # (key expression of a run limit, value), for run limits by another key than the fairness key.
    limit_keys: tuple[tuple[str, str], ...] = ()
    # Held together while the task runs; each name once.
    locks: tuple[LockClaim, ...] = ()
    # Refuse it if no agent can run it (`Matching`). Stores do not know this.
    no_wait: bool = False
    # The agent that it is for, which its requirements name: refuse it if there is no such agent (`Matching`). Stores do not know
    # this.
    agent_id: str = ""
    # The group that it belongs to. Empty: none.
    group: str = ""
    # The sticky session that it belongs to, as long as its requirements do not name that session's agent (`StickySessions`). None: it has none, or
    # they do. Stores do not know this: a stored task has its session in its context.
    session: StickyCall | None = None
    # A cached request: its request id stands for the request itself. The task that has it is the answer while it is unfinished,
    # and for so long after it has succeeded; then, or if it ended otherwise, it gives the request id away. 0: not cached.
    cache_ttl_s: float = 0.0
    # The methods that may run it, the submitted one first; `alternative` is the one that this submission shows. Empty: it has no
    # fallback.
    alternatives: tuple[Alternative, ...] = ()
    alternative: int = 0
    # The state in which a task has ended elsewhere, and its serialized weft.v1.Outcome: it is stored so, and no run limit refuses it. None: a
    # task that is to run. A stored task shows it as its outcome.
    ended: tuple[State, bytes] | None = None
    # What its handler has recorded elsewhere, and signals, in order: stored with it. A stored task does not show them.
    steps: tuple[StepRecord, ...] = ()
    # Who submitted it, if that caller may have only so many unfinished tasks. Empty: nobody counts them.
    submitter: str = ""
    most_unfinished: int = 0
    # Events that are published when it is stored: both happen, or none. Nothing is published for a task that existed already. A stored task
    # does not show them.
    events: tuple[NewEventRow, ...] = ()

    @property
    def fallback_of(self) -> str:
        """The method that it was submitted to, if it shows another one. Empty: it shows that one."""
        return self.alternatives[0].method if self.alternative else ""


# Not frozen, as Submission.
@dataclass(slots=True)
class Enqueued:
    """A stored submission: the task's id, and whether the task existed already under its request id."""

    task_id: str
    existed: bool = False
    # The task has succeeded, and its result answers a cached request.
    cached: bool = False


class TooManyQueues(NamedTuple):
    """A refused submission: its requirements would make one queue more than its method may have."""

    method: str
    limit: int


class RequestIdReused(NamedTuple):
    """A refused submission: its request id belongs to another request, with this task id."""

    task_id: str


class AtLimit(NamedTuple):
    """A refused submission: a run limit with LimitAction.REFUSE has as many unfinished tasks as it allows."""

    gate: GateKey
    limit: int


class TooManyTasks(NamedTuple):
    """A refused submission: its submitter has as many unfinished tasks as it may have."""

    submitter: str
    limit: int


# A submission that the store does not take.
Refused = TooManyQueues | AtLimit | TooManyTasks | TooManyTopics | TooManyStates | GroupRefusal
EnqueueResult = Enqueued | RequestIdReused | Refused


# Not frozen, as Submission.
@dataclass(slots=True)
class ClaimRequest:
    """Claim for `owner` at most `limit` tasks that fit `slots`, the best (priority, age) over all its queues first.

    `costs` maps each queue that the owner can serve to the slots of one task. If the best task costs more than the
    remaining slots, the claim ends: cheap tasks must not overtake a costly one for ever.

    `left` has the amounts of the owner's resources that no attempt uses; what is not named is 0. If the best task consumes more
    (`Requirements.consumes`), the rest of the claim serves no queue that consumes a resource of that task: small tasks must not
    overtake a large one for ever.
    """

    owner: Owner
    costs: Mapping[QueueKey, int]
    slots: int
    limit: int
    left: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(slots=True)
class Claimed:
    """A claimed attempt, to be assigned to its agent. `rerun`: what is known of an earlier one; `ready_at`: of the task."""

    task_id: str
    attempt: int
    owner: Owner
    method: str
    payload: bytes
    context: bytes
    request_id: str
    priority: int
    cost: int
    # When the attempt must have ended, by start_to_close or schedule_to_close; None: no limit.
    deadline_at: float | None
    # Amounts of the agent's resources that it uses while it runs.
    consumes: tuple[tuple[str, float], ...] = ()
    ready_at: float = 0.0
    rerun: Rerun | None = None
    # That its lock keeps. None: no lock keeps one.
    state: StoredState | None = None


# Not frozen, as Submission.
@dataclass(slots=True)
class AttemptReport:
    """The end of an attempt, reported by its owner."""

    owner: Owner
    task_id: str
    attempt: int
    # A google.rpc.Code; 0 is success.
    code: int
    # Serialized weft.v1.Outcome.
    outcome: bytes
    # From RetryInfo in the status details.
    retry_after_s: float | None = None
    # The handler's process died: a crash, not a failure.
    crashed: bool = False
    # No policy may retry it.
    final: bool = False
    # Of a success: what has changed in the state of its lock. If that has another version, the report is stale, and the attempt a crash.
    state: StateWrite | None = None
    # Its handler only waits: it is no failure, and the task goes on later.
    suspension: StepSuspension | None = None


class Verdict(enum.Enum):
    """The answer to a report."""

    # The task has this outcome.
    STORED = "stored"
    # The attempt is over; the task will be retried.
    RETRYING = "retrying"
    # Refused: the attempt is not the owner's any more.
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class ProgressItem:
    """A response of a streaming attempt; `index` counts from 1 within the attempt, without gaps.

    `headers` is the initial metadata before it, as `codec.packed_headers` makes it; empty: none.
    """

    owner: Owner
    task_id: str
    attempt: int
    index: int
    payload: bytes
    headers: bytes = b""


class ProgressVerdict(enum.Enum):
    """The answer to a progress item."""

    STORED = "stored"
    # The index is stored already: acknowledge it again.
    KNOWN = "known"
    STALE = "stale"
    # The task has as many responses, or as many bytes of them, as it may have.
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
    """One attempt at a task, for people."""

    number: int
    agent_id: str
    # None: unknown.
    started_at: float | None
    # None: it has not ended.
    ended_at: float | None
    # Serialized weft.v1.Outcome; trimmed if the attempt is not the last (`history.trimmed`). Empty: none.
    outcome: bytes = b""
    # Lost with its agent, or with its handler's process; or released: it did not start.
    crashed: bool = False
    released: bool = False


# Not frozen: a frozen one costs three times as much to make, and each task makes several.
@dataclass(slots=True)
class TaskRecord:
    """A task as stored. `payload`, `context`, `outcome` and `history` are empty if they were not read."""

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
    # When it will be forgotten; None for an unfinished task.
    expires_at: float | None = None
    # Serialized weft.v1.Outcome; while the task waits for a retry, that of the last failed attempt.
    outcome: bytes = b""
    # Payload and outcome were dropped after the result's TTL.
    expired: bool = False
    # Of an unfinished task: failed attempts, and when schedule_to_close ends.
    failures: int = 0
    close_at: float | None = None
    # Attempts before the last one, and the last one if it did not end the task (`history`).
    history: Sequence[AttemptRecord] = ()
    # Of an unfinished task: the agent that should not make the next attempt; empty: none.
    avoid: str = ""
    # The gate that a QUEUED task waits at, for people (`str` of its GateKey). Empty: none.
    limited_by: str = ""


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """An agent as stored. `description` is a serialized weft.v1.Agent."""

    agent_id: str
    instance_id: str
    epoch: int
    description: bytes
    connected: bool
    desired_state: int
    # It said goodbye, and has not connected since.
    left: bool = False
    # A serialized weft.v1.Agent: its coordinator's view of it, without its load. Empty: no coordinator serves it.
    view: bytes = b""


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """The tasks of a queue by state. `oldest_at`: when its oldest ready task became ready. `limited`: how many of the queued
    tasks are parked at a gate."""

    queued: int = 0
    scheduled: int = 0
    running: int = 0
    oldest_at: float | None = None
    limited: int = 0


@dataclass(frozen=True, slots=True)
class LockHolder:
    """A running task that holds a lock, and since when."""

    task_id: str
    agent_id: str
    since: float
    shared: bool = False


@dataclass(frozen=True, slots=True)
class LockRecord:
    """A lock that is held or waited for. Holders: oldest first, at most `MAX_HOLDERS`."""

    name: str
    holders: Sequence[LockHolder]
    # Tasks parked at the lock, or returned from it and not started yet.
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class SweepReport:
    """The work of one sweep, and when something is due next (None: nothing known)."""

    promoted: int = 0
    expired: int = 0
    reclaimed: int = 0
    forgotten: int = 0
    lost_owners: Sequence[Owner] = field(default=())
    next_due_at: float | None = None

    def then(self, later: SweepReport) -> SweepReport:
        """Both sweeps as one."""
        return SweepReport(
            self.promoted + later.promoted,
            self.expired + later.expired,
            self.reclaimed + later.reclaimed,
            self.forgotten + later.forgotten,
            [*self.lost_owners, *later.lost_owners],
            later.next_due_at,
        )
