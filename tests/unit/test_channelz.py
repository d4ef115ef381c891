"""The operators' port for channelz: what it serves, what it refuses, and what `weft doctor` makes of it."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf.message import Message
from grpc import aio
from grpc_channelz.v1 import channelz_pb2 as pb
from grpc_channelz.v1.channelz_pb2_grpc import ChannelzStub
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.support.beside import free_address
from weft.cli.doctor import channelz_checks
from weft.cli.doctor.channelz_checks import ChannelFacts, ConnectionFacts
from weft.rpc.network.binding import OperatorsBindError
from weft.rpc.network.channel import client_options, dial
from weft.rpc.operators import channelz_service
from weft.rpc.operators.channelz_port import ChannelzPort, channelz_port

# More than gRPC lists on one page.
MANY = 130


@pytest.fixture
async def port() -> AsyncIterator[ChannelzPort]:
    async with channelz_port("127.0.0.1:0") as opened:
        yield opened


@pytest.fixture
async def channel(port: ChannelzPort) -> AsyncIterator[aio.Channel]:
    async with dial(port.address) as opened:
        yield opened


async def test_it_serves_channelz_health_and_reflection_alone(channel: aio.Channel) -> None:
    health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    ask = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
    call = ask(iter([reflection_pb2.ServerReflectionRequest(list_services="*")]), timeout=10)
    (answer,) = [each async for each in call]
    listed = {each.name for each in answer.list_services_response.service}
    assert {name for name in listed if "reflection" not in name} == {
        "grpc.channelz.v1.Channelz",
        "grpc.health.v1.Health",
    }


async def test_what_is_not_there_and_what_is_no_request(channel: aio.Channel) -> None:
    stub = ChannelzStub(channel)
    # Servers of earlier tests may still be there: this one is the newest.
    server = (await stub.GetServers(pb.GetServersRequest(), timeout=10)).server[-1]
    sockets = pb.GetServerSocketsRequest(server_id=server.ref.server_id, max_results=-1)
    assert (await stub.GetServerSockets(sockets, timeout=10)).end
    of_server = server.ref.server_id
    for number in (-(2**63), -1, 0, of_server, 2**63 - 1):
        asked: list[tuple[str, Message]] = [
            ("GetChannel", pb.GetChannelRequest(channel_id=number)),
            ("GetSubchannel", pb.GetSubchannelRequest(subchannel_id=number)),
            ("GetSocket", pb.GetSocketRequest(socket_id=number)),
        ]
        if number != of_server:
            asked.append(("GetServer", pb.GetServerRequest(server_id=number)))
            asked.append(("GetServerSockets", pb.GetServerSocketsRequest(server_id=number)))
        for name, request in asked:
            with pytest.raises(aio.AioRpcError) as refused:
                await getattr(stub, name)(request, timeout=10)
            assert refused.value.code() is grpc.StatusCode.NOT_FOUND, (name, number)
    for path in channelz_service._QUESTIONS:
        garbage: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
        with pytest.raises(aio.AioRpcError) as refused:
            await garbage(b"\xff\xff\xff", timeout=10)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT, path


async def test_too_many_requests_are_refused(channel: aio.Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channelz_service, "MAX_WAITING", 1)
    stub = ChannelzStub(channel)

    async def code() -> grpc.StatusCode:
        try:
            await stub.GetServers(pb.GetServersRequest(), timeout=10)
        except aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    found = Counter(await asyncio.gather(*(code() for _ in range(50))))
    assert set(found) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}


async def test_an_address_in_use_is_named(port: ChannelzPort) -> None:
    with pytest.raises(OperatorsBindError, match=f"{port.address}: it is in use by another process"):
        await ChannelzPort(port.address).start()


async def test_no_address_no_port() -> None:
    async with channelz_port("") as port:
        assert port.address == ""


async def test_the_doctor_sees_each_channel_and_what_does_not_connect(port: ChannelzPort) -> None:
    dead = free_address()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(MANY):
            await stack.enter_async_context(dial(port.address))
        channel = await stack.enter_async_context(dial(dead, client_options(own_connection=True)))
        with pytest.raises(aio.AioRpcError):
            await channel.unary_unary("/a.v1.A/B")(b"", timeout=10)
        found = await channelz_checks.findings(port.address)
    # The process may have channels of tests before this one.
    (warning,) = [each for each in found if dead in each.text]
    assert warning.level == "warning"
    assert warning.text.startswith(f"it cannot connect to {dead}: ")
    # An older gRPC does not tell the reason.
    assert re.search("Connection refused|TRANSIENT_FAILURE$", warning.text), warning.text
    assert found[-1].level == "ok"
    unused = re.search(r"(\d+) UNUSED", found[-1].text)
    assert unused is not None, found[-1].text
    assert int(unused[1]) >= MANY


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (ConnectionFacts(1, Counter({"10.0.0.1": 199}), [ChannelFacts("a:1", "READY", 9, 0, 9)]), []),
        (ConnectionFacts(1, Counter({"10.0.0.1": 200}), []), ["200 connections come from 10.0.0.1"]),
        (
            ConnectionFacts(1, Counter(), [ChannelFacts("a:1", "READY", 10, 0, 10)]),
            ["all 10 calls to a:1 have failed"],
        ),
        (
            ConnectionFacts(
                1, Counter(), [ChannelFacts(f"a:{number}", "TRANSIENT_FAILURE") for number in range(7)]
            ),
            [*(f"it cannot connect to a:{number}" for number in range(5)), "nor to 2 more"],
        ),
    ],
)
def test_findings(facts: ConnectionFacts, words: list[str]) -> None:
    *bad, last = channelz_checks.told("connections of x", facts)
    assert [each.text for each in bad] == words
    assert all(each.level == "warning" and each.do for each in bad)
    assert last.level == "ok"


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("chttp2 ipv4:10.0.0.1:46790", "10.0.0.1"),
        ("chttp2 ipv6:%5B::1%5D:46790", "[::1]"),
        ("chttp2 unix:", "chttp2 unix:"),
    ],
)
def test_the_host_of_a_socket(name: str, host: str) -> None:
    assert channelz_checks._host(name) == host
