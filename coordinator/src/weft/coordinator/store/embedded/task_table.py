"""All unfinished tasks in memory, and the primitive moves between their states.

Synchronous, without I/O: each move changes the task, its queue, its lease and its timer, and adds a change to the journal if
the move must survive. The callers (`attempt_moves`, `embedded_store`) decide on a move, by `rules`.
"""

from __future__ import annotations

from collections.abc import Sequence

from weft.coordinator.store import store_outcomes
from weft.coordinator.store.alternatives import Alternatives
from weft.coordinator.store.embedded.calls_by_caller import CallsByCaller
from weft.coordinator.store.embedded.commit_group import CommitGroup
from weft.coordinator.store.embedded.gate_table import GateTable
from weft.coordinator.store.embedded.group_table import GroupTable
from weft.coordinator.store.embedded.journal import Journal
from weft.coordinator.store.embedded.leases import Lease, Leases
from weft.coordinator.store.embedded.ready import Backlog, ReadyQueue
from weft.coordinator.store.embedded.rows import changed_row
from weft.coordinator.store.embedded.task_demand import DemandTable
from weft.coordinator.store.embedded.task_spec import SpecTable, TaskSpec
from weft.coordinator.store.embedded.timers import Timers
from weft.coordinator.store.embedded.unfinished_task import (
    Cancellation,
    PendingEnd,
    Saved,
    TaskLimits,
    UnfinishedTask,
)
from weft.coordinator.store.falling_back import at_alternative
from weft.coordinator.store.records import AttemptRef, Owner, Submission
from weft.coordinator.store.rules import HIGHEST_PRIORITY, TRANSITIONS, State
from weft.coordinator.store.store_listener import StoreListener
from weft.coordinator.store.task_figures import END_OF_STATE, StoreFigures, TaskEvent
from weft.coordinator.store.task_ids import format_id
from weft.rpc.task_policy.option_checks import STEP_ID

# An enum's members cost a lookup each time that they are named through it.
_SCHEDULED, _QUEUED, _RUNNING = State.SCHEDULED, State.QUEUED, State.RUNNING
_SUBMITTED = int(TaskEvent.SUBMITTED)


class TaskTable:
    """Unfinished tasks by number, with the queues, leases and timers that follow their states. Large because it has a method for each move.

    Args:
        body_bytes: payloads and contexts of waiting tasks that memory may hold; the others stay in the file.
    """

    def __init__(
        self,
        listener: StoreListener,
        journal: Journal,
        body_bytes: int,
        figures: StoreFigures,
    ) -> None:
        self.listener = listener
        self.journal = journal
        self.tasks: dict[int, UnfinishedTask] = {}
        self.backlog = Backlog(self.claimable, figures)
        self.specs = SpecTable(self.backlog.queue)
        self.demands = DemandTable()
        self.gates = GateTable(self.tasks, listener.ready, listener.due)
        self.groups = GroupTable(journal, listener.rows_changed)
        self.timers = Timers(self.tasks)
        self.leases = Leases()
        self.calls = CallsByCaller()
        # Unfinished tasks of each submitter that has some.
        self.submitted: dict[str, int] = {}
        self._body_limit = body_bytes
        self._body_bytes = 0

    def claimable(self, number: int, queue: ReadyQueue) -> bool:
        task = self.tasks.get(number)
        return task is not None and task.state is _QUEUED and not task.held_back and task.spec.queue is queue

    # -- coming and going ---------------------------------------------------------------------------------------

    def submit(self, number: int, submission: Submission, created_at: float) -> UnfinishedTask:
        """A new task."""
        task = UnfinishedTask(
            number,
            self.specs.of(submission),
            submission.request_id,
            created_at,
            created_at + submission.delay_s,
            submission.payload,
            submission.context,
        )
        if (
            submission.delay_s
            or submission.schedule_to_start_s is not None
            or submission.schedule_to_close_s is not None
            or submission.alternatives
        ):
            task.limits = TaskLimits(
                submission.delay_s,
                submission.schedule_to_start_s,
                submission.schedule_to_close_s,
                created_at,
            )
            if submission.alternatives:
                task.limits.alternatives = Alternatives(submission.alternatives, submission.alternative)
        if submission.fairness_key or submission.limit_keys or submission.locks:
            task.demand = self.demands.of(submission)
        if submission.group:
            task.spec = self.specs.in_group(task.spec, self.groups.join(submission.group, number, created_at))
        self._body_bytes += task.size_bytes
        self.place(task, State.SCHEDULED if submission.delay_s > 0 else State.QUEUED, created_at)
        return task

    def place(self, task: UnfinishedTask, state: State, now: float) -> None:
        """Add a task, SCHEDULED or QUEUED; not to a heap while it is held back."""
        self.tasks[task.number] = task
        if task.demand is not None:
            self.gates.in_use = True
        if self.gates.counting:
            self.gates.count(task, now)
        if task.spec.group is not None:
            self.groups.moved(task.spec.group, None, state)
        if task.spec.submitter:
            self._count_submitted(task.spec.submitter, 1)
        if task.request_id.startswith(STEP_ID):
            self.calls.add(task)
        queue = task.spec.queue
        self.backlog.open(queue)
        task.state = state
        if state is State.SCHEDULED:
            queue.scheduled += 1
        elif task.held_back:
            queue.held_back += 1
        else:
            queue.add(HIGHEST_PRIORITY - task.spec.priority, task.number, task.demand)
        if task.limits is not None or state is State.SCHEDULED:
            self.timers.arm(task)

    def _move(self, task: UnfinishedTask, state: State) -> None:
        """Change the state of a task, and the counts of its queue and its gates."""
        queue = task.spec.queue
        before = task.state
        assert state in TRANSITIONS[before]
        parked = task.gates is not None and self.gates.leaves(task, state)
        if task.spec.group is not None and not state.terminal:
            self.groups.moved(task.spec.group, before, state)
        if before is _RUNNING:
            queue.running -= 1
            lease = None if task.owner is None else self.leases.holding(task.owner)
            if lease is not None:
                lease.attempts.discard(task)
        elif before is _SCHEDULED:
            queue.scheduled -= 1
        elif task.held_back:
            queue.held_back -= 1
            task.held_back = False
        elif not parked:
            queue.ready -= 1
        task.state = state
        if state is _RUNNING:
            queue.running += 1
        elif state is _QUEUED and task.settling:
            task.held_back = True
            queue.held_back += 1
        elif state is _QUEUED:
            # From RUNNING, it was released.
            rank = HIGHEST_PRIORITY - task.spec.priority
            queue.add(rank, task.number, task.demand, front=before is _RUNNING)
        elif state is _SCHEDULED:
            queue.scheduled += 1
        else:
            if task.spec.submitter:
                self._count_submitted(task.spec.submitter, -1)
            if task.request_id.startswith(STEP_ID):
                self.calls.drop(task)
            self.timers.disarm(task)
            queue.tidy(self.claimable)
            if not queue.unfinished:
                self.backlog.close(queue)

    def _count_submitted(self, submitter: str, by: int) -> None:
        left = self.submitted.get(submitter, 0) + by
        if left:
            self.submitted[submitter] = left
        else:
            del self.submitted[submitter]

    # -- moves --------------------------------------------------------------------------------------------------

    def start(self, task: UnfinishedTask, task_id: str, lease: Lease, attempt: int, now: float) -> None:
        """QUEUED → RUNNING. Not journaled: after a crash, an attempt exists only if an agent names it."""
        self._move(task, State.RUNNING)
        task.attempt = attempt
        task.owner = lease.owner
        task.reported = False
        task.started_at = now
        lease.attempts.add(task)
        if task.limits is not None or task.spec.start_to_close_s is not None or task.cancel is not None:
            self.timers.arm(task)
        self.notify(task, task_id)

    def hand_over(self, task: UnfinishedTask, lease: Lease) -> None:
        """Move a running attempt to another session of its agent."""
        old = None if task.owner is None else self.leases.holding(task.owner)
        if old is not None:
            old.attempts.discard(task)
        task.owner = lease.owner
        lease.attempts.add(task)

    def release(self, task: UnfinishedTask, now: float) -> None:
        """RUNNING → QUEUED at no cost, as if the attempt had never been. Not journaled, like its start."""
        if task.cancel is not None:
            self.end_cancelled(task, task.cancel.reason, now)
            return
        if task.gates is not None:
            self.gates.refund(task)
        self._move(task, State.QUEUED)
        task.attempt -= 1
        task.started_at = None
        self._now_waiting(task)

    def retry(self, task: UnfinishedTask, ready_at: float, now: float, *, elsewhere: bool = True) -> None:
        """RUNNING → QUEUED or SCHEDULED, mostly to be run elsewhere. Claimable once that is durable."""
        task.ready_at, task.settling = ready_at, True
        if elsewhere:
            assert task.owner is not None
            self._change_spec(task, self.specs.avoiding(task.spec, task.owner.agent_id, task.demand))
        self._move(task, State.SCHEDULED if ready_at > now else State.QUEUED)
        self.journal.add_retry(task)
        self._now_waiting(task)

    def fall_back(self, task: UnfinishedTask, outcome: bytes, now: float) -> None:
        """To QUEUED at the next alternative; failures and crashes count anew. Claimable once that is durable.

        Args:
            outcome: why it does not go on at the present one.
        """
        limits, alternatives = task.limits, task.alternatives
        assert limits is not None
        assert alternatives is not None
        task.keep_failure(outcome)
        submission = at_alternative(task.record().submission, alternatives.at + 1)
        limits.alternatives = alternatives._replace(at=alternatives.at + 1, since=now)
        limits.schedule_to_start_s, limits.fresh_attempt = submission.schedule_to_start_s, task.attempt
        task.failures, task.crashes, task.ready_at = 0, 0, now
        self.requeue(task, submission, now)

    def requeue(self, task: UnfinishedTask, submission: Submission, now: float) -> None:
        """SCHEDULED or QUEUED or RUNNING → QUEUED, as another submission has it. Claimable once that is durable."""
        # A task changes its queue as a running one, in which no order is to be kept.
        for state in (_QUEUED, _RUNNING):
            if task.state < state:
                self._move(task, state)
        if task.gates is not None:
            self.gates.uncount(task)
        task.settling = True
        task.demand = self.demands.of(submission)
        spec, group = self.specs.of(submission), task.spec.group
        self._change_spec(task, spec if group is None else self.specs.in_group(spec, group))
        self._move(task, _QUEUED)
        if task.demand is not None:
            self.gates.in_use = True
        if self.gates.counting:
            self.gates.count(task, now)
        self.journal.add_statement(*changed_row(task))
        self.journal.add_retry(task)
        self._now_waiting(task)

    def _change_spec(self, task: UnfinishedTask, spec: TaskSpec) -> None:
        """Give a running task another spec, and so another queue."""
        before = task.spec.queue
        task.spec = spec
        queue = task.spec.queue
        queue.running += 1
        self.backlog.open(queue)
        before.running -= 1
        if not before.unfinished:
            self.backlog.close(before)

    def promote(self, task: UnfinishedTask) -> None:
        """SCHEDULED → QUEUED."""
        self._move(task, State.QUEUED)
        self._now_waiting(task)

    def _now_waiting(self, task: UnfinishedTask) -> None:
        self.timers.arm(task)
        if task.state is State.QUEUED:
            self.listener.ready()
        self.notify(task)

    def end(self, task: UnfinishedTask, state: State, outcome: bytes, now: float) -> None:
        """Move to a terminal state, which is shown once it is durable."""
        before = task.state
        self._move(task, state)
        task.end = PendingEnd(before, now, now + task.spec.ttl_s(state), outcome)
        self.journal.add_end(task)

    def end_cancelled(self, task: UnfinishedTask, reason: str, now: float) -> None:
        self.end(task, State.CANCELLED, store_outcomes.cancelled(reason), now)

    def request_cancel(self, task: UnfinishedTask, cancel: Cancellation) -> None:
        """Tell the owner of a running attempt to end it."""
        assert task.owner is not None
        task.cancel = cancel
        if task.gates is not None:
            self.gates.uncount(task)
        self.journal.add_live(task)
        self.timers.arm(task)
        self.listener.revoked(task.owner, self.ref(task), cancel.reason, cancel.grace_s, lost=False)
        self.notify(task)

    def revoke(self, owner: Owner, ref: AttemptRef, reason: str) -> None:
        """Tell an owner that an attempt is not its own any more."""
        self.listener.revoked(owner, ref, reason, 0.0, lost=True)

    def make_claimable(self, tasks: Sequence[UnfinishedTask], now: float) -> None:
        """Let tasks be claimed that were held back: recovered ones, and those whose last attempt's end is durable now."""
        for task in tasks:
            if not task.held_back or task.settling:
                continue
            if task.cancel is not None:
                self.end_cancelled(task, task.cancel.reason, now)
                continue
            queue = task.spec.queue
            task.held_back = False
            queue.held_back -= 1
            holds = task.gates is not None and bool(task.gates.taken)
            queue.add(HIGHEST_PRIORITY - task.spec.priority, task.number, task.demand, front=holds)
            if holds:
                self.gates.leave(task)
            if task.limits is not None:
                self.timers.arm(task)
        self.listener.ready()

    # -- events of the journal ------------------------------------------------------------------------------------

    def committed(self, group: CommitGroup, now: float) -> None:
        """The group's changes are durable: outcomes may be shown, payloads may leave memory."""
        # The payloads of the newest leave memory first: the oldest will be claimed soonest.
        for task in reversed(group.new):
            task.saved = Saved.STORED
            task.spec.queue.counts[_SUBMITTED] += 1
            if task.state >= State.RUNNING or self._body_bytes > self._body_limit:
                self.forget_body(task)
        if group.retries:
            for task in group.retries:
                task.settling = False
            self.make_claimable(group.retries, now)
        listener = self.listener
        for task in group.ended:
            self.forget_body(task)
            del self.tasks[task.number]
            task.spec.queue.counts[END_OF_STATE + task.state] += 1
            if task.spec.group is not None:
                self.groups.ended(task.spec.group, task.shown, task.state, now)
            task_id = format_id(task.number)
            if listener.has_subscriber(task_id, ended=True):
                listener.changed(task.final_record(task_id))
        for task, row in group.streamed:
            task_id = format_id(task.number)
            if listener.has_subscriber(task_id, ended=False):
                listener.progressed(task_id, [row])

    def refused(self, tasks: Sequence[UnfinishedTask]) -> None:
        """Remove tasks that could not be stored, and revoke attempts at them."""
        for task in tasks:
            task.saved = Saved.REFUSED
            if task.spec.group is not None:
                self.groups.refused(task.spec.group, task.shown)
            running, owner, ref = task.state is State.RUNNING, task.owner, self.ref(task)
            if task.end is None:
                self._move(task, State.CANCELLED)
            self.forget_body(task)
            del self.tasks[task.number]
            if running and owner is not None:
                self.revoke(owner, ref, "the task could not be stored")

    # -- small things -------------------------------------------------------------------------------------------

    def forget_body(self, task: UnfinishedTask) -> None:
        """Drop the payload from memory. The file must have it, or the task must have ended."""
        if task.payload is not None:
            self._body_bytes -= task.size_bytes
            task.payload = task.context = None

    def notify(self, task: UnfinishedTask, task_id: str = "") -> None:
        if self.listener.has_subscriber(task_id or format_id(task.number), ended=False):
            self.listener.changed(task.record())

    @staticmethod
    def ref(task: UnfinishedTask) -> AttemptRef:
        return AttemptRef(format_id(task.number), task.attempt)
