"""Calls on an agent's own port, by a stock client: each shape, each kind of handler, and every way to end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc import code_pb2

from probe.v1 import probe_pb2, probe_pb2_grpc
from tests.support.direct import SyncProbeService, probe_agent, serving, used_slots
from tests.support.ledger import Ledger
from tests.support.processes import until
from weft.agent import Agent, current_task
from weft.rpc.errors import error_info, status_of_call
from weft.v1 import agent_pb2

REQUEST = probe_pb2.ProbeRequest
FLAVOURS = ("Call", "CallSync", "CallIsolated")
PROMPT_S = 5.0


@pytest.fixture
def agent() -> Agent:
    return probe_agent(isolated=True)


@pytest.fixture
async def stub(agent: Agent) -> AsyncIterator[probe_pb2_grpc.ProbeServiceStub]:
    async with serving(agent) as channel:
        yield probe_pb2_grpc.ProbeServiceStub(channel)


@pytest.fixture(params=[None, SyncProbeService], ids=["async", "sync"])
async def either(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Agent, Any]]:
    """The service with async handlers, and with sync ones."""
    made = probe_agent() if request.param is None else probe_agent(request.param())
    async with serving(made) as channel:
        yield made, probe_pb2_grpc.ProbeServiceStub(channel)


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


def reason(error: grpc.aio.AioRpcError) -> str:
    info = error_info(status_of_call(error))
    return "" if info is None else info.reason


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_a_unary_call_with_metadata_both_ways(stub, flavour):
    call = getattr(stub, flavour)(
        REQUEST(text="hi"),
        timeout=20,
        metadata=[("x-key", "one"), ("x-key", "two"), ("x-raw-bin", b"\x00\xff")],
    )
    reply = await call
    assert (reply.text, reply.agent_id, reply.attempt) == ("hi", "d1", 1)
    assert reply.task_id
    assert [line for line in reply.metadata if line.startswith("x-")] == [
        "x-key=one",
        "x-key=two",
        "x-raw-bin=00ff",
    ]
    # The wire has three digits of a timeout, rounded up: 20.1 s, when some of it is left over.
    assert 0 < reply.time_remaining_s <= 20.1
    trailers = dict(await call.trailing_metadata())
    assert (trailers["probe-text"], trailers["probe-bin"], trailers["weft-agent"]) == (
        "hi",
        b"\x00\xff",
        "d1",
    )
    metrics = agent_pb2.OrcaLoadReport.FromString(trailers["weft-load-bin"]).named_metrics
    assert (metrics["slots"], metrics["used_slots"]) == (4, 1)


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_an_abort_with_details(stub, flavour):
    request = REQUEST(
        text="x", fail_code=code_pb2.NOT_FOUND, fail_message="no such thing", fail_reason="GONE"
    )
    error = await failure(getattr(stub, flavour)(request, timeout=20))
    assert (error.code(), error.details(), reason(error)) == (
        grpc.StatusCode.NOT_FOUND,
        "no such thing",
        "GONE",
    )


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_an_exceptions_text_stays_here(stub, flavour):
    error = await failure(getattr(stub, flavour)(REQUEST(raise_text="the password is x"), timeout=20))
    assert (error.code(), reason(error)) == (grpc.StatusCode.UNKNOWN, "HANDLER_FAILED")
    assert "password" not in error.details() + str(error.trailing_metadata())
    assert dict(error.trailing_metadata())["weft-agent"] == "d1"


async def test_the_shapes_of_streams(either):
    _agent, stub = either
    assert [reply.index async for reply in stub.Stream(REQUEST(stream_count=300), timeout=20)] == [
        *range(1, 301)
    ]
    assert [reply async for reply in stub.Stream(REQUEST(), timeout=20)] == []
    texts = [REQUEST(text=letter) for letter in "abc"]
    assert (await stub.Collect(iter(texts), timeout=20)).text == "a b c"
    assert (await stub.Collect(iter(()), timeout=20)).text == ""
    assert [reply.text async for reply in stub.Chat(iter(texts), timeout=20)] == ["a", "b", "c"]


async def test_a_conversation_is_not_held_up(either):
    _agent, stub = either
    call = stub.Chat(timeout=20)
    for letter in "ab":
        await call.write(REQUEST(text=letter))
        assert (await call.read()).text == letter
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_a_cancellation_reaches_the_handler(agent, stub, flavour, tmp_path: Path):
    ledger = Ledger(tmp_path / "ledger")
    call = getattr(stub, flavour)(REQUEST(text="c", sleep_s=60, ledger=ledger.path), timeout=60)
    await ledger.until("start")
    call.cancel()
    await ledger.until("cancelled")
    await until(lambda: used_slots(agent) == 0, "its slot is free")


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_a_deadline_reaches_the_handler(agent, stub, flavour, tmp_path: Path):
    await getattr(stub, flavour)(REQUEST(), timeout=20)  # its process is there
    ledger = Ledger(tmp_path / "ledger")
    request = REQUEST(text="d", sleep_s=60, ledger=ledger.path)
    error = await failure(getattr(stub, flavour)(request, timeout=0.5))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(ledger.facts("start")) == 1
    await until(lambda: used_slots(agent) == 0, "its slot is free")
    if flavour != "CallIsolated":  # which is killed at once: nobody waits for it
        assert len(ledger.facts("cancelled")) == 1


async def test_a_stream_that_its_caller_leaves(either, tmp_path: Path):
    agent, stub = either
    ledger = Ledger(tmp_path / "ledger")
    call = stub.Stream(REQUEST(text="s", stream_count=10**6, sleep_s=0.001, ledger=ledger.path), timeout=60)
    await call.read()
    call.cancel()
    await ledger.until("cancelled")
    await until(lambda: used_slots(agent) == 0, "its slot is free")


async def test_bytes_that_do_not_parse(either):
    agent, _stub = either
    async with grpc.aio.insecure_channel(agent.direct_address) as channel:
        garbage = b"\xff\xff\xff"
        error = await failure(channel.unary_unary("/probe.v1.ProbeService/Call")(garbage, timeout=20))
        assert (error.code(), reason(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "PAYLOAD_MALFORMED")
        error = await failure(
            channel.stream_unary("/probe.v1.ProbeService/Collect")(iter([garbage]), timeout=20)
        )
        assert (error.code(), reason(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "PAYLOAD_MALFORMED")
    await until(lambda: used_slots(agent) == 0, "no slot is lost")


async def test_a_method_that_is_not_hosted(either):
    agent, _stub = either
    async with grpc.aio.insecure_channel(agent.direct_address) as channel:
        error = await failure(channel.unary_unary("/acme.v1.Nothing/Here")(b"", timeout=20))
    assert (error.code(), reason(error)) == (grpc.StatusCode.UNIMPLEMENTED, "METHOD_NOT_HOSTED")


async def test_messages_up_to_the_limit(stub):
    large = probe_pb2.Payload(data=bytes(3 * 1024 * 1024))
    assert await stub.Echo(large, timeout=30) == large
    error = await failure(stub.Echo(probe_pb2.Payload(data=bytes(4 * 1024 * 1024)), timeout=30))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


class Picky(probe_pb2_grpc.ProbeServiceServicer):
    """Handlers that use the finer parts of a context."""

    async def Call(self, request, context):
        context.set_compression(grpc.Compression.Gzip)
        await context.send_initial_metadata((("x-early", "yes"),))
        context.set_trailing_metadata((*context.trailing_metadata(), ("x-late", "yes")))
        context.set_code(grpc.StatusCode.NOT_FOUND if request.text == "code" else grpc.StatusCode.OK)
        context.set_details("by code")
        if request.text == "trailers":
            await context.abort(grpc.StatusCode.ABORTED, "no", (("x-own", "1"),))
        if request.text == "cancelled":
            raise asyncio.CancelledError
        return probe_pb2.ProbeReply(text=context.peer())

    def CallSync(self, request, context):
        context.send_initial_metadata((("x-early", "yes"),))
        context.set_trailing_metadata((("x-late", "yes"), ("x-text-bin", "as bytes")))
        if request.text == "code":
            context.set_code(grpc.StatusCode.NOT_FOUND)
            context.set_details("by code")
            return None
        return probe_pb2.ProbeReply(text=context.peer())


@pytest.mark.parametrize("flavour", ["Call", "CallSync"])
async def test_the_finer_parts_of_a_context(flavour):
    async with serving(probe_agent(Picky())) as channel:
        method = getattr(probe_pb2_grpc.ProbeServiceStub(channel), flavour)
        call = method(REQUEST(), timeout=20)
        assert (await call).text.startswith("ipv4:127.0.0.1:")
        assert ("x-early", "yes") in tuple(await call.initial_metadata())
        keys = [key for key, _ in await call.trailing_metadata()]
        assert [key for key in sorted(keys) if key != "x-text-bin"] == [
            "weft-agent",
            "weft-load-bin",
            "x-late",
        ]
        if flavour == "CallSync":
            assert ("x-text-bin", b"as bytes") in tuple(await call.trailing_metadata())
        error = await failure(method(REQUEST(text="code"), timeout=20))
        assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "by code")
        assert ("x-late", "yes") in tuple(error.trailing_metadata())


async def test_an_abort_with_trailers_and_a_cancellation_out_of_nowhere():
    async with serving(probe_agent(Picky())) as channel:
        call = probe_pb2_grpc.ProbeServiceStub(channel).Call
        error = await failure(call(REQUEST(text="trailers"), timeout=20))
        assert error.code() is grpc.StatusCode.ABORTED
        assert ("x-own", "1") in tuple(error.trailing_metadata())
        # grpc.aio by itself would leave the caller without an answer.
        error = await failure(call(REQUEST(text="cancelled"), timeout=PROMPT_S))
        assert (error.code(), reason(error)) == (grpc.StatusCode.UNKNOWN, "HANDLER_FAILED")


async def test_current_task_in_a_direct_call():
    agent = Agent("who", target="127.0.0.1:1")
    seen: dict[str, Any] = {}

    @agent.method("stage.v1.Stage/Who")
    async def who(request: StringValue) -> StringValue:
        task = current_task()
        seen.update(
            id=task.id,
            again=task.id,
            attempt=task.attempt,
            method=task.method,
            agent=task.agent_id,
            root=task.root_id,
            parent=task.parent_id,
            left_s=task.time_remaining(),
            deadline=task.deadline,
            cancelled=task.cancelled.is_set(),
        )
        return request

    async with serving(agent) as channel:
        call = channel.unary_unary("/stage.v1.Stage/Who")
        await call(b"", timeout=20, metadata=[("weft-root-id", "r1"), ("weft-parent-id", "p1")])
        assert (seen["root"], seen["parent"], seen["agent"]) == ("r1", "p1", "who")
        assert (seen["attempt"], seen["method"], seen["cancelled"]) == (1, "stage.v1.Stage/Who", False)
        assert seen["id"] == seen["again"] != ""
        # gRPC rounds up what it sends.
        assert 0 < seen["left_s"] <= 21
        assert seen["deadline"] is not None
        first = seen["id"]
        await call(b"")
        assert (seen["root"], seen["parent"]) == (seen["id"], "")
        assert (seen["left_s"], seen["deadline"]) == (None, None)
        assert seen["id"] != first
