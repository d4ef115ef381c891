"""Options in a .proto hold for stock callers and servers: protobuf's own and weft's, on each way of a call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.struct_pb2 import Struct

from billing.v1 import billing_pb2, billing_pb2_grpc
from tests.support.beside import StockApp, free_address, sidecar, until_reached
from tests.support.billing_agent import Billing
from tests.support.command import weft
from tests.support.mesh import MeshHarness
from tests.support.processes import until
from tests.support.reflecting import grpcurl
from weft.agent import Agent, MethodOptions, RetryPolicy, current_task
from weft.client import Method, connect
from weft.testing import mesh_of

AGENTS = ("a1", "a2")
PROGRAM = "tests.support.billing_agent:agent"
SERVICE = "billing.v1.BillingService"
DIRECT = (("weft-mode", "direct"),)
WAYS = ("library", "coordinator", "egress")
WAIT_S = 20.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hosted(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[MeshHarness, str]]:
    """A mesh with two agents that host the service, and a sidecar of another app."""
    async with MeshHarness(tmp_path_factory.mktemp("options")) as harness:
        await harness.coordinator()
        await asyncio.gather(*(harness.agent(name, slots=8, program=PROGRAM) for name in AGENTS))
        await harness.wait_serving(SERVICE)
        egress = free_address()
        app = StockApp(harness)
        await app.start("--egress", egress)
        await sidecar(harness, app.address, egress=egress)
        await until_reached(egress)
        await harness.close_channels()
        yield harness, egress


@pytest_asyncio.fixture(params=WAYS)
async def direct(
    request: pytest.FixtureRequest, hosted: tuple[MeshHarness, str]
) -> AsyncIterator[billing_pb2_grpc.BillingServiceStub]:
    """A stub whose direct calls go one of the ways."""
    mesh, egress = hosted
    if request.param == "library":
        async with connect(mesh.target) as client:
            yield billing_pb2_grpc.BillingServiceStub(client.channel(direct=True))
    else:
        async with grpc.aio.insecure_channel(mesh.target if request.param == "coordinator" else egress) as ch:
            yield billing_pb2_grpc.BillingServiceStub(ch)


def broken(*agents: str) -> billing_pb2.ChargeRequest:
    return billing_pb2.ChargeRequest(order_id="7", broken_agents=agents)


async def outcomes(stub: billing_pb2_grpc.BillingServiceStub, method: str) -> set[str]:
    """Of four direct calls, of which each fails at a1: the agents that answer, and the codes of failures."""
    # Successes fill the retry budget, which the tests before may have used, and end a1's series of failures.
    filling = (stub.Audit(broken(), timeout=WAIT_S, metadata=DIRECT) for _ in range(100))
    await asyncio.gather(*filling)
    seen = set()
    for _ in range(4):
        call = getattr(stub, method)(broken("a1"), timeout=WAIT_S, metadata=DIRECT)
        try:
            if method == "Watch":
                seen |= {reply.agent_id async for reply in call}
            else:
                seen.add((await call).agent_id)
        except grpc.aio.AioRpcError as error:
            seen.add(error.code().name)
    return seen


@pytest.mark.parametrize("method", ["Quote", "Refund", "Watch"])
async def test_a_method_that_may_run_twice_is_retried_without_a_mark(direct, method):
    assert await outcomes(direct, method) == {"a2"}


async def test_another_method_is_not(direct):
    # Which agent a call gets is the balancer's choice: a call that a1 fails is the one to wait for.
    for _ in range(10):
        if "UNAVAILABLE" in await outcomes(direct, "Audit"):
            break
    else:
        pytest.fail("calls of a method that may not run twice were retried")


async def test_it_fails_when_each_agent_does(direct):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await direct.Quote(broken(*AGENTS), timeout=WAIT_S, metadata=DIRECT)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "is broken" in str(caught.value.details())


# -- task policies ------------------------------------------------------------------------------------------------


@pytest.fixture
async def stock(hosted: tuple[MeshHarness, str]) -> AsyncIterator[billing_pb2_grpc.BillingServiceStub]:
    """A stock client of the coordinator: nothing in it is of weft."""
    async with grpc.aio.insecure_channel(hosted[0].target) as channel:
        yield billing_pb2_grpc.BillingServiceStub(channel)


async def test_the_protos_options_hold_for_a_stock_client(stock):
    # The policy retries INTERNAL, twice.
    reply = await stock.Charge(billing_pb2.ChargeRequest(order_id="1", fail_attempts=2), timeout=WAIT_S)
    assert reply.attempt == 3
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stock.Charge(billing_pb2.ChargeRequest(order_id="2", fail_attempts=3), timeout=WAIT_S)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INTERNAL, "attempt 3 fails")
    # Calls for one order are one task.
    again = await stock.Charge(billing_pb2.ChargeRequest(order_id="1", fail_attempts=2), timeout=WAIT_S)
    assert again.task_id == reply.task_id
    # Without a policy, INTERNAL is no reason to retry.
    with pytest.raises(grpc.aio.AioRpcError):
        await stock.Audit(billing_pb2.ChargeRequest(fail_attempts=1), timeout=WAIT_S)


async def test_a_method_may_be_direct_by_default(stock):
    for method, durable in (("Preview", False), ("Audit", True)):
        call = getattr(stock, method)(billing_pb2.ChargeRequest(), timeout=WAIT_S)
        await call
        assert ("weft-task-id" in (await call.trailing_metadata())) is durable


async def test_at_an_egress_too_a_method_may_be_durable_by_default(hosted):
    async with grpc.aio.insecure_channel(hosted[1]) as channel:
        stub = billing_pb2_grpc.BillingServiceStub(channel)
        for method, durable in (("Settle", True), ("Preview", False), ("Audit", False)):
            call = getattr(stub, method)(billing_pb2.ChargeRequest(), timeout=WAIT_S)
            await call
            assert ("weft-task-id" in (await call.trailing_metadata())) is durable, method
        call = stub.Settle(billing_pb2.ChargeRequest(), timeout=WAIT_S, metadata=DIRECT)
        await call
        assert "weft-task-id" not in (await call.trailing_metadata())


async def test_reflection_shows_the_options(hosted):
    code, printed = await grpcurl(hosted[0].target, ["describe", f"{SERVICE}.Charge"])
    assert code == 0, printed
    assert "option (.weft.v1.task) = {" in printed
    assert 'idempotency_key: "order_id"' in printed


def function_agent() -> Agent:
    """An agent whose program has options for its methods, with and without a .proto."""
    agent = Agent("f1")

    @agent.method(
        "acme.v1.Shouter/Shout",
        retry=RetryPolicy(max_attempts=3, initial_backoff_s=0.001, retryable_codes=[grpc.StatusCode.ABORTED]),
        idempotency_key='metadata["x-order"]',
        slot_cost=2,
    )
    async def shout(request: dict[str, Any], context: Any) -> dict[str, Any]:
        if current_task().attempt < request["succeeds"]:
            await context.abort(grpc.StatusCode.ABORTED, "again")
        return {"attempt": current_task().attempt, "priority": current_task().priority}

    options = MethodOptions(result_ttl_s=60, priority=9)
    agent.add_servicer(
        billing_pb2_grpc.add_BillingServiceServicer_to_server, Billing(), options={"Audit": options}
    )
    return agent


async def test_a_programs_options_hold_and_are_shown():
    async with mesh_of(function_agent()) as mesh:
        shout = Method.of("acme.v1.Shouter/Shout", Struct, Struct)
        request = Struct()
        request.update({"succeeds": 3})
        done = await mesh.tasks.call(shout, request, metadata=[("x-order", "7")])
        assert done["attempt"] == 3
        assert (
            len({(await mesh.tasks.submit(shout, request, metadata=[("x-order", "7")])).id for _ in "ab"})
            == 1
        )
        code, printed = await grpcurl(mesh.target, ["describe", "acme.v1.Shouter.Shout"])
        assert code == 0, printed
        assert "retry: {\n      max_attempts: 3," in printed
        assert 'idempotency_key: "metadata[\\"x-order\\"]"' in printed
        # The .proto's own option, for the service, comes first.
        code, printed = await grpcurl(mesh.target, ["describe", f"{SERVICE}.Audit"])
        assert code == 0, printed
        assert "priority: 3" in printed
        assert "result_ttl: { seconds: 60 }" in printed


def shouting(
    agent_id: str, target: str | None = None, *, replace_options: bool = False, **options: Any
) -> Agent:
    agent = Agent(agent_id, target=target, listen="off", replace_options=replace_options)

    @agent.method("acme.v1.Shouter/Shout", **options)
    async def shout(request: dict[str, Any]) -> dict[str, Any]:
        return {"priority": current_task().priority}

    return agent


async def test_an_agent_with_other_options_joins_when_the_others_are_gone_or_replaces_theirs():
    first = shouting("first", priority=3)
    async with mesh_of(first, skip_idle_time=False) as mesh, asyncio.TaskGroup() as running:

        async def priority() -> float:
            shout = Method.of("acme.v1.Shouter/Shout", Struct, Struct)
            return float((await mesh.tasks.call(shout, Struct(), timeout_s=WAIT_S))["priority"])

        assert await priority() == 3
        waiting = shouting("waiting", mesh.target, priority=7)
        running.create_task(waiting.serve())
        replacing = shouting("replacing", mesh.target, priority=7, replace_options=True)
        running.create_task(replacing.serve())
        await until(lambda: replacing.connected, "the agent that replaces options is connected")
        # Its contract is looked at in a process of its own first.
        async with asyncio.timeout(WAIT_S):
            while await priority() != 7:
                await asyncio.sleep(0.02)
        assert not waiting.connected
        await mesh.remove(first)
        await until(lambda: waiting.connected, "the agent that waited is connected")
        waiting.stop()
        replacing.stop()


async def test_a_secret_field_is_shown_to_nobody(hosted: tuple[MeshHarness, str]) -> None:
    mesh, _ = hosted
    secret = "Hunter2"
    async with connect(mesh.target) as client:
        ends = []
        for failing in (0, 9):
            asked = billing_pb2.ChargeRequest(card_code=secret, fail_attempts=failing)
            handle = await client.tasks.submit(f"{SERVICE}/Audit", asked.SerializeToString())
            await handle.ended(WAIT_S)
            ends.append(handle.id)
    good, bad = ends
    for command in (
        ("tasks", "get", good, "--json"),
        ("tasks", "get", bad, "--verbose"),
        ("tasks", "watch", good),
        ("tasks", "logs", bad),
        ("call", f"{SERVICE}/Audit", f'{{"cardCode": "{secret}"}}'),
    ):
        shown = await weft(*command, "--target", mesh.target)
        assert "[redacted]" in shown.out
        assert secret not in shown.out + shown.err
    shown = await weft("tasks", "get", good, "--show-secrets", "--json", "--target", mesh.target)
    assert shown.document["request"]["cardCode"] == shown.document["response"]["cardCode"] == secret
    for log in mesh.folder.glob("*.log"):
        assert secret not in log.read_text()
