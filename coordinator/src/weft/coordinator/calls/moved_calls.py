"""Calls that wait here for tasks which another coordinator has now: it has taken the store over, and this one answers by what it tells.

The task is followed as any caller may follow it, with what the waiting caller has shown: whether it may, is decided there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
from grpc import aio

from weft.coordinator.store.records import ProgressRow, Submission, TaskRecord
from weft.coordinator.store.rules import State
from weft.rpc import errors, refusals
from weft.rpc.calls import metadata, relay
from weft.rpc.process.logs import get_logger
from weft.rpc.security.namespace_names import NAMESPACE_KEY
from weft.v1 import coordinator_pb2, coordinator_pb2_grpc, errors_pb2, task_pb2

log = get_logger(__name__)

# A successor may be replaced itself meanwhile: then its own successor answers.
_TRIES = 20
_PAUSE_S = 0.1
_CANCEL_S = 5.0


class Moved(errors.Unavailable):
    """The subscribers of tasks end: another coordinator has the store. Calls that wait for their answer go on by `follow`.

    Args:
        successor: leads there, once it serves.
    """

    # This process stops: calls that end now were not ended by their callers.
    over = False

    def __init__(self, successor: Callable[[], Awaitable[aio.Channel]]) -> None:
        super().__init__(
            "another coordinator takes over; the task goes on, ask again with the same request id",
            reason=errors_pb2.ERROR_REASON_STOPPING,
            retry_after_s=0.0,
        )
        self._successor = successor
        self._cancelling: set[asyncio.Task[None]] = set()

    async def ended(self, task_id: str, context: relay.Context) -> TaskRecord:
        """The record of a task's end.

        Raises:
            WeftError: it cannot be had.
        """
        async for item in self.follow(task_id, 0, context):
            if isinstance(item, TaskRecord) and item.state.terminal:
                return item
        raise refusals.task_not_found(task_id)

    async def follow(
        self, task_id: str, after: int, context: relay.Context
    ) -> AsyncIterator[TaskRecord | ProgressRow]:
        """Snapshots and progress above the sequence `after`; the last item is the record of the task's end.

        Raises:
            Unavailable: this error. The successor does not tell.
        """
        shown = relay.passed_on(context, lambda key: key == NAMESPACE_KEY, tokens=True)
        stub = coordinator_pb2_grpc.CoordinatorServiceStub(await self._successor())
        try:
            for _ in range(_TRIES):
                request = coordinator_pb2.WatchTaskRequest(task_id=task_id, after_sequence=after)
                call = stub.WatchTask(request, metadata=shown)
                try:
                    async for message in call:
                        after = message.sequence
                        yield _item(message)
                except aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.UNAVAILABLE:
                        log.info("call.not_followed", task_id=task_id, error=error.details())
                        break
                else:
                    return
                finally:
                    call.cancel()
                await asyncio.sleep(_PAUSE_S)
        except (asyncio.CancelledError, GeneratorExit):
            if not self.over:
                self._cancel(stub, task_id, shown)
            raise
        raise self

    def _cancel(
        self, stub: coordinator_pb2_grpc.CoordinatorServiceStub, task_id: str, shown: metadata.Pairs
    ) -> None:
        """The caller is gone: its task is cancelled, as it would have been here."""

        async def cancel() -> None:
            request = coordinator_pb2.CancelTaskRequest(
                task_id=task_id, reason="the caller cancelled or went away"
            )
            with contextlib.suppress(aio.AioRpcError):
                await stub.CancelTask(request, metadata=shown, timeout=_CANCEL_S)

        task = asyncio.get_running_loop().create_task(cancel())
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)


def _item(message: coordinator_pb2.WatchTaskResponse) -> TaskRecord | ProgressRow:
    if message.HasField("progress"):
        event = message.progress
        headers = task_pb2.ProgressEvent(headers=event.headers).SerializeToString() if event.headers else b""
        return ProgressRow(event.sequence, event.attempt, event.payload, headers)
    task = message.task
    return TaskRecord(
        task.id,
        State(task.state),
        Submission(task.method, request_id=task.request_id, alternative=int(bool(task.fallback_of))),
        attempt=task.attempt,
        crashes=task.crashes,
        agent_id=task.agent_id,
        cancel_requested=task.cancel_requested,
        progress_count=task.progress_count,
        outcome=task.outcome.SerializeToString(),
    )
