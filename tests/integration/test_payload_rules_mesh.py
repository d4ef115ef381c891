"""Rules of payloads hold on each way of a call, for each kind of handler: broken requests are not stored, broken responses fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from selling.v1 import selling_pb2, selling_pb2_grpc
from tests.support.beside import free_address, sidecar
from tests.support.mesh import MeshHarness
from tests.support.processes import Process, until
from tests.support.ruled import message_class, ruled_pool
from weft.agent import Agent
from weft.client import Every, FieldViolation, InvalidArgument, RetryPolicy, TaskState, connect, methods
from weft.client.api import WeftError
from weft.rpc.errors import from_call
from weft.v1 import errors_pb2

Order = selling_pb2.Order
WAIT_S = 30.0
DIRECT = (("weft-mode", "direct"),)
# How a call goes: in the mode that the coordinator has by default, and straight to the agent.
MODES = {"durable": (), "direct": DIRECT}
SERVICES = ("SellService", "SyncSellService", "IsolatedSellService", "StockSellService")
STREAMED = tuple(service for service in SERVICES if service != "IsolatedSellService")
BROKEN = errors_pb2.ERROR_REASON_RULES_VIOLATED
BROKEN_RESULT = errors_pb2.ERROR_REASON_RESULT_RULES_VIOLATED


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def selling(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshHarness]:
    async with MeshHarness(tmp_path_factory.mktemp("rules")) as harness:
        await harness.coordinator()
        await harness.agent("seller", slots=8, program="tests.support.selling:agent")
        address = free_address()
        app = Process.module("app", "tests.support.selling", address, log=harness.folder / "app.log")
        harness.others.append(app)
        await until(lambda: "serving" in app.output() or not app.alive, "the app serves")
        await sidecar(harness, address)
        for service in SERVICES:
            await harness.wait_serving(f"selling.v1.{service}")
        await harness.close_channels()
        yield harness


@pytest.fixture
async def channel(selling: MeshHarness) -> AsyncIterator[grpc.aio.Channel]:
    """A stock client's channel to the coordinator."""
    async with grpc.aio.insecure_channel(selling.target) as made:
        yield made


def stub_of(channel: Any, service: str) -> Any:
    return getattr(selling_pb2_grpc, f"{service}Stub")(channel)


async def failure(call: Any) -> WeftError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    return from_call(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("service", SERVICES)
async def test_a_broken_request_is_refused(channel: grpc.aio.Channel, service: str, mode: str):
    stub = stub_of(channel, service)
    for call in (stub.Sell, stub.SellEach):
        error = await failure(call(Order(count=101), timeout=WAIT_S, metadata=MODES[mode]))
        assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, BROKEN), error
        assert [(each.field, each.reason) for each in error.violations] == [
            ("item", "string.min_len"),
            ("count", "uint32.lte"),
        ]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("service", SERVICES)
async def test_good_messages_pass(channel: grpc.aio.Channel, service: str, mode: str):
    stub = stub_of(channel, service)
    order = Order(item="pen", answers=[3, 4])
    assert (await stub.Sell(order, timeout=WAIT_S, metadata=MODES[mode])).price == 3
    seen = [each.price async for each in stub.SellEach(order, timeout=WAIT_S, metadata=MODES[mode])]
    assert seen == [3, 4]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("service", SERVICES)
async def test_a_broken_response_fails_the_call(channel: grpc.aio.Channel, service: str, mode: str):
    error = await failure(
        stub_of(channel, service).Sell(Order(item="pen", answers=[-1]), timeout=WAIT_S, metadata=MODES[mode])
    )
    assert (error.code, error.reason) == (grpc.StatusCode.INTERNAL, BROKEN_RESULT), error
    assert error.violations == (FieldViolation("price", "must be greater than or equal to 0", "int32.gte"),)
    assert "price: must be greater than or equal to 0 (int32.gte)" in error.message


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("service", SERVICES)
async def test_a_stream_fails_at_its_first_broken_response(
    channel: grpc.aio.Channel, service: str, mode: str
):
    call = stub_of(channel, service).SellEach(
        Order(item="pen", answers=[1, 2, -1, 3]), timeout=WAIT_S, metadata=MODES[mode]
    )
    seen = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for each in call:
            seen.append(each.price)
    error = from_call(caught.value)
    assert seen == [1, 2]
    assert (error.code, error.reason) == (grpc.StatusCode.INTERNAL, BROKEN_RESULT), error


@pytest.mark.parametrize("service", STREAMED)
async def test_each_request_of_a_stream_is_checked(channel: grpc.aio.Channel, service: str):
    stub = stub_of(channel, service)
    good = Order(item="pen", answers=[7])
    assert (await stub.SellAll(iter([good, good]), timeout=WAIT_S, metadata=DIRECT)).price == 7
    error = await failure(stub.SellAll(iter([good, Order()]), timeout=WAIT_S, metadata=DIRECT))
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, BROKEN), error
    error = await failure(
        stub.SellAll(iter([Order(item="pen", answers=[-7])]), timeout=WAIT_S, metadata=DIRECT)
    )
    assert (error.code, error.reason) == (grpc.StatusCode.INTERNAL, BROKEN_RESULT), error


@pytest.mark.parametrize("method", ["SellUnchecked", "SellUntested"])
@pytest.mark.parametrize("mode", MODES)
async def test_a_method_may_go_without_checks(channel: grpc.aio.Channel, method: str, mode: str):
    call = getattr(stub_of(channel, "SellService"), method)
    assert (await call(Order(count=999, answers=[-5]), timeout=WAIT_S, metadata=MODES[mode])).price == -5


async def test_a_rule_over_several_fields(channel: grpc.aio.Channel):
    error = await failure(stub_of(channel, "SellService").Sell(Order(item="sample", count=2), timeout=WAIT_S))
    assert error.violations == (FieldViolation("", "samples are sold one by one", "order.free"),)


async def test_a_broken_response_is_not_retried(selling: MeshHarness):
    sell = methods(selling_pb2_grpc.SellServiceStub).Sell
    async with connect(selling.target) as mesh:
        policy = RetryPolicy(max_attempts=5, retryable_codes=[grpc.StatusCode.INTERNAL])
        handle = await mesh.tasks.submit(sell, Order(item="pen", answers=[-1]), retry=policy)
        with pytest.raises(WeftError) as caught:
            await handle.result(timeout_s=WAIT_S)
        assert caught.value.reason == BROKEN_RESULT
        assert caught.value.violations[0].field == "price"
        task = await mesh.tasks.get(handle.id)
        assert (task.state, task.attempt) == (TaskState.FAILED, 1)


@pytest.mark.slow
async def test_an_agent_whose_rules_do_not_compile_is_refused(selling: MeshHarness):
    pool = ruled_pool(
        "message In { int32 n = 1; string name = 2 [(buf.validate.field).string.pattern = '(']; }"
        " message Request { repeated In all = 1; }"
    )
    request = message_class(pool)

    async def call(message: Any) -> Any:
        return message

    call.__annotations__ = {"message": request, "return": request}
    agent = Agent(target=selling.target, agent_id="faulty")
    agent.method("faulty.v1.Service/Call")(call)
    with pytest.raises(InvalidArgument) as caught:
        await asyncio.wait_for(agent.serve(), WAIT_S)
    assert caught.value.reason == errors_pb2.ERROR_REASON_CONTRACT_INVALID
    assert "t.v1.In.name: its rules of buf.validate do not compile" in caught.value.message


async def test_no_door_stores_a_broken_request(selling: MeshHarness):
    """Transparent, detached, alone, in bulk, by a schedule: nothing is stored, and a bulk's other tasks are."""
    sell = methods(selling_pb2_grpc.SellServiceStub).Sell
    bad = Order(count=500)
    async with connect(selling.target) as mesh:
        before = {task.id async for task in mesh.tasks.list()}
        stub = selling_pb2_grpc.SellServiceStub(mesh.channel())
        for metadata in ((), (("weft-detach", "true"),)):
            assert (await failure(stub.Sell(bad, timeout=WAIT_S, metadata=metadata))).reason == BROKEN
        with pytest.raises(InvalidArgument) as caught:
            await mesh.tasks.submit(sell, bad)
        assert caught.value.reason == BROKEN
        assert len(caught.value.violations) == 2
        done = [each async for each in mesh.tasks.run_many(sell, [Order(item="pen"), bad, Order(item="ink")])]
        refused = next(each for each in done if each.index == 1)
        with pytest.raises(InvalidArgument) as caught:
            refused.result()
        assert caught.value.violations[0].field == "item"
        assert [each.result().price for each in done if each.index != 1] == [1, 1]
        with pytest.raises(InvalidArgument) as caught:
            await mesh.schedules.create("bad", sell, bad, Every(3600))
        assert caught.value.reason == BROKEN
        after = [task async for task in mesh.tasks.list() if task.id not in before]
        assert len(after) == 2
