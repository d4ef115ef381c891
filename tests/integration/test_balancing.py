"""Balancing on real servers: who gets which calls, and what happens when an endpoint is slow, new, failing or gone."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from tests.support.endpoints import CHAT, STREAM, UNARY, Endpoints, EndpointServer
from weft.rpc import errors
from weft.rpc.balancing import Balancer, Limits, OutlierRules, retry
from weft.v1 import errors_pb2

MARKED = (retry.MARK,)


@pytest.fixture
async def endpoints(tmp_path: Path) -> AsyncIterator[Endpoints]:
    made = Endpoints(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def balancers() -> AsyncIterator[Callable[..., Balancer]]:
    made: list[Balancer] = []

    def make(*args: Any, **settings: Any) -> Balancer:
        made.append(Balancer(*args, **settings))
        return made[-1]

    yield make
    for balancer in made:
        await balancer.close()


def unary(balancer: Balancer) -> Any:
    return balancer.channel().unary_unary(f"/{UNARY}")


async def all_connected(balancer: Balancer, count: int) -> None:
    async with asyncio.timeout(10):
        while sum(c.connected for c in balancer.explain(UNARY).candidates) < count:
            await asyncio.sleep(0.005)


async def closed_loop(workers: int, until: Callable[[], bool], step: Callable[[], Awaitable[Any]]) -> None:
    async def work() -> None:
        while not until():
            await step()

    await asyncio.gather(*(work() for _ in range(workers)))


def after(seconds: float) -> Callable[[], bool]:
    ends_at = time.monotonic() + seconds
    return lambda: time.monotonic() > ends_at


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
    balancer = balancers()
    balancer.update(endpoints.agents())
    await all_connected(balancer, 3)
    for _ in range(9):
        await unary(balancer)(b"x", timeout=5)
    assert sorted(balancer.stats.picks.values()) == [3, 3, 3]


@pytest.mark.parametrize("serial", [True, False], ids=["one at a time", "all at once"])
async def test_a_slow_one_of_eight_is_avoided(
    serial: bool, endpoints: Endpoints, balancers: Callable[..., Balancer]
) -> None:
    """Whether calls queue up there or just take longer: the slowest one in a hundred is three times quicker."""
    servers = await endpoints.start(*"abcdefgh")
    for server in servers:
        # What takes longer itself must stand out from a busy machine; a queue does anyhow.
        server.serial, server.delay_s = serial, 0.02 if serial else 0.1
    servers[3].delay_s *= 5

    async def p99_s(policy: str) -> float:
        balancer = balancers(policy, seed=1)
        balancer.update(endpoints.agents())
        await all_connected(balancer, 8)
        call, took = unary(balancer), list[float]()

        async def step() -> None:
            began_at = time.perf_counter()
            await call(b"x", timeout=30)
            took.append(time.perf_counter() - began_at)

        # Not yet: that it is slow has to be seen first.
        await closed_loop(16, after(0.5 if serial else 1.5), step)
        took.clear()
        await closed_loop(16, after(1.5 if serial else 2.5), step)
        return sorted(took)[int(len(took) * 0.99)]

    slow, quick = await p99_s("round_robin"), await p99_s("least_connections")
    assert quick * 3 <= slow, f"least connections {quick:.3f} s, round robin {slow:.3f} s"


async def test_long_streams_count_until_they_end(
    endpoints: Endpoints, balancers: Callable[..., Balancer]
) -> None:
    await endpoints.start("a", "b", "c", "d")
    balancer = balancers(limits=Limits(slow_start_s=0.0))
    balancer.update([endpoints.servers[name].agent for name in "ab"])
    chat = balancer.channel().stream_stream(f"/{CHAT}")
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


async def test_an_endpoint_added_takes_its_share_when_its_slow_start_is_over(
    endpoints: Endpoints, balancers: Callable[..., Balancer]
) -> None:
    servers = await endpoints.start("a", "b", "c", "d")
    for server in servers:
        server.delay_s = 0.005
    balancer = balancers(limits=Limits(slow_start_s=1.0))
    balancer.update([endpoints.servers[name].agent for name in "abc"])
    await all_connected(balancer, 3)
    call = unary(balancer)
    # One call in the beginning: now the method is known, and the new one connects at once.
    await call(b"x", timeout=5)
    balancer.update(endpoints.agents())
    await all_connected(balancer, 4)

    async def share(seconds: float) -> float:
        before = Counter(balancer.stats.picks)
        await closed_loop(16, after(seconds), lambda: call(b"x", timeout=5))
        gained = balancer.stats.picks - before
        return gained["d"] / gained.total()

    early = await share(0.4)
    await asyncio.sleep(0.7)
    late = await share(0.5)
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
    assert len(failed) <= (0 if marked else in_flight), failed
    if marked:
        assert balancer.stats.retries > 0
    assert all(error.code() is grpc.StatusCode.UNAVAILABLE for error in failed)


async def test_the_failing_one_is_ejected_and_comes_back(
    endpoints: Endpoints, balancers: Callable[..., Balancer]
) -> None:
    servers = await endpoints.start(*"abcde")
    servers[2].failure = (grpc.StatusCode.INTERNAL, "broken")
    rules = OutlierRules(interval_s=0.3, base_ejection_s=0.3, failure_min_calls=10, success_min_calls=10_000)
    balancer = balancers(limits=Limits(outliers=rules))
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
    call = unary(balancer)
    async with asyncio.timeout(20):
        while "a" not in balancer.stats.picks:
            await call(b"x", timeout=5)
    explained = balancer.explain(UNARY)
    assert explained.panic
    assert {c.agent_id for c in explained.candidates if c.available} == {"a", "b", "c"}
    assert balancer.stats.panics > 0


# -- retries --------------------------------------------------------------------------------------------------------


def overloaded() -> errors.WeftError:
    return errors.ResourceExhausted("full", reason=errors_pb2.ERROR_REASON_OVERLOADED, retry_after_s=0.1)


@pytest.mark.parametrize(
    "refusal", [overloaded(), errors.Unavailable("bye", reason=errors_pb2.ERROR_REASON_STOPPING)]
)
@pytest.mark.parametrize("shape", ["unary_unary", "unary_stream"])
async def test_what_an_agent_refuses_another_one_does(
    refusal: errors.WeftError, shape: str, endpoints: Endpoints, balancers: Callable[..., Balancer]
) -> None:
    bad, good = await endpoints.start("a", "b")
    bad.refusal = refusal
    balancer = balancers()
    balancer.update(endpoints.agents())
    await all_connected(balancer, 2)
    for _ in range(4):
        call: Any
        if shape == "unary_unary":
            call = balancer.channel().unary_unary(f"/{UNARY}")(b"x", timeout=5)
            assert await call == b"x"
        else:
            call = balancer.channel().unary_stream(f"/{STREAM}")(b"x", timeout=5)
            # A relay asks for these first.
            assert not await call.initial_metadata()
            assert [response async for response in call] == [b"x"]
        assert dict(await call.trailing_metadata())["weft-agent"] == "b"
    assert balancer.stats.retries == bad.begun > 0
    assert good.begun == 4


@pytest.mark.parametrize("how", ["await", "code", "callback", "details"])
async def test_whoever_waits_for_a_call_waits_for_its_last_attempt(
    how: str, endpoints: Endpoints, balancers: Callable[..., Balancer]
) -> None:
    bad, _ = await endpoints.start("a", "b")
    bad.refusal = overloaded()
    balancer = balancers()
    balancer.update(endpoints.agents())
    await all_connected(balancer, 2)
    for _ in range(2):
        call = unary(balancer)(b"x", timeout=5)
        if how == "await":
            await call
        elif how == "code":
            assert await call.code() is grpc.StatusCode.OK
        elif how == "details":
            assert await call.details() == ""
        else:
            ended = asyncio.get_running_loop().create_future()
            call.add_done_callback(ended.set_result)
            assert await ended is call
        assert call.done()
        assert await call.code() is grpc.StatusCode.OK
    assert balancer.stats.retries == 1


async def test_what_a_handler_says_is_said_once(
    endpoints: Endpoints, balancers: Callable[..., Balancer]
) -> None:
    servers = await endpoints.start("a", "b")
    for server in servers:
        server.failure = (grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses")
    balancer = balancers()
    balancer.update(endpoints.agents())
    with pytest.raises(aio.AioRpcError):
        await unary(balancer)(b"x", timeout=5)
    assert sum(server.begun for server in servers) == 1
    with pytest.raises(aio.AioRpcError):
        await unary(balancer)(b"x", timeout=5, metadata=MARKED)
    assert sum(server.begun for server in servers) == 3


async def test_a_stream_of_which_something_was_seen_is_not_begun_again(
    endpoints: Endpoints, balancers: Callable[..., Balancer]
) -> None:
    servers = await endpoints.start("a", "b")
    for server in servers:
        server.failure = (grpc.StatusCode.UNAVAILABLE, "no more")
    balancer = balancers()
    balancer.update(endpoints.agents())
    call = balancer.channel().unary_stream(f"/{STREAM}")(b"123", timeout=5, metadata=MARKED)
    got = []
    with pytest.raises(aio.AioRpcError):
        async for response in call:
            got.append(response)
    assert got == [b"1", b"2"]
    assert balancer.stats.retries == 0


async def test_the_budget_bounds_retries(endpoints: Endpoints, balancers: Callable[..., Balancer]) -> None:
    servers = await endpoints.start("a", "b", "c")
    for server in servers:
        server.refusal = overloaded()
    balancer = balancers()
    balancer.update(endpoints.agents())
    for _ in range(30):
        with pytest.raises(aio.AioRpcError) as caught:
            await unary(balancer)(b"x", timeout=5)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert balancer.stats.retries <= 5
    assert balancer.stats.budget_refusals >= 20
    assert sum(server.begun for server in servers) == 30 + balancer.stats.retries


async def test_no_retry_past_the_deadline(endpoints: Endpoints, balancers: Callable[..., Balancer]) -> None:
    servers = await endpoints.start("a", "b")
    for server in servers:
        server.gate.clear()
    balancer = balancers()
    balancer.update(endpoints.agents())
    began_at = time.monotonic()
    with pytest.raises(aio.AioRpcError) as caught:
        await unary(balancer)(b"x", timeout=0.2, metadata=MARKED)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - began_at < 1.0
    assert balancer.stats.retries == 0
    # The second attempt has what the first one left.
    servers[0].gate.set()
    servers[0].delay_s, servers[0].failure = 0.2, (grpc.StatusCode.UNAVAILABLE, "later")
    left = []
    for _ in range(2):
        call = unary(balancer)(b"x", timeout=0.4, metadata=MARKED)
        began_at = time.monotonic()
        with pytest.raises(aio.AioRpcError):
            await call
        left.append(time.monotonic() - began_at)
    assert max(left) < 0.6
    assert balancer.stats.retries == 1


# -- bounds, and nobody there ---------------------------------------------------------------------------------------


async def test_each_endpoint_has_a_bound(endpoints: Endpoints, balancers: Callable[..., Balancer]) -> None:
    servers = await endpoints.start("a", "b")
    for server in servers:
        server.gate.clear()
    balancer = balancers(limits=Limits(outstanding=2))
    balancer.update(endpoints.agents())
    await all_connected(balancer, 2)
    call = unary(balancer)
    held = [call(b"x", timeout=10) for _ in range(4)]
    refused = call(b"x", timeout=10)
    assert refused.done()
    with pytest.raises(aio.AioRpcError) as caught:
        await refused
    error = errors.from_call(caught.value)
    assert (error.code, error.reason) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        errors_pb2.ERROR_REASON_OVERLOADED,
    )
    assert error.retry_after_s
    assert balancer.stats.bound_refusals == 1
    for server in servers:
        server.gate.set()
    assert await asyncio.gather(*held) == [b"x"] * 4
    assert await call(b"y", timeout=5) == b"y"


@pytest.mark.parametrize("shape", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
async def test_nobody_hosts_it(shape: str, balancers: Callable[..., Balancer]) -> None:
    balancer = balancers()
    balancer.update([])
    made = getattr(balancer.channel(), shape)("/acme.v1.Other/Do")
    call = made(b"x") if shape.startswith("unary") else made(iter([b"x"]))
    with pytest.raises(aio.AioRpcError) as caught:
        if shape.endswith("unary"):
            await call
        else:
            await call.read()
    error = errors.from_call(caught.value)
    assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, errors_pb2.ERROR_REASON_NO_AGENT)
    assert error.metadata == {"method": "acme.v1.Other/Do", "agents": "0"}
    assert await call.code() is grpc.StatusCode.UNAVAILABLE
    assert not call.cancel()


async def test_a_call_waits_for_the_first_snapshot(
    endpoints: Endpoints, balancers: Callable[..., Balancer]
) -> None:
    (server,) = await endpoints.start("a")
    balancer = balancers(limits=Limits(first_snapshot_s=0.1))
    channel = balancer.channel()
    calls = [
        channel.unary_unary(f"/{UNARY}")(b"x", timeout=5),
        channel.unary_stream(f"/{STREAM}")(b"x", timeout=5),
        channel.stream_stream(f"/{CHAT}")(iter([b"x"]), timeout=5),
    ]
    cancelled = channel.unary_unary(f"/{UNARY}")(b"x", timeout=5)
    assert cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    late = channel.unary_unary(f"/{UNARY}")(b"x")
    with pytest.raises(aio.AioRpcError) as caught:
        await late
    assert errors.from_call(caught.value).reason == errors_pb2.ERROR_REASON_NO_AGENT
    with pytest.raises(aio.AioRpcError) as caught:
        await channel.unary_unary(f"/{UNARY}")(b"x", timeout=0.05)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    balancer.update([server.agent])
    assert await calls[0] == b"x"
    assert await calls[1].read() == b"x"
    assert await calls[2].read() == b"x"
    assert server.begun == 3


# -- coming and going -----------------------------------------------------------------------------------------------


async def test_calls_of_an_endpoint_that_leaves_go_on(
    endpoints: Endpoints, balancers: Callable[..., Balancer]
) -> None:
    await endpoints.start("a", "b")
    balancer = balancers()
    balancer.update([endpoints.servers["a"].agent])
    chat = balancer.channel().stream_stream(f"/{CHAT}")()
    await chat.write(b"1")
    assert await chat.read() == b"1"
    balancer.update([endpoints.servers["b"].agent])
    for _ in range(3):
        await unary(balancer)(b"x", timeout=5)
    assert balancer.stats.picks == {"a": 1, "b": 3}
    await chat.write(b"2")
    assert await chat.read() == b"2"
    assert balancer._leaving
    await chat.done_writing()
    assert await chat.read() is aio.EOF
    async with asyncio.timeout(5):
        while balancer._leaving:
            await asyncio.sleep(0.01)


async def test_closing_ends_what_runs(endpoints: Endpoints, balancers: Callable[..., Balancer]) -> None:
    servers: list[EndpointServer] = await endpoints.start("a", "b")
    for server in servers:
        server.gate.clear()
    balancer = balancers()
    balancer.update([servers[0].agent])
    call = unary(balancer)
    held = [call(b"x", timeout=30), balancers().channel().unary_unary(f"/{UNARY}")(b"x", timeout=30)]
    await asyncio.sleep(0.05)
    balancer.update([servers[1].agent])
    async with asyncio.timeout(5):
        await balancer.close()
    assert held[0].cancelled()
    held[1].cancel()
    with pytest.raises(aio.UsageError):
        call(b"x")
    assert balancer.channel().get_state() is grpc.ChannelConnectivity.SHUTDOWN


async def test_a_decision_is_explained_before_it_is_made(
    endpoints: Endpoints, balancers: Callable[..., Balancer]
) -> None:
    await endpoints.start(*"abcdefghij")
    balancer = balancers()
    balancer.update(endpoints.agents())
    await all_connected(balancer, 10)
    for _ in range(20):
        explained = balancer.explain(UNARY)
        assert [c.agent_id for c in explained.candidates if c.chosen] == [explained.chosen]
        call = unary(balancer)(b"x", timeout=5)
        await call
        assert dict(await call.trailing_metadata())["weft-agent"] == explained.chosen
    assert balancer.explain("acme.v1.Other/Do").chosen == ""
