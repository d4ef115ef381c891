"""One run of a handler without an agent: the agent's own runners and invoke boundary, with a sink in memory.

The run is that of a durable attempt, with the same contexts, time limit and outcomes. The requests of a
client-streaming method come from memory too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc.aio

from weft.agent.handlers import outcomes
from weft.agent.handlers.handler_context import AsyncContext, SyncContext
from weft.agent.handlers.handler_run import UNWANTED_GRACE_S, HandlerRun
from weft.agent.handlers.invoke import MalformedRequest
from weft.agent.handlers.keyed_state import serialized
from weft.agent.handlers.overrun import Overruns
from weft.agent.handlers.runners import Runners
from weft.agent.handlers.threads import Threads
from weft.agent.hosting.hosted_methods import HostedMethod
from weft.agent.hosting.payload_checks import ResponseTooLarge
from weft.rpc.calls import metadata as weft_metadata
from weft.rpc.network.channel import MAX_PAYLOAD_BYTES
from weft.rpc.telemetry import traces
from weft.rpc.times import duration, timestamp
from weft.v1 import session_pb2, task_pb2

Metadata = Iterable[tuple[str, str | bytes]]
# Time for a cancelled handler to end. A thread that ignores its cancellation is left behind after it.
_LEAVE_S = UNWANTED_GRACE_S + 1.0


class NoState:
    """No lock of the task keeps a state."""


NO_STATE = NoState()


@dataclass(frozen=True, slots=True)
class HandlerTask:
    """The task that `current_task()` gives inside the handler.

    `state` is what its lock keeps before: bytes, a message, or anything that `json.dumps` takes; None: nothing yet. Unset: no lock of it keeps
    a state. `handler_outcome` gives the state after.
    """

    id: str = "task-1"
    attempt: int = 1
    request_id: str = ""
    priority: int = 5
    root_id: str = ""
    parent_id: str = ""
    agent_id: str = "test-agent"
    state: Any = NO_STATE


class StreamedAsyncContext(AsyncContext):
    """The context of an async handler that takes a stream of requests."""

    requests: AsyncIterator[Any]

    def request(self, hosted: HostedMethod) -> Any:  # noqa: ARG002 - they are read one by one
        return self.requests

    async def read(self) -> Any:
        return await anext(self.requests, grpc.aio.EOF)


class StreamedSyncContext(SyncContext):
    """The context of a sync handler that takes a stream of requests."""

    requests: Iterator[Any]

    def request(self, hosted: HostedMethod) -> Any:  # noqa: ARG002 - they are read one by one
        return self.requests


class UnitRun(HandlerRun):
    """A run that keeps its responses and its outcome."""

    direct = False
    span = None

    def __init__(self, hosted: HostedMethod, context: Any, runners: Runners) -> None:
        self.hosted = hosted
        self.context = context
        # An isolated method runs in a thread: a unit test has no process for it.
        self.runner = runners.of(hosted)
        if context.assignment.context.traceparent:
            self.span = traces.processing(context.assignment, context.agent_id)
        self.responses: list[bytes] = []
        self.outcome: task_pb2.Outcome | None = None
        self.answered = asyncio.Event()
        self.left = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @property
    def limit_bytes(self) -> int:
        return MAX_PAYLOAD_BYTES

    async def send(self, response: bytes) -> None:
        self.send_blocking(response)

    def send_blocking(self, response: bytes) -> bool:
        if len(response) > self.limit_bytes:
            raise ResponseTooLarge(outcomes.too_large(len(response), self.limit_bytes))
        self.responses.append(response)
        return True

    def report(self, outcome: task_pb2.Outcome, *, crashed: bool = False) -> None:  # noqa: ARG002
        if self.outcome is None:
            self.outcome = outcomes.bounded(outcome, self.limit_bytes)
            self._loop.call_soon_threadsafe(self.answered.set)

    def answer(self, outcome: task_pb2.Outcome) -> None:
        self.report(outcome)

    def gone(self) -> None:
        self.left.set()

    def withdraw(self) -> None:
        """Do nothing: a unit run starts at once, and never waits for slots."""

    async def run(self, timeout_s: float | None) -> task_pb2.Outcome:
        """Run the handler to its outcome.

        Raises:
            CancelledError: this coroutine was cancelled, and with it the handler, as when a caller leaves.
        """
        if timeout_s is not None:
            self.limit(time.monotonic() + timeout_s)
        self.start()
        try:
            await self.answered.wait()
        except asyncio.CancelledError:
            self.cancel("the caller has gone", UNWANTED_GRACE_S)
            raise
        finally:
            await self._leave()
        assert self.outcome is not None
        return self.outcome

    async def _leave(self) -> None:
        """Wait until the handler is gone, so that a test leaves nothing behind."""
        try:
            async with asyncio.timeout(_LEAVE_S):
                await self.left.wait()
        except TimeoutError:
            self.context.finish()


def assignment_of(
    hosted: HostedMethod, payload: bytes, metadata: Metadata, timeout_s: float | None, task: HandlerTask
) -> session_pb2.Assignment:
    """The assignment that an agent would get for this call."""
    made = session_pb2.Assignment(
        task_id=task.id,
        attempt=task.attempt,
        method=hosted.name,
        payload=payload,
        request_id=task.request_id,
        priority=task.priority,
    )
    made.context.root_id = task.root_id
    made.context.parent_id = task.parent_id
    for key, value in metadata:
        if key == "traceparent":
            made.context.traceparent = str(value)
        elif key == "tracestate":
            made.context.tracestate = str(value)
        elif key == "baggage":
            made.context.baggage = str(value)
        else:
            made.context.metadata.extend(weft_metadata.to_proto([(key, value)]))
    if not isinstance(task.state, NoState):
        made.state.name = "test"
        if task.state is not None:
            made.state.version = 1
            made.state.value, made.state.type = serialized(task.state)
    if timeout_s is not None:
        made.time_left.CopyFrom(duration(timeout_s))
        made.deadline.CopyFrom(timestamp(time.time() + timeout_s))
    return made


def context_of(
    hosted: HostedMethod,
    assignment: session_pb2.Assignment,
    timeout_s: float | None,
    task: HandlerTask,
    requests: Iterable[bytes] | AsyncIterable[bytes] | None,
) -> AsyncContext | SyncContext:
    """The context that the handler gets.

    Args:
        requests: serialized, of a method that takes a stream of them; else None.
    """
    deadline_at = None if timeout_s is None else time.monotonic() + timeout_s
    if requests is None:
        kind = AsyncContext if hosted.is_async else SyncContext
        return kind(assignment, task.agent_id, deadline_at)
    if hosted.is_async:
        streamed = StreamedAsyncContext(assignment, task.agent_id, deadline_at)
        streamed.requests = _read_async(hosted, requests)
        return streamed
    if isinstance(requests, AsyncIterable):
        raise TypeError(f"{hosted.name} is a sync handler: give its requests as a plain iterable")
    blocking = StreamedSyncContext(assignment, task.agent_id, deadline_at)
    blocking.requests = (_parsed(hosted, raw) for raw in requests)
    return blocking


async def _read_async(
    hosted: HostedMethod, requests: Iterable[bytes] | AsyncIterable[bytes]
) -> AsyncIterator[Any]:
    if isinstance(requests, AsyncIterable):
        async for raw in requests:
            yield _parsed(hosted, raw)
    else:
        for raw in requests:
            yield _parsed(hosted, raw)


def _parsed(hosted: HostedMethod, raw: bytes) -> Any:
    try:
        return hosted.deserialize(raw)
    except Exception as error:
        raise MalformedRequest(hosted, error) from None


def runners_of(threads: Threads) -> Runners:
    """Runners for one run, on this event loop."""
    return Runners(asyncio.get_running_loop(), threads, Overruns(), None)
