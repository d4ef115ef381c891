"""A small coordinator in this process for tests of the client: the task API over a dict, with faults on demand.

Its tasks end as soon as they are stored (the response is the request), unless `hold` is set.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio
from google.rpc import status_pb2

from weft.rpc.errors import WeftError
from weft.rpc.network.channel import server_options
from weft.v1 import coordinator_pb2 as pb
from weft.v1 import coordinator_pb2_grpc, task_pb2


class TaskApi(coordinator_pb2_grpc.CoordinatorServiceServicer):
    """Stores tasks by request id. The attributes below are what tests read and set."""

    def __init__(self) -> None:
        self.tasks: dict[str, task_pb2.Task] = {}
        self.by_request_id: dict[str, str] = {}
        # Tasks do not end before `release`.
        self.hold = asyncio.Event()
        self.hold.set()
        # Errors that unary calls answer with, one a call, before they work.
        self.unary_errors: list[WeftError] = []
        # Whether unary calls that were given none of them are never answered.
        self.silent = False
        # Errors that submissions of one bulk task answer with, by payload, one a submission.
        self.refusals: dict[bytes, list[WeftError]] = {}
        # How many messages a bulk stream survives, one number a stream, and where it breaks in the next.
        self.stream_lives: list[tuple[int, str]] = []
        # Likewise for WaitTasks streams: how many messages they send.
        self.wait_lives: list[int] = []
        # The events of WatchTask, one list a call. Each stream ends with UNAVAILABLE unless its task has ended.
        self.watch_scripts: list[list[pb.WatchTaskResponse]] = []
        # The received requests.
        self.streams = 0
        self.wait_calls: list[list[str]] = []
        self.watch_calls: list[int] = []
        self.submitted: list[str] = []
        self.message_sizes: list[int] = []
        self.ended_calls: asyncio.Queue[str] = asyncio.Queue()
        self.undelivered = 0
        self.most_undelivered = 0

    def store(self, request: pb.SubmitTaskRequest) -> tuple[task_pb2.Task, bool]:
        self.submitted.append(request.request_id)
        known = self.by_request_id.get(request.request_id)
        if known is not None:
            return self.tasks[known], True
        task = task_pb2.Task(
            id=f"t{len(self.tasks)}",
            method=request.method,
            state=task_pb2.TASK_STATE_SUCCEEDED,
            request_id=request.request_id,
            options=request.options,
            attempt=1,
            agent_id="a1",
            outcome=task_pb2.Outcome(response=request.payload),
        )
        self.tasks[task.id] = task
        self.by_request_id[request.request_id] = task.id
        return task, False

    # -- unary ------------------------------------------------------------------------------------------------------

    async def SubmitTask(self, request: pb.SubmitTaskRequest, context: Any) -> pb.SubmitTaskResponse:
        await self._maybe_fail(context)
        task, existed = self.store(request)
        return pb.SubmitTaskResponse(task=task, existed=existed)

    async def GetTask(self, request: pb.GetTaskRequest, context: Any) -> pb.GetTaskResponse:
        await self._maybe_fail(context)
        return pb.GetTaskResponse(task=self.tasks[request.task_id])

    async def ListTasks(self, request: pb.ListTasksRequest, context: Any) -> pb.ListTasksResponse:
        start = int(request.page_token or 0)
        found = list(self.tasks.values())[start : start + request.page_size]
        more = start + len(found) < len(self.tasks)
        return pb.ListTasksResponse(tasks=found, next_page_token=str(start + len(found)) if more else "")

    async def _maybe_fail(self, context: Any) -> None:
        if self.unary_errors:
            await abort(context, self.unary_errors.pop(0).status())
        if self.silent:
            await asyncio.Event().wait()

    # -- streams ----------------------------------------------------------------------------------------------------

    async def SubmitTasks(
        self, requests: AsyncIterator[pb.SubmitTasksRequest], context: Any
    ) -> AsyncIterator[pb.SubmitTasksResponse]:
        self.streams += 1
        lives, place = self.stream_lives.pop(0) if self.stream_lives else (1_000_000, "")
        deliver = False
        try:
            async for message in requests:
                deliver = deliver or message.deliver_results
                lives -= 1
                self.message_sizes.append(len(message.tasks))
                if lives < 0 and place == "before storing":
                    await abort(context)
                acks, ended = self._take(message.tasks)
                self.undelivered += len(ended)
                self.most_undelivered = max(self.most_undelivered, self.undelivered)
                if lives < 0 and place == "before the answer":
                    await abort(context)
                yield pb.SubmitTasksResponse(acks=acks)
                if lives < 0 and place == "before the results":
                    await abort(context)
                if deliver:
                    await self.hold.wait()
                    yield pb.SubmitTasksResponse(finished=ended)
                self.undelivered -= len(ended)
        finally:
            self.ended_calls.put_nowait("SubmitTasks")

    def _take(self, requests: Any) -> tuple[list[pb.SubmitAck], list[task_pb2.Task]]:
        acks, ended = [], []
        for request in requests:
            refusals = self.refusals.get(request.payload)
            if refusals:
                acks.append(pb.SubmitAck(error=refusals.pop(0).status()))
                continue
            task, existed = self.store(request)
            acks.append(pb.SubmitAck(task_id=task.id, existed=existed))
            ended.append(task)
        return acks, ended

    async def WaitTasks(
        self, request: pb.WaitTasksRequest, context: Any
    ) -> AsyncIterator[pb.WaitTasksResponse]:
        self.wait_calls.append(list(request.task_ids))
        lives = self.wait_lives.pop(0) if self.wait_lives else 1_000_000
        try:
            unknown = [task_id for task_id in request.task_ids if task_id not in self.tasks]
            if unknown:
                yield pb.WaitTasksResponse(not_found=unknown)
            if request.HasField("timeout"):
                try:
                    async with asyncio.timeout(request.timeout.ToTimedelta().total_seconds()):
                        await self.hold.wait()
                except TimeoutError:
                    return
            await self.hold.wait()
            for task_id in request.task_ids:
                if task_id in self.tasks:
                    if lives == 0:
                        await abort(context)
                    lives -= 1
                    yield pb.WaitTasksResponse(tasks=[self.tasks[task_id]])
        finally:
            self.ended_calls.put_nowait("WaitTasks")

    async def WatchTask(
        self, request: pb.WatchTaskRequest, context: Any
    ) -> AsyncIterator[pb.WatchTaskResponse]:
        self.watch_calls.append(request.after_sequence)
        for response in self.watch_scripts.pop(0):
            yield response
            if response.task.state >= task_pb2.TASK_STATE_SUCCEEDED:
                return
        await abort(context)

    # -- faults -----------------------------------------------------------------------------------------------------

    def break_streams(self, rng: random.Random, count: int, most_messages: int) -> None:
        """Let the next `count` bulk streams break at random."""
        places = ("before storing", "before the answer", "before the results")
        self.stream_lives = [(rng.randrange(most_messages), rng.choice(places)) for _ in range(count)]
        self.wait_lives = [rng.randrange(200) for _ in range(count)]


async def abort(context: Any, status: status_pb2.Status | None = None) -> None:
    """End a call; without a status as a lost connection does."""
    if status is None:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
    else:
        code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
        await context.abort(code, status.message, (("grpc-status-details-bin", status.SerializeToString()),))


class TaskApiServer:
    """Serves a `TaskApi` on a free port."""

    def __init__(self) -> None:
        self.api = TaskApi()
        self.target = ""

    async def __aenter__(self) -> Self:
        self._server = grpc.aio.server(options=server_options())
        coordinator_pb2_grpc.add_CoordinatorServiceServicer_to_server(self.api, self._server)
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """End at once, with all calls; harmless when it has ended."""
        await self._server.stop(None)
