"""All unfinished tasks in memory, and the primitive moves between their states.

Synchronous and without I/O: each move changes the entry, the queues, leases and timers, and leaves word in the
journal where it must survive. Which move is right is decided above (`attempts`, `embedded`), by `rules`.
"""

from __future__ import annotations

from collections.abc import Sequence

from weft.coordinator.store import store_outcomes
from weft.coordinator.store.base import StoreListener
from weft.coordinator.store.embedded.commit_group import CommitGroup
from weft.coordinator.store.embedded.journal import Journal
from weft.coordinator.store.embedded.leases import Lease, Leases
from weft.coordinator.store.embedded.ready import Backlog, ReadyQueue
from weft.coordinator.store.embedded.task_spec import SpecTable
from weft.coordinator.store.embedded.timers import Timers
from weft.coordinator.store.embedded.unfinished_task import (
    Cancellation,
    PendingEnd,
    Saved,
    TaskLimits,
    UnfinishedTask,
)
from weft.coordinator.store.records import AttemptRef, Owner, QueueDepth, Submission, by_base
from weft.coordinator.store.rules import TRANSITIONS, QueueKey, State
from weft.coordinator.store.task_ids import format_id

# An enum's members cost a lookup each time that they are named through it.
_SCHEDULED, _QUEUED, _RUNNING = State.SCHEDULED, State.QUEUED, State.RUNNING


class TaskTable:
    """Entries by number, and what is kept in step with their states.

    Args:
        body_bytes: payloads and contexts of waiting tasks that memory may hold; those beyond stay in the file.
    """

    def __init__(
        self,
        listener: StoreListener,
        journal: Journal,
        body_bytes: int,
    ) -> None:
        self.listener = listener
        self.journal = journal
        self.tasks: dict[int, UnfinishedTask] = {}
        self.backlog = Backlog(self.claimable)
        self.specs = SpecTable(self.backlog.queue)
        self.timers = Timers(self.tasks)
        self.leases = Leases()
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
        ):
            task.limits = TaskLimits(
                submission.delay_s,
                submission.schedule_to_start_s,
                submission.schedule_to_close_s,
                created_at,
            )
        self._body_bytes += task.size_bytes
        self.place(task, State.SCHEDULED if submission.delay_s > 0 else State.QUEUED)
        return task

    def place(self, task: UnfinishedTask, state: State) -> None:
        """Take an entry in, SCHEDULED or QUEUED; not into a heap while it is held back."""
        self.tasks[task.number] = task
        queue = task.spec.queue
        self.backlog.open(queue)
        task.state = state
        if state is State.SCHEDULED:
            queue.scheduled += 1
        elif task.held_back:
            queue.held_back += 1
        else:
            queue.ready += 1
            queue.push(task.spec.priority, task.number)
        if task.limits is not None or state is State.SCHEDULED:
            self.timers.arm(task)

    def _move(self, task: UnfinishedTask, state: State) -> None:
        """Change the state, and whatever counts by it."""
        queue = task.spec.queue
        before = task.state
        assert state in TRANSITIONS[before]
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
        else:
            queue.ready -= 1
        task.state = state
        if state is _RUNNING:
            queue.running += 1
        elif state is _QUEUED and task.settling:
            task.held_back = True
            queue.held_back += 1
        elif state is _QUEUED:
            queue.ready += 1
            queue.push(task.spec.priority, task.number)
        elif state is _SCHEDULED:
            queue.scheduled += 1
        else:
            self.timers.disarm(task)
            queue.tidy(self.claimable)
            if not queue.unfinished:
                self.backlog.close(queue)

    # -- moves --------------------------------------------------------------------------------------------------

    def start(self, task: UnfinishedTask, lease: Lease, attempt: int, now: float) -> None:
        """QUEUED → RUNNING. Not journaled: an attempt that nobody presents after a crash was never made."""
        self._move(task, State.RUNNING)
        task.attempt = attempt
        task.owner = lease.owner
        task.reported = False
        task.started_at = now
        lease.attempts.add(task)
        if task.limits is not None or task.spec.start_to_close_s is not None or task.cancel is not None:
            self.timers.arm(task)
        self.notify(task)

    def hand_over(self, task: UnfinishedTask, lease: Lease) -> None:
        """A running attempt goes on in another session of its agent."""
        old = None if task.owner is None else self.leases.holding(task.owner)
        if old is not None:
            old.attempts.discard(task)
        task.owner = lease.owner
        lease.attempts.add(task)

    def release(self, task: UnfinishedTask, now: float) -> None:
        """RUNNING → QUEUED at no cost: the attempt never was. Not journaled, like its start."""
        if task.cancel is not None:
            self.end_cancelled(task, task.cancel.reason, now)
            return
        self._move(task, State.QUEUED)
        task.attempt -= 1
        task.started_at = None
        self._now_waiting(task)

    def retry(self, task: UnfinishedTask, ready_at: float, now: float) -> None:
        """RUNNING → QUEUED or SCHEDULED after an attempt that counts; claimable when that is durable."""
        task.ready_at = ready_at
        task.settling = True
        self._change_queue(task)
        self._move(task, State.SCHEDULED if ready_at > now else State.QUEUED)
        self.journal.add_retry(task)
        self._now_waiting(task)

    def _change_queue(self, task: UnfinishedTask) -> None:
        """Another agent than its owner should make the next attempt at a running task: it changes its queue."""
        assert task.owner is not None
        before = task.spec.queue
        task.spec = self.specs.avoiding(task.spec, task.owner.agent_id)
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
        """To a terminal state; shown once it is durable."""
        before = task.state
        self._move(task, state)
        task.end = PendingEnd(before, now, now + task.spec.ttl_s(state), outcome)
        self.journal.add_end(task)

    def end_cancelled(self, task: UnfinishedTask, reason: str, now: float) -> None:
        self.end(task, State.CANCELLED, store_outcomes.cancelled(reason), now)

    def request_cancel(self, task: UnfinishedTask, cancel: Cancellation) -> None:
        """A running attempt is to end; its owner is told."""
        assert task.owner is not None
        task.cancel = cancel
        self.journal.add_live(task)
        self.timers.arm(task)
        self.listener.revoked(task.owner, self.ref(task), cancel.reason, cancel.grace_s, lost=False)
        self.notify(task)

    def revoke(self, owner: Owner, ref: AttemptRef, reason: str) -> None:
        """An attempt is not its owner's any more."""
        self.listener.revoked(owner, ref, reason, 0.0, lost=True)

    def make_claimable(self, tasks: Sequence[UnfinishedTask], now: float) -> None:
        """Recovered tasks that nobody presented, and those whose last attempt's end is durable, may be claimed."""
        for task in tasks:
            if not task.held_back or task.settling:
                continue
            if task.cancel is not None:
                self.end_cancelled(task, task.cancel.reason, now)
                continue
            queue = task.spec.queue
            task.held_back = False
            queue.held_back -= 1
            queue.ready += 1
            queue.push(task.spec.priority, task.number)
            if task.limits is not None:
                self.timers.arm(task)
        self.listener.ready()

    # -- what the journal tells -----------------------------------------------------------------------------------

    def committed(self, group: CommitGroup, now: float) -> None:
        """The group's changes are durable: outcomes may be shown, payloads may leave memory."""
        # The newest go first: the oldest will be claimed soonest.
        for task in reversed(group.new):
            task.saved = Saved.STORED
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
            if listener.has_subscriber(format_id(task.number), ended=True):
                listener.changed(task.final_record())
        for task, row in group.streamed:
            task_id = format_id(task.number)
            if listener.has_subscriber(task_id, ended=False):
                listener.progressed(task_id, [row])

    def refused(self, tasks: Sequence[UnfinishedTask]) -> None:
        """These tasks could not be stored: they never were. Attempts at them are called off."""
        for task in tasks:
            task.saved = Saved.REFUSED
            running, owner, ref = task.state is State.RUNNING, task.owner, self.ref(task)
            if task.end is None:
                self._move(task, State.CANCELLED)
            self.forget_body(task)
            del self.tasks[task.number]
            if running and owner is not None:
                self.revoke(owner, ref, "the task could not be stored")

    def depths(self) -> dict[QueueKey, QueueDepth]:
        """Queues with unfinished tasks."""
        return by_base((key, self._depth(queue)) for key, queue in self.backlog.active.items())

    def _depth(self, queue: ReadyQueue) -> QueueDepth:
        oldest = (self.tasks[number].ready_at for number in queue.oldest(self.claimable))
        return QueueDepth(
            queue.ready + queue.held_back, queue.scheduled, queue.running, min(oldest, default=None)
        )

    # -- small things -------------------------------------------------------------------------------------------

    def forget_body(self, task: UnfinishedTask) -> None:
        """Leave the payload to the file, which must have it, or to nobody."""
        if task.payload is not None:
            self._body_bytes -= task.size_bytes
            task.payload = task.context = None

    def notify(self, task: UnfinishedTask) -> None:
        if self.listener.has_subscriber(format_id(task.number), ended=False):
            self.listener.changed(task.record())

    @staticmethod
    def ref(task: UnfinishedTask) -> AttemptRef:
        return AttemptRef(format_id(task.number), task.attempt)
