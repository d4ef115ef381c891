"""Durable calls of a stock server behind `weft agent --app`: neither end can tell, and what an app cannot do is not taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.rpc import code_pb2, error_details_pb2, status_pb2

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import Payload, ProbeRequest
from tests.support import tasks
from tests.support.beside import StockApp, sidecar
from tests.support.mesh import MeshHarness
from weft.client import connect
from weft.v1 import options_pb2, task_pb2


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def _beside(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshHarness]:
    async with MeshHarness(tmp_path_factory.mktemp("sidecar")) as harness:
        await harness.coordinator()
        app = StockApp(harness)
        await app.start()
        await sidecar(harness, app.address)
        await harness.wait_serving()
        await harness.close_channels()
        yield harness


@pytest.fixture
async def beside(_beside: MeshHarness) -> AsyncIterator[MeshHarness]:
    """A coordinator, and a stock app with its sidecar, shared by the tests here."""
    yield _beside
    await _beside.close_channels()


@pytest.fixture
def stock(_beside: MeshHarness) -> Iterator[probe_pb2_grpc.ProbeServiceStub]:
    with grpc.insecure_channel(_beside.target) as channel:
        yield probe_pb2_grpc.ProbeServiceStub(channel)


async def test_a_stock_caller_and_the_app_see_each_other_as_on_one_server(
    stock: probe_pb2_grpc.ProbeServiceStub,
) -> None:
    given = (("who", "me"), ("many", "1"), ("many", "2"), ("raw-bin", b"\x00\xff"))
    trace = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    reply, call = await asyncio.to_thread(
        stock.Call.with_call,
        ProbeRequest(text="x", blob=b"\x00\xfe"),
        timeout=20,
        metadata=(*given, trace),
    )

    assert reply.blob == b"\x00\xfe"
    own = [line for line in reply.metadata if line.partition("=")[0] in {key for key, _ in given}]
    assert own == ["who=me", "many=1", "many=2", "raw-bin=00ff"]
    assert 0 < reply.time_remaining_s < 20.5
    trailers = dict(call.trailing_metadata())
    assert (trailers["probe-text"], trailers["probe-bin"]) == ("x", b"\x00\xff")
    headers = dict(call.initial_metadata())
    assert (headers["probe-head"], headers["probe-head-bin"]) == ("first", b"\x01\xfe")
    assert trailers["weft-agent"] == "side"

    told = dict(line.split("=", 1) for line in reply.metadata)
    assert told["weft-task-id"] == told["weft-parent-id"] == told["weft-root-id"] == trailers["weft-task-id"]
    assert told["weft-attempt"] == "1"
    assert told["traceparent"].split("-")[1] == trace[1].split("-")[1]


async def test_bytes_pass_as_they_are(beside: MeshHarness) -> None:
    payload = Payload(data=bytes(range(256)) * 12_000)
    assert await beside.probe().Echo(payload, timeout=20) == payload


async def test_a_failure_reaches_the_caller_with_its_details(stock: probe_pb2_grpc.ProbeServiceStub) -> None:
    failing = ProbeRequest(
        text="x", fail_code=code_pb2.NOT_FOUND, fail_message="no such thing", fail_reason="WHY"
    )
    with pytest.raises(grpc.RpcError) as caught:
        await asyncio.to_thread(stock.Call, failing, timeout=20)
    error: Any = caught.value
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "no such thing")
    status = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == ("WHY", "probe")


async def test_an_apps_own_unavailable_is_a_failure_not_a_crash(beside: MeshHarness) -> None:
    policy = task_pb2.TaskOptions(retry=options_pb2.RetryPolicy(max_attempts=2))
    failing = ProbeRequest(text="own", fail_code=code_pb2.UNAVAILABLE, fail_message="busy")
    task = await tasks.end(beside, await tasks.submit(beside, failing, options=policy))
    assert (task.attempt, task.crashes, tasks.code(task)) == (2, 0, "UNAVAILABLE"), tasks.describe(task)


async def test_a_stream_comes_while_the_app_sends_it(beside: MeshHarness) -> None:
    call = beside.probe().Stream(ProbeRequest(text="s", stream_count=3, sleep_s=0.4), timeout=20)
    times, indexes = [], []
    async for reply in call:
        times.append(asyncio.get_running_loop().time())
        indexes.append(reply.index)
    assert indexes == [1, 2, 3]
    assert times[-1] - times[0] > 0.5


async def test_a_stream_that_fails_in_the_middle_fails_with_its_status(beside: MeshHarness) -> None:
    failing = ProbeRequest(text="s", stream_count=2, fail_code=code_pb2.DATA_LOSS, fail_message="gone")
    call = beside.probe().Stream(failing, timeout=20)
    indexes = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for reply in call:
            indexes.append(reply.index)
    assert (indexes, caught.value.code(), caught.value.details()) == (
        [1, 2],
        grpc.StatusCode.DATA_LOSS,
        "gone",
    )


async def test_a_cancellation_reaches_the_app(
    beside: MeshHarness, stock: probe_pb2_grpc.ProbeServiceStub
) -> None:
    ledger = beside.ledger("cancelled")
    future = stock.Call.future(ProbeRequest(text="stop", sleep_s=30, ledger=ledger.path), timeout=60)
    await ledger.until("start", "stop")
    # A sidecar takes commands as each agent: the call is on its way through it.
    async with connect(beside.target) as client:
        (outcome,) = [each async for each in client.fleet.select(method=tasks.method("Call")).stacks()]
        (stack,) = [each for each in outcome.result().stacks if each.method == tasks.method("Call")]
        assert "pass_on" in stack.frames[-1].file + "".join(each.function for each in stack.frames)
    future.cancel()
    await ledger.until("cancelled", "stop")


async def test_a_deadline_reaches_the_app(
    beside: MeshHarness, stock: probe_pb2_grpc.ProbeServiceStub
) -> None:
    ledger = beside.ledger("late")
    with pytest.raises(grpc.RpcError) as caught:
        await asyncio.to_thread(
            stock.Call, ProbeRequest(text="late", sleep_s=30, ledger=ledger.path), timeout=1
        )
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await ledger.until("cancelled", "late")


async def test_a_response_that_is_too_large_says_so(beside: MeshHarness) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await beside.probe().Call(ProbeRequest(reply_size_bytes=5_000_000), timeout=20)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_no_more_calls_at_a_time_than_slots(beside: MeshHarness) -> None:
    ledger = beside.ledger("slots")
    requests = [ProbeRequest(text=str(n), sleep_s=0.2, ledger=ledger.path) for n in range(24)]
    await tasks.ended(beside, await tasks.submit_all(beside, requests))
    running = most = 0
    for fact in ledger.facts():
        running += 1 if fact.event == "start" else -1
        most = max(most, running)
    assert most == 8


async def test_an_app_keeps_a_state(beside: MeshHarness) -> None:
    """By metadata: the app gets it, and gives the new one. Its caller sees nothing of that."""

    async def call(text: str) -> tuple[dict[str, str], Any]:
        call = beside.probe().Call(
            ProbeRequest(text=text), timeout=20, metadata=(("weft-state-lock", "cart 1"),)
        )
        reply = await call
        return dict(line.split("=", 1) for line in reply.metadata), await call.trailing_metadata()

    told, trailers = await call("state count")
    assert (told["weft-state-name"], told["weft-state-version"]) == ("cart 1", "0")
    assert "weft-state-bin" not in told
    assert not [key for key, _ in trailers if key.startswith("weft-state")]
    told, _ = await call("state keep")
    assert (told["weft-state-bin"], told["weft-state-type"]) == (b"1".hex(), "json")
    async with connect(beside.target) as mesh:
        state = await mesh.keyed_states.get("cart 1")
        assert (state.value, state.type, state.version > int(told["weft-state-version"])) == (
            b"2",
            "json",
            True,
        )
        assert state.expires_at is not None
        with pytest.raises(grpc.aio.AioRpcError, match="it must be seconds from 1"):
            await call("state wrong")
        assert (await mesh.keyed_states.get("cart 1")).version == state.version
        await call("state delete")
        assert [each async for each in mesh.keyed_states.list()] == []
        # Without a lock that keeps one, nothing is taken.
        await beside.probe().Call(ProbeRequest(text="state count"), timeout=20)
        assert [each async for each in mesh.keyed_states.list()] == []
