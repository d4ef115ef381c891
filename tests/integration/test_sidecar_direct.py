"""Direct calls of an app through its sidecar's direct server: all four shapes, within the slots, and refused when it is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.rpc import code_pb2

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import Payload, ProbeRequest
from tests.support import tasks
from tests.support.beside import StockApp, available, direct_address, sidecar
from tests.support.mesh import MeshHarness
from weft.rpc.errors import from_call


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def _beside(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[MeshHarness, str]]:
    async with MeshHarness(tmp_path_factory.mktemp("direct")) as harness:
        await harness.coordinator()
        app = StockApp(harness)
        await app.start()
        await sidecar(harness, app.address, slots=4)
        address = await direct_address(harness, "side")
        await harness.close_channels()
        yield harness, address


@pytest.fixture
async def beside(_beside: tuple[MeshHarness, str]) -> AsyncIterator[MeshHarness]:
    yield _beside[0]
    await _beside[0].close_channels()


@pytest.fixture
def stock(_beside: tuple[MeshHarness, str]) -> Iterator[probe_pb2_grpc.ProbeServiceStub]:
    """A stock stub that dials the sidecar."""
    with grpc.insecure_channel(_beside[1]) as channel:
        yield probe_pb2_grpc.ProbeServiceStub(channel)


async def test_a_unary_call(stock: probe_pb2_grpc.ProbeServiceStub) -> None:
    given = (("who", "me"), ("many", "1"), ("many", "2"), ("raw-bin", b"\x00\xff"))
    trace = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    reply, call = await asyncio.to_thread(
        stock.Call.with_call, ProbeRequest(text="x"), timeout=20, metadata=(*given, trace)
    )
    own = [line for line in reply.metadata if line.partition("=")[0] in {key for key, _ in given}]
    assert own == ["who=me", "many=1", "many=2", "raw-bin=00ff"]
    assert 0 < reply.time_remaining_s < 20.5
    trailers, headers = dict(call.trailing_metadata()), dict(call.initial_metadata())
    assert (trailers["probe-text"], trailers["probe-bin"]) == ("x", b"\x00\xff")
    assert (headers["probe-head"], headers["probe-head-bin"]) == ("first", b"\x01\xfe")
    assert trailers["weft-agent"] == "side"
    told = dict(line.split("=", 1) for line in reply.metadata)
    assert told["weft-root-id"] == told["weft-parent-id"] != ""
    assert "weft-task-id" not in told
    assert told["traceparent"].split("-")[1] == trace[1].split("-")[1]


async def test_a_call_knows_the_root_of_its_tree(stock: probe_pb2_grpc.ProbeServiceStub) -> None:
    tree = (("weft-root-id", "the-root"), ("weft-parent-id", "the-parent"))
    reply = await asyncio.to_thread(stock.Call, ProbeRequest(text="x"), timeout=20, metadata=tree)
    told = dict(line.split("=", 1) for line in reply.metadata)
    assert told["weft-root-id"] == "the-root"
    # This call, as those that the app makes name it.
    assert told["weft-parent-id"] not in ("the-parent", "")


async def test_streams_of_every_shape(stock: probe_pb2_grpc.ProbeServiceStub) -> None:
    requests = [ProbeRequest(text=text) for text in ("a", "b", "c")]

    def chatted() -> list[str]:
        return [reply.text for reply in stock.Chat(iter(requests), timeout=20)]

    def streamed() -> list[int]:
        return [reply.index for reply in stock.Stream(ProbeRequest(text="s", stream_count=1000), timeout=20)]

    assert (await asyncio.to_thread(stock.Collect, iter(requests), timeout=20)).text == "a b c"
    assert await asyncio.to_thread(chatted) == ["a", "b", "c"]
    assert await asyncio.to_thread(streamed) == list(range(1, 1001))


async def test_large_messages_pass(stock: probe_pb2_grpc.ProbeServiceStub) -> None:
    payload = Payload(data=bytes(range(256)) * 12_000)
    assert await asyncio.to_thread(stock.Echo, payload, timeout=20) == payload


async def test_a_failure_is_the_apps_own(stock: probe_pb2_grpc.ProbeServiceStub) -> None:
    failing = ProbeRequest(text="x", fail_code=code_pb2.ABORTED, fail_message="no", fail_reason="WHY")
    with pytest.raises(grpc.RpcError) as caught:
        await asyncio.to_thread(stock.Call, failing, timeout=20)
    error: Any = caught.value
    assert (error.code(), error.details()) == (grpc.StatusCode.ABORTED, "no")
    assert b"WHY" in dict(error.trailing_metadata())["grpc-status-details-bin"]


async def test_a_cancellation_and_a_deadline_reach_the_app(
    beside: MeshHarness, stock: probe_pb2_grpc.ProbeServiceStub
) -> None:
    ledger = beside.ledger("ends")
    future = stock.Call.future(ProbeRequest(text="stop", sleep_s=30, ledger=ledger.path), timeout=60)
    await ledger.until("start", "stop")
    future.cancel()
    await ledger.until("cancelled", "stop")
    with pytest.raises(grpc.RpcError) as caught:
        await asyncio.to_thread(
            stock.Call, ProbeRequest(text="late", sleep_s=30, ledger=ledger.path), timeout=0.5
        )
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await ledger.until("cancelled", "late")


async def test_direct_and_durable_calls_share_the_slots(
    beside: MeshHarness, stock: probe_pb2_grpc.ProbeServiceStub
) -> None:
    ledger = beside.ledger("full")
    slow = ProbeRequest(text="slow", sleep_s=30, ledger=ledger.path)
    durable = [await tasks.submit(beside, slow) for _ in range(2)]
    direct = [stock.Call.future(slow, timeout=60) for _ in range(2)]
    await ledger.until("start", count=4)
    with pytest.raises(grpc.RpcError) as caught:
        await asyncio.to_thread(stock.Call, ProbeRequest(text="one too many"), timeout=20)
    assert from_call(caught.value).reason_name == "OVERLOADED"
    for call in direct:
        call.cancel()
    from weft.v1 import coordinator_pb2

    for task_id in durable:
        await beside.api().CancelTask(coordinator_pb2.CancelTaskRequest(task_id=task_id), timeout=5)
    await ledger.until("cancelled", count=4)


async def test_an_app_that_is_away_refuses_direct_calls(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    app = StockApp(mesh)
    await app.start()
    await sidecar(mesh, app.address)
    with grpc.insecure_channel(await direct_address(mesh, "side")) as channel:
        stock = probe_pb2_grpc.ProbeServiceStub(channel)
        assert (await asyncio.to_thread(stock.Call, ProbeRequest(text="x"), timeout=20)).text == "x"
        running = stock.Call.future(ProbeRequest(text="in flight", sleep_s=30), timeout=60)
        await asyncio.to_thread(stock.Echo, Payload(), timeout=20)
        await app.kill()
        error: Any = await asyncio.to_thread(running.exception)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        await available(mesh, "side", wanted=False)
        with pytest.raises(grpc.RpcError) as caught:
            await asyncio.to_thread(stock.Call, ProbeRequest(text="x"), timeout=20)
        refused = from_call(caught.value)
        assert (refused.code, refused.reason_name) == (grpc.StatusCode.UNAVAILABLE, "APP_UNAVAILABLE")
        await app.start()
        assert await available(mesh, "side") < 2.0
        assert (await asyncio.to_thread(stock.Call, ProbeRequest(text="x"), timeout=20)).text == "x"
