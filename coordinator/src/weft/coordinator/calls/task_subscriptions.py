"""The subscribers of tasks at this coordinator, in memory: some wait for a task's end, followers get each change.

The store asks `wants` before it makes a record, and calls `changed` and `progressed`. A caller subscribes
before its task is stored (it knows the id), so it misses no end. A later subscriber subscribes first and then reads.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from weft.coordinator.store.records import ProgressRow, TaskRecord
from weft.rpc import refusals
from weft.rpc.errors import WeftError

EndCallback = Callable[[TaskRecord], None]

# Progress that is kept for a follower; past either bound the follower reads from the store.
FOLLOWER_ROWS = 256
FOLLOWER_BYTES = 1024 * 1024
# The size of a row beside its payload.
_ROW_BYTES = 256


class Follower:
    """One follower of one task: the newest unseen record, and the progress since it last looked."""

    def __init__(self, task_id: str, most_unread_bytes: int = 0) -> None:
        self.task_id = task_id
        # Unread progress from which on the task's handler waits; 0: it never waits for this follower.
        self._most_unread_bytes = most_unread_bytes
        self._unread: deque[tuple[int, int]] = deque()
        self._unread_bytes = 0
        self._read_to = 0
        self._on_read: list[Callable[[], None]] = []
        self.record: TaskRecord | None = None
        self.rows: deque[ProgressRow] = deque()
        self._rows_bytes = 0
        self.error: WeftError | None = None
        self._event = asyncio.Event()

    def notify(self) -> None:
        self._event.set()

    def add(self, rows: Sequence[ProgressRow]) -> None:
        """Keep progress for the follower; the oldest goes if there is too much."""
        for row in rows:
            self.rows.append(row)
            self._rows_bytes += len(row.payload)
            if self._most_unread_bytes:
                self._tell(row)
        while len(self.rows) > FOLLOWER_ROWS or (self._rows_bytes > FOLLOWER_BYTES and len(self.rows) > 1):
            self.take()
        self.notify()

    def take(self) -> ProgressRow:
        """Take the oldest row; there must be one."""
        row = self.rows.popleft()
        self._rows_bytes -= len(row.payload)
        return row

    # -- unread progress ----------------------------------------------------------------------------------------

    @property
    def behind(self) -> bool:
        """Whether there is so much unread progress that the task's handler waits."""
        return self._unread_bytes > self._most_unread_bytes > 0

    def on_read(self, callback: Callable[[], None]) -> None:
        """Call `callback` once the follower has caught up."""
        self._on_read.append(callback)

    def read(self, row: ProgressRow) -> None:
        """The follower has passed a row on."""
        self._read_to = row.sequence
        while self._unread and self._unread[0][0] <= row.sequence:
            self._unread_bytes -= self._unread.popleft()[1]
        if self._on_read and self._unread_bytes * 2 <= self._most_unread_bytes:
            self.let_go()

    def let_go(self) -> None:
        """Let a handler that waits for this follower go on."""
        callbacks, self._on_read = self._on_read, []
        for callback in callbacks:
            callback()

    def _tell(self, row: ProgressRow) -> None:
        # A row may come twice, and may have been read from the store before.
        newest = self._unread[-1][0] if self._unread else self._read_to
        if row.sequence > newest:
            size_bytes = len(row.payload) + _ROW_BYTES
            self._unread.append((row.sequence, size_bytes))
            self._unread_bytes += size_bytes

    async def wait(self) -> None:
        """Wait until something is new.

        Raises:
            WeftError: the coordinator is stopping.
        """
        await self._event.wait()
        self._event.clear()
        if self.error is not None:
            raise self.error


class TaskSubscriptions:
    """All subscribers. Large because ends, followers and closing share their bounds and their error."""

    def __init__(self, max_followers: int) -> None:
        self._max_followers = max_followers
        self._ends: dict[str, list[EndCallback]] = {}
        self._followers: dict[str, list[Follower]] = {}
        self.follower_count = 0
        # Followers refused so far.
        self.refused = 0
        self._futures: set[asyncio.Future[TaskRecord]] = set()
        self._closing: set[Callable[[], None]] = set()
        self._closed: WeftError | None = None

    @property
    def closed(self) -> WeftError | None:
        """The error for all subscribers; None: open."""
        return self._closed

    def on_close(self, callback: Callable[[], None]) -> None:
        """Call `callback` on `close`: for callers that wait for many tasks, and read `closed` themselves."""
        self._closing.add(callback)

    def off_close(self, callback: Callable[[], None]) -> None:
        self._closing.discard(callback)

    def has_subscriber(self, task_id: str, *, ended: bool) -> bool:
        """Whether the task has a follower, or (`ended`) a caller waits for its end."""
        return task_id in self._followers or (ended and task_id in self._ends)

    def subscribed(self) -> list[str]:
        """The tasks with subscribers."""
        return [*self._ends, *(task_id for task_id in self._followers if task_id not in self._ends)]

    def attached(self, task_id: str) -> int:
        """The number of a task's subscribers."""
        return len(self._ends.get(task_id, ())) + len(self._followers.get(task_id, ()))

    def changed(self, record: TaskRecord) -> None:
        task_id = record.task_id
        for follower in self._followers.get(task_id, ()):
            follower.record = record
            follower.notify()
        if record.state.terminal:
            for callback in self._ends.pop(task_id, ()):
                callback(record)

    def progressed(self, task_id: str, rows: Sequence[ProgressRow]) -> None:
        for follower in self._followers.get(task_id, ()):
            follower.add(rows)

    # -- waiting for an end ---------------------------------------------------------------------------------

    def on_end(self, task_id: str, callback: EndCallback) -> None:
        """Call `callback` once with the record of the task's end."""
        self._ends.setdefault(task_id, []).append(callback)

    def off_end(self, task_id: str, callback: EndCallback) -> None:
        """Remove a callback; harmless if it was called."""
        callbacks = self._ends.get(task_id)
        if callbacks is not None and callback in callbacks:
            callbacks.remove(callback)
            if not callbacks:
                del self._ends[task_id]

    def end_future(self, task_id: str) -> asyncio.Future[TaskRecord]:
        """A future of the task's end; cancel it to give up.

        Raises:
            WeftError: the coordinator is stopping.
        """
        if self._closed is not None:
            raise self._closed
        future: asyncio.Future[TaskRecord] = asyncio.get_running_loop().create_future()

        def ended(record: TaskRecord) -> None:
            if not future.done():
                future.set_result(record)

        self.on_end(task_id, ended)
        self._futures.add(future)

        def done(_: object) -> None:
            self._futures.discard(future)
            self.off_end(task_id, ended)

        future.add_done_callback(done)
        return future

    # -- following --------------------------------------------------------------------------------------------

    def follow(self, task_id: str, *, most_unread_bytes: int = 0) -> Follower:
        """Start to follow a task; end with `unfollow`.

        Args:
            most_unread_bytes: unread progress from which on the task's handler waits; 0: it never waits for this follower.

        Raises:
            ResourceExhausted: too many followers.
            WeftError: the coordinator is stopping.
        """
        if self._closed is not None:
            raise self._closed
        if self.follower_count >= self._max_followers:
            self.refused += 1
            raise refusals.overloaded(
                f"{self._max_followers} streams follow tasks already; try again later", retry_after_s=5.0
            )
        follower = Follower(task_id, most_unread_bytes)
        self._followers.setdefault(task_id, []).append(follower)
        self.follower_count += 1
        return follower

    def unfollow(self, follower: Follower) -> None:
        followers = self._followers.get(follower.task_id, [])
        if follower in followers:
            followers.remove(follower)
            follower.let_go()
            self.follower_count -= 1
            if not followers:
                del self._followers[follower.task_id]

    def behind(self, task_id: str) -> bool:
        """Whether a caller of the task has so much unread progress that the handler waits."""
        return any(follower.behind for follower in self._followers.get(task_id, ()))

    def on_read(self, task_id: str, callback: Callable[[], None]) -> None:
        """Call `callback` once the first follower that is behind has caught up; at once if none is."""
        for follower in self._followers.get(task_id, ()):
            if follower.behind:
                follower.on_read(callback)
                return
        callback()

    def close(self, error: WeftError) -> None:
        """End all subscriptions with `error`, also later ones."""
        self._closed = error
        for future in list(self._futures):
            if not future.done():
                future.set_exception(error)
        for followers in self._followers.values():
            for follower in followers:
                follower.error = error
                follower.notify()
        for callback in self._closing:
            callback()
