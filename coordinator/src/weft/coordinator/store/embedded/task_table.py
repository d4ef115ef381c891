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
from weft.coordinator.store.embedded.task_state import (
    Cancellation,
    End,
    Saved,
    SpecTable,
    TaskLimits,
    UnfinishedTask,
)
from weft.coordinator.store.embedded.timers import Timers
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
        self.entries: dict[int, UnfinishedTask] = {}
        self.backlog = Backlog(self.claimable)
        self.terms = SpecTable(self.backlog.queue)
        self.timers = Timers(self.entries)
        self.leases = Leases()
        self._body_limit = body_bytes
        self._body_bytes = 0

    def claimable(self, number: int, queue: ReadyQueue) -> bool:
        entry = self.entries.get(number)
        return (
            entry is not None
            and entry.state is _QUEUED
            and not entry.held_back
            and entry.terms.queue is queue
        )

    # -- coming and going ---------------------------------------------------------------------------------------

    def submit(self, number: int, submission: Submission, created_at: float) -> UnfinishedTask:
        """A new task."""
        entry = UnfinishedTask(
            number,
            self.terms.of(submission),
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
            entry.limits = TaskLimits(
                submission.delay_s,
                submission.schedule_to_start_s,
                submission.schedule_to_close_s,
                created_at,
            )
        self._body_bytes += entry.size_bytes
        self.place(entry, State.SCHEDULED if submission.delay_s > 0 else State.QUEUED)
        return entry

    def place(self, entry: UnfinishedTask, state: State) -> None:
        """Take an entry in, SCHEDULED or QUEUED; not into a heap while it is held back."""
        self.entries[entry.number] = entry
        queue = entry.terms.queue
        self.backlog.open(queue)
        entry.state = state
        if state is State.SCHEDULED:
            queue.scheduled += 1
        elif entry.held_back:
            queue.held_back += 1
        else:
            queue.ready += 1
            queue.push(entry.terms.priority, entry.number)
        if entry.limits is not None or state is State.SCHEDULED:
            self.timers.arm(entry)

    def _move(self, entry: UnfinishedTask, state: State) -> None:
        """Change the state, and whatever counts by it."""
        queue = entry.terms.queue
        before = entry.state
        assert state in TRANSITIONS[before]
        if before is _RUNNING:
            queue.running -= 1
            lease = None if entry.owner is None else self.leases.holding(entry.owner)
            if lease is not None:
                lease.attempts.discard(entry)
        elif before is _SCHEDULED:
            queue.scheduled -= 1
        elif entry.held_back:
            queue.held_back -= 1
            entry.held_back = False
        else:
            queue.ready -= 1
        entry.state = state
        if state is _RUNNING:
            queue.running += 1
        elif state is _QUEUED and entry.settling:
            entry.held_back = True
            queue.held_back += 1
        elif state is _QUEUED:
            queue.ready += 1
            queue.push(entry.terms.priority, entry.number)
        elif state is _SCHEDULED:
            queue.scheduled += 1
        else:
            self.timers.disarm(entry)
            queue.tidy(self.claimable)
            if not queue.unfinished:
                self.backlog.close(queue)

    # -- moves --------------------------------------------------------------------------------------------------

    def start(self, entry: UnfinishedTask, lease: Lease, attempt: int, now: float) -> None:
        """QUEUED → RUNNING. Not journaled: an attempt that nobody presents after a crash was never made."""
        self._move(entry, State.RUNNING)
        entry.attempt = attempt
        entry.owner = lease.owner
        entry.reported = False
        entry.started_at = now
        lease.attempts.add(entry)
        if entry.limits is not None or entry.terms.start_to_close_s is not None or entry.cancel is not None:
            self.timers.arm(entry)
        self.notify(entry)

    def hand_over(self, entry: UnfinishedTask, lease: Lease) -> None:
        """A running attempt goes on in another session of its agent."""
        old = None if entry.owner is None else self.leases.holding(entry.owner)
        if old is not None:
            old.attempts.discard(entry)
        entry.owner = lease.owner
        lease.attempts.add(entry)

    def give_back(self, entry: UnfinishedTask, now: float) -> None:
        """RUNNING → QUEUED at no cost: the attempt never was. Not journaled, like its start."""
        if entry.cancel is not None:
            self.end_cancelled(entry, entry.cancel.reason, now)
            return
        self._move(entry, State.QUEUED)
        entry.attempt -= 1
        entry.started_at = None
        self._waiting_again(entry)

    def again(self, entry: UnfinishedTask, ready_at: float, now: float) -> None:
        """RUNNING → QUEUED or SCHEDULED after an attempt that counts; claimable when that is durable."""
        entry.ready_at = ready_at
        entry.settling = True
        self._avoid(entry)
        self._move(entry, State.SCHEDULED if ready_at > now else State.QUEUED)
        self.journal.again(entry)
        self._waiting_again(entry)

    def _avoid(self, entry: UnfinishedTask) -> None:
        """Another agent than its owner should make the next attempt at a running task: it changes its queue."""
        assert entry.owner is not None
        before = entry.terms.queue
        entry.terms = self.terms.avoiding(entry.terms, entry.owner.agent_id)
        queue = entry.terms.queue
        queue.running += 1
        self.backlog.open(queue)
        before.running -= 1
        if not before.unfinished:
            self.backlog.close(before)

    def promote(self, entry: UnfinishedTask) -> None:
        """SCHEDULED → QUEUED."""
        self._move(entry, State.QUEUED)
        self._waiting_again(entry)

    def _waiting_again(self, entry: UnfinishedTask) -> None:
        self.timers.arm(entry)
        if entry.state is State.QUEUED:
            self.listener.ready()
        self.notify(entry)

    def end(self, entry: UnfinishedTask, state: State, outcome: bytes, now: float) -> None:
        """To a terminal state; shown once it is durable."""
        before = entry.state
        self._move(entry, state)
        entry.end = End(before, now, now + entry.terms.ttl_s(state), outcome)
        self.journal.end(entry)

    def end_cancelled(self, entry: UnfinishedTask, reason: str, now: float) -> None:
        self.end(entry, State.CANCELLED, store_outcomes.cancelled(reason), now)

    def request_cancel(self, entry: UnfinishedTask, cancel: Cancellation) -> None:
        """A running attempt is to end; its owner is told."""
        assert entry.owner is not None
        entry.cancel = cancel
        self.journal.live(entry)
        self.timers.arm(entry)
        self.listener.revoked(entry.owner, self.ref(entry), cancel.reason, cancel.grace_s, lost=False)
        self.notify(entry)

    def revoke(self, owner: Owner, ref: AttemptRef, reason: str) -> None:
        """An attempt is not its owner's any more."""
        self.listener.revoked(owner, ref, reason, 0.0, lost=True)

    def release_hold(self, entries: Sequence[UnfinishedTask], now: float) -> None:
        """Recovered tasks that nobody presented, and those whose last attempt's end is durable, may be claimed."""
        for entry in entries:
            if not entry.held_back or entry.settling:
                continue
            if entry.cancel is not None:
                self.end_cancelled(entry, entry.cancel.reason, now)
                continue
            queue = entry.terms.queue
            entry.held_back = False
            queue.held_back -= 1
            queue.ready += 1
            queue.push(entry.terms.priority, entry.number)
            if entry.limits is not None:
                self.timers.arm(entry)
        self.listener.ready()

    # -- what the journal tells -----------------------------------------------------------------------------------

    def committed(self, group: CommitGroup, now: float) -> None:
        """The group's changes are durable: outcomes may be shown, payloads may leave memory."""
        # The newest go first: the oldest will be claimed soonest.
        for entry in reversed(group.new):
            entry.saved = Saved.STORED
            if entry.state >= State.RUNNING or self._body_bytes > self._body_limit:
                self.forget_body(entry)
        if group.again:
            for entry in group.again:
                entry.settling = False
            self.release_hold(group.again, now)
        listener = self.listener
        for entry in group.ended:
            self.forget_body(entry)
            del self.entries[entry.number]
            if listener.wants(format_id(entry.number), ended=True):
                listener.changed(entry.final_record())
        for entry, row in group.streamed:
            task_id = format_id(entry.number)
            if listener.wants(task_id, ended=False):
                listener.progressed(task_id, [row])

    def refused(self, entries: Sequence[UnfinishedTask]) -> None:
        """These tasks could not be stored: they never were. Attempts at them are called off."""
        for entry in entries:
            entry.saved = Saved.REFUSED
            running, owner, ref = entry.state is State.RUNNING, entry.owner, self.ref(entry)
            if entry.end is None:
                self._move(entry, State.CANCELLED)
            self.forget_body(entry)
            del self.entries[entry.number]
            if running and owner is not None:
                self.revoke(owner, ref, "the task could not be stored")

    def depths(self) -> dict[QueueKey, QueueDepth]:
        """Queues with unfinished tasks."""
        return by_base((key, self._depth(queue)) for key, queue in self.backlog.active.items())

    def _depth(self, queue: ReadyQueue) -> QueueDepth:
        oldest = (self.entries[number].ready_at for number in queue.oldest(self.claimable))
        return QueueDepth(
            queue.ready + queue.held_back, queue.scheduled, queue.running, min(oldest, default=None)
        )

    # -- small things -------------------------------------------------------------------------------------------

    def forget_body(self, entry: UnfinishedTask) -> None:
        """Leave the payload to the file, which must have it, or to nobody."""
        if entry.payload is not None:
            self._body_bytes -= entry.size_bytes
            entry.payload = entry.context = None

    def notify(self, entry: UnfinishedTask) -> None:
        if self.listener.wants(format_id(entry.number), ended=False):
            self.listener.changed(entry.record())

    @staticmethod
    def ref(entry: UnfinishedTask) -> AttemptRef:
        return AttemptRef(format_id(entry.number), entry.attempt)
