"""A handler's use of its context, and the resulting outcome; sync and async, without an agent."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import any_pb2
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from weft.agent import current_task
from weft.agent.handlers.handler_context import AsyncContext, SyncContext, checked
from weft.agent.handlers.invoke import invoke_async, invoke_sync
from weft.agent.hosting.functions import function_method
from weft.rpc.errors import error_info
from weft.v1 import session_pb2, task_pb2

REQUEST = StringValue(value="in").SerializeToString()


def assignment(**fields: Any) -> session_pb2.Assignment:
    return session_pb2.Assignment(
        task_id="t1",
        attempt=2,
        method="acme.v1.Thing/Do",
        payload=REQUEST,
        priority=7,
        request_id="r",
        **fields,
    )


class Invoked:
    """A handler that was run once, with what it sent."""

    def __init__(
        self,
        function: Callable[..., Any],
        given: session_pb2.Assignment | None = None,
        *,
        before: Callable[[Any], object] = lambda _context: None,
        deadline_at: float | None = None,
    ) -> None:
        hosted = function_method("acme.v1.Thing/Do", function)
        self.sent: list[str] = []
        context_type = AsyncContext if hosted.is_async else SyncContext
        self.context: Any = context_type(given or assignment(), "agent-1", deadline_at)
        before(self.context)
        if hosted.is_async:
            self.outcome = asyncio.run(invoke_async(hosted, self.context, self._send_async))
        else:
            # In a context of its own, as a runner does it.
            run = contextvars.copy_context().run
            self.outcome = run(invoke_sync, hosted, self.context, self._send)

    def _send(self, payload: bytes) -> bool:
        self.sent.append(StringValue.FromString(payload).value)
        return True

    async def _send_async(self, payload: bytes) -> None:
        self._send(payload)

    @property
    def reason(self) -> str:
        info = error_info(self.outcome.status)
        return info.reason if info is not None else ""


def rich_status() -> Any:
    status = status_pb2.Status(code=code_pb2.FAILED_PRECONDITION, message="not now")
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason="WHY", domain="acme"))
    status.details.append(detail)
    return rpc_status.to_status(status)


# Each behaviour twice: as a sync and as an async handler.
def sync_answers(request: StringValue, context: Any) -> StringValue:
    context.send_initial_metadata((("first", "1"),))
    context.set_trailing_metadata((("a", "1"), ("a", "2"), ("b-bin", b"\x00")))
    return StringValue(value=request.value + "!")


async def async_answers(request: StringValue, context: Any) -> StringValue:
    await context.send_initial_metadata((("first", "1"),))
    context.set_trailing_metadata((("a", "1"), ("a", "2"), ("b-bin", b"\x00")))
    return StringValue(value=request.value + "!")


@pytest.mark.parametrize("handler", [sync_answers, async_answers])
def test_response_headers_and_trailers(handler: Callable[..., Any]) -> None:
    outcome = Invoked(handler).outcome

    assert not outcome.HasField("status")
    assert StringValue.FromString(outcome.response).value == "in!"
    assert [(each.key, each.value) for each in outcome.headers] == [("first", b"1")]
    assert [(each.key, each.value) for each in outcome.trailers] == [
        ("a", b"1"),
        ("a", b"2"),
        ("b-bin", b"\x00"),
    ]


def sync_aborts(request: StringValue, context: Any) -> StringValue:
    context.set_trailing_metadata((("k", "v"),))
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
    raise AssertionError("abort returned")


async def async_aborts(request: StringValue, context: Any) -> StringValue:
    await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing", (("k", "v"),))
    raise AssertionError("abort returned")


def sync_aborts_and_swallows(request: StringValue, context: Any) -> StringValue:
    try:
        sync_aborts(request, context)
    except Exception:
        return StringValue(value="never mind")
    raise AssertionError


def sync_sets_code(request: StringValue, context: Any) -> StringValue:
    context.set_trailing_metadata((("k", "v"),))
    context.set_code(grpc.StatusCode.NOT_FOUND)
    context.set_details("no such thing")
    return StringValue(value="dropped")


async def async_sets_code(request: StringValue, context: Any) -> StringValue:
    context.set_trailing_metadata((("k", "v"),))
    context.set_code(code_pb2.NOT_FOUND)
    context.set_details("no such thing")
    return None  # type: ignore[return-value]


@pytest.mark.parametrize(
    "handler", [sync_aborts, async_aborts, sync_aborts_and_swallows, sync_sets_code, async_sets_code]
)
def test_the_handlers_own_failure(handler: Callable[..., Any]) -> None:
    outcome = Invoked(handler).outcome

    assert (outcome.status.code, outcome.status.message) == (code_pb2.NOT_FOUND, "no such thing")
    assert not outcome.response
    assert [(each.key, each.value) for each in outcome.trailers] == [("k", b"v")]


def sync_rich(request: StringValue, context: Any) -> StringValue:
    context.abort_with_status(rich_status())
    raise AssertionError


async def async_rich(request: StringValue, context: Any) -> StringValue:
    await context.abort_with_status(rich_status())
    raise AssertionError


@pytest.mark.parametrize("handler", [sync_rich, async_rich])
def test_status_details(handler: Callable[..., Any]) -> None:
    invoked = Invoked(handler)

    assert (invoked.outcome.status.code, invoked.outcome.status.message) == (9, "not now")
    assert invoked.reason == "WHY"
    # They travel as details, not a second time as a trailer.
    assert not invoked.outcome.trailers


def sync_raises(request: StringValue, context: Any) -> StringValue:
    raise RuntimeError("password=hunter2")


async def async_raises(request: StringValue, context: Any) -> StringValue:
    raise RuntimeError("password=hunter2")


async def async_exits(request: StringValue) -> StringValue:
    raise SystemExit(3)


async def async_cancels_itself(request: StringValue) -> StringValue:
    raise asyncio.CancelledError


async def async_wrong_type(request: StringValue) -> StringValue:
    return "hunter2"  # type: ignore[return-value]


def sync_returns_a_coroutine(request: StringValue) -> StringValue:
    return async_wrong_type(request)  # type: ignore[return-value]


@pytest.mark.parametrize(
    "handler",
    [
        sync_raises,
        async_raises,
        async_exits,
        async_cancels_itself,
        async_wrong_type,
        sync_returns_a_coroutine,
    ],
)
def test_an_unhandled_exception_does_not_leak_its_text(
    handler: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    invoked = Invoked(handler)

    assert invoked.outcome.status.code == code_pb2.UNKNOWN
    assert invoked.reason == "HANDLER_FAILED"
    told = invoked.outcome.error
    assert told.type
    assert told.stack.startswith("Traceback")
    # All but that goes to callers.
    invoked.outcome.ClearField("error")
    assert b"hunter2" not in invoked.outcome.SerializeToString()
    logged = caplog.text
    assert "task_id='t1'" in logged
    assert "Traceback" in logged


def test_an_exception_after_a_chosen_status_keeps_the_status() -> None:
    def not_implemented(request: StringValue, context: Any) -> StringValue:
        context.set_code(grpc.StatusCode.UNIMPLEMENTED)
        context.set_details("Method not implemented!")
        raise NotImplementedError("Method not implemented!")

    outcome = Invoked(not_implemented).outcome

    assert (outcome.status.code, outcome.status.message) == (12, "Method not implemented!")


def test_a_payload_that_does_not_parse_is_the_callers_fault() -> None:
    given = assignment()
    given.payload = b"\xff\xff"
    invoked = Invoked(sync_answers, given)

    assert invoked.outcome.status.code == code_pb2.INVALID_ARGUMENT
    assert invoked.reason == "PAYLOAD_MALFORMED"


def sync_stream(request: StringValue, context: Any) -> Iterator[StringValue]:
    for text in "abc":
        yield StringValue(value=text)


async def async_stream(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
    for text in "abc":
        yield StringValue(value=text)


@pytest.mark.parametrize("handler", [sync_stream, async_stream])
def test_a_stream(handler: Callable[..., Any]) -> None:
    invoked = Invoked(handler)

    assert invoked.sent == ["a", "b", "c"]
    assert invoked.outcome == task_pb2.Outcome()


def test_a_sync_stream_ends_where_it_was_cancelled_and_is_closed() -> None:
    closed: list[str] = []

    def endless(request: StringValue, context: Any) -> Iterator[StringValue]:
        try:
            while True:
                yield StringValue(value="x")
                context.cancel()
        finally:
            closed.append("yes")

    invoked = Invoked(endless)

    assert invoked.sent == ["x"]
    assert closed == ["yes"]
    assert invoked.outcome.status.code == code_pb2.CANCELLED


def test_what_a_handler_sees_of_its_call() -> None:
    seen: dict[str, Any] = {}

    def look(request: StringValue, context: Any) -> StringValue:
        task = current_task()
        seen.update(
            id=task.id,
            attempt=task.attempt,
            method=task.method,
            request_id=task.request_id,
            priority=task.priority,
            agent=task.agent_id,
            root=task.root_id,
            parent=task.parent_id,
            deadline=task.deadline,
            left=context.time_remaining(),
            metadata=[(each.key, each.value) for each in context.invocation_metadata()],
            active=context.is_active(),
            peer=context.peer(),
            identities=context.peer_identities(),
            auth=dict(context.auth_context()),
        )
        return request

    context = task_pb2.CallContext(
        metadata=[
            task_pb2.Metadatum(key="who", value=b"me"),
            task_pb2.Metadatum(key="raw-bin", value=b"\x00\x01"),
        ],
        parent_id="t0",
        root_id="troot",
    )
    given = assignment(context=context)
    given.deadline.FromJsonString("2030-01-01T00:00:00Z")
    Invoked(look, given, deadline_at=time.monotonic() + 60)

    assert 59 < seen.pop("left") <= 60
    assert seen.pop("deadline").year == 2030
    assert seen == {
        "id": "t1",
        "attempt": 2,
        "method": "acme.v1.Thing/Do",
        "request_id": "r",
        "priority": 7,
        "agent": "agent-1",
        "root": "troot",
        "parent": "t0",
        "metadata": [("who", "me"), ("raw-bin", b"\x00\x01")],
        "active": True,
        "peer": "weft:coordinator",
        "identities": None,
        "auth": {},
    }
    with pytest.raises(LookupError, match="outside a handler"):
        current_task()


@pytest.mark.parametrize("metadata", [(("Upper", "v"),), (("key", b"bytes"),), (("", "v"),), (("key", 5),)])
def test_metadata_that_cannot_be_sent_is_the_handlers_mistake(metadata: Any) -> None:
    def handler(request: StringValue, context: Any) -> StringValue:
        with pytest.raises((ValueError, TypeError), match="metadata"):
            context.set_trailing_metadata(metadata)
        return request

    assert not Invoked(handler).outcome.HasField("status")


def test_callbacks_run_once_at_the_end_and_not_after_it() -> None:
    calls: list[str] = []

    def handler(request: StringValue, context: Any) -> StringValue:
        def broken() -> None:
            calls.append("broken")
            raise RuntimeError

        assert context.add_callback(broken)
        assert context.add_callback(lambda: calls.append("second"))
        return request

    invoked = Invoked(handler)

    assert calls == ["broken", "second"]
    assert not invoked.context.is_active()
    assert not invoked.context.add_callback(lambda: calls.append("late"))
    assert calls == ["broken", "second"]


def test_async_done_callbacks_get_the_context() -> None:
    calls: list[object] = []

    async def handler(request: StringValue, context: grpc.aio.ServicerContext[Any, Any]) -> StringValue:
        context.add_done_callback(calls.append)
        assert not context.done()
        assert not context.cancelled()
        return request

    invoked = Invoked(handler)

    assert calls == [invoked.context]
    assert invoked.context.done()


@pytest.mark.parametrize("handler", [sync_raises, async_raises])
def test_a_cancelled_handler_that_raises_is_cancelled(handler: Callable[..., Any]) -> None:
    invoked = Invoked(handler, before=lambda context: context.signal_cancel("enough"))

    assert invoked.outcome.status.code == code_pb2.CANCELLED
    assert invoked.reason == "CANCELLED"
    assert "enough" in invoked.outcome.status.message


def test_a_cancelled_handler_that_finishes_keeps_its_outcome() -> None:
    outcome = Invoked(sync_answers, before=lambda context: context.signal_cancel("enough")).outcome

    assert StringValue.FromString(outcome.response).value == "in!"


def test_a_thread_can_wait_for_its_cancellation() -> None:
    context = SyncContext(assignment(), "a", None)
    assert not context.cancel_signal.wait(0.0)
    seen: list[bool] = []
    waiter = threading.Thread(target=lambda: seen.append(context.cancel_signal.wait(10)))
    waiter.start()
    context.signal_cancel("enough")
    waiter.join(10)

    assert seen == [True]
    assert context.cancel_signal.is_set()
    assert not context.is_active()


@pytest.mark.parametrize("key", ["grpc-timeout", "grpclb_client_stats"])
def test_metadata_that_would_end_the_process_is_refused_where_it_is_given(key):
    with pytest.raises(ValueError, match="gRPC's own"):
        checked([(key, "5S")])


def _sends_twice(_request: StringValue, context: Any) -> StringValue:
    context.send_initial_metadata((("first", "1"),))
    with pytest.raises(ValueError, match="Initial metadata no longer allowed!"):
        context.send_initial_metadata((("second", "2"),))
    return StringValue()


def _sends_late(_request: StringValue, context: Any) -> Iterator[StringValue]:
    yield StringValue()
    with pytest.raises(ValueError, match="Initial metadata no longer allowed!"):
        context.send_initial_metadata((("late", "1"),))
    context.set_trailing_metadata((("seen", "1"),))


async def _sends_twice_async(_request: StringValue, context: Any) -> StringValue:
    await context.send_initial_metadata((("first", "1"),))
    with pytest.raises(grpc.aio.UsageError, match="already sent"):
        await context.send_initial_metadata((("second", "2"),))
    return StringValue()


async def _sends_late_async(_request: StringValue, context: Any) -> AsyncIterator[StringValue]:
    yield StringValue()
    with pytest.raises(grpc.aio.UsageError, match="already sent"):
        await context.send_initial_metadata((("late", "1"),))


@pytest.mark.parametrize("handler", [_sends_twice, _sends_late, _sends_twice_async, _sends_late_async])
def test_initial_metadata_goes_once_and_before_a_response_as_in_grpc(handler: Callable[..., Any]) -> None:
    outcome = Invoked(handler).outcome
    assert not outcome.status.code, outcome
    sent = [("first", b"1")] if "twice" in handler.__name__ else []
    assert [(entry.key, entry.value) for entry in outcome.headers] == sent
