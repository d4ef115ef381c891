"""The journal: makes changes durable in groups, in order, by one writer at a time.

Changes during a write form the next group. With `process`, a small group is written on the event loop. Larger groups, and
all groups with `full`, which wait for the disk, are written by the writer's thread. Measured on two cores: enqueue, claim and
complete of a lone task take 0.11 ms inline, and 0.19 ms by the thread, whose wake-up costs more than the write. Four callers
with batches of 64 get 40 to 46 thousand tasks a second with groups of up to 128 rows inline, 29 to 44 with none. call_soon
closes a group, after everything that is ready to run has added its changes.

If a write fails (disk full, I/O error), the new tasks of the group are refused. All other changes are written again with
backoff, until that succeeds; meanwhile the store takes no new tasks.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Mapping
from typing import Any, Protocol

from weft.coordinator.store.embedded.checkpoint import Checkpointer
from weft.coordinator.store.embedded.commit_group import CommitGroup, Job
from weft.coordinator.store.embedded.rows import RequestIdentity
from weft.coordinator.store.embedded.unfinished_task import UnfinishedTask
from weft.coordinator.store.linger import LingerTimer
from weft.coordinator.store.records import ProgressRow
from weft.coordinator.store.state_store import StoredState
from weft.coordinator.store.task_figures import StoreFigures
from weft.rpc import refusals
from weft.rpc.errors import Unavailable
from weft.rpc.process.logs import get_logger

log = get_logger(__name__)

# Largest group that is written on the event loop: 50 to 500 µs.
_INLINE_ROWS = 128
_INLINE_BYTES = 256 * 1024
_FIRST_RETRY_S = 0.05
_LONGEST_RETRY_S = 1.0


class JournalEvents(Protocol):
    """The events that the journal tells its store, on the event loop."""

    def committed(self, group: CommitGroup) -> None:
        """The group is durable; its waiting callers have not run yet."""

    def refused(self, tasks: list[UnfinishedTask], states: Mapping[str, StoredState]) -> None:
        """These tasks could not be stored. `states`: all that is still to be written of states."""

    def recovered(self) -> None:
        """Writing works again."""


class Journal:
    """Collects changes and writes them. Large because it has a method for each kind of change, and one for each way to wait.

    Args:
        connection: the only one that writes; used by one thread at a time.
        sync: whether a commit waits for the disk.
        patience_s: how long callers wait while writes fail, before they get Unavailable. Their changes are written later
            all the same.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        checkpointer: Checkpointer,
        events: JournalEvents,
        figures: StoreFigures,
        *,
        sync: bool,
        patience_s: float = 10.0,
    ) -> None:
        self._connection = connection
        self._checkpointer = checkpointer
        self._events = events
        self._figures = figures
        self._sync = sync
        self._patience_s = patience_s
        self._loop = asyncio.get_running_loop()
        self._open = CommitGroup()
        self._scheduled = False
        self._linger = LingerTimer(self._flush_lingering)
        self._writing = False
        self._retry_s = 0.0
        self._closed = False
        self.writable = True
        self._jobs: queue.SimpleQueue[CommitGroup | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="weft-store-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    # -- changes ------------------------------------------------------------------------------------------------

    def add_task(
        self, task: UnfinishedTask, identity: RequestIdentity | None, *, deferred: bool = False
    ) -> None:
        """Add a new task; `identity` of its request, if it has a request id. `deferred`: no caller waits until it is
        stored."""
        self._group(deferred=deferred).add_task(task, identity)

    def add_live(self, task: UnfinishedTask) -> None:
        self._group().add_live(task)

    def add_retry(self, task: UnfinishedTask) -> None:
        """As `add_live`, for a task that waits for another attempt."""
        self._group().add_retry(task)

    def add_end(self, task: UnfinishedTask) -> None:
        self._group().add_end(task)

    def add_reopened(self, task: UnfinishedTask) -> None:
        self._group().add_reopened(task)

    def add_progress(self, task: UnfinishedTask, row: ProgressRow, index: int) -> None:
        self._group().add_progress(task, row, index)

    def add_state(self, state: StoredState) -> None:
        self._group().add_state(state)

    def add_statement(self, text: str, *values: Any) -> None:
        self._group().add_statement(text, values)

    # -- waiting ------------------------------------------------------------------------------------------------

    async def stored(self) -> None:
        """Wait until all changes so far are durable.

        Raises:
            Unavailable: a new task among them was refused.
        """
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._group().submitters.append(waiter)
        await waiter

    def written(self) -> asyncio.Future[None]:
        """As `stored`, as a future, and without closing the group earlier."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._open.submitters.append(waiter)
        return waiter

    def settled(self) -> asyncio.Future[None]:
        """Done when all changes so far are durable, or new tasks among them refused.

        Raises (when awaited):
            Unavailable: writes have failed for too long. The changes are written later.
        """
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._group().waiters.append((waiter, self._loop.time()))
        return waiter

    async def run(self, job: Job) -> Any:
        """Run a job on the writer's connection, in a transaction.

        Raises:
            Unavailable: the write failed. It is not retried.
        """
        result: asyncio.Future[Any] = self._loop.create_future()
        self._group().jobs.append((job, result))
        return await result

    def check_writable(self) -> None:
        """Raise Unavailable while writes fail."""
        if not self.writable:
            raise self._unavailable()

    async def close(self, timeout_s: float) -> bool:
        """Write the open group and stop. False: a write failed."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.settled()
            clean = True
        except (TimeoutError, Unavailable):
            clean = False
        self._closed = True
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join, timeout_s)
        return clean

    # -- writing ------------------------------------------------------------------------------------------------

    def _group(self, *, deferred: bool = False) -> CommitGroup:
        if not self._scheduled:
            if not deferred:
                self._scheduled = True
                self._loop.call_soon(self._flush)
            else:
                self._linger.start()
        return self._open

    def _flush_lingering(self, now_s: float) -> None:  # noqa: ARG002  # everything is written
        self._flush()

    def _flush(self) -> None:
        self._scheduled = False
        if self._writing or not self.writable:
            return
        self._write(self._open)

    def _write(self, group: CommitGroup) -> None:
        self._open = CommitGroup()
        self._linger.cancel()
        if group.empty:
            self._done(group, [], None)
        elif self._inline(group):
            try:
                results = self._commit(group)
            except Exception as error:
                self._done(group, [], error)
            else:
                self._done(group, results, None)
        else:
            self._writing = True
            self._jobs.put(group)

    def _commit(self, group: CommitGroup) -> list[Any]:
        began_s = time.perf_counter()
        results = group.write(self._connection)
        self._figures.wrote(time.perf_counter() - began_s, group.rows)
        return results

    def _inline(self, group: CommitGroup) -> bool:
        return (
            not self._sync
            and self.writable
            and group.rows <= _INLINE_ROWS
            and group.size_bytes <= _INLINE_BYTES
            and not group.jobs
            and not self._checkpointer.next_commit_waits
        )

    def _run(self) -> None:
        """The writer's thread."""
        while (group := self._jobs.get()) is not None:
            results: list[Any] = []
            error: Exception | None = None
            try:
                self._checkpointer.before_commit(self._connection)
                results = self._commit(group)
            except Exception as caught:
                error = caught
            try:
                self._loop.call_soon_threadsafe(self._done, group, results, error)
            except RuntimeError:
                # The loop is closed: no caller waits any more.
                return

    def _done(self, group: CommitGroup, results: list[Any], error: Exception | None) -> None:
        self._writing = False
        if error is not None:
            self._failed(group, error)
            return
        self._checkpointer.wrote(group.rows, group.size_bytes)
        # First, because callers may wait for these ends.
        self._events.committed(group)
        for waiter in group.submitters:
            if not waiter.done():
                waiter.set_result(None)
        for waiter, _ in group.waiters:
            if not waiter.done():
                waiter.set_result(None)
        for (_, future), result in zip(group.jobs, results, strict=True):
            if not future.done():
                future.set_result(result)
        if not self.writable:
            log.info("store.writable_again")
            self.writable = True
            self._retry_s = 0.0
            self._events.recovered()
        if not self._scheduled and not self._writing and not _idle(self._open):
            self._write(self._open)

    def _failed(self, group: CommitGroup, error: Exception) -> None:
        if self.writable:
            log.error("store.not_writable", error=str(error))
        self.writable = False
        later = self._open
        self._open, refused = group.without_tasks(later)
        self._events.refused(refused, self._open.states)
        for failed in (group, later):
            for waiter in failed.submitters:
                _fail(waiter, self._unavailable())
            for _, future in failed.jobs:
                _fail(future, self._unavailable())
        # Callers that have waited too long get an error.
        too_long = self._loop.time() - self._patience_s
        waiting = []
        for waiter, since in self._open.waiters:
            if since < too_long:
                _fail(waiter, self._unavailable())
            else:
                waiting.append((waiter, since))
        self._open.waiters = waiting
        self._retry_s = min(_LONGEST_RETRY_S, self._retry_s * 2 or _FIRST_RETRY_S)
        self._loop.call_later(self._retry_s, self._retry)

    def _retry(self) -> None:
        if self._closed:
            return
        if self._open.empty:
            # The group is empty: write something to find out whether writes work.
            self._open.add_statement(
                "INSERT INTO meta VALUES ('probe', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1", ()
            )
        self._write(self._open)

    def _unavailable(self) -> Unavailable:
        return refusals.store_unavailable(
            "the store cannot be written at the moment", retry_after_s=max(self._retry_s, _FIRST_RETRY_S) * 2
        )


def _idle(group: CommitGroup) -> bool:
    return group.empty and not group.waiters and not group.submitters


def _fail(waiter: asyncio.Future[Any], error: Exception) -> None:
    if not waiter.done():
        waiter.set_exception(error)
