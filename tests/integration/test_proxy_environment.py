"""Proxy variables in the environment: every channel of a mesh ignores them, unless a setting asks for the proxy."""

from __future__ import annotations

import asyncio

import pytest

from probe.v1.probe_pb2 import ProbeRequest
from tests.support.beside import StockApp, free_address, probe_at, sidecar
from tests.support.command import weft
from tests.support.mesh import MeshHarness
from tests.support.web_proxy import WebProxy
from weft.client import Unreachable, connect

CALL = "probe.v1.ProbeService/Call"
SERVICE = CALL.partition("/")[0]


@pytest.mark.slow
async def test_every_way_through_a_mesh_ignores_the_proxy(mesh: MeshHarness) -> None:
    """Coordinator, agent, sidecar with its egress, and command, each with every proxy variable set."""
    async with WebProxy() as proxy:
        mesh.env = proxy.environment()
        await mesh.coordinator()
        await mesh.agent("a1", env=proxy.environment())
        egress, app = free_address(), StockApp(mesh)
        await app.start()
        await sidecar(mesh, app.address, egress=egress, env=proxy.environment())

        for flags in ((), ("--direct",), ("--explain",)):
            done = await weft(
                "call", CALL, '{"text": "x"}', *flags, target=mesh.target, env=proxy.environment()
            )
            assert done.status == 0, done.err
        listed = await weft("agents", "list", "--json", target=mesh.target, env=proxy.environment())
        assert {agent["id"]: agent["direct_problem"] for agent in listed.document} == {"a1": "", "side": ""}
        # The test's own channel too would go by the proxy of its environment, but that is clean.
        channel, stub = probe_at(egress)
        with channel:
            for mode in ("direct", "durable"):
                metadata = [("weft-mode", mode)]
                reply = await asyncio.to_thread(
                    stub.Call, ProbeRequest(text=mode), timeout=10, metadata=metadata, wait_for_ready=True
                )
                assert reply.text == mode
        assert proxy.asked == []


@pytest.mark.slow
async def test_a_setting_takes_the_proxy_to_the_coordinator_alone(mesh: MeshHarness) -> None:
    async with WebProxy() as proxy:
        asks = proxy.environment() | {"WEFT_USE_PROXY": "true"}
        await mesh.coordinator()
        await mesh.agent("a1", env=asks)
        assert set(proxy.asked) == {mesh.target}, "the agent's session"
        proxy.asked.clear()
        done = await weft("call", CALL, '{"text": "x"}', "--direct", target=mesh.target, env=asks)
        assert done.status == 0, done.err
        assert set(proxy.asked) == {mesh.target}, "discovery, and not the call"
        done = await weft("agents", "list", target=mesh.target, env=asks | {"WEFT_USE_PROXY": "maybe"})
        assert done.status == 2
        assert "WEFT_USE_PROXY is 'maybe'; it must be true or false" in done.err


async def test_the_library_goes_by_the_proxy_when_told(
    mesh: MeshHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await mesh.coordinator()
    async with WebProxy() as proxy:
        for name, value in proxy.environment().items():
            monkeypatch.setenv(name, value)
        async with connect(mesh.target) as plain:
            assert await plain.fleet.agents() == []
        assert proxy.asked == []
        async with connect(mesh.target, use_proxy=True) as by_proxy:
            assert await by_proxy.fleet.agents() == []
        assert proxy.asked == [mesh.target]
        async with connect(free_address(), use_proxy=True) as nowhere:
            with pytest.raises(Unreachable):
                await nowhere.ready(0.5)
