"""`run_handler`: runs one handler without a mesh, and gives the test the caller's view of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, Protocol, TypeVar, overload

import grpc
import grpc.aio
from google.protobuf.message import Message

from weft.agent.handlers.keyed_state import HeldState
from weft.agent.handlers.threads import Threads
from weft.rpc.calls import metadata as weft_metadata
from weft.rpc.calls.metadata import Pairs
from weft.rpc.errors import STATUS_DETAILS_KEY, status_code
from weft.rpc.raised import summary
from weft.testing.handler_lookup import TestedMethod, tested_method
from weft.testing.unit_run import HandlerTask, Metadata, UnitRun, assignment_of, context_of, runners_of
from weft.v1 import task_pb2

Req = TypeVar("Req")
Resp = TypeVar("Resp")


class _Model(Protocol):
    """A response that is a pydantic model."""

    def model_dump_json(self) -> str: ...


# Neither a coroutine nor an iterator: else a type checker could not tell the overloads apart.
Plain = TypeVar("Plain", bound=Message | Mapping[str, Any] | _Model)

_TASK = HandlerTask()


@dataclass(frozen=True, slots=True)
class HandlerOutcome(Generic[Resp]):
    """The outcome of a handler, as its caller sees it."""

    # The responses. A unary handler has one, unless it failed. A streaming one has all that it sent.
    responses: list[Resp]
    # The caller's error, with code, details and trailers. None if the handler succeeded.
    error: grpc.aio.AioRpcError | None
    # Initial metadata and trailers.
    headers: Pairs = ()
    trailers: Pairs = ()
    # The handler's exception, for operators: type, text and traceback. Empty if it raised none.
    raised: str = ""
    # The state as the handler left it, of a task that has one: a failed handler changes nothing. None: it did not look at it.
    state: HeldState | None = None


@overload
async def run_handler(
    handler: Callable[Concatenate[Req, ...], AsyncIterator[Resp]],
    request: Req,
    *,
    metadata: Metadata = (),
    timeout_s: float | None = None,
    task: HandlerTask = _TASK,
) -> list[Resp]: ...
@overload
async def run_handler(
    handler: Callable[Concatenate[Req, ...], Awaitable[Resp]],
    request: Req,
    *,
    metadata: Metadata = (),
    timeout_s: float | None = None,
    task: HandlerTask = _TASK,
) -> Resp: ...
@overload
async def run_handler(
    handler: Callable[Concatenate[Req, ...], Iterator[Resp]],
    request: Req,
    *,
    metadata: Metadata = (),
    timeout_s: float | None = None,
    task: HandlerTask = _TASK,
) -> list[Resp]: ...
@overload
async def run_handler(
    handler: Callable[Concatenate[Req, ...], Plain],
    request: Req,
    *,
    metadata: Metadata = (),
    timeout_s: float | None = None,
    task: HandlerTask = _TASK,
) -> Plain: ...
async def run_handler(
    handler: Callable[..., Any],
    request: Any,
    *,
    metadata: Metadata = (),
    timeout_s: float | None = None,
    task: HandlerTask = _TASK,
) -> Any:
    """Run a handler once, as an agent does, and give its response; of a streaming handler the list of its responses.

        reply = await run_handler(Greeter().Greet, GreetRequest(name="Ada"))

    Request and responses pass through the wire format. An exception of the handler becomes the caller's error.

    Args:
        handler: a method of a servicer that has its generated base class, or a function as `@agent.method` takes it:
            sync or async, unary or streaming.
        request: the request; of a method that takes a stream an iterable of requests.
        metadata: the caller's metadata.
        timeout_s: the attempt's time limit: then it ends with DEADLINE_EXCEEDED, and the handler is cancelled.
        task: the values that `current_task()` gives.

    Raises:
        grpc.aio.AioRpcError: the handler failed: code, details, initial metadata and trailers are those of a call.
        HostingError: an agent could not host this handler.
        TypeError: the request is not one of the method's.
    """
    tested = tested_method(handler)
    outcome = await _outcome(tested, request, metadata, timeout_s, task)
    if outcome.error is not None:
        raise outcome.error
    return outcome.responses if tested.hosted.response_streaming else outcome.responses[0]


async def handler_outcome(
    handler: Callable[..., Any],
    request: Any,
    *,
    metadata: Metadata = (),
    timeout_s: float | None = None,
    task: HandlerTask = _TASK,
) -> HandlerOutcome[Any]:
    """As `run_handler`, but a failure is given, not raised, and so are headers, trailers and responses before a failure.

    Raises:
        HostingError: an agent could not host this handler.
        TypeError: the request is not one of the method's.
    """
    return await _outcome(tested_method(handler), request, metadata, timeout_s, task)


async def _outcome(
    tested: TestedMethod, request: Any, metadata: Metadata, timeout_s: float | None, task: HandlerTask
) -> HandlerOutcome[Any]:
    hosted = tested.hosted
    payload, requests = tested.serialized(request)
    assignment = assignment_of(hosted, payload, metadata, timeout_s, task)
    context = context_of(hosted, assignment, timeout_s, task, requests)
    threads = Threads("weft-testing")
    try:
        run = UnitRun(hosted, context, runners_of(threads))
        outcome = await run.run(timeout_s)
    finally:
        threads.close()
    error = _error_of(outcome) if outcome.status.code else None
    answers = run.responses
    if error is None and not hosted.response_streaming:
        answers = [outcome.response]
    return HandlerOutcome(
        [tested.parse(each) for each in answers],
        error,
        weft_metadata.from_proto(outcome.headers),
        _trailers_of(outcome),
        summary(outcome.error) + "\n" + outcome.error.stack if outcome.error.type else "",
        context.keyed_state if isinstance(context.keyed_state, HeldState) and error is None else None,
    )


@overload
def run_handler_sync(
    handler: Callable[Concatenate[Req, ...], AsyncIterator[Resp]],
    request: Req,
    *,
    metadata: Metadata = (),
    timeout_s: float | None = None,
    task: HandlerTask = _TASK,
) -> list[Resp]: ...
@overload
def run_handler_sync(
    handler: Callable[Concatenate[Req, ...], Awaitable[Resp]],
    request: Req,
    *,
    metadata: Metadata = (),
    timeout_s: float | None = None,
    task: HandlerTask = _TASK,
) -> Resp: ...
@overload
def run_handler_sync(
    handler: Callable[Concatenate[Req, ...], Iterator[Resp]],
    request: Req,
    *,
    metadata: Metadata = (),
    timeout_s: float | None = None,
    task: HandlerTask = _TASK,
) -> list[Resp]: ...
@overload
def run_handler_sync(
    handler: Callable[Concatenate[Req, ...], Plain],
    request: Req,
    *,
    metadata: Metadata = (),
    timeout_s: float | None = None,
    task: HandlerTask = _TASK,
) -> Plain: ...
def run_handler_sync(
    handler: Callable[..., Any],
    request: Any,
    *,
    metadata: Metadata = (),
    timeout_s: float | None = None,
    task: HandlerTask = _TASK,
) -> Any:
    """As `run_handler`, for tests without an event loop: it has one of its own.

    Raises:
        RuntimeError: an event loop runs here: await `run_handler` in its place.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise RuntimeError("an event loop runs in this thread: use `await run_handler(...)`")
    run: Callable[..., Any] = run_handler
    return asyncio.run(run(handler, request, metadata=metadata, timeout_s=timeout_s, task=task))


def _trailers_of(outcome: task_pb2.Outcome) -> Pairs:
    """The trailers of a call with this outcome."""
    own = [pair for pair in weft_metadata.from_proto(outcome.trailers) if pair[0] != STATUS_DETAILS_KEY]
    if outcome.status.details:
        own.append((STATUS_DETAILS_KEY, outcome.status.SerializeToString()))
    return tuple(own)


def _error_of(outcome: task_pb2.Outcome) -> grpc.aio.AioRpcError:
    """The error of a call with this outcome. The handler's exception is a note below the error's text."""
    error = grpc.aio.AioRpcError(
        status_code(outcome.status.code),
        grpc.aio.Metadata(*weft_metadata.from_proto(outcome.headers)),
        grpc.aio.Metadata(*_trailers_of(outcome)),
        details=outcome.status.message,
    )
    if outcome.error.type:
        error.add_note(f"the handler raised {summary(outcome.error)}\n{outcome.error.stack}".rstrip())
    return error
