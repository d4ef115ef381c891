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

from collections.abc import Awaitable, Collection, Mapping, Sequence
from typing import Protocol

from weft.coordinator.store.records import (
    AgentRecord,
    AttemptRef,
    AttemptReport,
    Claimed,
    ClaimRequest,
    Enqueued,
    ListFilter,
    Owner,
    Page,
    ProgressItem,
    ProgressRow,
    ProgressVerdict,
    QueueDepth,
    RequestIdReused,
    Submission,
    SweepReport,
    TaskRecord,
    TooManyQueues,
    Verdict,
)
from weft.coordinator.store.rules import QueueKey


class StoreListener(Protocol):
    """What a store tells its coordinator, always from the event loop's thread and never while it is in a bad state.

    The methods must return at once.
    """

    def ready(self) -> None:
        """Some task became ready, or something that held one back is gone."""
        ...

    def due(self, at: float) -> None:
        """Time will change something then, which the last sweep may not have known: sweep by then, by the store's clock."""
        ...

    def fleet_changed(self) -> None:
        """Another coordinator changed agents, operators' wishes or contracts: read them again."""
        ...

    def has_room(self, queue: QueueKey) -> bool:
        """Whether an agent that is connected here would take a task of this queue now."""
        ...

    def has_subscriber(self, task_id: str, *, ended: bool) -> bool:
        """Whether anybody wants to hear of a task's end (`ended`), or of any other change or progress of it.

        Only then are `changed` and `progressed` called for it.
        """
        ...

    def subscribed_tasks(self) -> Sequence[str]:
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
            weft.coordinator.store.open_errors.StoreError: it belongs to another process, is not a store of
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
    ) -> Sequence[Enqueued | RequestIdReused | TooManyQueues]:
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
        """Ready tasks by queue, those of paused methods left out. May be a little stale; costs no I/O.

        A task whose last attempt failed, crashed or was lost is in a queue that avoids the attempt's agent (`QueueKey.avoid`):
        who claims decides whether that agent may have it all the same."""
        ...

    async def claim(self, requests: Sequence[ClaimRequest]) -> Sequence[Sequence[Claimed]]:
        """Give out ready tasks, request by request; none while the store is not writable. An expired task is never
        given out. Fewer than asked for may come although more are ready: then `StoreListener.ready` is called."""
        ...

    def complete(self, reports: Sequence[AttemptReport]) -> Awaitable[Sequence[Verdict]]:
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

    async def adopt(
        self, owner: Owner, held: Sequence[tuple[AttemptRef, int]], *, last: bool = True
    ) -> Sequence[bool]:
        """Give attempts that an agent still holds, each with the epoch it knows, to its new session `owner`: many of them
        in portions, all but the last with `last` false.

        Attempts of the agent's earlier epochs that no portion names are then taken back: as if they had never been where
        the same process (`instance_id`) says so, which cannot have heard of them, else counted as crashes. Some at once;
        sweeps do what is much.
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

    async def get(
        self, task_ids: Sequence[str], *, payloads: bool = True, history: bool = False
    ) -> Sequence[TaskRecord | None]:
        """Read tasks; what is terminal is durable, and a task that is not is not there. Without `payloads` the payload
        and context stay empty; `history` is there where it is asked for. What a store that journals no claims had in its
        history of releases alone, a restart may lose."""
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
        """Open a session for an agent: a new epoch, larger than every earlier one, with a lease.

        A process (`instance_id`) takes over from its own earlier sessions. From another's only when that is not open
        any more: detached, its lease passed or, of a store that is not shared, its coordinator gone.

        Raises:
            weft.rpc.errors.AlreadyExists: another process has an open session of this agent (AGENT_ID_IN_USE).
        """
        ...

    async def renew(self, owners: Sequence[Owner], lease_s: float) -> Sequence[bool]:
        """Let leases end `lease_s` from now (also sooner than before). False: the owner is not known (any more). Asks the
        store also when there are no owners: whether it is there."""
        ...

    async def detach(self, owner: Owner, lease_s: float) -> None:
        """The session's stream is over: its lease ends `lease_s` from now, and another process may open a session of its
        agent. Harmless when the owner is not known."""
        ...

    async def retire(self, owner: Owner) -> None:
        """The agent left: forget its lease, take back what it may still hold, counted as crashes: some at once, sweeps do
        what is much."""
        ...

    async def agents(self) -> Mapping[str, AgentRecord]:
        """Every agent that is connected or was, until forgotten, by id; not to be changed. Costs what has changed."""
        ...

    async def agent_news(self, also: Collection[str] = ()) -> Mapping[str, AgentRecord | None]:
        """Agents that have changed since this was last called, at first all, and those that are asked for, by id; None: it is
        not known (any more)."""
        ...

    async def share(self, views: Mapping[str, tuple[int, bytes]], loads: Mapping[str, bytes]) -> None:
        """Let other coordinators see agents as this one does. A store that is not shared does nothing.

        Args:
            views: `AgentRecord.view` by agent id, and the epoch for which it holds: until its session ends. Others look
                at once.
            loads: how busy agents are, by id; for some seconds, and for those who ask.
        """
        ...

    async def loads(self, agent_ids: Sequence[str]) -> Mapping[str, bytes]:
        """How busy some agents are, as other coordinators have shared it."""
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

    async def contracts(self, known: Collection[str] = ()) -> Mapping[str, tuple[bytes, Sequence[str]]]:
        """Contracts by digest, oldest first: descriptor set, empty for those that are `known`, and the methods that it is in
        force for. Costs what has changed."""
        ...

    async def forget_contracts(
        self, hosted: Collection[str], methods: Collection[str], grace_s: float
    ) -> Sequence[str]:
        """Forget contracts that nobody has needed for so long; gives their digests. Those are needed that agents have, or
        that are in force for a method that agents host or that an unfinished task has.

        Args:
            hosted: digests of the contracts that agents have, by all that `agent_news` has told.
            methods: the methods that they host.
        """
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
