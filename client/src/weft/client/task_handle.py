"""The caller's handle of a submitted task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Generic, TypeVar

from weft.client.methods import Method
from weft.client.task_log import LogLine, MissingLog
from weft.client.task_snapshot import Progress, Task, TaskState
from weft.client.tasks_by_id import TasksById
from weft.rpc import refusals
from weft.rpc.calls import call_context
from weft.rpc.errors import WeftError
from weft.rpc.payloads.payload_options import CODED_PREFIX
from weft.rpc.task_policy.option_checks import STEP_ID

Resp = TypeVar("Resp")


class TaskHandle(Generic[Resp]):
    """One task. The task outlives this process: `mesh.tasks.handle(method, id)` makes a new handle for it."""

    __slots__ = ("_method", "_refusal", "_tasks", "cached", "existed", "id", "request_id")

    def __init__(
        self,
        tasks: TasksById,
        method: Method[Any, Resp],
        task_id: str,
        *,
        request_id: str = "",
        existed: bool = False,
        cached: bool = False,
        refusal: WeftError | None = None,
    ) -> None:
        self._tasks = tasks
        self._method = method
        self._refusal = refusal
        self.id = task_id
        self.request_id = request_id
        # The request id was known: this task belongs to an earlier submission.
        self.existed = existed
        # The method's policy has a cache, and this task's stored result answers the request.
        self.cached = cached

    @property
    def refusal(self) -> WeftError | None:
        """The coordinator's refusal (only in `submit_many`). A refused handle has no id."""
        return self._refusal

    async def result(self, timeout_s: float | None = None) -> Resp:
        """Wait for the task's end and return its response. Without `timeout_s` it waits without a limit.

        Raises:
            WeftError: the task's outcome, with the handler's code, message and details.
            DeadlineExceeded: it has not ended by then (CALL_DEADLINE). The task goes on.
        """
        return response_of(await self.ended(timeout_s), self._method)

    async def ended(self, timeout_s: float | None = None) -> Task:
        """Wait for the task's end and return the task, whether or not it succeeded.

        Raises:
            DeadlineExceeded: it has not ended by then (CALL_DEADLINE).
        """
        if self._refusal is not None:
            raise self._refusal
        steps = call_context.steps() if self.request_id.startswith(STEP_ID) else None
        if steps is None:
            return await self._tasks.ended(self.id, timeout_s)
        waiting = asyncio.ensure_future(self._tasks.ended(self.id, timeout_s))
        try:
            await steps.wait_call(self.request_id.partition("/")[2], steps.follow(waiting))
            return await waiting
        finally:
            waiting.cancel()

    async def snapshot(self) -> Task:
        """Read the present state of the task."""
        return await self._tasks.get(self.id)

    async def state(self) -> TaskState:
        return (await self.snapshot()).state

    async def cancel(self, reason: str = "", *, grace_s: float | None = None) -> Task:
        """Cancel the task. A running handler gets `grace_s` to end."""
        return await self._tasks.cancel(self.id, reason, grace_s=grace_s)

    async def retry(self) -> Task:
        """Queue the task again, after it failed or was cancelled."""
        return await self._tasks.retry(self.id)

    def watch(self, after_sequence: int = 0) -> AsyncGenerator[Task | Progress]:
        """Follow the task: snapshots and responses as they come, until it has ended."""
        return self._tasks.watch(self.id, after_sequence)

    def logs(self, *, follow: bool = False) -> AsyncGenerator[LogLine | MissingLog]:
        """What the task's handlers have logged, attempt by attempt, as far as their agents keep it.

        A `MissingLog` says in the place of lines why they cannot be had.

        Args:
            follow: go on with lines as they are logged, until the task has ended.
        """
        return self._tasks.logs(self.id, follow=follow)

    async def stream(self) -> AsyncGenerator[Resp]:
        """The responses of a streaming method, each once, in order.

        Raises:
            WeftError: the task's outcome, after the last response. UNAVAILABLE with reason STREAM_RESTARTED when
                the attempt that sent them was lost and another began from the start.
        """
        attempt = 0
        seen = 0
        async with aclosing(self._tasks.watch(self.id)) as events:
            async for event in events:
                # A snapshot names the current attempt; responses of earlier attempts are void.
                if event.attempt > attempt and seen:
                    raise refusals.stream_restarted(
                        f"task {self.id} began again (attempt {event.attempt}) after {seen} responses",
                        task_id=self.id,
                    )
                attempt = max(attempt, event.attempt)
                if isinstance(event, Task):
                    error = event.error()
                    if error is not None:
                        raise error
                elif event.attempt == attempt:
                    seen += 1
                    yield self._method.parse(event.response)

    def __repr__(self) -> str:
        return f"<TaskHandle {self.id or 'refused'} {self._method.name}>"


def response_of(task: Task, method: Method[Any, Resp]) -> Resp:
    """The response of a task that has ended.

    Raises:
        WeftError: the task did not succeed.
        TypeError: its method answers with a stream.
    """
    if method.streaming:
        raise TypeError(f"{method.name} answers with a stream of responses: use stream()")
    error = task.error()
    if error is not None:
        raise error
    if task.response.startswith(CODED_PREFIX):
        from weft.client.coded_tasks import check_decoded

        check_decoded(task.response, task.method)
    return method.parse(task.response)
