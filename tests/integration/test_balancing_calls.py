"""A balanced call on real servers: its retries, its bounds, and its end when its endpoint leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from grpc import aio

from tests.support.endpoints import CHAT, STREAM, UNARY, Endpoints, EndpointServer, all_connected, unary
from weft.rpc import errors
from weft.rpc.balancing import BalancedChannel, Balancer, BalancerLimits, balanced_calls
from weft.rpc.balancing.endpoint import TURNED_AWAY_S
from weft.rpc.calls import relay
from weft.rpc.calls.metadata import RETRY_MARK
from weft.rpc.process.home_loop import MeshClosed
from weft.v1 import errors_pb2, fleet_pb2

MARKED = (RETRY_MARK,)


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
            call = BalancedChannel(balancer).unary_unary(f"/{UNARY}")(b"x", timeout=5)
            assert await call == b"x"
        else:
            call = BalancedChannel(balancer).unary_stream(f"/{STREAM}")(b"x", timeout=5)
            # A relay asks for these first.
            assert not await call.initial_metadata()
            assert [response async for response in call] == [b"x"]
        assert dict(await call.trailing_metadata())["weft-agent"] == "b"
    assert balancer.stats.retries == bad.begun > 0
    assert good.begun == 4


async def test_who_leaves_is_asked_no_more(endpoints: Endpoints, balancers: Callable[..., Balancer]) -> None:
    """It refuses at once and so has the least to do; all that was on its way goes elsewhere, whatever the retry budget."""
    leaving, staying = await endpoints.start("a", "b")
    leaving.refusal = errors.Unavailable("bye", reason=errors_pb2.ERROR_REASON_STOPPING)
    now = 1.0
    balancer = balancers(clock=lambda: now)
    balancer.update(endpoints.agents())
    await all_connected(balancer, 2)
    call = unary(balancer)
    await asyncio.gather(*(call(b"x", timeout=5) for _ in range(60)))
    for _ in range(20):
        await call(b"x", timeout=5)
    assert (leaving.begun, staying.begun) == (30, 80)

    leaving.refusal = None
    now += TURNED_AWAY_S
    for _ in range(20):
        await call(b"x", timeout=5)
    assert leaving.begun > 30


async def test_a_relay_passes_the_first_response_on_when_it_comes(
    endpoints: Endpoints, balancers: Callable[..., Balancer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its initial metadata is empty, and would be held back until the attempt has ended; a refused attempt is made again all the same."""
    monkeypatch.setattr(balanced_calls, "BARE_HEADERS_S", 60.0)
    monkeypatch.setattr(relay, "BARE_HEADERS_S", 60.0)
    refusing, serving = await endpoints.start("a", "b")
    refusing.refusal = overloaded()
    balancer = balancers()
    balancer.update(endpoints.agents())
    await all_connected(balancer, 2)
    kind = fleet_pb2.METHOD_KIND_SERVER_STREAMING
    passing = relay.handler(BalancedChannel(balancer), f"/{STREAM}", kind)
    server = aio.server()
    service, method = STREAM.split("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: passing}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            for _ in range(4):
                call = channel.unary_stream(f"/{STREAM}")(b"x", timeout=20)
                assert [response async for response in call] == [b"x"]
            assert refusing.begun
            refusing.refusal = None
            for _ in range(4):
                refusing.gate.clear()
                serving.gate.clear()
                call = channel.unary_stream(f"/{STREAM}")(b"xyz", timeout=20)
                assert [await call.read(), await call.read()] == [b"x", b"y"]
                refusing.gate.set()
                serving.gate.set()
                assert await call.read() == b"z"
                assert await call.code() is grpc.StatusCode.OK
    finally:
        await server.stop(None)


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
    call = BalancedChannel(balancer).unary_stream(f"/{STREAM}")(b"123", timeout=5, metadata=MARKED)
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
    with pytest.raises(aio.AioRpcError) as caught:
        await unary(balancer)(b"x", timeout=0.2, metadata=MARKED)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert balancer.stats.retries == 0
    # The second attempt has what the first one left.
    for server in servers:
        server.gate.set()
    servers[0].delay_s, servers[0].failure = 0.5, (grpc.StatusCode.UNAVAILABLE, "later")
    while not balancer.stats.retries:
        await unary(balancer)(b"x", timeout=5, metadata=MARKED)
    assert servers[1].left_s[-1] < 4.7


# -- bounds, and nobody there ---------------------------------------------------------------------------------------


async def test_each_endpoint_has_a_bound(endpoints: Endpoints, balancers: Callable[..., Balancer]) -> None:
    servers = await endpoints.start("a", "b")
    for server in servers:
        server.gate.clear()
    balancer = balancers(limits=BalancerLimits(outstanding=2))
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
    made = getattr(BalancedChannel(balancer), shape)("/acme.v1.Other/Do")
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


@pytest.mark.parametrize("known", [True, False], ids=["known", "opening"])
@pytest.mark.parametrize(
    "pairs", [[("Bad Key", "v")], [("k", 5)], [("k", "é")], [("k", "a\nb")]], ids=["key", "type", "é", "line"]
)
async def test_metadata_that_cannot_be_sent_holds_no_place(
    known: bool, pairs: Any, endpoints: Endpoints, balancers: Callable[..., Balancer]
) -> None:
    (server,) = await endpoints.start("a")
    balancer = balancers()
    if known:
        balancer.update([server.agent])
    channel = BalancedChannel(balancer)
    for call in (
        channel.unary_unary(f"/{UNARY}")(b"x", timeout=5, metadata=pairs),
        channel.unary_stream(f"/{STREAM}")(b"x", timeout=5, metadata=pairs),
        channel.stream_stream(f"/{CHAT}")(iter([b"x"]), timeout=5, metadata=pairs),
    ):
        assert await call.code() is grpc.StatusCode.INTERNAL
        assert "metadata that cannot be sent: the" in await call.details()
        assert call.done()
    balancer.update([server.agent])
    # What is no metadata at all is raised, as gRPC does.
    with pytest.raises(ValueError, match="unpack"):
        unary(balancer)(b"x", metadata="zz")
    assert await unary(balancer)(b"x", timeout=5, metadata=iter([("k", "v"), ("k-bin", b"\xff\n")])) == b"x"
    assert [c.in_flight for c in balancer.explain(UNARY).candidates] == [0]


@pytest.mark.parametrize("shape", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
@pytest.mark.parametrize(
    "pair",
    [("weft-priority", "9"), ("weft-request-id", "r"), ("weft-mode", "durable"), ("weft-prioritee", "9")],
    ids=lambda pair: pair[0],
)
async def test_what_only_a_task_can_have_is_refused(
    pair: tuple[str, str], shape: str, endpoints: Endpoints, balancers: Callable[..., Balancer]
) -> None:
    (server,) = await endpoints.start("a")
    balancer = balancers()
    balancer.update([server.agent])
    made = getattr(BalancedChannel(balancer), shape)(f"/{UNARY}")
    given = b"x" if shape.startswith("unary") else iter([b"x"])
    call = made(given, timeout=5, metadata=aio.Metadata(("x-own", "1"), pair))
    with pytest.raises(aio.AioRpcError) as caught:
        if shape.endswith("unary"):
            await call
        else:
            await call.read()
    error = errors.from_call(caught.value)
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert error.message.startswith(pair[0])
    assert balancer.stats.picks.total() == 0


async def test_what_a_direct_call_can_have_goes_with_it(
    endpoints: Endpoints, balancers: Callable[..., Balancer]
) -> None:
    (server,) = await endpoints.start("a")
    balancer = balancers()
    balancer.update([server.agent])
    given = [RETRY_MARK, ("weft-mode", "direct"), ("weft-root-id", "what another one called it"), ("x", "1")]
    assert await unary(balancer)(b"x", timeout=5, metadata=given) == b"x"


async def test_a_call_waits_for_the_first_snapshot(
    endpoints: Endpoints, balancers: Callable[..., Balancer]
) -> None:
    (server,) = await endpoints.start("a")
    balancer = balancers(limits=BalancerLimits(first_snapshot_s=0.1))
    channel = BalancedChannel(balancer)
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
    chat = BalancedChannel(balancer).stream_stream(f"/{CHAT}")()
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
    held = [call(b"x", timeout=30), BalancedChannel(balancers()).unary_unary(f"/{UNARY}")(b"x", timeout=30)]
    await asyncio.sleep(0.05)
    balancer.update([servers[1].agent])
    async with asyncio.timeout(5):
        await balancer.close()
    assert held[0].cancelled()
    held[1].cancel()
    with pytest.raises(MeshClosed):
        call(b"x")
    assert BalancedChannel(balancer).get_state() is grpc.ChannelConnectivity.SHUTDOWN


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
