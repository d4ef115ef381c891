"""Submits many tasks over one stream: batched, pipelined, bounded, and opened again when it breaks.

    source ──take──> batch ──write──> sent ──ack──> stored ──finished──> out ──> consumer
                       ^               │              │                   ^
       broken stream:  └── same ids ───┘              └──── WaitTasks ────┘

Every task has a request id, so that a task that is sent twice is stored once. `window` bounds the number of tasks
between source and consumer.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any, Generic, TypeVar

import grpc.aio

from weft.client import generated_ids
from weft.client.api import SUBMIT_TASKS, Api, Patience
from weft.client.bulk_progress import BulkListener
from weft.client.bulk_source import BulkItem, BulkSource
from weft.client.task_snapshot import Task
from weft.client.task_waiting import ended
from weft.rpc import refusals
from weft.rpc.calls.pacing import Pacer
from weft.rpc.errors import RetryLater, WeftError, from_status
from weft.rpc.network.channel import BATCH_BYTES, MAX_MESSAGE_BYTES
from weft.v1 import coordinator_pb2, task_pb2

Req = TypeVar("Req")

BATCH_ITEMS = 256
DEFAULT_WINDOW = 8192
# The coordinator stops reading while this many results are undelivered.
MOST_WINDOW = 65_536
_MOST_PAYLOAD_BYTES = MAX_MESSAGE_BYTES - BATCH_BYTES


class Bulk(Generic[Req]):
    """One run over a source. `entries()` gives each item once: with `results` when its task has ended, else when it is stored."""

    def __init__(
        self,
        api: Api,
        source: BulkSource[Req],
        *,
        options: task_pb2.TaskOptions | None,
        results: bool,
        window: int,
        patience_s: float,
        listener: BulkListener | None = None,
    ) -> None:
        if not 1 <= window <= MOST_WINDOW:
            raise ValueError(f"window is {window}; it must be between 1 and {MOST_WINDOW}")
        self._api = api
        self._source = source
        self._options = options
        self._results = results
        self._listener = listener
        self._window = window
        self._patience_s = patience_s
        self._patience = Patience(api, patience_s)
        self._repeated_s = generated_ids.repeated_s(patience_s)

        # In the order of the arrows above.
        self._retries: deque[BulkItem] = deque()
        self._postponed = 0
        self._refused_since: float | None = None
        self._sent: deque[BulkItem] = deque()
        self._stored: dict[str, list[BulkItem]] = {}
        # Acknowledged by one response, as tasks that existed already.
        self._repeated: dict[str, list[BulkItem]] = {}
        # Stored over an earlier stream, which broke: `WaitTasks` waits for them.
        self._orphans: dict[str, list[BulkItem]] = {}
        # Results that came before the acknowledgement.
        self._early: dict[str, Task] = {}
        self._out: deque[BulkItem] = deque()
        self._inside = 0
        # Set when the window was full: it is filled again when there is room for a batch, not item by item.
        self._full = False
        self._refill_below = window - min(BATCH_ITEMS, max(1, window // 4))

        self._work = asyncio.Event()
        self._news = asyncio.Event()
        self._collectors: set[asyncio.Task[None]] = set()

    async def entries(self) -> AsyncGenerator[BulkItem]:
        """Each item of the source.

        Raises:
            Unreachable: the coordinator was away for longer than `patience_s`.
            Exception: the source's own error, after the items before it.
        """
        runner = asyncio.create_task(self._run())
        runner.add_done_callback(lambda _: self._news.set())
        out = self._out
        try:
            while True:
                while out:
                    entry = out.popleft()
                    self._inside -= 1
                    if self._inside == self._refill_below:
                        self._work.set()
                    if self._api.coder is not None and entry.task is not None:
                        entry.task = await self._api.task(entry.task.proto, self._source.method.name)
                    yield entry
                self._work.set()
                if self._listener is not None:
                    self._listener.tell(self._source)
                if runner.done():
                    runner.result()
                    if not out:
                        return
                    continue
                self._news.clear()
                if not out:
                    await self._news.wait()
        finally:
            await _cancelled(runner, *self._collectors)

    async def _run(self) -> None:
        """Open streams until every item that was taken has come out."""
        feeder = asyncio.create_task(self._source.feed(self._work.set))
        try:
            while not await self._stream():
                self._mend()
            await asyncio.gather(*self._collectors)
            if self._source.error is not None:
                raise self._source.error
        finally:
            await _cancelled(feeder)

    # -- one stream -------------------------------------------------------------------------------------------------

    async def _stream(self) -> bool:
        """Run one stream to its end. Returns False if it broke: the caller should open another."""
        call = self._api.open_bidi(SUBMIT_TASKS)
        writer = asyncio.create_task(self._write(call))
        try:
            while True:
                response = await call.read()
                if not isinstance(response, coordinator_pb2.SubmitTasksResponse):  # EOF
                    break
                self._patience.renew()
                self._read(response)
                if self._listener is not None:
                    self._listener.tell(self._source)
            if not writer.done() or self._sent or self._stored:
                # The coordinator closed it before everything was answered.
                await self._patience.wait_after(
                    refusals.unreachable("the coordinator ended the stream early")
                )
                return False
            writer.result()
            return True
        except asyncio.CancelledError:
            self._api.home.check_cut_off()
            raise
        except grpc.aio.AioRpcError as error:
            await self._patience.wait(error)
            return False
        finally:
            await _cancelled(writer)
            call.cancel()

    def _mend(self) -> None:
        """After a loss: send unacknowledged items again; wait for acknowledged ones by `WaitTasks`."""
        least_s = generated_ids.clock_s() - self._repeated_s
        for entry in reversed(self._sent):
            if entry.generated and entry.sent_at_s < least_s:
                self._emit(entry, generated_ids.too_late())
            else:
                self._retries.appendleft(entry)
        self._sent.clear()
        self._early.clear()
        if self._stored:
            self._collect(self._stored)
            self._stored = {}

    def _collect(self, entries: Mapping[str, list[BulkItem]]) -> None:
        """Wait for these by `WaitTasks`."""
        for task_id, same in entries.items():
            self._orphans.setdefault(task_id, []).extend(same)
        collector = asyncio.create_task(self._wait_for(tuple(entries)))
        self._collectors.add(collector)

    async def _wait_for(self, task_ids: tuple[str, ...]) -> None:
        async for some in ended(self._api, task_ids, timeout_s=None, patience_s=self._patience_s):
            for task in some.tasks:
                self._finish(task)
            for task_id in some.unknown:
                for entry in self._orphans.pop(task_id, ()):
                    self._emit(entry, refusals.task_not_found(task_id))

    # -- writing ----------------------------------------------------------------------------------------------------

    async def _write(self, call: grpc.aio.StreamStreamCall[Any, Any]) -> None:
        first = True
        pacer = Pacer()
        try:
            while (batch := await self._batch(pacer)) is not None:
                batch.deliver_results = first and self._results
                first = False
                await call.write(batch)
            await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # The call has ended; the reader gets the reason.
            return

    async def _batch(self, pacer: Pacer) -> coordinator_pb2.SubmitTasksRequest | None:
        """The items to be sent, up to a batch. None if no more will come."""
        while True:
            self._work.clear()
            under_way = len(self._sent) + len(self._stored)
            if (wait_s := pacer.wait_s(under_way, time.monotonic())) > 0.0:
                await asyncio.sleep(wait_s)
            batch = coordinator_pb2.SubmitTasksRequest()
            size_bytes, now_s = 0, generated_ids.clock_s()
            tasks = batch.tasks
            while len(tasks) < BATCH_ITEMS and size_bytes < BATCH_BYTES:
                entry = self._retries.popleft() if self._retries else self._take()
                if entry is None:
                    break
                size_bytes += len(entry.payload)
                task = tasks.add(
                    method=self._source.method.name,
                    payload=entry.payload,
                    request_id=entry.request_id,
                    options=self._options,
                )
                if entry.generated:
                    generated_ids.keep(task, self._repeated_s)
                entry.sent_at_s = entry.sent_at_s or now_s
                self._sent.append(entry)
            if tasks:
                if len(tasks) < BATCH_ITEMS and size_bytes < BATCH_BYTES:
                    pacer.sent(time.monotonic())
                return batch
            if self._source.at_end and not (self._sent or self._retries or self._postponed):
                return None
            await self._work.wait()

    def _take(self) -> BulkItem | None:
        """The next item of the source. None: none is ready, or the window is full."""
        if self._full and self._inside > self._refill_below:
            return None
        self._full = False
        while self._inside < self._window:
            entry = self._source.take()
            if entry is None:
                return None
            self._inside += 1
            if len(entry.payload) <= _MOST_PAYLOAD_BYTES:
                return entry
            self._emit(entry, _too_large(len(entry.payload)))
        self._full = True
        return None

    # -- reading ----------------------------------------------------------------------------------------------------

    def _read(self, response: coordinator_pb2.SubmitTasksResponse) -> None:
        for ack in response.acks:
            entry = self._sent.popleft()
            if ack.task_id:
                entry.cached = ack.cached
                self._acknowledge(entry, ack.task_id, existed=ack.existed)
            else:
                self._refuse(entry, from_status(ack.error))
        for task in response.finished:
            self._finish(Task(task))
        if self._repeated:
            self._collect(self._repeated)
            self._repeated = {}
        if not self._sent:
            self._early.clear()
            # The writer may be waiting for the last acknowledgement.
            self._work.set()

    def _acknowledge(self, entry: BulkItem, task_id: str, *, existed: bool) -> None:
        entry.task_id = task_id
        entry.existed = existed
        if self._listener is not None:
            self._listener.stored(entry)
        entry.payload = b""
        self._refused_since = None
        if not self._results:
            self._emit(entry)
        elif task_id in self._early:
            entry.task = self._early.pop(task_id)
            self._emit(entry)
        elif existed:
            # If an id is used twice in a stream, by the caller or by the method's idempotency key, the stream may deliver the
            # task once, before the second acknowledgement.
            self._repeated.setdefault(task_id, []).append(entry)
        else:
            self._stored.setdefault(task_id, []).append(entry)

    def _finish(self, task: Task) -> None:
        entries = [*self._stored.pop(task.id, ()), *self._orphans.pop(task.id, ())]
        if not entries and self._sent:
            self._early[task.id] = task
        for entry in entries:
            entry.task = task
            self._emit(entry)

    def _refuse(self, entry: BulkItem, error: WeftError) -> None:
        """Retry an item that failed with `RetryLater`, for `patience_s`. Any other item comes out as refused."""
        now = time.monotonic()
        if isinstance(error, RetryLater):
            self._refused_since = self._refused_since or now
            if now - self._refused_since < self._patience_s:
                self._postponed += 1
                asyncio.get_running_loop().call_later(error.retry_after_s or 0.1, self._retry, entry)
                return
        self._emit(entry, error)

    def _retry(self, entry: BulkItem) -> None:
        self._postponed -= 1
        self._retries.append(entry)
        self._work.set()

    def _emit(self, entry: BulkItem, error: WeftError | None = None) -> None:
        entry.error = error
        entry.payload = b""
        if self._listener is not None:
            self._listener.ended(entry, error)
        self._out.append(entry)
        self._news.set()


def _too_large(size_bytes: int) -> WeftError:
    return refusals.payload_too_large(
        f"the request has {size_bytes} bytes; at most {_MOST_PAYLOAD_BYTES} fit into a message",
        size_bytes=size_bytes,
        limit_bytes=_MOST_PAYLOAD_BYTES,
    )


async def _cancelled(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they are over."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError, Exception):
            await task
