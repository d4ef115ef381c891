"""An unfinished task in memory: one small object, with or without its payload.

A million of these may wait. So they have slots, equal tasks share a `TaskSpec`, and the parts that few tasks need are objects
of their own (`TaskLimits`, `TaskGates`, `Cancellation`, `StreamState`, `StepState`, `PastAttempts`, `PendingEnd`).
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from weft.coordinator.store.alternatives import Alternatives
from weft.coordinator.store.embedded.gate import TaskGates
from weft.coordinator.store.embedded.task_demand import TaskDemand
from weft.coordinator.store.embedded.task_spec import TaskSpec
from weft.coordinator.store.history import History, extended, rerun
from weft.coordinator.store.records import AttemptRecord, Owner, Submission, TaskRecord, Verdict
from weft.coordinator.store.reruns import Rerun
from weft.coordinator.store.rules import BACKSTOP_S, State, attempt_deadline, falls_back
from weft.coordinator.store.task_ids import format_id

NEVER = math.inf


class Saved(enum.Enum):
    """Whether a task is in the file."""

    PENDING = "pending"
    STORED = "stored"
    # It could not be written: its submitter has the error.
    REFUSED = "refused"


@dataclass(slots=True, eq=False)
class TaskLimits:
    """A task's delay and limits, as durations and as points in time, and its alternatives, which have limits of their own.

    RetryTask starts the limits anew, without the delay, at `retried_at`. `fresh_attempt` is the number of attempts before
    that; schedule_to_start holds until there is another one.
    """

    delay_s: float
    schedule_to_start_s: float | None
    schedule_to_close_s: float | None
    created_at: float
    retried_at: float | None = None
    fresh_attempt: int = 0
    # None: it has no fallback.
    alternatives: Alternatives | None = None

    @property
    def start_by(self) -> float:
        if self.schedule_to_start_s is None:
            return NEVER
        if self.alternatives is not None and self.alternatives.since is not None:
            return self.alternatives.since + self.schedule_to_start_s
        ready_at = self.created_at + self.delay_s if self.retried_at is None else self.retried_at
        return ready_at + self.schedule_to_start_s

    @property
    def close_at(self) -> float | None:
        if self.schedule_to_close_s is None:
            return None
        return (self.created_at if self.retried_at is None else self.retried_at) + self.schedule_to_close_s


@dataclass(slots=True, eq=False)
class Cancellation:
    """The requested cancellation of a running attempt; `end_at`: when the store ends the task itself."""

    reason: str
    grace_s: float
    end_at: float


@dataclass(slots=True, eq=False)
class StreamState:
    """Progress: count and bytes of the stored items over all attempts; the last index, and the attempt that sent it."""

    count: int = 0
    attempt: int = 0
    index: int = 0
    size_bytes: int = 0


@dataclass(slots=True, eq=False)
class StepState:
    """Recorded steps: how many, the bytes of their values, and how many of them are signals."""

    count: int = 0
    size_bytes: int = 0
    signals: int = 0


@dataclass(slots=True, eq=False)
class PastAttempts:
    """Past attempts: the outcome of the last failed one, and the history."""

    outcome: bytes
    attempts: History


@dataclass(slots=True, eq=False)
class PendingEnd:
    """An outcome that is not durable yet. It is told to no caller, and the task still shows its earlier state,
    `before`."""

    before: State
    finished_at: float
    expires_at: float
    outcome: bytes


class UnfinishedTask:
    """An unfinished task. Compared by identity."""

    __slots__ = (
        "attempt",
        "cancel",
        "context",
        "crashes",
        "created_at",
        "demand",
        "due_at",
        "end",
        "failures",
        "gates",
        "held_back",
        "limits",
        "number",
        "owner",
        "past",
        "payload",
        "ready_at",
        "reported",
        "request_id",
        "saved",
        "settling",
        "spec",
        "started_at",
        "state",
        "steps",
        "stream",
    )

    def __init__(
        self,
        number: int,
        spec: TaskSpec,
        request_id: str,
        created_at: float,
        ready_at: float,
        payload: bytes | None,
        context: bytes | None,
    ) -> None:
        self.number = number
        self.spec = spec
        self.request_id = request_id
        self.created_at = created_at
        self.ready_at = ready_at
        # None: only in the file.
        self.payload = payload
        self.context = context
        self.state = State.QUEUED
        self.saved = Saved.PENDING
        self.attempt = 0
        self.failures = 0
        self.crashes = 0
        # The owner of the current or the last attempt.
        self.owner: Owner | None = None
        # Its owner's report ended the last attempt.
        self.reported = False
        # It must not be claimed yet: it may be running at an agent of the last coordinator, or it is settling.
        self.held_back = False
        # The end of its last attempt is not durable yet. If the next attempt were given out now, a new coordinator could
        # give out its number again, while an agent still has it.
        self.settling = False
        self.started_at: float | None = None
        # Time of its valid item in the timers' heap.
        self.due_at = NEVER
        self.limits: TaskLimits | None = None
        self.demand: TaskDemand | None = None
        self.gates: TaskGates | None = None
        self.cancel: Cancellation | None = None
        self.stream: StreamState | None = None
        self.steps: StepState | None = None
        self.end: PendingEnd | None = None
        self.past: PastAttempts | None = None

    @property
    def shown(self) -> State:
        """Its state for callers: an end that is not durable is not told."""
        return self.state if self.end is None else self.end.before

    @property
    def alternatives(self) -> Alternatives | None:
        return None if self.limits is None else self.limits.alternatives

    @property
    def outcome(self) -> bytes:
        """The outcome of the last failed attempt."""
        return b"" if self.past is None else self.past.outcome

    @property
    def history(self) -> History:
        """Attempts that did not end the task."""
        return () if self.past is None else self.past.attempts

    @property
    def rerun(self) -> Rerun | None:
        """Why it has its current attempt; None: nothing is known of an earlier one."""
        if not self.history:
            return None
        limits, alternatives = self.limits, self.alternatives
        # A fallback is another reason: it counts attempts anew, too.
        requested = (
            limits is not None
            and limits.retried_at is not None
            and limits.fresh_attempt == self.attempt - 1
            and (alternatives is None or alternatives.since is None)
        )
        return rerun(self.history[-1], requested=requested)

    @property
    def answer(self) -> Verdict:
        """The answer if the last attempt's owner repeats its report."""
        if not self.reported:
            return Verdict.STALE
        # The task may have ended later, not by that report.
        ended = self.end is not None and self.end.before is State.RUNNING
        return Verdict.STORED if ended else Verdict.RETRYING

    @property
    def size_bytes(self) -> int:
        """The memory that payload and context take, about."""
        payload, context = self.payload, self.context
        return 0 if payload is None or context is None else len(payload) + len(context) + 96

    @property
    def next_attempt(self) -> int:
        """Number of the next attempt. The number of a released or forgotten attempt is used again, unless responses are
        stored under it: responses of two attempts must not mix."""
        streamed = 0 if self.stream is None else self.stream.attempt
        return max(self.attempt, streamed) + 1

    @property
    def deadline_at(self) -> float | None:
        """When the running attempt must have ended."""
        limits = self.limits
        close_at = None if limits is None else limits.close_at
        own_s = self.spec.start_to_close_s
        if own_s is None or self.started_at is None:
            return close_at
        return attempt_deadline(self.started_at, own_s, close_at)

    def record_attempt(
        self, now: float, outcome: bytes = b"", *, crashed: bool = False, released: bool = False
    ) -> None:
        """Add the attempt that ends now, and does not end the task, to the history; `outcome` as in `AttemptRecord`."""
        agent_id = "" if self.owner is None else self.owner.agent_id
        attempt = AttemptRecord(self.attempt, agent_id, self.started_at, now, outcome, crashed, released)
        self.past = PastAttempts(self.outcome, extended(self.history, attempt))

    def keep_failure(self, outcome: bytes) -> None:
        """Keep the full outcome of the last failed attempt."""
        self.past = PastAttempts(outcome, self.history)

    def next_due_at(self) -> float:
        """When a limit or delay will change this task's state, if nothing else does before."""
        limits = self.limits
        if self.state is State.RUNNING:
            deadline_at = self.deadline_at
            due_at = NEVER if deadline_at is None else deadline_at + BACKSTOP_S
            return due_at if self.cancel is None else min(due_at, self.cancel.end_at)
        if self.state >= State.SUCCEEDED:
            return NEVER
        due_at = self.ready_at if self.state is State.SCHEDULED else NEVER
        if limits is not None:
            if limits.close_at is not None:
                due_at = min(due_at, limits.close_at)
            # A task that is held back may have started long ago.
            if self.attempt == limits.fresh_attempt and not self.held_back:
                due_at = min(due_at, limits.start_by)
        return due_at

    def record(self, payload: bytes = b"", context: bytes = b"") -> TaskRecord:
        """This task as clients may see it, without an outcome that is not durable."""
        return self._record(format_id(self.number), self.shown, self.outcome, payload, context, None, None)

    def final_record(self, task_id: str) -> TaskRecord:
        """This task with its outcome, which is durable now."""
        end = self.end
        assert end is not None
        return self._record(task_id, self.state, end.outcome, b"", b"", end.finished_at, end.expires_at)

    def _record(
        self,
        task_id: str,
        state: State,
        outcome: bytes,
        payload: bytes,
        context: bytes,
        finished_at: float | None,
        expires_at: float | None,
    ) -> TaskRecord:
        spec, limits, stream = self.spec, self.limits, self.stream
        record = TaskRecord(
            task_id,
            state,
            Submission(
                spec.method,
                payload,
                task_id,
                self.request_id,
                spec.priority,
                0.0 if limits is None else limits.delay_s,
                None if limits is None else limits.schedule_to_start_s,
                spec.start_to_close_s,
                None if limits is None else limits.schedule_to_close_s,
                spec.retry,
                spec.requirements,
                context,
                spec.result_ttl_s,
                spec.failure_ttl_s,
                spec.request_id_ttl_s,
            ),
            self.attempt,
            self.crashes,
            "" if self.owner is None else self.owner.agent_id,
            self.cancel is not None and state is State.RUNNING,
            0 if stream is None else stream.count,
            self.created_at,
            self.ready_at,
            self.started_at,
            finished_at,
            expires_at,
            outcome,
            False,
            0 if state >= State.SUCCEEDED else self.failures,
            None if limits is None or state >= State.SUCCEEDED else limits.close_at,
            self.history,
            "" if state >= State.SUCCEEDED else spec.queue.key.avoid,
        )
        if self.demand is not None:
            self.demand.describe(record.submission)
        if self.spec.group is not None:
            record.submission.group = self.spec.group.name
        if self.spec.submitter:
            record.submission.submitter = self.spec.submitter
        if limits is not None and limits.alternatives is not None:
            record.submission.alternatives = limits.alternatives.all
            record.submission.alternative = limits.alternatives.at
        if self.gates is not None and self.gates.parked and self.gates.lot is not None:
            record.limited_by = str(self.gates.lot.gate.key)
        return record


def may_fall_back(task: UnfinishedTask, code: int, now: float) -> bool:
    """Whether a task goes to its next alternative, if it would fail with this code."""
    alternatives, limits = task.alternatives, task.limits
    if limits is None or alternatives is None or not alternatives.has_next:
        return False
    return falls_back(code, cancel_requested=task.cancel is not None, close_at=limits.close_at, now=now)


def keeps_gates(task: UnfinishedTask) -> bool:
    """Whether it takes its turn, and is ready again once its last attempt's end is durable: until then, it lets no other pass."""
    return task.settling and task.demand is not None and task.demand.takes_turn
