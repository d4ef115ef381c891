"""What happens to attempts: claimed, reported, streamed, lost, handed back, adopted, out of time. All in memory."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from google.rpc import code_pb2

from weft.coordinator.store import history, rules, store_outcomes
from weft.coordinator.store.embedded.leases import Lease
from weft.coordinator.store.embedded.task_state import BACKSTOP_S, Saved, StreamState, UnfinishedTask
from weft.coordinator.store.embedded.task_table import TaskTable
from weft.coordinator.store.records import (
    AttemptRef,
    AttemptReport,
    Claimed,
    ClaimRequest,
    Owner,
    ProgressItem,
    ProgressRow,
    ProgressVerdict,
    Verdict,
)
from weft.coordinator.store.rules import State
from weft.coordinator.store.store_config import StoreLimits
from weft.coordinator.store.task_ids import format_id, parse_id

# Attempts of a session that is over which one call takes back at the most: sweeps do the rest.
PORTION = 250


class Attempts:
    """Moves of attempts in a task table."""

    def __init__(self, board: TaskTable, rng: random.Random, limits: StoreLimits) -> None:
        self._board = board
        self._rng = rng
        self._limits = limits

    # -- claims ---------------------------------------------------------------------------------------------------

    def claim(self, request: ClaimRequest, now: float) -> tuple[list[Claimed], dict[str, int]]:
        """Start attempts; and which of them, by id and number, must have their payload read from the file."""
        board = self._board
        claims: list[Claimed] = []
        unread: dict[str, int] = {}
        lease = board.leases.get(request.owner)
        if lease is None or request.limit <= 0:
            return claims, unread
        entries, costs, slots = board.entries, request.costs, request.slots
        for number in board.backlog.ranked(costs):
            entry = entries[number]
            if entry.due_at <= now and self.expire(entry, now):
                continue
            cost = costs[entry.terms.queue.key]
            if cost > slots:
                break
            slots -= cost
            board.start(entry, lease, entry.next_attempt, now)
            payload, context = entry.payload, entry.context
            claimed = Claimed(
                format_id(number),
                entry.attempt,
                lease.owner,
                entry.terms.method,
                payload or b"",
                context or b"",
                entry.request_id,
                entry.terms.priority,
                cost,
                entry.deadline_at,
            )
            claims.append(claimed)
            if payload is None:
                unread[claimed.task_id] = number
            elif entry.saved is Saved.STORED:
                board.forget_body(entry)
            if len(claims) >= request.limit:
                break
        return claims, unread

    def held(self, owner: Owner, ref: AttemptRef | Claimed | ProgressItem) -> UnfinishedTask | None:
        """The running task whose current attempt this is, if it is the owner's."""
        number = parse_id(ref.task_id)
        entry = None if number is None else self._board.entries.get(number)
        if (
            entry is None
            or entry.state is not State.RUNNING
            or entry.attempt != ref.attempt
            or entry.owner != owner
        ):
            return None
        return entry

    def release(self, owner: Owner, ref: AttemptRef | Claimed, now: float) -> bool:
        """Take an attempt back as if it never was. False: it is not the owner's."""
        entry = self.held(owner, ref)
        if entry is not None:
            self._board.give_back(entry, now)
        return entry is not None

    def handed_back(self, owner: Owner, ref: AttemptRef, now: float) -> bool:
        """As `release`, of an attempt that its agent has heard of: it is remembered."""
        entry = self.held(owner, ref)
        if entry is None:
            return False
        if entry.cancel is None:
            entry.remember(now, released=True)
        return self.release(owner, ref, now)

    def give_back(self, claims: Sequence[Claimed], now: float) -> None:
        """Undo claims that nobody has been told of."""
        for claimed in claims:
            self.release(claimed.owner, claimed, now)

    # -- reports --------------------------------------------------------------------------------------------------

    def report(self, report: AttemptReport, now: float) -> tuple[Verdict, UnfinishedTask | None]:
        """End an attempt as its owner reports it; None: no unfinished task has this id.

        A repeated report gets the same answer.
        """
        number = parse_id(report.task_id)
        entry = None if number is None else self._board.entries.get(number)
        if entry is None:
            return Verdict.STALE, None
        if entry.attempt != report.attempt or entry.owner != report.owner:
            return Verdict.STALE, entry
        if entry.state is not State.RUNNING:
            return entry.answer, entry
        entry.reported = True
        if report.crashed:
            return self._crashed(entry, now, history.brief(report.code, report.outcome)), entry
        if report.code != code_pb2.OK:
            entry.failures += 1
        close_at = None if entry.limits is None else entry.limits.close_at
        if report.code == code_pb2.DEADLINE_EXCEEDED and close_at is not None and close_at <= now:
            # The agent knows when the attempt had to end, and not by which limit.
            report = replace(report, outcome=store_outcomes.time_limit("schedule_to_close"))
        return self._failed_or_done(entry, report, now), entry

    def _failed_or_done(self, entry: UnfinishedTask, report: AttemptReport, now: float) -> Verdict:
        board, policy, cancel = self._board, entry.terms.retry, entry.cancel
        state = rules.end_after_report(
            policy,
            code=report.code,
            failures=entry.failures,
            final=report.final,
            cancel_requested=cancel is not None,
        )
        if state is None:
            draw = self._rng.random()
            ready_at = now + rules.backoff_s(policy, entry.failures, draw, report.retry_after_s)
            close_at = None if entry.limits is None else entry.limits.close_at
            if close_at is None or ready_at < close_at:
                entry.remember(now, history.brief(report.code, report.outcome))
                entry.fails_with(report.outcome)
                board.again(entry, ready_at, now)
                return Verdict.RETRYING
            # There is no time for another attempt: what this one said is the outcome.
            state = State.FAILED
        if state is State.CANCELLED and report.code != code_pb2.CANCELLED and cancel is not None:
            board.end_cancelled(entry, cancel.reason, now)
        else:
            board.end(entry, state, report.outcome, now)
        return Verdict.STORED

    def crash(self, entry: UnfinishedTask, now: float) -> None:
        """The attempt was lost with its agent."""
        entry.reported = False
        self._crashed(entry, now)

    def _crashed(self, entry: UnfinishedTask, now: float, outcome: bytes = b"") -> Verdict:
        board = self._board
        entry.remember(now, outcome, crashed=True)
        entry.crashes += 1
        cancel = entry.cancel
        state = rules.end_after_crash(
            entry.terms.retry, crashes=entry.crashes, cancel_requested=cancel is not None
        )
        if state is None:
            board.again(entry, now, now)
            return Verdict.RETRYING
        if cancel is not None:
            board.end_cancelled(entry, cancel.reason, now)
        else:
            board.end(entry, state, store_outcomes.crash_loop(entry.crashes), now)
        return Verdict.STORED

    def take_back(self, now: float, limit: int) -> int:
        """Take back attempts of sessions that are over, so many at the most; says how many."""
        taken = self._board.leases.leaving(limit)
        for entry, as_crash in taken:
            if as_crash:
                self.crash(entry, now)
            else:
                self._board.give_back(entry, now)
        return len(taken)

    # -- progress -------------------------------------------------------------------------------------------------

    def progress(self, item: ProgressItem, now: float) -> ProgressVerdict:
        """Store one response of a streaming attempt."""
        entry = self.held(item.owner, item)
        if entry is None:
            return ProgressVerdict.STALE
        stream = entry.stream
        if stream is None:
            stream = entry.stream = StreamState()
        if stream.attempt != item.attempt:
            stream.attempt, stream.index = item.attempt, 0
        if item.index <= stream.index:
            return ProgressVerdict.KNOWN
        if item.index != stream.index + 1:
            # A response is missing: this attempt cannot be recorded rightly any more.
            self.crash(entry, now)
            return ProgressVerdict.STALE
        size_bytes = stream.size_bytes + len(item.payload) + len(item.headers)
        if stream.count >= self._limits.max_progress or size_bytes > self._limits.max_progress_bytes:
            return ProgressVerdict.LIMIT
        stream.count += 1
        stream.index = item.index
        stream.size_bytes = size_bytes
        row = ProgressRow(stream.count, item.attempt, item.payload, item.headers)
        self._board.journal.progress(entry, row, item.index)
        return ProgressVerdict.STORED

    # -- sessions -------------------------------------------------------------------------------------------------

    def adopt(
        self, lease: Lease, held: Sequence[tuple[AttemptRef, int]], now: float, *, last: bool
    ) -> list[bool]:
        """Attempts that an agent still holds go on in its new session; with the last of them, the others are what it never
        heard of, or has lost."""
        verdicts = [self._adopt(lease, ref, epoch, now) for ref, epoch in held]
        leases = self._board.leases
        for earlier in leases.earlier(lease.owner):
            if last:
                leases.drop(earlier, as_crashes=earlier.instance_id != lease.instance_id)
            else:
                # What is not named yet must not be lost before it is.
                leases.end(earlier, max(earlier.ends_at, lease.ends_at))
        if last:
            self.take_back(now, PORTION)
        return verdicts

    def _adopt(self, lease: Lease, ref: AttemptRef, epoch: int, now: float) -> bool:
        number = parse_id(ref.task_id)
        entry = None if number is None else self._board.entries.get(number)
        if entry is None:
            return False
        if entry.state is State.RUNNING:
            return self._goes_on(entry, lease, ref, epoch)
        # Of a coordinator that died: its claims were not journaled, its ended attempts were.
        if not entry.held_back or ref.attempt <= entry.attempt or epoch >= lease.owner.epoch:
            return False
        if entry.cancel is not None:
            entry.cancel.end_at = now + entry.cancel.grace_s + BACKSTOP_S
        self._board.start(entry, lease, ref.attempt, now)
        return True

    def _goes_on(self, entry: UnfinishedTask, lease: Lease, ref: AttemptRef, epoch: int) -> bool:
        holder, owner = entry.owner, lease.owner
        assert holder is not None
        # The epoch that the agent knows can be earlier than the holder's: of a session that adopted the attempt and
        # broke before the agent was welcomed.
        mine = holder.agent_id == owner.agent_id and epoch <= holder.epoch <= owner.epoch
        if not mine or entry.attempt != ref.attempt:
            return False
        self._board.hand_over(entry, lease)
        return True

    # -- time -----------------------------------------------------------------------------------------------------

    def expire(self, entry: UnfinishedTask, now: float) -> bool:
        """Do what time has brought for one task. False: nothing but a promotion was due."""
        board = self._board
        if entry.state is State.RUNNING:
            self._expire_running(entry, now)
            return True
        limits = entry.limits
        if limits is not None:
            if limits.close_at is not None and limits.close_at <= now:
                board.end(entry, State.FAILED, store_outcomes.time_limit("schedule_to_close"), now)
                return True
            if limits.start_by <= now and entry.attempt == limits.fresh_attempt and not entry.held_back:
                board.end(entry, State.FAILED, store_outcomes.time_limit("schedule_to_start"), now)
                return True
        if entry.state is State.SCHEDULED and entry.ready_at <= now:
            board.promote(entry)
        return False

    def _expire_running(self, entry: UnfinishedTask, now: float) -> None:
        board, owner, ref = self._board, entry.owner, self._board.ref(entry)
        limits, cancel = entry.limits, entry.cancel
        assert owner is not None
        if cancel is not None and cancel.end_at <= now:
            board.end_cancelled(entry, cancel.reason, now)
        elif limits is not None and limits.close_at is not None and limits.close_at <= now:
            board.end(entry, State.FAILED, store_outcomes.time_limit("schedule_to_close"), now)
        else:
            entry.failures += 1
            outcome = store_outcomes.time_limit("start_to_close")
            late = AttemptReport(owner, ref.task_id, ref.attempt, code_pb2.DEADLINE_EXCEEDED, outcome)
            self._failed_or_done(entry, late, now)
        board.revoke(owner, ref, "its time was over")
