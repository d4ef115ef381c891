"""The embedded store: one coordinator, one machine, one SQLite file.

                  ┌── task table: tasks, queues, leases, timers (memory, synchronous)
    EmbeddedStore ┤      │ changes that must survive
                  │      ▼
                  ├── journal: group commit, one writer ──► tasks │ live │ ends │ progress │ agents …
                  └── readers: durable rows                (SQLite, WAL)

Each move is made in memory at once; its method returns when the journal has written it. A task may be claimed while it is
being written. Its insert and its end are the only writes of an ordinary task. After a crash there are the file, and the
attempts that agents still hold (`recovery`).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from weft.coordinator.store.embedded import at_limit, bodies, room, run_limit_table, store_file, task_queries
from weft.coordinator.store.embedded.agent_table import AgentTable
from weft.coordinator.store.embedded.attempt_moves import AttemptMoves
from weft.coordinator.store.embedded.checkpoint import Checkpointer
from weft.coordinator.store.embedded.commit_group import CommitGroup
from weft.coordinator.store.embedded.contract_table import ContractTable
from weft.coordinator.store.embedded.core import ReaderPool, StoreCore
from weft.coordinator.store.embedded.embedded_parts import EmbeddedParts
from weft.coordinator.store.embedded.file_lock import OwnerLock
from weft.coordinator.store.embedded.journal import Journal
from weft.coordinator.store.embedded.reader import KnownRequest
from weft.coordinator.store.embedded.recovery import RecoveryBarrier, recover
from weft.coordinator.store.embedded.request_ids import GIVE_AWAY, RequestIds
from weft.coordinator.store.embedded.rows import RequestIdentity
from weft.coordinator.store.embedded.state_table import StateTable
from weft.coordinator.store.embedded.sweeping import Sweeping
from weft.coordinator.store.embedded.task_table import TaskTable
from weft.coordinator.store.embedded.unfinished_task import Saved, UnfinishedTask
from weft.coordinator.store.open_errors import StoreError, StoreForeign
from weft.coordinator.store.paging import ListFilter, Page
from weft.coordinator.store.records import (
    AtLimit,
    AttemptRef,
    AttemptReport,
    Claimed,
    ClaimRequest,
    Enqueued,
    EnqueueResult,
    Owner,
    ProgressItem,
    ProgressRow,
    ProgressVerdict,
    Refused,
    Submission,
    SweepReport,
    TaskRecord,
    Verdict,
)
from weft.coordinator.store.rules import ANY_AGENT, QueueKey
from weft.coordinator.store.state_store import StoredState
from weft.coordinator.store.store_config import StoreLimits
from weft.coordinator.store.store_listener import StoreListener
from weft.coordinator.store.store_refusals import tell_not_stored
from weft.coordinator.store.task_figures import StoreFigures
from weft.coordinator.store.task_ids import NumberGenerator, created_at, format_id, parse_id
from weft.rpc.errors import WeftError


@dataclass(frozen=True, slots=True)
class EmbeddedLimits(StoreLimits):
    """Bounds of an embedded store."""

    # Payloads of waiting tasks that memory may hold.
    body_bytes: int = 64 * 1024 * 1024
    # Payloads that one claim may read from the file, on the event loop.
    claim_bytes: int = 4 * 1024 * 1024


class EmbeddedStore(EmbeddedParts):
    """A `Store` in one file. Used on one event loop. Large because `TaskStore` is.

    Args:
        path: the file; made if it does not exist.
        durability: "process": acknowledged changes survive a kill of the process; "full": also a loss of power.
        clock: seconds since the epoch.
        rng: for jitter and for task ids.
        recovery_grace_s: how long the recovery barrier waits for agents.
        patience_s: how long a caller waits while the file cannot be written, and the longest duration of a close.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        durability: Literal["process", "full"] = "process",
        clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
        recovery_grace_s: float = 5.0,
        patience_s: float = 10.0,
        limits: EmbeddedLimits | None = None,
    ) -> None:
        self._path = Path(path)
        self._sync = durability == "full"
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311  # jitter, not secrets
        self._recovery_grace_s = recovery_grace_s
        self._patience_s = patience_s
        self._limits = limits or EmbeddedLimits()
        self.event_keep_bytes, self.max_states = self._limits.event_keep_bytes, self._limits.max_states
        self.figures = StoreFigures()

    shared = False

    # -- lifecycle ------------------------------------------------------------------------------------------------

    async def open(self, listener: StoreListener) -> None:
        with contextlib.ExitStack() as undo:
            self._lock = OwnerLock(self._path)
            undo.callback(self._lock.release)
            try:
                self._connection = store_file.open_writer(self._path, sync=self._sync)
                undo.callback(self._connection.close)
                self._load(listener)
            except sqlite3.OperationalError as error:
                raise StoreError(f"cannot use {self._path}: {error}") from error
            except sqlite3.DatabaseError as error:
                raise StoreForeign(f"{self._path} is damaged: {error}") from error
            undo.pop_all()
        self._journal.start()
        self._checkpointer.start()

    def _load(self, listener: StoreListener) -> None:
        connection, now = self._connection, self._clock()
        connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'generation'")
        meta: dict[str, int] = dict(connection.execute("SELECT name, value FROM meta").fetchall())
        (newest,) = connection.execute("SELECT max(id) FROM tasks").fetchone()
        self._numbers = NumberGenerator(max(newest or 0, meta["last_number"]), self._rng)
        self._checkpointer = Checkpointer(self._path)
        self._journal = Journal(
            connection,
            self._checkpointer,
            self,
            self.figures,
            sync=self._sync,
            patience_s=self._patience_s,
        )
        self._table = TaskTable(listener, self._journal, self._limits.body_bytes, self.figures)
        self._readers = ReaderPool(self._path)
        self._core = StoreCore(self._table, self._journal, self._readers, self._clock)
        self._requests = RequestIds(self._readers.inline)
        self._states = StateTable(self._journal, self._readers.inline)
        self._attempts = AttemptMoves(self._table, self._states, self._rng, self._limits)
        self._contracts = ContractTable(connection, self._journal, self._readers.inline)
        self._agents = AgentTable(connection, self._journal, meta["generation"])
        self._table.backlog.paused.update(
            method for (method,) in connection.execute("SELECT method FROM paused")
        )
        may_run = bool(self._agents.connected())
        self._table.gates.recover(run_limit_table.read_all(connection), now, attempts_may_run=may_run)
        held_back = recover(connection, self._table, now, attempts_may_run=may_run)
        self._barrier = RecoveryBarrier(self._table, self._agents, held_back, now + self._recovery_grace_s)
        first_expiry_at = self._readers.inline.first_expiry()
        self._sweeping = Sweeping(self._core, self._attempts, self._agents, self._barrier, first_expiry_at)

    async def close(self) -> None:
        await self._journal.close(self._patience_s)
        await asyncio.to_thread(self._checkpointer.stop, self._patience_s)
        self._readers.close()
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()
        self._lock.release()

    @property
    def writable(self) -> bool:
        return self._journal.writable

    def now(self) -> float:
        return self._clock()

    # -- JournalEvents --------------------------------------------------------------------------------------------

    def committed(self, group: CommitGroup) -> None:
        self._requests.settled(group.new)
        for task in group.ended:
            assert task.end is not None
            self._sweeping.expires(task.end.expires_at)
        if group.states:
            self._states.committed(group.states)
        self._table.committed(group, self._clock())
        self.wake_parents(group.ended)

    def refused(self, tasks: Sequence[UnfinishedTask], states: Mapping[str, StoredState]) -> None:
        self._requests.settled(tasks)
        self._states.refused(states)
        self._table.refused(tasks)

    def recovered(self) -> None:
        self._table.listener.ready()

    # -- tasks ----------------------------------------------------------------------------------------------------

    def new_task_id(self, method: str) -> str:  # noqa: ARG002  # other stores route by it
        return format_id(self._numbers.next(self._clock()))

    async def enqueue(
        self, submissions: Sequence[Submission], *, acknowledged: bool = True
    ) -> Sequence[EnqueueResult]:
        self._journal.check_writable()
        fresh: list[Submission] = []
        now, table = self._clock(), self._table
        known = self._requests.look_up(submissions)
        results: list[EnqueueResult] = []
        for submission in submissions:
            task_id = submission.task_id
            number = parse_id(task_id) if task_id else None
            if number is None:
                number = self._numbers.next(now)
                task_id = format_id(number)
            identity: RequestIdentity | None = None
            cancels: at_limit.Cancels | None = None
            if submission.cache_ttl_s and (answer := self._cached(submission, known, now)) is not None:
                results.append(answer)
                continue
            bound = submission.group or submission.submitter or submission.events or submission.locks
            if (
                (bound or submission.requirements is not ANY_AGENT)
                and submission.request_id not in known
                and (refused := self._no_room(submission)) is not None
            ):
                results.append(refused)
                continue
            if table.gates.counting and submission.request_id not in known and submission.ended is None:
                decision = at_limit.decide(table, submission, now)
                if isinstance(decision, AtLimit):
                    results.append(decision)
                    continue
                cancels = decision
            if submission.request_id:
                admitted = self._requests.admit(submission, number, known)
                if not isinstance(admitted, KnownRequest):
                    results.append(admitted)
                    continue
                identity = self._requests.keys[admitted.request_id], admitted.digest
            task = table.submit(number, submission, created_at(number, now))
            self._journal.add_task(task, identity, deferred=not acknowledged)
            if cancels is not None:
                at_limit.apply(table, task, cancels, now)
            elif submission.ended is not None:
                table.end(task, *submission.ended, now)
            if submission.steps:
                self.adopt_steps(task, submission.steps)
            fresh.append(submission)
            results.append(Enqueued(task_id))
        table.listener.ready()
        if acknowledged:
            await self.stored_with_events(fresh)
        elif fresh:
            self._journal.written().add_done_callback(partial(self._tell_refused, fresh))
        return results

    def _no_room(self, submission: Submission) -> Refused | None:
        """Why a new task is one too many. None: it is not."""
        return self.topics_refusal(submission.events) or room.refusal(
            self._table,
            self._states,
            submission,
            self._clock(),
            max_queues=self._limits.max_queues,
            group_bounds=(self.max_groups, self.max_members),
            max_states=self.max_states,
        )

    def _cached(self, submission: Submission, known: dict[str, KnownRequest], now: float) -> Enqueued | None:
        """The task whose result answers a cached request. Another one that failed, or is too old, gives the request id away."""
        earlier = known.get(submission.request_id)
        if earlier is None or earlier.number in self._table.tasks:
            return None
        answers = self._requests.answers(submission, earlier, now)
        if answers is False:
            del known[submission.request_id]
            self._journal.add_statement(GIVE_AWAY, earlier.number)
        return Enqueued(format_id(earlier.number), existed=True, cached=True) if answers else None

    def _tell_refused(self, submissions: Sequence[Submission], written: asyncio.Future[None]) -> None:
        error = written.exception()
        if isinstance(error, WeftError):
            tell_not_stored(self._table.listener, submissions, error)

    def unfinished(self) -> int:
        return len(self._table.tasks)

    def ready_depths(self) -> Mapping[QueueKey, int]:
        return self._table.backlog.ready_depths()

    def ready_ahead(self, queue: QueueKey, priority: int) -> int:
        return self._table.backlog.ahead(queue, priority)

    async def claim(self, requests: Sequence[ClaimRequest]) -> Sequence[Sequence[Claimed]]:
        if not self._journal.writable:
            return [[] for _ in requests]
        now = self._clock()
        given: list[list[Claimed]] = []
        unread: dict[str, int] = {}
        for request in requests:
            claims, numbers = self._attempts.claim(request, now)
            given.append(claims)
            unread |= numbers
        if unread:
            undo = partial(self._attempts.undo_all, now=now)
            bodies.fill_in(given, unread, self._readers.inline, self._limits.claim_bytes, undo)
        return given

    def complete(self, reports: Sequence[AttemptReport]) -> Awaitable[Sequence[Verdict]]:
        now = self._clock()  # at once: callers may wait for these ends
        results = [
            self._attempts.report(each if each.suspension is None else self.settled_calls(each, now), now)
            for each in reports
        ]
        return self._completed(reports, results, self._journal.settled())

    async def _completed(
        self,
        reports: Sequence[AttemptReport],
        results: Sequence[tuple[Verdict, UnfinishedTask | None]],
        settled: Awaitable[None],
    ) -> Sequence[Verdict]:
        await settled
        verdicts = [
            # A task that could not be stored has no end.
            Verdict.STALE if task is not None and task.saved is Saved.REFUSED else verdict
            for verdict, task in results
        ]
        unknown = [at for at, (_, task) in enumerate(results) if task is None]
        if unknown:
            for at, verdict in zip(
                unknown, self._readers.inline.answers([reports[at] for at in unknown]), strict=True
            ):
                verdicts[at] = verdict
        return verdicts

    async def progress(self, items: Sequence[ProgressItem]) -> Sequence[ProgressVerdict]:
        self._journal.check_writable()
        now = self._clock()
        verdicts = [self._attempts.progress(item, now) for item in items]
        await self._journal.settled()
        return verdicts

    async def release(self, owner: Owner, refs: Sequence[AttemptRef]) -> Sequence[bool]:
        now = self._clock()
        verdicts = [self._attempts.release(owner, ref, now) for ref in refs]
        await self._journal.settled()
        return verdicts

    async def adopt(
        self, owner: Owner, held: Sequence[tuple[AttemptRef, int]], *, last: bool = True
    ) -> Sequence[QueueKey | None]:
        now = self._clock()
        lease = self._table.leases.get(owner)
        if lease is None:
            return [None] * len(held)
        verdicts = self._attempts.adopt(lease, held, now, last=last)
        if last:
            self._barrier.returned(owner.agent_id)
            self._barrier.release(now)
        await self._journal.settled()
        return verdicts

    async def cancel(
        self, task_ids: Sequence[str], reason: str, grace_s: float
    ) -> Sequence[TaskRecord | None]:
        return await task_queries.cancel(self._core, task_ids, reason, grace_s)

    async def retry(self, task_id: str) -> TaskRecord | None:
        return await task_queries.retry(self._core, task_id)

    async def get(
        self, task_ids: Sequence[str], *, payloads: bool = True, history: bool = False
    ) -> Sequence[TaskRecord | None]:
        return await task_queries.get(self._core, task_ids, payloads=payloads, history=history)

    async def list_tasks(
        self, where: ListFilter, *, limit: int, cursor: str = "", payloads: bool = False
    ) -> Page:
        return await task_queries.list_tasks(self._core, where, limit, cursor, payloads=payloads)

    async def read_progress(self, task_id: str, after: int, limit: int) -> Sequence[ProgressRow]:
        return await task_queries.read_progress(self._core, task_id, after, limit)

    async def sweep(self, limit: int) -> SweepReport:
        return await self._sweeping.sweep(limit)
