"""The store's Protocol: small, batch-first, and the same for every store.

A store keeps tasks, moves them through their life by `rules`, and says when a move is durable. It knows nothing
of gRPC, sessions or protobuf messages: payloads, call contexts and outcomes are bytes to it.

What every store promises (the conformance suite in tests/store checks it):

- A method that changes something returns when the change is durable. Changes inside one call are applied in order.
- A task that is being made durable may already be claimed; nobody is told of its outcome before that is durable.
- An attempt is valid while its task is RUNNING, its number is the current one and its owner is the claimant (or
  the one who adopted it). Everything else is refused: no attempt is ever ended by task id alone.
- The store has its own clock. Times that it gives out are seconds since the epoch by that clock.
- A lease belongs to an owner, not to an attempt. When it passes, `sweep` takes all the owner's attempts back and
  counts a crash for each.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from weft.coordinator.rules import (
    ANY_AGENT,
    DEFAULT_PRIORITY,
    DEFAULT_RETRY,
    QueueKey,
    Requirements,
    RetryPolicy,
    State,
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
    retry: RetryPolicy = DEFAULT_RETRY
    requirements: Requirements = ANY_AGENT
    # Serialized weft.v1.CallContext.
    context: bytes = b""
    result_ttl_s: float = 3600.0
    failure_ttl_s: float = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What became of a submission: the task's id, and whether the request id was known already."""

    task_id: str
    existed: bool = False


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
class Report:
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
    """A response of a streaming attempt; `index` counts from 1 within the attempt, without gaps."""

    owner: Owner
    task_id: str
    attempt: int
    index: int
    payload: bytes


class ProgressVerdict(enum.Enum):
    """What a progress item came to."""

    STORED = "stored"
    # The index was stored before; acknowledge it again.
    KNOWN = "known"
    STALE = "stale"
    # The task has as many as it may have.
    LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class ProgressRow:
    """A stored response: `sequence` counts from 1 over all attempts of the task."""

    sequence: int
    attempt: int
    payload: bytes


# Not frozen: that would triple the cost of making one, and each task makes several.
@dataclass(slots=True)
class TaskRecord:
    """A task as the store knows it; `payload`, `context` and `outcome` are empty where they were not asked for."""

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


@dataclass(frozen=True, slots=True)
class ListFilter:
    """Which tasks; every part that is set must match."""

    states: frozenset[State] = frozenset()
    method: str = ""
    created_from: float | None = None
    created_to: float | None = None


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
    # A serialized weft.v1.Agent: how the coordinator that serves it sees it now. Empty when nobody said, lately.
    view: bytes = b""


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How many tasks a queue holds, by state. `oldest_at`: when its oldest ready task became ready."""

    queued: int = 0
    scheduled: int = 0
    running: int = 0
    oldest_at: float | None = None


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What one sweep did, and when the next thing is due (None: nothing is known to be)."""

    promoted: int = 0
    expired: int = 0
    reclaimed: int = 0
    forgotten: int = 0
    lost_owners: Sequence[Owner] = field(default=())
    next_due_at: float | None = None


class StoreListener(Protocol):
    """What a store tells its coordinator, always from the event loop's thread and never while it is in a bad state.

    The methods must return at once.
    """

    def ready(self) -> None:
        """Some task became ready, or something that held one back is gone."""
        ...

    def fleet_changed(self) -> None:
        """Another coordinator changed agents, operators' wishes or contracts: read them again."""
        ...

    def wants(self, task_id: str, *, ended: bool) -> bool:
        """Whether anybody wants to hear of a task's end (`ended`), or of any other change or progress of it.

        Only then are `changed` and `progressed` called for it.
        """
        ...

    def followed_tasks(self) -> Sequence[str]:
        """The tasks that `wants` is true for."""
        ...

    def changed(self, record: TaskRecord) -> None:
        """A task changed its state, durably where the state is terminal, and `wants` said that somebody cares.

        The record holds the outcome and no payload.
        """
        ...

    def progressed(self, task_id: str, rows: Sequence[ProgressRow]) -> None:
        """Durable progress of a task that somebody follows."""
        ...

    def revoked(self, owner: Owner, ref: AttemptRef, reason: str, grace_s: float, *, lost: bool) -> None:
        """An owner should end an attempt: cancelled (`lost` false), or taken away by a limit (`lost` true)."""
        ...


class Store(Protocol):
    """Where tasks are kept. Every method that changes something raises `weft.rpc.errors.Unavailable` (reason
    STORE_UNAVAILABLE) when the store cannot be written; then nothing of the call has been acknowledged."""

    @property
    def writable(self) -> bool:
        """False while writes fail: nothing should be claimed then."""
        ...

    @property
    def shared(self) -> bool:
        """Whether other coordinators may use it at the same time."""
        ...

    async def open(self, listener: StoreListener) -> None:
        """Take the store and recover what it holds.

        Raises:
            weft.coordinator.store.errors.StoreError: it belongs to another process, is not a store of
                weft, is damaged, or is of a newer version.
        """
        ...

    async def close(self) -> None:
        """Make everything durable and let go. Bounded in time."""
        ...

    def now(self) -> float:
        """The store's clock, in seconds since the epoch."""
        ...

    # -- tasks ------------------------------------------------------------------------------------------------

    async def enqueue(
        self, submissions: Sequence[Submission], *, acknowledged: bool = True
    ) -> Sequence[Enqueued | RequestIdReused]:
        """Store tasks, in order. Duplicates of a request id within one call count too.

        Args:
            acknowledged: the caller will tell somebody that the tasks are stored: return when they are durable. Else
                the store may return before, and make them durable with their next change or a little later; one
                that it cannot store then ends, for its followers, as FAILED with STORE_UNAVAILABLE. Such
                submissions need a `task_id`.
        """
        ...

    def new_task_id(self, method: str) -> str:
        """An id for a task that is about to be submitted; costs no I/O."""
        ...

    def unfinished(self) -> int:
        """How many tasks have not ended. May be a little stale; costs no I/O."""
        ...

    def ready_depths(self) -> Mapping[QueueKey, int]:
        """Ready tasks by queue, those of paused methods left out. May be a little stale; costs no I/O."""
        ...

    async def claim(self, requests: Sequence[ClaimRequest]) -> Sequence[Sequence[Claimed]]:
        """Give out ready tasks, request by request; none while the store is not writable. An expired task is never
        given out. Fewer than asked for may come although more are ready: then `StoreListener.ready` is called."""
        ...

    def complete(self, reports: Sequence[Report]) -> Awaitable[Sequence[Verdict]]:
        """End attempts: the outcome is stored, or the task is queued again, or the report is refused. A report that
        its owner repeats, after an answer that was lost, gets the same answer while the attempt is the last one.

        A store may begin before the result is awaited, which must be done."""
        ...

    async def progress(self, items: Sequence[ProgressItem]) -> Sequence[ProgressVerdict]:
        """Store responses of streaming attempts. One that leaves a gap is STALE, and its attempt counts as crashed:
        it cannot be recorded rightly any more."""
        ...

    async def release(self, owner: Owner, refs: Sequence[AttemptRef]) -> Sequence[bool]:
        """Take attempts back at no cost, and queue their tasks again. False: it was not the owner's. The next attempt
        has the same number, in another epoch or as another claim."""
        ...

    async def adopt(self, owner: Owner, held: Sequence[tuple[AttemptRef, int]]) -> Sequence[bool]:
        """Give attempts that an agent still holds, each with the epoch it knows, to its new session `owner`.

        Attempts of the agent's earlier epochs that are not named are taken back at once: as if they had never been
        where the same process (`instance_id`) says so, which cannot have heard of them, else counted as crashes.
        Repeating it is harmless. A store that journals no claims holds recovered tasks back until every agent that was
        connected has adopted or a grace has passed, and believes an attempt number above those that it knows ended.
        """
        ...

    async def cancel(
        self, task_ids: Sequence[str], reason: str, grace_s: float
    ) -> Sequence[TaskRecord | None]:
        """Ask for tasks' ends; None: no such task. A running one that has not ended by grace_s plus a second
        is ended by `sweep`."""
        ...

    async def retry(self, task_id: str) -> TaskRecord | None:
        """Queue a FAILED or CANCELLED task again; None: no such task.

        Raises:
            weft.rpc.errors.FailedPrecondition: it is in another state.
            weft.rpc.errors.NotFound: its payload was dropped after its TTL (RESULT_EXPIRED).
        """
        ...

    async def get(self, task_ids: Sequence[str], *, payloads: bool = True) -> Sequence[TaskRecord | None]:
        """Read tasks; what is terminal is durable, and a task that is not is not there. Without `payloads` the payload
        and context stay empty."""
        ...

    async def list_tasks(
        self, where: ListFilter, *, limit: int, cursor: str = "", payloads: bool = False
    ) -> Page:
        """A page of tasks, newest first; may be short and still have a next one.

        Raises:
            weft.rpc.errors.InvalidArgument: the cursor is not one of this store's.
        """
        ...

    async def read_progress(self, task_id: str, after: int, limit: int) -> Sequence[ProgressRow]:
        """Stored progress with a sequence above `after`, in order; fewer than `limit`, but one, when it is large."""
        ...

    async def sweep(self, limit: int) -> SweepReport:
        """Do what time has brought: promote, expire, take back from owners whose lease passed, forget. Goes on while
        the store is not writable; what it brought is written later then."""
        ...

    # -- owners -----------------------------------------------------------------------------------------------

    async def register(self, agent_id: str, instance_id: str, description: bytes, lease_s: float) -> int:
        """Open a session for an agent: a new epoch, larger than every earlier one, with a lease."""
        ...

    async def renew(self, owners: Sequence[Owner], lease_s: float) -> Sequence[bool]:
        """Let leases end `lease_s` from now (also sooner than before). False: the owner is not known (any more)."""
        ...

    async def retire(self, owner: Owner) -> None:
        """The agent left: forget its lease, take back what it may still hold, counted as crashes."""
        ...

    async def agents(self) -> Sequence[AgentRecord]:
        """Every agent that is connected or was, until forgotten."""
        ...

    async def share(self, views: Mapping[str, bytes]) -> None:
        """Let other coordinators see agents as this one does: `AgentRecord.view` by agent id, for some seconds. A store
        that is not shared does nothing."""
        ...

    async def set_desired(self, agent_id: str, desired_state: int) -> bool:
        """Keep an operator's wish; False: no such agent."""
        ...

    async def forget_agent(self, agent_id: str) -> None:
        """Drop an agent that is not connected from the list."""
        ...

    # -- contracts and queues -----------------------------------------------------------------------------------

    async def put_contract(self, digest: str, file_descriptor_set: bytes, methods: Sequence[str]) -> None:
        """Keep a contract and put it in force for these methods."""
        ...

    async def contracts(self) -> Mapping[str, tuple[bytes, Sequence[str]]]:
        """Contracts by digest, oldest first: descriptor set, and the methods that it is in force for."""
        ...

    async def depths(self) -> Mapping[QueueKey, QueueDepth]:
        """Queues that hold unfinished tasks."""
        ...

    async def set_paused(self, method: str, *, paused: bool) -> None:
        """Keep a method's tasks from being claimed, or let them go on."""
        ...

    async def paused(self) -> Sequence[str]:
        """Methods that are paused."""
        ...
