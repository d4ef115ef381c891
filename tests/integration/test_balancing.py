"""Balancing on real servers: the endpoints of calls, also if an endpoint is slow, new, failing or killed."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
import pytest
from grpc import aio

from tests.support.endpoints import CHAT, UNARY, Endpoints, EndpointServer, all_connected, unary
from weft.rpc.balancing import BalancedChannel, Balancer, BalancerLimits, OutlierRules
from weft.rpc.calls.metadata import RETRY_MARK

MARKED = (RETRY_MARK,)
# Calls that may go out to a killed endpoint before the system says that it is gone.
UNNOTICED = 5


async def closed_loop(workers: int, until: Callable[[], bool], step: Callable[[], Awaitable[Any]]) -> None:
    async def work() -> None:
        while not until():
            await step()

    await asyncio.gather(*(work() for _ in range(workers)))


# -- spreading ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["least_connections", "round_robin", "weighted"])
async def test_equal_endpoints_get_equal_shares(
    policy: str, endpoints: Endpoints, balancers: Callable[..., Balancer]
) -> None:
    await endpoints.start("a", "b", "c", "d")
    balancer = balancers(policy, seed=1)
    balancer.update(endpoints.agents())
    await all_connected(balancer, 4)
    call = unary(balancer)
    await closed_loop(8, lambda: balancer.stats.picks.total() >= 800, lambda: call(b"x", timeout=5))
    shares = balancer.stats.picks
    assert max(shares.values()) <= 1.35 * min(shares.values()), shares
    assert {name: server.begun for name, server in endpoints.servers.items()} == dict(shares)


async def test_one_call_at_a_time_takes_turns(
    endpoints: Endpoints, balancers: Callable[..., Balancer]
) -> None:
    await endpoints.start("a", "b", "c")
    # Time stands still: a call that took longer than others, on a busy machine, would have its endpoint get fewer.
    balancer = balancers(clock=lambda: 1.0)
    balancer.update(endpoints.agents())
    await all_connected(balancer, 3)
    for _ in range(9):
        await unary(balancer)(b"x", timeout=5)
    assert sorted(balancer.stats.picks.values()) == [3, 3, 3]


class EventTime:
    """The time of servers and of a balancer: it goes on to the next call that ends when every call waits for it."""

    def __init__(self) -> None:
        self._now_s = 1.0
        # Calls that have not ended.
        self._calls = 0
        self._due: list[tuple[float, int, asyncio.Event]] = []
        self._numbers = itertools.count()

    def now(self) -> float:
        return self._now_s

    def after(self, seconds: float) -> Callable[[], bool]:
        ends_at = self._now_s + seconds
        return lambda: self._now_s > ends_at

    async def sleep(self, delay_s: float) -> None:
        ends = asyncio.Event()
        heapq.heappush(self._due, (self._now_s + delay_s, next(self._numbers), ends))
        await ends.wait()

    async def took_s(self, call: Awaitable[Any]) -> float:
        """Make a call. Returns how long it took."""
        began_at = self._now_s
        self._calls += 1
        await call
        self._calls -= 1
        return self._now_s - began_at

    async def go_on(self, servers: Sequence[EndpointServer]) -> None:
        """Let time pass. Ends when it is cancelled."""
        while True:
            while not self._all_wait(servers):
                await asyncio.sleep(0)
            self._now_s, _, ends = heapq.heappop(self._due)
            ends.set()

    def _all_wait(self, servers: Sequence[EndpointServer]) -> bool:
        working = sum(min(1, each.running) if each.serial else each.running for each in servers)
        return 0 < self._calls == sum(each.running for each in servers) and working == len(self._due)


@pytest.mark.slow
@pytest.mark.parametrize("serial", [True, False], ids=["one at a time", "all at once"])
async def test_a_slow_one_of_eight_is_avoided(
    serial: bool, endpoints: Endpoints, balancers: Callable[..., Balancer]
) -> None:
    """Whether calls queue up there or just take longer: the slowest one in a hundred is three times quicker."""
    servers = await endpoints.start(*"abcdefgh")

    async def p99_s(policy: str) -> float:
        clock = EventTime()
        for server in servers:
            server.serial, server.delay_s, server.sleep = serial, 0.1, clock.sleep
        servers[3].delay_s *= 5
        balancer = balancers(policy, seed=1, clock=clock.now)
        balancer.update(endpoints.agents())
        await all_connected(balancer, 8)
        call, took = unary(balancer), list[float]()

        async def step() -> None:
            took.append(await clock.took_s(call(b"x", timeout=30)))

        passing = asyncio.create_task(clock.go_on(servers))
        # Not yet: that it is slow has to be seen first.
        await closed_loop(16, clock.after(1.5), step)
        took.clear()
        await closed_loop(16, clock.after(3.5), step)
        passing.cancel()
        return sorted(took)[int(len(took) * 0.99)]

    slow, quick = await p99_s("round_robin"), await p99_s("least_connections")
    assert quick * 3 <= slow, f"least connections {quick:.3f} s, round robin {slow:.3f} s"


async def test_long_streams_count_until_they_end(
    endpoints: Endpoints, balancers: Callable[..., Balancer]
) -> None:
    await endpoints.start("a", "b", "c", "d")
    balancer = balancers(limits=BalancerLimits(slow_start_s=0.0))
    balancer.update([endpoints.servers[name].agent for name in "ab"])
    chat = BalancedChannel(balancer).stream_stream(f"/{CHAT}")
    streams = [chat() for _ in range(6)]
    for stream in streams:
        await stream.write(b"hello")
        assert await stream.read() == b"hello"
    assert sorted(balancer.stats.picks.values()) == [3, 3]
    balancer.update(endpoints.agents())
    await all_connected(balancer, 4)
    before = Counter(balancer.stats.picks)
    for _ in range(8):
        await unary(balancer)(b"x", timeout=5)
    assert {name for name, n in (balancer.stats.picks - before).items() if n} == {"c", "d"}
    for stream in streams:
        await stream.done_writing()
        assert await stream.read() is aio.EOF
    assert all(c.in_flight == 0 for c in balancer.explain(UNARY).candidates)


@pytest.mark.slow
async def test_an_endpoint_added_takes_its_share_when_its_slow_start_is_over(
    endpoints: Endpoints, balancers: Callable[..., Balancer]
) -> None:
    servers = await endpoints.start("a", "b", "c", "d")
    clock = EventTime()
    for server in servers:
        server.delay_s, server.sleep = 0.05, clock.sleep
    passing = asyncio.create_task(clock.go_on(servers))
    balancer = balancers(limits=BalancerLimits(slow_start_s=1.0), clock=clock.now)
    balancer.update([endpoints.servers[name].agent for name in "abc"])
    await all_connected(balancer, 3)
    call = unary(balancer)
    # One call in the beginning: now the method is known, and the new one connects at once.
    await clock.took_s(call(b"x", timeout=30))
    balancer.update(endpoints.agents())
    await all_connected(balancer, 4)

    async def share(seconds: float) -> float:
        before = Counter(balancer.stats.picks)
        await closed_loop(16, clock.after(seconds), lambda: clock.took_s(call(b"x", timeout=30)))
        gained = balancer.stats.picks - before
        return gained["d"] / gained.total()

    early, _, late = await share(0.4), await share(0.7), await share(0.5)
    passing.cancel()
    assert early < 0.2 <= late < 0.3, (early, late)


# -- failing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("marked", [False, True])
async def test_a_killed_endpoint_costs_at_most_its_calls_in_flight(
    marked: bool, endpoints: Endpoints, balancers: Callable[..., Balancer]
) -> None:
    """And none of those that may run twice."""
    spawned = [await endpoints.spawn(name) for name in "abc"]
    balancer = balancers()
    balancer.update([agent for _, agent in spawned])
    await all_connected(balancer, 3)
    call, failed = unary(balancer), list[aio.AioRpcError]()
    victim = next(e for e in balancer._endpoints.values() if e.agent_id == "b")
    done = in_flight = 0

    async def step() -> None:
        nonlocal done, in_flight
        # The most that there ever were: a call may go out between the kill and the moment in which it is noticed.
        in_flight = max(in_flight, victim.in_flight + 1)
        try:
            await call(b"x", timeout=10, metadata=MARKED if marked else ())
        except aio.AioRpcError as error:
            failed.append(error)
        done += 1

    async def kill() -> None:
        while done < 100:
            await asyncio.sleep(0.005)
        spawned[1][0].signal(signal.SIGKILL)

    await asyncio.gather(kill(), closed_loop(30, lambda: done >= 600, step))
    assert 0 < in_flight < 20
    assert len(failed) <= (0 if marked else in_flight + UNNOTICED), failed
    if marked:
        assert balancer.stats.retries > 0
    assert all(error.code() is grpc.StatusCode.UNAVAILABLE for error in failed)


async def test_the_failing_one_is_ejected_and_comes_back(
    endpoints: Endpoints, balancers: Callable[..., Balancer]
) -> None:
    servers = await endpoints.start(*"abcde")
    servers[2].failure = (grpc.StatusCode.INTERNAL, "broken")
    rules = OutlierRules(interval_s=0.3, base_ejection_s=0.3, failure_min_calls=10, success_min_calls=10_000)
    balancer = balancers(limits=BalancerLimits(outliers=rules))
    balancer.update(endpoints.agents())
    await all_connected(balancer, 5)
    call, failures = unary(balancer), 0

    async def step() -> None:
        nonlocal failures
        try:
            await call(b"x", timeout=5)
        except aio.AioRpcError:
            failures += 1

    async with asyncio.timeout(20):
        await closed_loop(4, lambda: balancer.stats.ejections > 0, step)
        failures, before = 0, servers[2].begun
        servers[2].failure = None
        assert [c.agent_id for c in balancer.explain(UNARY).candidates if c.ejected] == ["c"]
        await closed_loop(4, lambda: servers[2].begun > before, step)
    assert balancer.stats.ejections == 1
    assert failures == 0


async def test_in_a_panic_the_ejected_get_calls_too(
    endpoints: Endpoints, balancers: Callable[..., Balancer]
) -> None:
    servers = await endpoints.start(*"abcdef")
    balancer = balancers()
    balancer.update(endpoints.agents())
    await all_connected(balancer, 6)
    record = next(e.record for e in balancer._endpoints.values() if e.agent_id == "a")
    record.ejected_at, record.multiplier = time.monotonic(), 1
    for server in servers[3:]:
        await server.stop()
    async with asyncio.timeout(10):
        while sum(c.connected for c in balancer.explain(UNARY).candidates) > 3:
            await asyncio.sleep(0.005)
    call = unary(balancer)
    async with asyncio.timeout(20):
        while "a" not in balancer.stats.picks:
            await call(b"x", timeout=5)
    explained = balancer.explain(UNARY)
    assert explained.panic
    assert {c.agent_id for c in explained.candidates if c.available} == {"a", "b", "c"}
    assert balancer.stats.panics > 0
