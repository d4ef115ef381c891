"""The egress: a stock client beside a sidecar reaches every method of the mesh, directly or durably."""

from __future__ import annotations

import asyncio
import stat
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.rpc import code_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import ProbeReply, ProbeRequest
from tests.support import tasks
from tests.support.beside import DIRECT, DURABLE, StockApp, free_address, sidecar, until_reached
from tests.support.command import weft
from tests.support.mesh import PROBE_SERVICE, MeshHarness
from tests.support.processes import until
from weft.rpc.errors import from_call
from weft.rpc.times import seconds
from weft.v1 import coordinator_pb2, coordinator_pb2_grpc

TRACE = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def _beside(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[MeshHarness, str]]:
    """A mesh with a Python agent "a1", which hosts the probe, and an app whose sidecar has an egress.

    The app's own probe methods are hosted too, but its sidecar is paused by an operator: calls go to a1.
    """
    async with MeshHarness(tmp_path_factory.mktemp("egress")) as harness:
        await harness.coordinator()
        await harness.agent("a1", program=tasks.PLAIN, slots=16)
        egress = free_address()
        app = StockApp(harness)
        await app.start("--egress", egress)
        durable = ("--durable", f"{PROBE_SERVICE}/CallSync", "--durable", "other.v1.Other")
        await sidecar(harness, app.address, "--label", "role=side", *durable, egress=egress)
        await until_reached(egress)
        await harness.close_channels()
        yield harness, egress


@pytest.fixture
async def beside(_beside: tuple[MeshHarness, str]) -> AsyncIterator[MeshHarness]:
    yield _beside[0]
    await _beside[0].close_channels()


@pytest.fixture
def egress(_beside: tuple[MeshHarness, str]) -> Iterator[grpc.Channel]:
    """A stock channel to the egress."""
    with grpc.insecure_channel(_beside[1]) as channel:
        yield channel


@pytest.fixture
def stock(egress: grpc.Channel) -> probe_pb2_grpc.ProbeServiceStub:
    return probe_pb2_grpc.ProbeServiceStub(egress)


def told(reply: ProbeReply) -> dict[str, str]:
    """What the one who answered saw of the call's metadata."""
    return dict(line.split("=", 1) for line in reply.metadata)


# -- direct -------------------------------------------------------------------------------------------------------


async def test_a_call_is_direct_unless_it_says_otherwise(
    beside: MeshHarness, stock: probe_pb2_grpc.ProbeServiceStub
) -> None:
    before = await newest_task(beside)
    given = (("who", "me"), ("many", "1"), ("many", "2"), ("raw-bin", b"\x00\xff"), TRACE)
    reply, call = await asyncio.to_thread(
        stock.Call.with_call, ProbeRequest(text="x"), timeout=20, metadata=given
    )
    own = [line for line in reply.metadata if line.startswith(("who=", "many=", "raw-bin="))]
    assert own == ["who=me", "many=1", "many=2", "raw-bin=00ff"]
    assert 0 < reply.time_remaining_s < 20.5
    assert dict(call.trailing_metadata())["weft-agent"] in ("a1", "side")
    assert dict(call.trailing_metadata())["probe-bin"] == b"\x00\xff"
    assert await newest_task(beside) == before


async def test_direct_calls_of_every_shape(stock: probe_pb2_grpc.ProbeServiceStub) -> None:
    requests = [ProbeRequest(text=text) for text in ("a", "b", "c")]

    def chatted() -> list[str]:
        return [reply.text for reply in stock.Chat(iter(requests), timeout=20)]

    def streamed() -> list[int]:
        return [reply.index for reply in stock.Stream(ProbeRequest(text="s", stream_count=100), timeout=20)]

    assert (await asyncio.to_thread(stock.Collect, iter(requests), timeout=20)).text == "a b c"
    assert await asyncio.to_thread(chatted) == ["a", "b", "c"]
    assert await asyncio.to_thread(streamed) == list(range(1, 101))


async def test_a_failure_passes_with_its_details(stock: probe_pb2_grpc.ProbeServiceStub) -> None:
    failing = ProbeRequest(text="x", fail_code=code_pb2.ABORTED, fail_message="no", fail_reason="WHY")
    for mode in (DIRECT, DURABLE):
        with pytest.raises(grpc.RpcError) as caught:
            await asyncio.to_thread(stock.Call, failing, timeout=20, metadata=(mode,))
        error: Any = caught.value
        assert (error.code(), error.details()) == (grpc.StatusCode.ABORTED, "no")
        assert b"WHY" in dict(error.trailing_metadata())["grpc-status-details-bin"]


async def test_a_method_that_nobody_hosts(egress: grpc.Channel) -> None:
    call = egress.unary_unary("/no.such.Service/Method")

    def refused(mode: tuple[str, str]) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=20, metadata=(mode,))
        failed = from_call(caught.value)
        return failed.code, failed.reason_name

    unknown = (grpc.StatusCode.UNIMPLEMENTED, "METHOD_UNKNOWN")
    assert await asyncio.to_thread(refused, DURABLE) == unknown
    # Until it has read what the mesh has, it may still come.
    async with asyncio.timeout(20):
        while (seen := await asyncio.to_thread(refused, DIRECT)) != unknown:
            assert seen == (grpc.StatusCode.UNAVAILABLE, "NO_AGENT")
            await asyncio.sleep(0.02)


# -- durable ------------------------------------------------------------------------------------------------------


async def newest_task(mesh: MeshHarness) -> str:
    request = coordinator_pb2.ListTasksRequest(page_size=1)
    return "".join(task.id for task in (await mesh.api().ListTasks(request, timeout=5)).tasks)


async def test_a_call_that_says_so_is_a_task(
    beside: MeshHarness, stock: probe_pb2_grpc.ProbeServiceStub
) -> None:
    options = (DURABLE, ("weft-request-id", "once"), ("weft-priority", "9"), ("who", "me"))
    reply, call = await asyncio.to_thread(
        stock.Call.with_call, ProbeRequest(text="x"), timeout=20, metadata=options
    )
    task = await tasks.look(beside, dict(call.trailing_metadata())["weft-task-id"])
    assert (task.request_id, task.options.priority) == ("once", 9)
    assert "who=me" in reply.metadata
    again = await asyncio.to_thread(stock.Call, ProbeRequest(text="x"), timeout=20, metadata=options)
    assert again == reply


async def test_a_method_that_the_settings_name_is_durable(
    beside: MeshHarness, stock: probe_pb2_grpc.ProbeServiceStub
) -> None:
    _, call = await asyncio.to_thread(stock.CallSync.with_call, ProbeRequest(text="x"), timeout=20)
    assert await tasks.look(beside, dict(call.trailing_metadata())["weft-task-id"])
    _, call = await asyncio.to_thread(
        stock.CallSync.with_call, ProbeRequest(text="x"), timeout=20, metadata=(DIRECT,)
    )
    assert "weft-task-id" not in dict(call.trailing_metadata())


async def test_a_durable_stream(stock: probe_pb2_grpc.ProbeServiceStub) -> None:
    def streamed() -> list[int]:
        request = ProbeRequest(text="s", stream_count=20)
        return [reply.index for reply in stock.Stream(request, timeout=20, metadata=(DURABLE,))]

    assert await asyncio.to_thread(streamed) == list(range(1, 21))


async def test_a_mode_that_is_none(stock: probe_pb2_grpc.ProbeServiceStub) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        await asyncio.to_thread(stock.Call, ProbeRequest(), timeout=20, metadata=(("weft-mode", "often"),))
    refused = from_call(caught.value)
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "'often'" in refused.message


async def test_what_an_app_was_told_is_nothing_that_it_asks_for(
    stock: probe_pb2_grpc.ProbeServiceStub,
) -> None:
    """It may pass on all the metadata of the call that it is handling."""
    handled = (("weft-task-id", "t"), ("weft-attempt", "1"), ("weft-agent", "side"), ("weft-root-id", "r"))
    for mode in (DIRECT, DURABLE):
        reply = await asyncio.to_thread(
            stock.Call, ProbeRequest(text="x"), timeout=20, metadata=(mode, *handled)
        )
        assert reply.text == "x"


# -- the budget -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["direct", "durable"])
async def test_a_call_made_while_handling_one_inherits_from_it(beside: MeshHarness, mode: str) -> None:
    """Through the coordinator to the app, and from the app, which sets no deadline, through its egress to whom it calls."""
    call = beside.probe().CallIsolated(
        ProbeRequest(text="nested", fail_reason=mode),
        timeout=10,
        metadata=(("weft-require", "role=side"), ("weft-budget", "tokens=1000"), TRACE),
    )
    reply = await call
    task_id = dict(await call.trailing_metadata())["weft-task-id"]
    assert reply.text == "nested"
    assert 0 < reply.time_remaining_s < 10.5
    if reply.agent_id == "app":
        # A stock app sees of the tree what a Python handler asks `current_task` for.
        assert told(reply)["weft-root-id"] == task_id
    if mode == "durable":
        inner = await tasks.look(beside, reply.task_id)
        context = inner.options.context
        assert (context.root_id, context.parent_id) == (task_id, task_id)
        assert [(each.task_id, dict(each.amounts)) for each in context.budgets] == [
            (task_id, {"tokens": 1000.0})
        ]
        assert context.traceparent.split("-")[1] == TRACE[1].split("-")[1]
        # gRPC rounds up what it sends, at each hop.
        assert 0 < seconds(inner.options.limits.schedule_to_close) < 10.5


async def test_what_is_left_of_a_call_ends_the_calls_made_for_it(beside: MeshHarness) -> None:
    ledger = beside.ledger("budget")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await beside.probe().CallIsolated(
            ProbeRequest(text="inner", sleep_s=30, ledger=ledger.path),
            timeout=1.5,
            metadata=(("weft-require", "role=side"),),
        )
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    (begun, *_) = await ledger.until("start", "inner")
    (ended, *_) = await ledger.until("cancelled", "inner", timeout_s=5)
    assert ended.time_s - begun.time_s < 3


# -- what else it serves ----------------------------------------------------------------------------------------------


async def test_health_reflection_and_the_task_api(beside: MeshHarness, egress: grpc.Channel) -> None:
    def looked() -> tuple[int, int, list[str]]:
        health = health_pb2_grpc.HealthStub(egress)
        overall = health.Check(health_pb2.HealthCheckRequest(), timeout=20)
        service = health.Check(health_pb2.HealthCheckRequest(service=PROBE_SERVICE), timeout=20)
        services = ProtoReflectionDescriptorDatabase(egress).get_services()
        return overall.status, service.status, list(services)

    overall, service, services = await asyncio.to_thread(looked)
    assert (overall, service) == (1, 1)
    assert PROBE_SERVICE in services
    api = coordinator_pb2_grpc.CoordinatorServiceStub(egress)
    answer = await asyncio.to_thread(api.ListAgents, coordinator_pb2.ListAgentsRequest(), timeout=20)
    assert {agent.id for agent in answer.agents} == {"a1", "side"}


# -- its address, and the coordinator's absence -----------------------------------------------------------------------


async def test_direct_calls_go_on_without_the_coordinator(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    await mesh.agent("a1", program=tasks.PLAIN)
    egress = free_address()
    app = StockApp(mesh)
    await app.start()
    await sidecar(mesh, app.address, egress=egress)
    await until_reached(egress)
    assert mesh.coordinator_process is not None
    await mesh.coordinator_process.kill()
    with grpc.insecure_channel(egress) as channel:
        stock = probe_pb2_grpc.ProbeServiceStub(channel)
        for number in range(20):
            reply = await asyncio.to_thread(stock.Call, ProbeRequest(text=str(number)), timeout=20)
            assert reply.text == str(number)
        with pytest.raises(grpc.RpcError) as caught:
            await asyncio.to_thread(stock.Call, ProbeRequest(), timeout=20, metadata=(DURABLE,))
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        await mesh.restart_coordinator()
        await mesh.wait_serving()
        ended_at = time.monotonic() + 20
        while True:
            try:
                await asyncio.to_thread(stock.Call, ProbeRequest(), timeout=20, metadata=(DURABLE,))
                break
            except grpc.RpcError as away:
                error = away
                assert error.code() is grpc.StatusCode.UNAVAILABLE
                assert time.monotonic() < ended_at, "the egress does not find its coordinator again"


async def test_an_egress_on_a_unix_socket_is_its_users_alone(mesh: MeshHarness, tmp_path: Path) -> None:
    await mesh.coordinator()
    await mesh.agent("a1", program=tasks.PLAIN)
    app = StockApp(mesh)
    await app.start()
    path = tmp_path / "run" / "mesh.sock"
    await sidecar(mesh, app.address, egress=f"unix:{path}")
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    await until_reached(f"unix:{path}")

    # Another sidecar does not take it away; nor is a folder used that others may enter.
    taken = await started(mesh, app.address, f"unix:{path}")
    assert "another server listens there" in taken
    (tmp_path / "open").mkdir(mode=0o755)
    assert "mode 700" in await started(mesh, app.address, f"unix:{tmp_path}/open/mesh.sock")
    # Folders above the socket's own are not made.
    refused = await started(mesh, app.address, f"unix:{tmp_path}/no/such/mesh.sock")
    assert f"the folder {tmp_path}/no does not exist: make it first" in refused
    assert not (tmp_path / "no").exists()


async def started(mesh: MeshHarness, app: str, egress: str) -> str:
    """What a sidecar says that cannot have its egress."""
    found = await weft("agent", "--target", mesh.target, "--app", app, "--egress", egress)
    assert found.status == 1
    return found.err


async def test_a_port_that_is_in_use(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    app = StockApp(mesh)
    await app.start()
    said = await started(mesh, app.address, app.address)
    assert app.address in said
    assert "--egress" in said


async def test_the_egress_is_there_before_the_app(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    await mesh.agent("a1", program=tasks.PLAIN)
    egress = free_address()
    app = StockApp(mesh)
    side = await sidecar(mesh, app.address, egress=egress, wait=False)
    await until(lambda: "egress.opened" in side.output(), "the egress is open")
    await until_reached(egress)


# -- remembered calls -----------------------------------------------------------------------------------------------


async def test_an_apps_call_is_remembered_by_its_name(beside: MeshHarness) -> None:
    """The app's handler fails after its call, and the next attempt gets the same answer, from the same task."""
    ledger = beside.ledger("remembered")
    request = ProbeRequest(text="inner", ledger=ledger.path, crash_attempts=2)
    given = (("weft-require", "role=side"), ("x-step", "charge"), ("weft-retry", "initial_backoff=0s"))
    call = beside.probe().CallIsolated(request, timeout=30, metadata=given)
    assert (await call).text == "inner"
    trailers = dict(await call.trailing_metadata())
    assert trailers["weft-attempt"] == "3"
    assert len(ledger.facts("start", "inner")) == 1
    listed = coordinator_pb2.ListTasksRequest(page_size=1)
    listed.filter.request_id = f"step:{trailers['weft-task-id']}/charge"
    assert len((await beside.api().ListTasks(listed)).tasks) == 1
