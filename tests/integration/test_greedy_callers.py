"""One caller asks for ten times what it may: it gets what it may, honest callers are served in time, and memory stays bounded."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import psutil
import pytest
import pytest_asyncio

from tests.support import greedy
from tests.support.mesh import MeshHarness
from tests.support.processes import Process
from weft.client import connect

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

MIB = 1024 * 1024
# `make overload` lets each go on for longer.
LASTS_S = float(os.environ.get("TEST_ATTACK_S", "2"))
# How much slower honest calls may be, and what is no measure: more where other tests have the cores, too.
SLOWER = 3.0
NO_MEASURE_S = 0.03 if "TEST_ATTACK_S" in os.environ else 0.3
# Garbage is collected when the coordinator has grown by 64 MiB; it does not grow by more in a longer flood.
GROWTH_MIB = 150
# Of the limits, what a caller gets at most in the time: a second's worth at once, and the rest as it comes. Streams last a second.
MOST = {
    "calls_per_s": greedy.CALLS_PER_S * (LASTS_S + 2),
    "open_streams": greedy.OPEN_STREAMS * (LASTS_S + 2),
    "bytes_per_s": 10 * (LASTS_S + 2),
    "queued_tasks": greedy.QUEUED_TASKS,
}
LIMITS = {
    "calls_per_s": {"calls_per_s": greedy.CALLS_PER_S},
    "open_streams": {"open_streams": greedy.OPEN_STREAMS},
    "bytes_per_s": {"bytes_per_s": greedy.BYTES_PER_S},
    "queued_tasks": {"queued_tasks": greedy.QUEUED_TASKS},
}


class TokenMesh:
    """A coordinator that asks for tokens, an agent, and the operator's token."""

    def __init__(self, mesh: MeshHarness, operator: str) -> None:
        self.mesh = mesh
        self.operator = operator

    async def token(self, role: str, **limits: float) -> str:
        async with connect(self.mesh.target, token=self.operator) as client:
            made = await client.tokens.create(role, limits=limits)  # type: ignore[arg-type]
            return made.text


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TokenMesh]:
    folder = tmp_path_factory.mktemp("mesh")
    async with MeshHarness(folder) as harness:
        await harness.coordinator(tokens="on", operator_token_file=folder / "operator.token")
        mesh = TokenMesh(harness, (folder / "operator.token").read_text().strip())
        # Its heartbeats and results are far more than one a second.
        text = await mesh.token("agent", calls_per_s=1, open_streams=1, bytes_per_s=1)
        await harness.agent("good", slots=8, env={"WEFT_TOKEN": text}, wait=False)
        honest = await mesh.token("client")

        async def served() -> bool:
            try:
                await _p99_s(mesh, honest, 0.01)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    return False
                raise
            return True

        await harness.eventually(served, "the agent serves")
        yield mesh


async def _p99_s(mesh: TokenMesh, text: str, lasts_s: float) -> float:
    """The 99th percentile of an honest caller's calls for so long. A call that fails is an error."""
    echo = mesh.mesh.own_channel().unary_unary(f"/{greedy.ECHO}")
    ends_at, took = time.monotonic() + lasts_s, []
    while time.monotonic() < ends_at:
        began_s = time.monotonic()
        await echo(b"", metadata=(("weft-token", text),), timeout=10)
        took.append(time.monotonic() - began_s)
        await asyncio.sleep(0.005)
    return sorted(took)[int(0.99 * len(took))]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def usual_s(guarded: TokenMesh) -> float:
    """The 99th percentile of honest calls when nobody is greedy."""
    honest = await guarded.token("client")
    await _p99_s(guarded, honest, 0.5)
    return await _p99_s(guarded, honest, 1.5)


@pytest.mark.parametrize("limit", greedy.WAYS)
async def test_the_others_are_served_meanwhile(guarded: TokenMesh, usual_s: float, limit: str) -> None:
    coordinator = guarded.mesh.coordinator_process
    assert coordinator is not None
    seen = psutil.Process(coordinator.pid)
    honest = await guarded.token("client")
    # Another test may have had the cores; it has not twice.
    for once_more in (True, False):
        text = await guarded.token("client", **LIMITS[limit])
        before_mib = seen.memory_info().rss / MIB
        file = guarded.mesh.folder / f"{limit}-{once_more}.token"
        file.write_text(text)
        options = limit, guarded.mesh.target, str(LASTS_S), str(file)
        flood = Process.module("greedy", "tests.support.greedy", *options, log=file.with_suffix(".log"))
        try:
            under_s = await _p99_s(guarded, honest, LASTS_S)
            await flood.wait(timeout_s=60)
            ended: dict[str, int] = json.loads(flood.output().splitlines()[-1])
        finally:
            flood.cleanup()
        grown_mib = seen.memory_info().rss / MIB - before_mib
        told = f"{limit}: {ended}, p99 {usual_s * 1000:.1f} -> {under_s * 1000:.1f} ms, {grown_mib:+.0f} MiB"
        print(told)
        # Most of it is refused, and what the caller may have it has.
        assert 0 < ended["OK"] <= MOST[limit], told
        assert ended["CALLER_LIMIT"] > ended["OK"], told
        assert grown_mib < GROWTH_MIB, told
        if under_s < max(SLOWER * usual_s, NO_MEASURE_S):
            break
        assert once_more, told
    async with connect(guarded.mesh.target, token=guarded.operator) as client:
        stats = await client.stats()
        assert any(limit in each.refused for each in stats.limited)
        assert [agent.state.name for agent in await client.fleet.agents()] == ["ACTIVE"]
    output = coordinator.output()
    assert "Traceback" not in output
    assert "agent.lost" not in output
