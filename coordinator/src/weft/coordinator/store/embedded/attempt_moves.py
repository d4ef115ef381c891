"""Moves of attempts: claims, reports, progress, crashes, releases, adoption, time limits. All in memory."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from google.rpc import code_pb2

from weft.coordinator.store import history, rules, store_outcomes
from weft.coordinator.store.embedded import passed_limits
from weft.coordinator.store.embedded.claim_guard import ClaimGuard
from weft.coordinator.store.embedded.leases import Lease
from weft.coordinator.store.embedded.state_table import StateTable
from weft.coordinator.store.embedded.suspending import suspend
from weft.coordinator.store.embedded.task_table import TaskTable
from weft.coordinator.store.embedded.unfinished_task import Saved, StreamState, UnfinishedTask, may_fall_back
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
from weft.coordinator.store.rules import BACKSTOP_S, RECLAIM_ATTEMPTS, QueueKey, State
from weft.coordinator.store.store_config import StoreLimits
from weft.coordinator.store.task_figures import TaskEvent, attempt_event
from weft.coordinator.store.task_ids import format_id, parse_id


class AttemptMoves:
    """Moves of attempts in a task table. Large because it has a method for each event of an attempt."""

    def __init__(self, table: TaskTable, states: StateTable, rng: random.Random, limits: StoreLimits) -> None:
        self._table = table
        self._states = states
        self._rng = rng
        self._limits = limits

    # -- claims ---------------------------------------------------------------------------------------------------

    def claim(self, request: ClaimRequest, now: float) -> tuple[list[Claimed], dict[str, int]]:
        """Start attempts. Returns the claims, and the numbers by id of the claims whose payload is only in the file."""
        table = self._table
        claims: list[Claimed] = []
        unread: dict[str, int] = {}
        lease = table.leases.get(request.owner)
        if lease is None or request.limit <= 0:
            return claims, unread
        if not table.gates.in_use and not table.backlog.consuming:
            # No task has gates, fairness keys or resources to use.
            self._serve(request, lease, None, now, claims, unread)
            return claims, unread
        guard = ClaimGuard(table, request, now)
        with guard:
            self._serve(request, lease, guard, now, claims, unread)
        return claims, unread

    def _serve(
        self,
        request: ClaimRequest,
        lease: Lease,
        guard: ClaimGuard | None,
        now: float,
        claims: list[Claimed],
        unread: dict[str, int],
    ) -> None:
        table = self._table
        tasks, costs, slots = table.tasks, request.costs, request.slots
        for number in table.backlog.ranked(costs, guard.closed if guard is not None else frozenset()):
            task = tasks[number]
            if task.due_at <= now and self.expire(task, now):
                continue
            cost = costs[task.spec.queue.key]
            if guard is not None:
                if (admitted := guard.admits(task, cost, slots)) is None:
                    break
                if not admitted:
                    continue
            elif cost > slots:
                break
            slots -= cost
            task_id = format_id(number)
            table.start(task, task_id, lease, task.next_attempt, now)
            payload, context = task.payload, task.context
            claimed = Claimed(
                task_id,
                task.attempt,
                lease.owner,
                task.spec.method,
                payload or b"",
                context or b"",
                task.request_id,
                task.spec.priority,
                cost,
                task.deadline_at,
                task.spec.queue.key.requirements.consumes,
                task.ready_at,
                None if task.past is None else task.rerun,
            )
            claims.append(claimed)
            if payload is None:
                unread[claimed.task_id] = number
            elif task.saved is Saved.STORED:
                table.forget_body(task)
            if guard is not None and task.demand is not None and (name := task.demand.state):
                claimed.state = self._states.get(name, now)
                guard.state_bytes += len(claimed.state.value)
                if guard.full:
                    break
            if len(claims) >= request.limit:
                break

    def running(self, owner: Owner, ref: AttemptRef | Claimed | ProgressItem) -> UnfinishedTask | None:
        """The running task with this current attempt, if the attempt is the owner's."""
        number = parse_id(ref.task_id)
        task = None if number is None else self._table.tasks.get(number)
        if (
            task is None
            or task.state is not State.RUNNING
            or task.attempt != ref.attempt
            or task.owner != owner
        ):
            return None
        return task

    def undo(self, owner: Owner, ref: AttemptRef | Claimed, now: float) -> bool:
        """Undo an attempt, as if it had never been. False: it is not the owner's."""
        task = self.running(owner, ref)
        if task is not None:
            self._table.release(task, now)
        return task is not None

    def release(self, owner: Owner, ref: AttemptRef, now: float) -> bool:
        """Release an attempt that its agent has received. False: it is not the owner's."""
        task = self.running(owner, ref)
        if task is None:
            return False
        if task.cancel is None:
            task.record_attempt(now, released=True)
        task.spec.queue.counts[TaskEvent.ATTEMPT_RELEASED] += 1
        return self.undo(owner, ref, now)

    def undo_all(self, claims: Sequence[Claimed], now: float) -> None:
        """Undo claims that no agent has received."""
        for claimed in claims:
            self.undo(claimed.owner, claimed, now)

    # -- reports --------------------------------------------------------------------------------------------------

    def report(self, report: AttemptReport, now: float) -> tuple[Verdict, UnfinishedTask | None]:
        """End an attempt by its owner's report. Returns the task, or None if no unfinished task has this id.

        A repeated report gets the same answer.
        """
        number = parse_id(report.task_id)
        task = None if number is None else self._table.tasks.get(number)
        if task is None:
            return Verdict.STALE, None
        if task.attempt != report.attempt or task.owner != report.owner:
            return Verdict.STALE, task
        if task.state is not State.RUNNING:
            return task.answer, task
        state = None
        if report.state is not None and not report.code and task.demand is not None and task.demand.state:
            state = self._states.get(task.demand.state, now)
            if state.version != report.state.base_version:
                # What it has begun with was lost, and another attempt has begun with something else: this one is void.
                self.crash(task, now)
                return Verdict.STALE, task
        task.reported = True
        if report.suspension is not None:
            return suspend(self._table, task, report, now), task
        event = (
            attempt_event(report.code, crashed=report.crashed) if report.code else TaskEvent.ATTEMPT_SUCCEEDED
        )
        task.spec.queue.counts[event] += 1
        if report.crashed:
            return self._crashed(task, now, history.trimmed(report.code, report.outcome)), task
        if report.code != code_pb2.OK:
            task.failures += 1
        close_at = None if task.limits is None else task.limits.close_at
        if report.code == code_pb2.DEADLINE_EXCEEDED and close_at is not None and close_at <= now:
            # The agent knows when the attempt had to end, but not by which limit.
            report = replace(
                report, outcome=passed_limits.outcome(self._table, "schedule_to_close", task, now)
            )
        verdict = self._ended(task, report, now)
        if state is not None and report.state is not None:
            self._states.write(report.state, state, now, report.task_id)
        return verdict, task

    def _ended(self, task: UnfinishedTask, report: AttemptReport, now: float) -> Verdict:
        table, policy, cancel = self._table, task.spec.retry, task.cancel
        state = rules.end_after_report(
            policy,
            code=report.code,
            failures=task.failures,
            final=report.final,
            cancel_requested=cancel is not None,
        )
        if state is None:
            sample = self._rng.random()
            ready_at = now + rules.backoff_s(policy, task.failures, sample, report.retry_after_s)
            close_at = None if task.limits is None else task.limits.close_at
            if close_at is None or ready_at < close_at:
                task.record_attempt(now, history.trimmed(report.code, report.outcome))
                task.keep_failure(report.outcome)
                task.spec.queue.counts[TaskEvent.RETRIED] += 1
                table.retry(task, ready_at, now)
                return Verdict.RETRYING
            # There is no time for another attempt: its outcome is the task's.
            state = State.FAILED
        if state is State.FAILED and may_fall_back(task, report.code, now):
            task.record_attempt(now, history.trimmed(report.code, report.outcome))
            table.fall_back(task, report.outcome, now)
            return Verdict.RETRYING
        if state is State.CANCELLED and report.code != code_pb2.CANCELLED and cancel is not None:
            table.end_cancelled(task, cancel.reason, now)
        else:
            table.end(task, state, report.outcome, now)
        return Verdict.STORED

    def crash(self, task: UnfinishedTask, now: float) -> None:
        """End an attempt that was lost with its agent."""
        task.reported = False
        task.spec.queue.counts[TaskEvent.ATTEMPT_LOST] += 1
        self._crashed(task, now)

    def _crashed(self, task: UnfinishedTask, now: float, outcome: bytes = b"") -> Verdict:
        table = self._table
        task.record_attempt(now, outcome, crashed=True)
        task.crashes += 1
        cancel = task.cancel
        state = rules.end_after_crash(
            task.spec.retry, crashes=task.crashes, cancel_requested=cancel is not None
        )
        if state is None:
            task.spec.queue.counts[TaskEvent.RERUN] += 1
            table.retry(task, now, now)
            return Verdict.RETRYING
        if cancel is not None:
            table.end_cancelled(task, cancel.reason, now)
            return Verdict.STORED
        crash_loop = store_outcomes.crash_loop(task.crashes)
        if may_fall_back(task, code_pb2.ABORTED, now):
            table.fall_back(task, crash_loop, now)
            return Verdict.RETRYING
        table.end(task, state, crash_loop, now)
        return Verdict.STORED

    def reclaim(self, now: float, limit: int) -> int:
        """Reclaim attempts of ended sessions, at most `limit`; returns how many."""
        taken = self._table.leases.to_reclaim(limit)
        for task, as_crash in taken:
            (self.crash if as_crash else self._table.release)(task, now)
        return len(taken)

    # -- progress -------------------------------------------------------------------------------------------------

    def progress(self, item: ProgressItem, now: float) -> ProgressVerdict:
        """Store one response of a streaming attempt."""
        task = self.running(item.owner, item)
        if task is None:
            return ProgressVerdict.STALE
        stream = task.stream
        if stream is None:
            stream = task.stream = StreamState()
        if stream.attempt != item.attempt:
            stream.attempt, stream.index = item.attempt, 0
        if item.index <= stream.index:
            return ProgressVerdict.KNOWN
        if item.index != stream.index + 1:
            # A response is missing: the attempt cannot be recorded completely any more.
            self.crash(task, now)
            return ProgressVerdict.STALE
        size_bytes = stream.size_bytes + len(item.payload) + len(item.headers)
        if stream.count >= self._limits.max_progress or size_bytes > self._limits.max_progress_bytes:
            return ProgressVerdict.LIMIT
        stream.count += 1
        stream.index = item.index
        stream.size_bytes = size_bytes
        row = ProgressRow(stream.count, item.attempt, item.payload, item.headers)
        self._table.journal.add_progress(task, row, item.index)
        return ProgressVerdict.STORED

    # -- sessions -------------------------------------------------------------------------------------------------

    def adopt(
        self, lease: Lease, held: Sequence[tuple[AttemptRef, int]], now: float, *, last: bool
    ) -> list[QueueKey | None]:
        """Move held attempts to their agent's new session. With the last ones, reclaim the others of its earlier sessions.

        Returns the queues of adopted attempts.
        """
        verdicts = [self._adopt(lease, ref, epoch, now) for ref, epoch in held]
        leases = self._table.leases
        for earlier in leases.earlier(lease.owner):
            if last:
                leases.drop(earlier, as_crashes=earlier.instance_id != lease.instance_id)
            else:
                # Attempts that are not named yet must not be lost before they are.
                leases.end(earlier, max(earlier.ends_at, lease.ends_at))
        if last:
            self.reclaim(now, RECLAIM_ATTEMPTS)
        return verdicts

    def _adopt(self, lease: Lease, ref: AttemptRef, epoch: int, now: float) -> QueueKey | None:
        number = parse_id(ref.task_id)
        task = None if number is None else self._table.tasks.get(number)
        if task is None:
            return None
        running = task.state is State.RUNNING
        adopted = (
            self._continue(task, lease, ref, epoch)
            if running
            else self._recover(task, lease, ref, epoch, now)
        )
        return task.spec.queue.key if adopted else None

    def _recover(self, task: UnfinishedTask, lease: Lease, ref: AttemptRef, epoch: int, now: float) -> bool:
        # The claim is of a coordinator that died. Claims are not journaled, ends of attempts are.
        if not task.held_back or ref.attempt <= task.attempt or epoch >= lease.owner.epoch:
            return False
        if task.cancel is not None:
            task.cancel.end_at = now + task.cancel.grace_s + BACKSTOP_S
        self._table.start(task, ref.task_id, lease, ref.attempt, now)
        if self._table.gates.in_use:
            self._table.gates.adopted(task, now)
        return True

    def _continue(self, task: UnfinishedTask, lease: Lease, ref: AttemptRef, epoch: int) -> bool:
        holder, owner = task.owner, lease.owner
        assert holder is not None
        # The epoch that the agent knows may be older than the holder's: a session may have adopted the attempt and
        # broken before its Welcome.
        mine = holder.agent_id == owner.agent_id and epoch <= holder.epoch <= owner.epoch
        if not mine or task.attempt != ref.attempt:
            return False
        self._table.hand_over(task, lease)
        return True

    # -- time -----------------------------------------------------------------------------------------------------

    def expire(self, task: UnfinishedTask, now: float) -> bool:
        """Apply the limits of one task that have passed. False: nothing but a promotion was due."""
        table = self._table
        if task.state is State.RUNNING:
            self._expire_running(task, now)
            return True
        limits = task.limits
        if limits is not None:
            if limits.close_at is not None and limits.close_at <= now:
                table.end(
                    task, State.FAILED, passed_limits.outcome(table, "schedule_to_close", task, now), now
                )
                return True
            if limits.start_by <= now and task.attempt == limits.fresh_attempt and not task.held_back:
                outcome = passed_limits.outcome(table, "schedule_to_start", task, now)
                if may_fall_back(task, code_pb2.DEADLINE_EXCEEDED, now):
                    table.fall_back(task, outcome, now)
                else:
                    table.end(task, State.FAILED, outcome, now)
                return True
        if task.state is State.SCHEDULED and task.ready_at <= now:
            table.promote(task)
        return False

    def _expire_running(self, task: UnfinishedTask, now: float) -> None:
        table, owner, ref = self._table, task.owner, self._table.ref(task)
        limits, cancel = task.limits, task.cancel
        assert owner is not None
        cut_off = cancel is not None and cancel.end_at <= now
        task.spec.queue.counts[TaskEvent.ATTEMPT_CANCELLED if cut_off else TaskEvent.ATTEMPT_TIMED_OUT] += 1
        if cancel is not None and cut_off:
            table.end_cancelled(task, cancel.reason, now)
        elif limits is not None and limits.close_at is not None and limits.close_at <= now:
            table.end(task, State.FAILED, passed_limits.outcome(table, "schedule_to_close", task, now), now)
        else:
            task.failures += 1
            outcome = passed_limits.outcome(table, "start_to_close", task, now)
            late = AttemptReport(owner, ref.task_id, ref.attempt, code_pb2.DEADLINE_EXCEEDED, outcome)
            self._ended(task, late, now)
        table.revoke(owner, ref, "its time was over")
