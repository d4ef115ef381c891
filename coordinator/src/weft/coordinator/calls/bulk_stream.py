"""One bulk stream: submissions in, acknowledgements and ended tasks out, each batched, all bounded.

    reader ─► checked, stored (a few messages at a time) ─► acknowledgements, in order ─┐
                                                     ended tasks (deliver_results) ─────┴─► writer

The stream is read only while fewer than `max_undelivered` tasks wait for delivery, and at the rate of its caller. So a client that does not read stops its
own submissions, and after `stalled_stream_s` its stream.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

from weft.coordinator import codec
from weft.coordinator.caller_limits.submitter import Submitter
from weft.coordinator.calls.ended_tasks import EndedTasks
from weft.coordinator.calls.submission import SubmissionService, accepted
from weft.coordinator.calls.task_subscriptions import TaskSubscriptions
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.base import Store
from weft.coordinator.store.records import EnqueueResult, Submission, TaskRecord
from weft.rpc import refusals
from weft.rpc.calls.pacing import Pacer
from weft.rpc.errors import WeftError
from weft.rpc.identity.caller import ANYBODY
from weft.v1 import coordinator_pb2, task_pb2

MAX_TASKS = 4096
# Messages that are being stored while the next one is read, by number and total size.
PIPELINE = 8
PIPELINE_BYTES = 4 * 1024 * 1024

_Acks = list[coordinator_pb2.SubmitAck]
# Told of the tasks of a message and of the answer to each.
Told = Callable[[Sequence[coordinator_pb2.SubmitTaskRequest], Sequence[coordinator_pb2.SubmitAck]], None]


class BulkStream:
    """The server side of one `SubmitTasks` call. Large because reader and writer share one stream's bounds."""

    def __init__(
        self,
        submission_service: SubmissionService,
        store: Store,
        subscriptions: TaskSubscriptions,
        settings: CoordinatorSettings,
        traceparent: str = "",
        check_method: Callable[[str], None] = ANYBODY.check_method,
        submitter: Submitter | None = None,
        told: Told | None = None,
    ) -> None:
        self._check_method = check_method
        self._submitter = submitter
        self._told = told
        self._submission_service = submission_service
        self._store = store
        self._subscriptions = subscriptions
        self._max_undelivered = settings.max_undelivered
        # The span of the call; empty: none.
        self._traceparent = traceparent
        self._deliver = False
        self._storing: deque[asyncio.Task[_Acks]] = deque()
        self._storing_bytes = 0
        self._awaited: dict[str, None] = {}
        self._finished = EndedTasks(store)
        self._pacer = Pacer()
        self._reading = True
        self._failure: BaseException | None = None
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()

    async def run(
        self, requests: AsyncIterator[coordinator_pb2.SubmitTasksRequest]
    ) -> AsyncIterator[coordinator_pb2.SubmitTasksResponse]:
        """The responses of the stream."""
        reader = asyncio.get_running_loop().create_task(self._read(requests))
        self._subscriptions.on_close(self._filled.set)
        try:
            while True:
                response = await self._next()
                if response is None:
                    return
                yield response
        finally:
            self._subscriptions.off_close(self._filled.set)
            reader.cancel()
            for task in self._storing:
                task.cancel()
            await asyncio.gather(reader, *self._storing, return_exceptions=True)
            for task_id in self._awaited:
                self._subscriptions.off_end(task_id, self._ended)

    # -- in -----------------------------------------------------------------------------------------------------

    async def _read(self, requests: AsyncIterator[coordinator_pb2.SubmitTasksRequest]) -> None:
        loop = asyncio.get_running_loop()
        first = True
        try:
            async for message in requests:
                if first:
                    self._deliver = message.deliver_results
                    first = False
                if len(message.tasks) > MAX_TASKS:
                    raise refusals.invalid_field(
                        f"a message holds at most {MAX_TASKS} tasks; this one has {len(message.tasks)}",
                        field="tasks",
                    )
                if message.tasks:
                    if self._submitter is not None:
                        await self._submitter.pace(len(message.tasks))
                    size_bytes = message.ByteSize()
                    self._storing_bytes += size_bytes
                    self._storing.append(loop.create_task(self._take(message.tasks)))
                    self._storing[-1].add_done_callback(partial(self._stored, size_bytes))
                del message
                while self._full():
                    self._drained.clear()
                    await self._drained.wait()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # the writer raises it to the caller's guard
            self._failure = error
        finally:
            self._reading = False
            self._filled.set()

    def _full(self) -> bool:
        return (
            len(self._storing) >= PIPELINE
            or self._storing_bytes > PIPELINE_BYTES
            or self._undelivered() >= self._max_undelivered
        )

    def _stored(self, size_bytes: int, _: object) -> None:
        self._storing_bytes -= size_bytes
        self._drained.set()
        self._filled.set()

    async def _take(self, requests: Sequence[coordinator_pb2.SubmitTaskRequest]) -> _Acks:
        answers = await self._answers(requests)
        if self._told is not None:
            self._told(requests, answers)
        return answers

    async def _answers(self, requests: Sequence[coordinator_pb2.SubmitTaskRequest]) -> _Acks:
        """Store one message's tasks together; each task has its own acknowledgement."""
        acks: list[coordinator_pb2.SubmitAck | None] = []
        submissions: list[Submission] = []
        for request in requests:
            try:
                self._check_method(request.method)
                submissions.append(self._submission_service.check(request))
                acks.append(None)
            except WeftError as error:
                acks.append(coordinator_pb2.SubmitAck(error=error.status()))
        if self._deliver:
            for submission in submissions:
                self._await(submission.task_id)
        try:
            results = await self._submission_service.store(
                submissions, traceparent=self._traceparent, submitter=self._submitter
            )
        except WeftError as error:
            status = error.status()
            for submission in submissions:
                self._forget(submission.task_id)
            return [ack or coordinator_pb2.SubmitAck(error=status) for ack in acks]
        stored = iter(zip(submissions, results, strict=True))
        answers = [self._answer(*next(stored)) if ack is None else ack for ack in acks]
        if self._deliver:
            await self._attach([answer.task_id for answer in answers if answer.existed])
        return answers

    def _answer(self, submission: Submission, result: EnqueueResult | WeftError) -> coordinator_pb2.SubmitAck:
        try:
            enqueued = accepted(result, submission.request_id)
        except WeftError as error:
            self._forget(submission.task_id)
            return coordinator_pb2.SubmitAck(error=error.status())
        if enqueued.existed:
            self._forget(submission.task_id)
        return coordinator_pb2.SubmitAck(
            task_id=enqueued.task_id, existed=enqueued.existed, cached=enqueued.cached
        )

    async def _attach(self, task_ids: Sequence[str]) -> None:
        """Deliver the tasks of earlier submissions too; they may have ended already."""
        if not task_ids:
            return
        for task_id in task_ids:
            self._await(task_id)
        for record in await self._store.get(task_ids, payloads=False):
            if record is not None and record.state.terminal and record.task_id in self._awaited:
                self._subscriptions.off_end(record.task_id, self._ended)
                self._ended(record)

    def _await(self, task_id: str) -> None:
        if task_id not in self._awaited:
            self._awaited[task_id] = None
            self._subscriptions.on_end(task_id, self._ended)

    def _forget(self, task_id: str) -> None:
        if task_id in self._awaited:
            del self._awaited[task_id]
            self._subscriptions.off_end(task_id, self._ended)

    def _ended(self, record: TaskRecord) -> None:
        del self._awaited[record.task_id]
        self._finished.add(record)
        self._filled.set()

    def _undelivered(self) -> int:
        return len(self._awaited) + len(self._finished)

    # -- out ----------------------------------------------------------------------------------------------------

    async def _next(self) -> coordinator_pb2.SubmitTasksResponse | None:
        """The next response, once there is one; None: the stream is complete."""
        loop = asyncio.get_running_loop()
        while True:
            if self._stored_first():
                # One response a message. Ended tasks join it if no acknowledgement waits, which might be their own.
                response = coordinator_pb2.SubmitTasksResponse(acks=self._storing.popleft().result())
                if self._finished and not self._stored_first():
                    response.finished.extend(await self._take_finished())
                self._drained.set()
                self._pacer.sent(loop.time())
                return response
            if self._finished:
                if (wait_s := self._pacer.wait_s(self._undelivered(), loop.time())) > 0.0:
                    await self._linger(wait_s)
                    continue
                response = coordinator_pb2.SubmitTasksResponse(finished=await self._take_finished())
                self._drained.set()
                self._pacer.sent(loop.time())
                return response
            if not self._reading and not self._storing:
                if self._failure is not None:
                    raise self._failure
                if not self._awaited:
                    return None
            if self._subscriptions.closed is not None and not self._storing:
                raise self._subscriptions.closed
            self._filled.clear()
            await self._filled.wait()

    def _stored_first(self) -> bool:
        """Whether the oldest message's tasks are stored but not acknowledged."""
        return bool(self._storing) and self._storing[0].done()

    async def _take_finished(self) -> list[task_pb2.Task]:
        return [codec.finished_task(record) for record in await self._finished.take()]

    async def _linger(self, wait_s: float) -> None:
        """Wait for more tasks to end, or for an acknowledgement: that one is not delayed, since it is a message of its own."""
        if self._storing:
            await asyncio.wait([self._storing[0]], timeout=wait_s)
        else:
            await asyncio.sleep(wait_s)
