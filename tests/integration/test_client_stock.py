"""Stock gRPC clients, sync and asyncio, with nothing of weft in them: each call on the coordinator's port is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from probe.v1 import probe_pb2, probe_pb2_grpc
from tests.support.mesh import MeshHarness
from weft.v1 import coordinator_pb2, task_pb2


@pytest.fixture
def stock(shared_mesh: MeshHarness) -> Iterator[probe_pb2_grpc.ProbeServiceStub]:
    """The synchronous stub that everybody has."""
    with grpc.insecure_channel(shared_mesh.target) as channel:
        yield probe_pb2_grpc.ProbeServiceStub(channel)


def request(**fields: object) -> probe_pb2.ProbeRequest:
    return probe_pb2.ProbeRequest(**fields)


async def test_sync_unary_call_has_response_trailers_and_a_task(
    shared_mesh: MeshHarness, stock: probe_pb2_grpc.ProbeServiceStub
) -> None:
    reply, call = await asyncio.to_thread(
        stock.Call.with_call, request(text="hello"), timeout=20, metadata=(("x-tenant", "acme"),)
    )
    assert reply.text == "hello"
    assert "x-tenant=acme" in reply.metadata
    assert 0 < reply.time_remaining_s <= 20.5
    trailers = dict(call.trailing_metadata())
    assert trailers["weft-agent"] == "a1"
    assert trailers["weft-attempt"] == "1"

    found = await shared_mesh.api().GetTask(
        coordinator_pb2.GetTaskRequest(task_id=trailers["weft-task-id"]), timeout=5
    )
    assert found.task.state == task_pb2.TASK_STATE_SUCCEEDED
    assert found.task.id == reply.task_id


async def test_sync_failure_has_the_handlers_status_and_details(
    stock: probe_pb2_grpc.ProbeServiceStub,
) -> None:
    failing = request(text="x", fail_code=5, fail_message="no such paper", fail_reason="PAPER_GONE")
    with pytest.raises(grpc.RpcError) as caught:
        await asyncio.to_thread(stock.Call, failing, timeout=20)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "no such paper"
    status = rpc_status.from_call(caught.value)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.reason == "PAPER_GONE"
    assert dict(caught.value.trailing_metadata())["weft-attempt"] == "1"


async def test_sync_streaming_call(stock: probe_pb2_grpc.ProbeServiceStub) -> None:
    replies = await asyncio.to_thread(
        lambda: list(stock.Stream(request(text="s", stream_count=5), timeout=20))
    )
    assert [reply.index for reply in replies] == [1, 2, 3, 4, 5]


async def test_sync_deadline_reaches_the_handler_and_ends_the_task(
    shared_mesh: MeshHarness, stock: probe_pb2_grpc.ProbeServiceStub
) -> None:
    ledger = shared_mesh.ledger()
    slow = request(text="slow", sleep_s=30, ledger=ledger.path)
    with pytest.raises(grpc.RpcError) as caught:
        await asyncio.to_thread(stock.Call, slow, timeout=1.0)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await ledger.until("cancelled", "slow")


async def test_sync_cancellation_reaches_the_handler(
    shared_mesh: MeshHarness, stock: probe_pb2_grpc.ProbeServiceStub
) -> None:
    ledger = shared_mesh.ledger()
    future = stock.CallSync.future(request(text="stop", sleep_s=30, ledger=ledger.path), timeout=60)
    await ledger.until("start", "stop")
    future.cancel()
    await ledger.until("cancelled", "stop")


async def test_sync_methods_that_cannot_be_tasks_say_so(stock: probe_pb2_grpc.ProbeServiceStub) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        await asyncio.to_thread(stock.Collect, iter([request(text="a")]), timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_aio_calls_run_side_by_side(shared_mesh: MeshHarness) -> None:
    async with grpc.aio.insecure_channel(shared_mesh.target) as channel:
        stub = probe_pb2_grpc.ProbeServiceStub(channel)
        replies = await asyncio.gather(
            *(stub.Call(request(text=str(number)), timeout=30) for number in range(50))
        )
        assert [reply.text for reply in replies] == [str(number) for number in range(50)]
        assert len({reply.task_id for reply in replies}) == 50


async def test_aio_same_request_id_is_the_same_task(shared_mesh: MeshHarness) -> None:
    async with grpc.aio.insecure_channel(shared_mesh.target) as channel:
        stub = probe_pb2_grpc.ProbeServiceStub(channel)
        named = (("weft-request-id", "only-once"),)
        first = await stub.Call(request(text="one"), timeout=20, metadata=named)
        again = await stub.Call(request(text="one"), timeout=20, metadata=named)
        assert first == again
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Call(request(text="another"), timeout=20, metadata=named)
        assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS


async def test_aio_stream_comes_while_the_handler_runs(shared_mesh: MeshHarness) -> None:
    async with grpc.aio.insecure_channel(shared_mesh.target) as channel:
        stub = probe_pb2_grpc.ProbeServiceStub(channel)
        call = stub.Stream(request(text="s", stream_count=3, sleep_s=0.4), timeout=20)
        times = []
        async for _ in call:
            times.append(asyncio.get_running_loop().time())
        assert times[-1] - times[0] > 0.5, "each reply is sent on when it is made, not at the end"
        assert await call.code() is grpc.StatusCode.OK
