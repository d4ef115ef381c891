"""Balancing measured on eight real agents under a closed loop: one is slow, one is killed, one is added.

Slow; `-rP` prints the figures.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio

from tests.support.delayed import WAIT
from tests.support.mesh import MeshHarness
from weft.client import Mesh, call_options, connect
from weft.rpc.balancing.slow_start import WINDOW_S

pytestmark = pytest.mark.slow

FLEET = [f"a{number}" for number in range(8)]
SLOW = "a3"
DELAY_S, TIMES = 0.04, 5
WORKERS = 24
MARKED = call_options(retry_unavailable=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshHarness]:
    async with MeshHarness(tmp_path_factory.mktemp("mesh")) as harness:
        await harness.coordinator()
        for name in FLEET:
            await start(harness, name, DELAY_S * (TIMES if name == SLOW else 1))
        await harness.close_channels()
        yield harness


@pytest.fixture
async def client(fleet: MeshHarness) -> AsyncIterator[Mesh]:
    async with connect(fleet.target) as connected:
        await known(connected, *fleet.agents)
        yield connected
    await fleet.close_channels()


async def start(mesh: MeshHarness, name: str, delay_s: float) -> None:
    await mesh.agent(name, slots=64, program="tests.support.delayed:agent", env={"DELAY_S": str(delay_s)})


async def known(client: Mesh, *agents: str) -> None:
    wanted = set(agents)
    async with asyncio.timeout(20):
        explained = await client.direct().explain(WAIT, 20)
        while {c.agent_id for c in explained.candidates if c.connected} != wanted:
            await asyncio.sleep(0.01)
            explained = await client.direct().explain(WAIT, 20)


class Load:
    """A closed loop of calls: how long each took, who got them, and which failed."""

    def __init__(self, client: Mesh, policy: str = "least_connections", metadata: Any = ()) -> None:
        self.balancer = client.direct(policy).balancer
        self.took_s: list[float] = []
        self.failed: list[grpc.aio.AioRpcError] = []
        self._call: Any = client.channel(direct=True, policy=policy).unary_unary(f"/{WAIT}")
        self._metadata = metadata

    async def run(self, until: Callable[[], bool]) -> None:
        async def work() -> None:
            while not until():
                began_at = time.perf_counter()
                try:
                    await self._call(b"", timeout=20, metadata=self._metadata)
                except grpc.aio.AioRpcError as error:
                    self.failed.append(error)
                self.took_s.append(time.perf_counter() - began_at)

        await asyncio.gather(*(work() for _ in range(WORKERS)))

    async def seconds(self, seconds: float) -> None:
        ends_at = time.monotonic() + seconds
        await self.run(lambda: time.monotonic() > ends_at)

    def in_flight(self, agent_id: str) -> int | None:
        """Calls of ours that are under way there; None: it is not connected."""
        candidates = self.balancer.explain(WAIT).candidates
        return next((c.in_flight for c in candidates if c.agent_id == agent_id and c.connected), None)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)]


async def test_a_slow_agent_of_eight_is_avoided(client: Mesh) -> None:
    """By the share of calls that were its: how long the others take depends on what else the machine does."""
    share = {}
    for policy in ("round_robin", "least_connections"):
        load = Load(client, policy)
        # That it is slow has to be seen first.
        await load.seconds(2)
        load.took_s.clear()
        await load.seconds(5)
        share[policy] = sum(took_s >= DELAY_S * TIMES for took_s in load.took_s) / len(load.took_s)
        middle_s, p99_s = percentile(load.took_s, 0.5), percentile(load.took_s, 0.99)
        print(
            f"{policy}: {len(load.took_s)} calls, p50 {middle_s * 1000:.0f} ms, p99 {p99_s * 1000:.0f} ms,"
            f" {share[policy]:.1%} slow"
        )
    assert share["round_robin"] > 0.1
    assert share["least_connections"] * 3 <= share["round_robin"]


@pytest.mark.parametrize("marked", [False, True], ids=["once", "may run twice"])
async def test_a_killed_agent_costs_at_most_its_calls_in_flight(
    fleet: MeshHarness, client: Mesh, marked: bool
) -> None:
    load = Load(client, metadata=MARKED if marked else ())
    in_flight = 0

    async def kill() -> None:
        nonlocal in_flight
        await asyncio.sleep(2)
        killing = asyncio.create_task(fleet.agents["a1"].kill())
        # What goes out before the kill is noticed here is in flight as well.
        while (now := load.in_flight("a1")) is not None:
            in_flight = max(in_flight, now)
            await asyncio.sleep(0)
        await killing

    await asyncio.gather(kill(), load.seconds(4))
    await start(fleet, "a1", DELAY_S)
    await known(client, *FLEET)
    print(f"in flight {in_flight}, failed {len(load.failed)}, retries {load.balancer.stats.retries}")
    assert len(load.failed) <= (0 if marked else in_flight), load.failed
    assert load.balancer.stats.retries > 0 or not marked


async def test_an_agent_added_has_its_share_when_its_slow_start_is_over(
    fleet: MeshHarness, client: Mesh
) -> None:
    load = Load(client)
    await load.seconds(2)
    await start(fleet, "a8", DELAY_S)
    await known(client, *FLEET, "a8")
    fair = 1 / (len(FLEET) + 1)
    shares = []
    for _ in range(int(WINDOW_S) + 2):
        before = Counter(load.balancer.stats.picks)
        await load.seconds(1)
        gained = load.balancer.stats.picks - before
        shares.append(gained["a8"] / gained.total() / fair)
    print("of a fair share, each second:", " ".join(f"{share:.2f}" for share in shares))
    assert load.failed == []
    assert shares[0] < 0.5
    assert 0.8 < shares[-1] < 1.5
