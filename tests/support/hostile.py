"""Handlers that end in every way that user code can: `weft agent tests.support.hostile:agent` hosts them.

`ENDINGS` is the table. Each is done by the same handlers: unary and streaming, sync and async, isolated or not; the
request's text names it. A request that is "fine" is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import pickle
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent import futures
from typing import Any, NamedTuple, NoReturn

import grpc
import grpc.aio
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import BytesValue, StringValue
from google.rpc import code_pb2, error_details_pb2, status_pb2

from weft.agent import Agent
from weft.rpc import refusals
from weft.rpc.errors import STATUS_DETAILS_KEY, FixRequest, NotFound, from_status

SERVICE = "hostile.v1.Hostile"
SHAPES = ("Unary", "Stream")
FLAVOURS = ("Sync", "Async")
# Text that UTF-8 does not have.
SURROGATE = "lone \ud800 surrogate"
GARBAGE = b"\xff\xff\xff"


class Ending(NamedTuple):
    """One way to end."""

    # The handler's act, called with its context. Its result (except None) is the response. May be a coroutine function.
    act: Callable[[Any], Any]
    # The codes that callers may get for it, of `google.rpc.Code`.
    codes: frozenset[int]
    # Only these can do it.
    flavours: tuple[str, ...] = FLAVOURS
    shapes: tuple[str, ...] = SHAPES


class OwnBaseException(BaseException):
    """Derived from BaseException, which hardly any code catches."""


class Untold(Exception):
    """An exception that raises when it is asked for its text."""

    def __str__(self) -> str:
        raise OwnBaseException

    __repr__ = __str__


class Mute(OwnBaseException):
    def __str__(self) -> str:
        return None  # type: ignore[return-value]  # noqa: PLE0307 - what is tested


class Replacing(Exception):
    """An exception that claims another class."""

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        raise OwnBaseException


ENDINGS: dict[str, Ending] = {}


def ending(
    name: str, *codes: int, flavours: tuple[str, ...] = FLAVOURS, shapes: tuple[str, ...] = SHAPES
) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """Put an act into the table. Without codes: UNKNOWN."""

    def put(act: Callable[[Any], Any]) -> Callable[[Any], Any]:
        ENDINGS[name] = Ending(act, frozenset(codes or (code_pb2.UNKNOWN,)), flavours, shapes)
        return act

    return put


def _raising(make: Callable[[], BaseException]) -> Callable[[Any], Any]:
    def act(_context: Any) -> NoReturn:
        raise make()

    return act


def _recurse(_context: Any) -> Any:
    return _recurse(_context)


_RAISED: dict[str, Callable[[], BaseException]] = {
    "ValueError": lambda: ValueError("hunter2"),
    "own BaseException": lambda: OwnBaseException("hunter2"),
    "BaseException": BaseException,
    "GeneratorExit": GeneratorExit,
    "BaseExceptionGroup": lambda: BaseExceptionGroup("many", [OwnBaseException(), ValueError("hunter2")]),
    "ExceptionGroup": lambda: ExceptionGroup("many", [ValueError("hunter2")] * 100),
    "asyncio.CancelledError": asyncio.CancelledError,
    "futures.CancelledError": futures.CancelledError,
    "TimeoutError": TimeoutError,
    "InvalidStateError": asyncio.InvalidStateError,
    "KeyboardInterrupt": KeyboardInterrupt,
    "SystemExit": lambda: SystemExit(0),
    "StopIteration": lambda: StopIteration("value"),
    "StopAsyncIteration": StopAsyncIteration,
    "MemoryError": MemoryError,
    "EOFError": EOFError,
    "BrokenPipeError": BrokenPipeError,
    "DecodeError": lambda: DecodeError("hunter2"),
    "RpcError": grpc.RpcError,
    "AioRpcError": lambda: grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, None, None, "hunter2"),  # type: ignore[arg-type]
    "AbortError": grpc.aio.AbortError,
    "UsageError": grpc.aio.UsageError,
    "InternalError": grpc.aio.InternalError,
    # What a call of the handler's own ended with.
    "a received error": lambda: from_status(status_pb2.Status(code=code_pb2.NOT_FOUND, message="hunter2")),
    "weft's refusal": lambda: refusals.time_limit("hunter2", limit="start_to_close"),
    "an error without a text": lambda: NotFound(None),  # type: ignore[arg-type]
    "untold": Untold,
    "mute": Mute,
    "replacing": Replacing,
    "surrogate": lambda: ValueError(SURROGATE),
    "long": lambda: ValueError("x" * 1_000_000),
    "bytes": lambda: ValueError(GARBAGE),
}
for _name, _make in _RAISED.items():
    ending(f"raise {_name}")(_raising(_make))
ending("recursion")(_recurse)
ending("raise a status", code_pb2.NOT_FOUND)(
    _raising(lambda: NotFound("no such order", metadata={"order": "7"}))
)
ending("raise a kind of status", code_pb2.FAILED_PRECONDITION)(
    _raising(lambda: FixRequest("closed", field="order"))
)
ending("raise a status with a surrogate")(_raising(lambda: NotFound(SURROGATE)))


# -- a status that is named wrongly ------------------------------------------------------------------------------


def _abort(*args: Any) -> Callable[[Any], Any]:
    return lambda context: context.abort(*args)


_NOT_FOUND = grpc.StatusCode.NOT_FOUND
ending("abort", code_pb2.NOT_FOUND)(_abort(_NOT_FOUND, "no such thing"))
ending("abort by number", code_pb2.NOT_FOUND)(_abort(code_pb2.NOT_FOUND, "no such thing"))
ending("abort with an exception", code_pb2.NOT_FOUND)(_abort(_NOT_FOUND, ValueError("shown")))
ending("abort with an untold exception", code_pb2.NOT_FOUND)(_abort(_NOT_FOUND, Untold()))
ending("abort with bytes", code_pb2.NOT_FOUND)(_abort(_NOT_FOUND, GARBAGE))
ending("abort with None", code_pb2.NOT_FOUND)(_abort(_NOT_FOUND, None))
ending("abort with a surrogate", code_pb2.NOT_FOUND)(_abort(_NOT_FOUND, SURROGATE))
ending("abort with controls", code_pb2.NOT_FOUND)(_abort(_NOT_FOUND, "\0\r\n\x1b[2J\u2028\U0001f600"))
ending("abort with OK")(_abort(grpc.StatusCode.OK, "fine?"))
ending("abort with a name")(_abort("NOT_FOUND", "by name"))
ending("abort with a number that is none")(_abort(99, "99"))
ending("abort with a negative number")(_abort(-1, "-1"))
ending("abort with a huge number")(_abort(1 << 70, "huge"))
ending("abort with an object")(_abort(object(), "object"))
ending("abort with nothing")(_abort(None, "None"))
ending("abort without arguments")(lambda context: context.abort())
ending("abort with bad trailers", code_pb2.NOT_FOUND, flavours=("Async",))(
    _abort(_NOT_FOUND, "no", (("key", SURROGATE),))
)
ending("abort with trailers that are none", code_pb2.NOT_FOUND, flavours=("Async",))(
    _abort(_NOT_FOUND, "no", 5)
)
ending("abort_with_status of nothing")(lambda context: context.abort_with_status(object()))


def _status(*details: any_pb2.Any, code: int = code_pb2.NOT_FOUND) -> Any:
    status = status_pb2.Status(code=code, message="rich", details=details)
    return _trailing(status.SerializeToString())


def _trailing(rich: bytes) -> Any:
    class Status(NamedTuple):
        code: Any = grpc.StatusCode.NOT_FOUND
        details: str = "rich"
        trailing_metadata: Any = ((STATUS_DETAILS_KEY, rich),)

    return Status()


def _packed(message: Any, value: bytes | None = None) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    if value is not None:
        packed.value = value
    return packed


# Each detail type of `google.rpc`, with bytes that do not parse as the type.
POISON: dict[str, Any] = {
    kind.DESCRIPTOR.name: _packed(kind(), GARBAGE)
    for kind in (
        error_details_pb2.RetryInfo,
        error_details_pb2.ErrorInfo,
        error_details_pb2.BadRequest,
        error_details_pb2.DebugInfo,
        error_details_pb2.QuotaFailure,
        error_details_pb2.PreconditionFailure,
        error_details_pb2.RequestInfo,
        error_details_pb2.ResourceInfo,
        error_details_pb2.Help,
        error_details_pb2.LocalizedMessage,
    )
}
_FAR = error_details_pb2.RetryInfo()
_FAR.retry_delay.seconds = 1 << 62
_BACK = error_details_pb2.RetryInfo()
_BACK.retry_delay.seconds, _BACK.retry_delay.nanos = -(1 << 62), -(1 << 31)
POISON |= {
    "a type that nobody has": any_pb2.Any(type_url="type.googleapis.com/nobody.v1.Has", value=GARBAGE),
    "no type": any_pb2.Any(value=GARBAGE),
    "no name": any_pb2.Any(type_url="/", value=b""),
    "a far RetryInfo": _packed(_FAR),
    "a backward RetryInfo": _packed(_BACK),
    "an Any in an Any": _packed(_packed(error_details_pb2.RetryInfo(), GARBAGE)),
}
for _name, _poison in POISON.items():
    ending(f"detail {_name}", code_pb2.NOT_FOUND)(
        lambda context, poison=_poison: context.abort_with_status(_status(poison))
    )
ending("details that are no status", code_pb2.NOT_FOUND)(
    lambda context: context.abort_with_status(_trailing(GARBAGE))
)
ending("details of OK", code_pb2.NOT_FOUND)(
    lambda context: context.abort_with_status(_status(code=code_pb2.OK))
)


@ending("set_code with a name")
def _set_code_name(context: Any) -> None:
    context.set_code("NOT_FOUND")
    context.set_details("by name")


@ending("set_code with an object")
def _set_code_object(context: Any) -> None:
    context.set_code([1])


@ending("set_code with a number that is none")
def _set_code_99(context: Any) -> None:
    context.set_code(99)


@ending("set_code with nothing", code_pb2.OK)
def _set_code_none(context: Any) -> None:
    context.set_code(None)


@ending("set_details with an exception", code_pb2.NOT_FOUND)
def _set_details_exception(context: Any) -> None:
    context.set_code(_NOT_FOUND)
    context.set_details(ValueError("shown"))


@ending("set_details with a surrogate", code_pb2.NOT_FOUND)
def _set_details_surrogate(context: Any) -> None:
    context.set_code(_NOT_FOUND)
    context.set_details(SURROGATE)


@ending("set_code and raise", code_pb2.NOT_FOUND)
def _set_code_raise(context: Any) -> None:
    context.set_code(_NOT_FOUND)
    raise OwnBaseException("hunter2")


@ending("abort, swallowed", code_pb2.NOT_FOUND)
def _abort_swallowed(context: Any) -> Any:
    if inspect.iscoroutinefunction(context.abort):
        return _abort_swallowed_async(context)
    with contextlib.suppress(BaseException):
        context.abort(_NOT_FOUND, "no")
    return None


async def _abort_swallowed_async(context: Any) -> None:
    with contextlib.suppress(BaseException):
        await context.abort(_NOT_FOUND, "no")


@ending("abort, another exception", code_pb2.NOT_FOUND)
def _abort_replaced(context: Any) -> Any:
    if inspect.iscoroutinefunction(context.abort):
        return _abort_replaced_async(context)
    try:
        context.abort(_NOT_FOUND, "no")
    finally:
        raise OwnBaseException


async def _abort_replaced_async(context: Any) -> None:
    try:
        await context.abort(_NOT_FOUND, "no")
    finally:
        raise OwnBaseException


@ending("abort twice", code_pb2.NOT_FOUND, code_pb2.INTERNAL)
def _abort_twice(context: Any) -> Any:
    if inspect.iscoroutinefunction(context.abort):
        return _abort_twice_async(context)
    try:
        context.abort(_NOT_FOUND, "no")
    except Exception:
        context.abort(grpc.StatusCode.INTERNAL, "again")
    return None


async def _abort_twice_async(context: Any) -> None:
    try:
        await context.abort(_NOT_FOUND, "no")
    except Exception:
        await context.abort(grpc.StatusCode.INTERNAL, "again")


# -- metadata that cannot be sent --------------------------------------------------------------------------------

_BAD_METADATA: dict[str, Any] = {
    "surrogate": (("key", SURROGATE),),
    "a surrogate key": ((SURROGATE, "v"),),
    "not ASCII": (("key", "\xff\u20ac"),),
    "a newline": (("key", "a\nb"),),
    "a NUL": (("key", "a\0b"),),
    "bytes": (("key", b"bytes"),),
    "a number": (("key", 5),),
    "an object": (("key", Untold()),),
    "None": (("key", None),),
    "an upper-case key": (("Key", "v"),),
    "an empty key": (("", "v"),),
    "a key with a space": (("a key", "v"),),
    "a pseudo header": ((":path", "/x"),),
    "no pairs": ("key", "value"),
    "triples": (("key", "v", "w"),),
    "no iterable": 5,
}
for _name, _pairs in _BAD_METADATA.items():
    # Where the mistake is raised, or, as for a key that is not the handler's own, left out.
    for _where in ("send_initial_metadata", "set_trailing_metadata"):
        ending(f"{_where} with {_name}", code_pb2.UNKNOWN, code_pb2.OK)(
            lambda context, where=_where, pairs=_pairs: getattr(context, where)(pairs)
        )


@ending("weft's own keys", code_pb2.OK)
def _own_keys(context: Any) -> Any:
    context.set_trailing_metadata((("grpc-status", "5"), ("weft-task-id", "x"), ("weft-agent", "y")))
    return None


@ending("status details without a failure", code_pb2.OK)
def _details_of_success(context: Any) -> Any:
    context.set_trailing_metadata(((STATUS_DETAILS_KEY, GARBAGE),))
    return None


# -- responses that are none -------------------------------------------------------------------------------------


class _Nothing:
    """Stands for None, which the table takes for the usual response."""


_RESPONSES: dict[str, Callable[[], Any]] = {
    "None": _Nothing,
    "a number": lambda: 42,
    "text": lambda: "text",
    "another message": lambda: BytesValue(value=b"x"),
    "a class": lambda: StringValue,
    "a coroutine function": lambda: _abort_twice_async,
    "an iterator": lambda: iter(()),
}
for _name, _response in _RESPONSES.items():
    ending(f"respond with {_name}")(lambda _context, make=_response: make())


@ending("respond with too much", code_pb2.RESOURCE_EXHAUSTED)
def _too_much(_context: Any) -> StringValue:
    return StringValue(value="x" * (5 << 20))


# -- callbacks, tasks and the loop -------------------------------------------------------------------------------


def _add_callback(context: Any, callback: Callable[[], object]) -> None:
    if hasattr(context, "add_callback"):
        context.add_callback(callback)
    else:
        context.add_done_callback(lambda _context: callback())


for _name in ("own BaseException", "KeyboardInterrupt", "SystemExit", "GeneratorExit", "untold"):

    @ending(f"a callback raises {_name}", code_pb2.OK)
    def _callback(context: Any, make: Callable[[], BaseException] = _RAISED[_name]) -> None:
        def callback() -> None:
            raise make()

        _add_callback(context, callback)

    @ending(f"a child task raises {_name}", code_pb2.OK, flavours=("Async",))
    async def _child(_context: Any, make: Callable[[], BaseException] = _RAISED[_name]) -> None:
        async def child() -> None:
            raise make()

        task = asyncio.get_running_loop().create_task(child())
        await asyncio.wait({task})

    @ending(f"a task group's child raises {_name}", flavours=("Async",))
    async def _group(_context: Any, make: Callable[[], BaseException] = _RAISED[_name]) -> None:
        async def child() -> None:
            raise make()

        async with asyncio.TaskGroup() as group:
            group.create_task(child())

    @ending(f"a scheduled call raises {_name}", code_pb2.OK, flavours=("Async",))
    async def _scheduled(_context: Any, make: Callable[[], BaseException] = _RAISED[_name]) -> None:
        def call() -> None:
            raise make()

        asyncio.get_running_loop().call_soon(call)
        await asyncio.sleep(0)


@ending("stop the loop", code_pb2.OK, flavours=("Async",))
async def _stop_loop(_context: Any) -> None:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0)


@ending("close the loop", flavours=("Async",))
async def _close_loop(_context: Any) -> None:
    asyncio.get_running_loop().close()


@ending("run a loop in the loop", flavours=("Async",))
async def _nested(_context: Any) -> None:
    asyncio.get_running_loop().run_forever()


# A direct call cannot tell that from a caller that has gone.
@ending("cancel itself", code_pb2.UNKNOWN, code_pb2.CANCELLED, flavours=("Async",))
async def _cancel_itself(_context: Any) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


# A stream has another wait before its end.
@ending("cancel itself and return", code_pb2.OK, code_pb2.UNKNOWN, code_pb2.CANCELLED, flavours=("Async",))
async def _cancel_and_return(_context: Any) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


@ending("cancel itself and swallow", code_pb2.OK, flavours=("Async",))
async def _cancel_and_swallow(_context: Any) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0)


@ending("give up", code_pb2.CANCELLED, flavours=("Sync",))
def _give_up(context: Any) -> None:
    context.cancel()


# A direct call reads the end of its requests; a durable one has none to read.
@ending("read", code_pb2.UNKNOWN, code_pb2.OK, flavours=("Async",))
async def _read(context: Any) -> None:
    await context.read()
    await context.read()


@ending("a context that is not its own", flavours=("Async", "Sync"))
def _no_such(context: Any) -> None:
    context.no_such_method()


# -- the handlers ------------------------------------------------------------------------------------------------

DONE = StringValue(value="done")


def _given(response: Any) -> Any:
    if isinstance(response, _Nothing):
        return None
    return DONE if response is None else response


def unary_sync(request: StringValue, context: Any) -> StringValue:
    if request.value == "fine":
        return DONE
    return _given(ENDINGS[request.value].act(context))


async def unary_async(request: StringValue, context: Any) -> StringValue:
    if request.value == "fine":
        return DONE
    response = ENDINGS[request.value].act(context)
    return _given(await response if inspect.isawaitable(response) else response)


def stream_sync(request: StringValue, context: Any) -> Iterator[StringValue]:
    yield StringValue(value="first")
    if request.value != "fine":
        yield _given(ENDINGS[request.value].act(context))


async def stream_async(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
    yield StringValue(value="first")
    if request.value != "fine":
        response = ENDINGS[request.value].act(context)
        yield _given(await response if inspect.isawaitable(response) else response)


def close_sync(_request: StringValue, context: Any) -> Iterator[StringValue]:
    """A generator that raises where it is closed."""
    try:
        yield DONE
        context.abort(_NOT_FOUND, "no")
    finally:
        raise OwnBaseException


async def close_async(_request: StringValue, context: Any) -> AsyncIterator[StringValue]:
    """One that goes on where it is closed."""
    try:
        yield DONE
        await context.abort(_NOT_FOUND, "no")
    finally:
        yield DONE


class Plan(NamedTuple):
    """The acts of a fuzzed handler: any combination of its parts."""

    code: Any
    details: Any
    headers: Any
    trailers: Any
    rich: tuple[tuple[str, bytes], ...]
    payload: bytes

    def status(self) -> Any:
        packed = [any_pb2.Any(type_url=url, value=value) for url, value in self.rich]
        status = status_pb2.Status(code=code_pb2.ABORTED, message="rich", details=packed)
        return (STATUS_DETAILS_KEY, status.SerializeToString())


def fuzz_sync(request: BytesValue, context: Any) -> BytesValue:
    plan = Plan(*pickle.loads(request.value))
    context.send_initial_metadata(plan.headers)
    _set(plan, context)
    return BytesValue(value=plan.payload)


async def fuzz_async(request: BytesValue, context: Any) -> BytesValue:
    plan = Plan(*pickle.loads(request.value))
    await context.send_initial_metadata(plan.headers)
    _set(plan, context)
    return BytesValue(value=plan.payload)


def _set(plan: Plan, context: Any) -> None:
    context.set_code(plan.code)
    context.set_details(plan.details)
    context.set_trailing_metadata((*plan.trailers, plan.status()))


agent = Agent()
for _fuzz in (fuzz_sync, fuzz_async):
    _method = f"{SERVICE}/{_fuzz.__name__.title().replace('_', '')}"
    agent.method(_method)(_fuzz)
    agent.method(f"{_method}Isolated", isolate=True)(_fuzz)
for _handler in (unary_sync, unary_async, stream_sync, stream_async):
    _method = f"{SERVICE}/{_handler.__name__.title().replace('_', '')}"
    agent.method(_method)(_handler)
    agent.method(f"{_method}Isolated", isolate=True)(_handler)
agent.method(f"{SERVICE}/CloseSync")(close_sync)
agent.method(f"{SERVICE}/CloseAsync")(close_async)
