"""Balanced calls with `wait_for_ready`: they wait for an agent as long as a call on a stock channel waits for a server."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from grpc import aio

from tests.support.endpoints import CHAT, COLLECT, STREAM, UNARY, Endpoints, agent, all_connected
from weft.rpc import errors
from weft.rpc.balancing import BalancedChannel, Balancer, BalancerLimits
from weft.v1 import errors_pb2, fleet_pb2

SHAPES = {"unary_unary": UNARY, "unary_stream": STREAM, "stream_unary": COLLECT, "stream_stream": CHAT}
# No call of these tests takes so long.
LONG_S = 20.0


async def _request() -> AsyncIterator[bytes]:
    yield b"x"


def _waiting(balancer: Balancer, shape: str = "unary_unary", *, timeout: float | None = LONG_S) -> Any:
    """A call that waits for an agent."""
    made = getattr(BalancedChannel(balancer), shape)(f"/{SHAPES[shape]}")
    given = b"x" if shape.startswith("unary") else _request()
    return made(given, timeout=timeout, wait_for_ready=True)


async def _answer(call: Any, shape: str = "unary_unary") -> Any:
    return await call if shape.endswith("unary") else await call.read()


async def _looks(balancer: Balancer, count: int) -> None:
    """Wait until so many looks for an agent were in vain."""
    async with asyncio.timeout(LONG_S):
        while balancer.stats.no_agent < count:
            await asyncio.sleep(0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("timeout", [LONG_S, None], ids=["deadline", "forever"])
async def test_it_waits_for_an_agent(
    shape: str, timeout: float | None, endpoints: Endpoints, balancers: Callable[..., Balancer]
) -> None:
    (server,) = await endpoints.start("a")
    # The bound on the wait for a first snapshot is for others.
    balancer = balancers(limits=BalancerLimits(first_snapshot_s=0.0))
    early = _waiting(balancer, shape, timeout=timeout)
    balancer.update([])
    call = _waiting(balancer, shape, timeout=timeout)
    assert not call.done()
    answers = [asyncio.create_task(_answer(each, shape)) for each in (early, call)]
    # Neither of these takes its method.
    for there in (agent("b", server.address, methods=()), agent("b", "")):
        before = balancer.stats.no_agent
        balancer.update([there])
        await _looks(balancer, before + 2)
    assert not any(answer.done() for answer in answers)
    balancer.update([server.agent])
    assert await asyncio.gather(*answers) == [b"x", b"x"]
    assert server.begun == 2


async def test_what_is_written_waits_as_well(
    endpoints: Endpoints, balancers: Callable[..., Balancer]
) -> None:
    (server,) = await endpoints.start("a")
    balancer = balancers()
    balancer.update([])
    chat = BalancedChannel(balancer).stream_stream(f"/{CHAT}")(timeout=LONG_S, wait_for_ready=True)
    writing = asyncio.create_task(chat.write(b"1"))
    await _looks(balancer, 2)
    assert not writing.done()
    balancer.update([server.agent])
    await writing
    assert await chat.read() == b"1"
    await chat.done_writing()
    assert await chat.code() is grpc.StatusCode.OK


@pytest.mark.parametrize("shape", SHAPES)
async def test_it_waits_for_no_agent_in_particular(
    shape: str, endpoints: Endpoints, balancers: Callable[..., Balancer]
) -> None:
    """One that is dead is known for a while; whoever takes its place has the call."""
    (server,) = await endpoints.start("b")
    process, dead = await endpoints.spawn("a")
    balancer = balancers()
    balancer.update([dead])
    assert await _waiting(balancer) == b"x"
    await process.kill()
    async with asyncio.timeout(LONG_S):
        while BalancedChannel(balancer).get_state() is grpc.ChannelConnectivity.READY:
            await asyncio.sleep(0)
    call = _waiting(balancer, shape, timeout=None)
    late = _waiting(balancer, shape, timeout=0.1)
    assert await late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert (await late.details()).endswith(" s for an agent: a is not connected")
    assert not call.done()
    balancer.update([server.agent])
    assert await _answer(call, shape) == b"x"
    assert balancer.stats.picks == {"a": 1, "b": 1}


@pytest.mark.parametrize("shape", SHAPES)
async def test_it_waits_until_its_deadline(shape: str, balancers: Callable[..., Balancer]) -> None:
    balancer = balancers()
    balancer.update([agent("a", "127.0.0.1:1", state=fleet_pb2.AGENT_STATE_DRAINING)])
    call = _waiting(balancer, shape, timeout=0.1)
    with pytest.raises(aio.AioRpcError) as caught:
        await _answer(call, shape)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    why = f"an agent: no agent takes direct calls of {SHAPES[shape]} now: a is DRAINING"
    assert (caught.value.details() or "").endswith(why)
    assert call.done()
    assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_nobody_who_tells_of_agents(balancers: Callable[..., Balancer]) -> None:
    call = _waiting(balancers(), timeout=0.1)
    assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "s for a coordinator that names the agents" in await call.details()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("how", ["cancel", "task", "close"])
async def test_the_wait_can_be_ended(shape: str, how: str, balancers: Callable[..., Balancer]) -> None:
    balancer = balancers()
    balancer.update([])
    call = _waiting(balancer, shape, timeout=None)
    answer = asyncio.create_task(_answer(call, shape))
    await _looks(balancer, 2)
    if how == "cancel":
        assert call.cancel()
    elif how == "task":
        answer.cancel()
    else:
        await balancer.close()
    with pytest.raises(asyncio.CancelledError):
        await answer
    assert call.cancelled()
    assert await call.code() is grpc.StatusCode.CANCELLED
    # It looks no more.
    looked = balancer.stats.no_agent
    balancer.update([])
    await asyncio.wait([call._opening])
    assert balancer.stats.no_agent == looked


async def test_what_waiting_does_not_mend_is_said_at_once(
    endpoints: Endpoints, balancers: Callable[..., Balancer]
) -> None:
    (server,) = await endpoints.start("a")
    balancer = balancers(limits=BalancerLimits(outstanding=1))
    unknown = BalancedChannel(balancer).unary_unary("/test.v1.Test/Other")
    balancer.update([])
    # It waits as long as it may be anything, and learns what it is.
    call = unknown(b"x", timeout=LONG_S, wait_for_ready=True)
    balancer.update([server.agent])
    assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
    assert unknown(b"x", timeout=LONG_S, wait_for_ready=True).done()

    await all_connected(balancer, 1)
    server.gate.clear()
    held = BalancedChannel(balancer).unary_unary(f"/{UNARY}")(b"x", timeout=LONG_S)
    full = _waiting(balancer)
    assert full.done()
    assert await full.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    server.gate.set()
    assert await held == b"x"


@pytest.mark.parametrize("wait", [None, False])
async def test_others_fail_at_once(wait: bool | None, balancers: Callable[..., Balancer]) -> None:
    balancer = balancers()
    balancer.update([])
    call = BalancedChannel(balancer).unary_unary(f"/{UNARY}")(b"x", timeout=LONG_S, wait_for_ready=wait)
    assert call.done()
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    assert errors.from_call(caught.value).reason == errors_pb2.ERROR_REASON_NO_AGENT


@pytest.mark.parametrize("shape", SHAPES)
async def test_an_agent_that_does_not_answer_the_connection(
    shape: str, balancers: Callable[..., Balancer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call without `wait_for_ready` waits for the connection of its agent, too, and says so at its deadline. A call for others
    does so a little earlier."""
    monkeypatch.setattr("weft.rpc.calls.answer_in_time.MARGIN_S", 0.4)
    monkeypatch.setattr("weft.rpc.calls.answer_in_time.MARGIN_SHARE", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        balancer = balancers()
        balancer.update([agent("a", address)])
        ended: list[bool] = []

        async def call(*, for_others: bool) -> str:
            made = getattr(BalancedChannel(balancer, for_others=for_others), shape)(f"/{SHAPES[shape]}")
            call = made(b"x" if shape.startswith("unary") else _request(), timeout=0.6)
            with pytest.raises(aio.AioRpcError) as caught:
                await _answer(call, shape)
            ended.append(for_others)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            info = errors.error_info(errors.status_of_call(caught.value))
            assert info is not None
            assert info.reason == "CALL_DEADLINE"
            assert await call.details() == caught.value.details()
            return caught.value.details() or ""

        for why in await asyncio.gather(call(for_others=False), call(for_others=True)):
            assert re.fullmatch(
                rf"the call's deadline passed: waited 0\.\d s for a connection to agent a \({address}\)", why
            )
        assert ended == [True, False]
        await balancer.close()
