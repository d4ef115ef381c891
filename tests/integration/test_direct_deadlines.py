"""If a deadline ends a call, the error says what the call waited for: direct calls by every way, durable ones by an
egress."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import ProbeRequest
from tests.support.beside import DIRECT, DURABLE, StockApp, free_address, sidecar, until_reached
from tests.support.ledger import Ledger
from tests.support.mesh import MeshHarness
from weft.client import connect

# Which end's timer is first is chance on a busy machine: one of so many calls has the answer that is told.
TRIES = 30
LATE_S = 0.5


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def _full(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[MeshHarness, str]]:
    """A mesh whose only slot, a sidecar's, has a direct call for as long as it lasts; and the sidecar's egress."""
    folder = tmp_path_factory.mktemp("full")
    async with MeshHarness(folder) as mesh:
        await mesh.coordinator()
        app, egress = StockApp(mesh), free_address()
        await app.start()
        env = {"WEFT_AGENT_DIRECT_WAIT_S": "60"}
        await sidecar(mesh, app.address, slots=1, egress=egress, env=env)
        await until_reached(egress)
        ledger = Ledger(folder / "ledger")
        async with grpc.aio.insecure_channel(egress) as channel:
            busy = ProbeRequest(text="busy", sleep_s=600, ledger=ledger.path)
            call = probe_pb2_grpc.ProbeServiceStub(channel).Call(busy)
            await ledger.until("start", "busy")
            await mesh.close_channels()
            yield mesh, egress
            call.cancel()


@pytest.fixture
async def full(_full: tuple[MeshHarness, str]) -> AsyncIterator[tuple[MeshHarness, str]]:
    yield _full
    await _full[0].close_channels()


async def late(
    channel: grpc.aio.Channel, shape: str, words: str, metadata: tuple[tuple[str, str], ...]
) -> None:
    """A call that its deadline ends says these words, unless its own timer was first."""
    method: Any = getattr(probe_pb2_grpc.ProbeServiceStub(channel), shape)
    request = ProbeRequest(text="late")
    seen = []
    for _ in range(TRIES):
        given = request if shape in {"Call", "Stream"} else iter([request])
        call = method(given, timeout=LATE_S, metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await (call if shape in {"Call", "Collect"} else call.read())
        assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        seen.append(error.value.details() or "")
        if seen[-1].startswith("the call's deadline passed: ") and words in seen[-1]:
            return
    raise AssertionError(f"never {words!r}: {seen}")


@pytest.mark.parametrize("shape", ["Call", "Stream", "Collect", "Chat"])
@pytest.mark.parametrize("way", ["coordinator", "egress"])
async def test_a_direct_call_that_waits_for_a_slot(
    full: tuple[MeshHarness, str], way: str, shape: str
) -> None:
    mesh, egress = full
    address = mesh.target if way == "coordinator" else egress
    async with grpc.aio.insecure_channel(address) as channel:
        await late(channel, shape, "s for a slot: all 1 of agent side are taken", (DIRECT,))


async def test_a_direct_call_of_the_library_that_waits_for_a_slot(full: tuple[MeshHarness, str]) -> None:
    async with connect(full[0].target) as mesh:
        await late(mesh.channel(direct=True), "Call", "s for a slot: all 1 of agent side are taken", ())


@pytest.mark.parametrize("shape", ["Call", "Stream"])
async def test_a_durable_call_through_the_egress(full: tuple[MeshHarness, str], shape: str) -> None:
    async with grpc.aio.insecure_channel(full[1]) as channel:
        await late(channel, shape, " s for a free slot; ", (DURABLE,))


async def test_an_egress_that_knows_no_agents(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    assert mesh.coordinator_process is not None
    app, egress = StockApp(mesh), free_address()
    await app.start()
    await mesh.coordinator_process.kill()
    await sidecar(mesh, app.address, egress=egress, wait=False)
    channel: AbstractAsyncContextManager[grpc.aio.Channel] = grpc.aio.insecure_channel(egress)
    async with channel as opened:
        await mesh.eventually(lambda: _ready(opened), "the egress is open")
        await late(opened, "Call", "s for a coordinator that names the agents", (DIRECT,))


async def _ready(channel: grpc.aio.Channel) -> bool:
    return channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY
