"""The store's Protocol: small, batch-first, and the same for every store.

A store keeps tasks, moves them through their life by `rules`, and says when a move is durable. It knows nothing
of gRPC, sessions or protobuf messages: to a store, payloads, call contexts and outcomes are bytes.

Every store promises the following; the conformance suite in tests/store checks it:

- A method that makes a change returns when the change is durable. Changes within one call are applied in order.
- A task may be claimed before it is durable. Its outcome is told to no caller before it is durable.
- An attempt is valid while its task is RUNNING, its number is the current one, and its owner is the session that claimed
  or adopted it. Everything else is refused: no attempt is ever ended by task id alone.
- The store has its own clock. Its times are seconds since the epoch by that clock.
- A lease belongs to an owner, not to an attempt. When it ends, `sweep` reclaims all attempts of the owner and counts a
  crash for each.
- An attempt that starts takes all its gates (`run_limits`) together, and gives them back when it ends in any way. If an attempt
  never started (release), the token of a rate is given back as well. A gate with room and parked tasks has a ready task.
  Gates hold over all coordinators. Only an adopted attempt may exceed one, and is counted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Mapping, Sequence
from typing import Protocol

from weft.coordinator.store.event_store import EventStore
from weft.coordinator.store.group_store import GroupStore
from weft.coordinator.store.paging import ListFilter, Page
from weft.coordinator.store.queue_moves import LeftQueue, ReadyTasks, Redirected
from weft.coordinator.store.records import (
    AgentRecord,
    AttemptRef,
    AttemptReport,
    Claimed,
    ClaimRequest,
    EnqueueResult,
    LockRecord,
    Owner,
    ProgressItem,
    ProgressRow,
    ProgressVerdict,
    QueueDepth,
    Submission,
    SweepReport,
    TaskRecord,
    Verdict,
)
from weft.coordinator.store.rules import QueueKey
from weft.coordinator.store.run_limits import RunLimitRules
from weft.coordinator.store.state_store import StateStore
from weft.coordinator.store.step_store import StepStore
from weft.coordinator.store.store_listener import StoreListener
from weft.coordinator.store.table_store import TableStore
from weft.coordinator.store.task_figures import StoreFigures


class TaskStore(Protocol):
    """The tasks' half of a store. Large because it has one method for each thing that can happen to tasks."""

    # What happened to tasks here, and how writes went.
    figures: StoreFigures

    @property
    def writable(self) -> bool:
        """False while writes fail: claim nothing then."""
        ...

    @property
    def shared(self) -> bool:
        """Whether several coordinators may use the store at the same time."""
        ...

    async def open(self, listener: StoreListener) -> None:
        """Open the store and recover its contents.

        Raises:
            weft.coordinator.store.open_errors.StoreError: it belongs to another process, is not a store of
                weft, is damaged, or has a newer layout.
        """
        ...

    async def close(self) -> None:
        """Make all changes durable and close. Bounded in time."""
        ...

    def now(self) -> float:
        """The store's clock, in seconds since the epoch."""
        ...

    # -- tasks ------------------------------------------------------------------------------------------------

    async def enqueue(
        self, submissions: Sequence[Submission], *, acknowledged: bool = True
    ) -> Sequence[EnqueueResult]:
        """Store tasks, in order. Duplicates of a request id within one call count too.

        Run limits with another action than QUEUE are applied, by the number of unfinished tasks that were submitted since the
        limit was set, without tasks whose cancellation was requested: REFUSE gives AtLimit and stores nothing; CANCEL_NEWEST
        stores the task as CANCELLED; CANCEL_OLDEST cancels the oldest of these tasks (`cancel`, with the rule's `grace_s`) and
        stores the new one. A task that exists already under its request id is at no limit; nor is a
        task that is queued again (`retry`), but it counts. Nor does it join a group.

        A submission with a submitter is refused (`TooManyTasks`) if that one has `most_unfinished` unfinished tasks: of those that said
        it, at all coordinators. Its other tasks, and those that exist already, are not refused.

        A cached request (`Submission.cache_ttl_s`) whose request id belongs to a task that has not succeeded, or not lately
        enough, takes the request id over: that task has none any more. If it has succeeded with another request, the id is reused.

        A task that has ended elsewhere (`Submission.ended`) ends at once; its `failure_ttl_s` or `result_ttl_s` begins now.

        Args:
            acknowledged: the caller acknowledges the tasks: return when they are durable. If false, the store may return
                earlier and make them durable with their next change or a moment later. For subscribers, a task that
                cannot be stored ends as FAILED with STORE_UNAVAILABLE. Such submissions need a `task_id`.
        """
        ...

    def new_task_id(self, method: str) -> str:
        """An id for a task that will be submitted; costs no I/O."""
        ...

    def unfinished(self) -> int:
        """The number of unfinished tasks. May be a little stale; costs no I/O."""
        ...

    def ready_depths(self) -> Mapping[QueueKey, int]:
        """Ready tasks by queue, without those of paused methods and without parked ones. May be a little stale; costs no I/O.

        If the last attempt at a task failed, crashed or was lost, the task is in a queue that avoids the attempt's agent
        (`QueueKey.avoid`). The claimant decides whether that agent may get it all the same."""
        ...

    def ready_ahead(self, queue: QueueKey, priority: int) -> int:
        """Ready tasks of a queue that start before a new one of this priority. May be a little stale, and count a few that have
        just been cancelled or are of a lower priority; costs no I/O, and the same however many there are."""
        ...

    async def claim(self, requests: Sequence[ClaimRequest]) -> Sequence[Sequence[Claimed]]:
        """Claim ready tasks, request by request; none while the store is not writable, and never an expired task. May give
        fewer than requested although more are ready: then `StoreListener.ready` is called.

        In each queue and priority, tasks with different fairness keys are served in turns (`fairness`). A task whose gate has
        no room is parked, and the claim goes on with the next task."""
        ...

    def complete(self, reports: Sequence[AttemptReport]) -> Awaitable[Sequence[Verdict]]:
        """End attempts: the outcome is stored, or the task is queued for a retry or at its next alternative (`alternatives`), or
        the report is refused. A repeated report gets the same answer while its attempt is the last one. With the outcome of a
        success, what it has changed in its state is stored (`state_store`).

        If the handler only waits (`AttemptReport.suspension`), nothing is counted: the task is SCHEDULED until it is to go on, or QUEUED
        if that is now. Its next attempt has the next number, and may be any agent's.

        A store may begin before the result is awaited. The caller must await it."""
        ...

    async def progress(self, items: Sequence[ProgressItem]) -> Sequence[ProgressVerdict]:
        """Store responses of streaming attempts. A response after a gap is STALE, and its attempt counts as crashed: it cannot
        be recorded completely any more."""
        ...

    async def release(self, owner: Owner, refs: Sequence[AttemptRef]) -> Sequence[bool]:
        """Release attempts: queue their tasks again at no cost. False: the attempt is not the owner's. The next attempt has the
        same number, in another epoch or as another claim."""
        ...

    async def adopt(
        self, owner: Owner, held: Sequence[tuple[AttemptRef, int]], *, last: bool = True
    ) -> Sequence[QueueKey | None]:
        """Give held attempts, each with the epoch that the agent knows, to the agent's new session `owner`. Many attempts come
        in portions, all but the last portion with `last` false.

        Returns:
            for each attempt: the queue of its task, which says what the task consumes; None: it is not adopted.

        Then the attempts of earlier epochs that no portion named are reclaimed: as if they had never been if the process
        (`instance_id`) is the same, since it cannot have received them; else as crashes. Sweeps reclaim what exceeds one
        portion. May be repeated.

        A store that does not journal claims holds recovered tasks back until every agent that was connected has adopted
        its attempts, or a grace has passed. It accepts an attempt number above those that it knows to have ended.
        """
        ...

    async def cancel(
        self, task_ids: Sequence[str], reason: str, grace_s: float
    ) -> Sequence[TaskRecord | None]:
        """Request the cancellation of tasks; None: no such task. `sweep` ends a running task that has not ended grace_s and a
        second later.

        The unfinished remembered calls of their handlers (`remembered`) are cancelled with them, and what these have called: at once or, if
        there are many, by sweeps. What a handler calls after its cancellation was requested is not."""
        ...

    async def retry(self, task_id: str) -> TaskRecord | None:
        """Queue a FAILED or CANCELLED task again, at its first alternative; None: no such task.

        Raises:
            weft.rpc.errors.FailedPrecondition: it is in another state.
            weft.rpc.errors.NotFound: its payload was dropped after the TTL (RESULT_EXPIRED).
        """
        ...

    async def leave_queue(self, queue: QueueKey, at: int, limit: int) -> LeftQueue:
        """No agent can run the tasks of a queue: let its ready ones go on at their next alternatives, if they have one, with what they
        waited for as their outcome so far. Looks at `limit` tasks from place `at` on."""
        ...

    async def ready_tasks(self, queue: QueueKey, at: int, limit: int) -> ReadyTasks:
        """Ready tasks of a queue, without those that are parked: about the oldest first, `limit` at most, from place `at` on."""
        ...

    async def redirect(self, queue: QueueKey, tasks: Sequence[Redirected]) -> int:
        """Give ready tasks of a queue other requirements, so that they are in another queue, or let them end as FAILED. They go behind what
        is ready there. A task that is not ready in the queue any more is left as it is. Returns how many were changed."""
        ...

    async def get(
        self, task_ids: Sequence[str], *, payloads: bool = True, history: bool = False
    ) -> Sequence[TaskRecord | None]:
        """Read tasks. Terminal states are durable. None for a task that is not stored.

        Without `payloads`, payload and context are empty; without `history`, the history may be. If a store does not
        journal claims, a restart may lose releases from the history."""
        ...

    async def list_tasks(
        self, where: ListFilter, *, limit: int, cursor: str = "", payloads: bool = False
    ) -> Page:
        """A page of tasks, newest first. A short page may have a next one.

        Raises:
            weft.rpc.errors.InvalidArgument: the cursor is not one of this store's.
        """
        ...

    async def read_progress(self, task_id: str, after: int, limit: int) -> Sequence[ProgressRow]:
        """Stored progress with a sequence above `after`, in order. Large rows: fewer than `limit`, but at least one."""
        ...

    async def sweep(self, limit: int) -> SweepReport:
        """Apply all changes that are due: promote, expire, reclaim from owners whose lease has ended, forget. Also
        works while the store is not writable: the changes are written later."""
        ...


class FleetStore(Protocol):
    """The fleet's half of a store: sessions and leases, agents, contracts, queues.

    Large because it has one method for each thing that can happen to these.
    """

    # -- sessions ---------------------------------------------------------------------------------------------

    async def register(self, agent_id: str, instance_id: str, description: bytes, lease_s: float) -> int:
        """Open a session for an agent: a new epoch, larger than every earlier one, with a lease.

        A process (`instance_id`) takes over from its own earlier sessions. It takes over from another process only if that
        one's session is not open any more: detached, or its lease has ended, or (store not shared) its coordinator is gone.

        Raises:
            weft.rpc.errors.AlreadyExists: another process has an open session of this agent (AGENT_ID_IN_USE).
        """
        ...

    async def renew(self, owners: Sequence[Owner], lease_s: float) -> Sequence[bool]:
        """Let leases end `lease_s` from now, later or sooner than before. False: the owner has no lease. Reaches the store also
        without owners, to find out whether it is there."""
        ...

    async def detach(self, owner: Owner, lease_s: float) -> None:
        """The session's stream has ended: its lease ends `lease_s` from now, and another process may open a session of its
        agent. Does nothing for an unknown owner."""
        ...

    async def retire(self, owner: Owner) -> None:
        """The agent left: end its lease and reclaim its attempts as crashes. Sweeps reclaim what exceeds one portion."""
        ...

    @property
    def answered_at_s(self) -> float:
        """When the store last answered, by the monotonic clock. A shared store asks every few seconds of its own accord, so that this
        is never old while it is there."""
        ...

    @property
    def fleet_moved(self) -> bool:
        """Whether agents or contracts may have changed since they were last read here. Costs no I/O; a shared store may hear of a
        change a moment later."""
        ...

    async def agents(self) -> Mapping[str, AgentRecord]:
        """Every known agent, connected or not, by id; read only. Costs as much as has changed."""
        ...

    async def agent_news(self, also: Collection[str] = ()) -> Mapping[str, AgentRecord | None]:
        """Agents that have changed since the last call (first all), and the agents in `also`, by id; None: not known."""
        ...

    async def share(self, views: Mapping[str, tuple[int, bytes]], loads: Mapping[str, bytes]) -> None:
        """Publish this coordinator's view of its agents to the others. A store that is not shared does nothing.

        Args:
            views: epoch and `AgentRecord.view` by agent id. A view holds until its session ends; the other coordinators
                read it at once.
            loads: load by agent id. It holds for some seconds; the other coordinators read it on request.
        """
        ...

    async def loads(self, agent_ids: Sequence[str]) -> Mapping[str, bytes]:
        """Loads of agents, as other coordinators have published them."""
        ...

    async def set_desired(self, agent_id: str, desired_state: int) -> bool:
        """Store an agent's desired state; False: no such agent."""
        ...

    async def forget_agent(self, agent_id: str) -> None:
        """Forget an agent that is not connected."""
        ...

    async def post(self, message: bytes) -> None:
        """Tell all coordinators something that is of no use later. They hear it at once or never; this one may hear it too. A
        store that is not shared does nothing."""
        ...

    # -- contracts and queues -----------------------------------------------------------------------------------

    async def put_contract(self, digest: str, file_descriptor_set: bytes, methods: Sequence[str]) -> None:
        """Store a contract and put it in force for these methods."""
        ...

    async def contracts(self, known: Collection[str] = ()) -> Mapping[str, tuple[bytes, Sequence[str]]]:
        """Contracts by digest, oldest first: descriptor set (empty for `known` ones) and the methods for which it is in force.
        Costs as much as has changed."""
        ...

    async def forget_contracts(
        self, hosted: Collection[str], methods: Collection[str], grace_s: float
    ) -> Sequence[str]:
        """Forget contracts that nobody has needed for `grace_s`; returns their digests. A contract is needed if an agent has
        it, or if it is in force for a method that an agent hosts or an unfinished task has.

        Args:
            hosted: digests of the contracts that agents have, by everything that `agent_news` has told.
            methods: the methods that they host.
        """
        ...

    async def depths(self) -> Mapping[QueueKey, QueueDepth]:
        """The depths of queues with unfinished tasks."""
        ...

    async def set_paused(self, method: str, *, paused: bool) -> None:
        """Keep a method's tasks from being claimed, or let them be claimed again."""
        ...

    async def paused(self) -> Sequence[str]:
        """Paused methods."""
        ...

    # -- run limits and locks -------------------------------------------------------------------------------------

    async def set_run_limits(self, method: str, rules: RunLimitRules) -> None:
        """Replace the run limits of a method; empty: it has none. They hold from now on, for tasks that are queued and for
        attempts that run already: these are counted, and none is ended. Parked tasks for which there is room now return.

        A gate whose rule stays keeps its count and its tokens. Other coordinators hear of it by `StoreListener.fleet_changed`.
        """
        ...

    async def run_limits(self) -> Mapping[str, RunLimitRules]:
        """The run limits of all methods that have any."""
        ...

    async def locks(self, name: str = "") -> Sequence[LockRecord]:
        """Locks that are held or waited for, by name; with a name, only that one. Costs as much as there are holders."""
        ...


class Store(TaskStore, FleetStore, TableStore, GroupStore, EventStore, StateStore, StepStore, Protocol):
    """Keeps tasks, the fleet, the table, groups, events, keyed states and steps. Every method that makes a change raises `weft.rpc.errors.Unavailable` (reason
    STORE_UNAVAILABLE) if the store cannot be written; then nothing of the call has been acknowledged."""
