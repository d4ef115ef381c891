"""Options in a .proto hold for stock callers and servers: protobuf's own and weft's, on each way of a call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from billing.v1 import billing_pb2, billing_pb2_grpc
from tests.support.beside import StockApp, free_address, sidecar, until_reached
from tests.support.mesh import MeshHarness
from weft.client import connect

AGENTS = ("a1", "a2")
PROGRAM = "tests.support.billing_agent:agent"
SERVICE = "billing.v1.BillingService"
DIRECT = (("weft-mode", "direct"),)
WAYS = ("library", "coordinator", "egress")
WAIT_S = 20.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def _hosted(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[MeshHarness, str]]:
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
    request: pytest.FixtureRequest, _hosted: tuple[MeshHarness, str]
) -> AsyncIterator[billing_pb2_grpc.BillingServiceStub]:
    """A stub whose direct calls go one of the ways."""
    mesh, egress = _hosted
    if request.param == "library":
        async with connect(mesh.target) as client:
            yield billing_pb2_grpc.BillingServiceStub(client.channel(direct=True))
    else:
        async with grpc.aio.insecure_channel(mesh.target if request.param == "coordinator" else egress) as ch:
            yield billing_pb2_grpc.BillingServiceStub(ch)


def broken(*agents: str) -> billing_pb2.ChargeRequest:
    return billing_pb2.ChargeRequest(order_id="7", broken_agents=agents)


async def outcomes(stub: billing_pb2_grpc.BillingServiceStub, method: str) -> set[str]:
    """Of eight direct calls, of which each fails at a1: the agents that answer, and the codes of failures."""
    # Successes fill the retry budget, which the tests before may have used.
    filling = (stub.Audit(broken(), timeout=WAIT_S, metadata=DIRECT) for _ in range(100))
    await asyncio.gather(*filling)
    seen = set()
    for _ in range(8):
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
    assert await outcomes(direct, "Audit") == {"a2", "UNAVAILABLE"}


async def test_it_fails_when_each_agent_does(direct):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await direct.Quote(broken(*AGENTS), timeout=WAIT_S, metadata=DIRECT)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "is broken" in str(caught.value.details())
