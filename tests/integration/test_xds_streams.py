"""Discovery streams of xDS at real coordinators: what is asked on them, and what becomes of ill ones."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import status_pb2

from tests.support.lightweight import CALL, ECHO, LightAgent
from tests.support.namespaced import Sites, sites_on
from tests.support.processes import until
from tests.support.refusals import check
from weft.coordinator.doors.xds.aggregated_discovery import METHOD
from weft.coordinator.doors.xds.resources import CLUSTER, ENDPOINTS, LISTENER
from weft.coordinator.fleet import reachability
from weft.rpc import refusals
from weft.rpc.errors import status_of_call
from weft.rpc.network.channel import Route, client_options, dial
from weft.rpc.security.token_source import token_source
from weft.v1 import access_pb2, namespace_pb2, namespace_pb2_grpc, security_pb2, security_pb2_grpc
from weft.xds import xds_pb2 as pb

SERVICE = "probe.v1.ProbeService"
STREAMS = 5


class Stream:
    """A client's stream."""

    def __init__(self, channel: grpc.aio.Channel, namespace: str = "", metadata: Any = ()) -> None:
        self.call: Any = channel.stream_stream(f"/{METHOD}")(metadata=metadata)
        self._node = pb.Node(id="test")
        if namespace:
            self._node.metadata["weft-namespace"] = namespace

    async def ask(self, type_url: str, *names: str, **fields: Any) -> None:
        await self.raw(
            pb.DiscoveryRequest(
                type_url=type_url, resource_names=names, node=self._node, **fields
            ).SerializeToString()
        )

    async def raw(self, message: bytes) -> None:
        # One that is refused already says why when it is read.
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self.call.write(message)

    async def told(self) -> pb.DiscoveryResponse:
        return pb.DiscoveryResponse.FromString(await self.call.read())

    async def addresses(self) -> list[str]:
        """The addresses in the next answer, of endpoints."""
        (packed,) = (await self.told()).resources
        found = pb.ClusterLoadAssignment.FromString(packed.value)
        return [
            each.endpoint.address.socket_address.address
            for place in found.endpoints
            for each in place.lb_endpoints
        ]

    async def refused(self, code: grpc.StatusCode, reason: str) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            while await self.call.read() is not grpc.aio.EOF:
                pass
        check(status_of_call(caught.value), code, reason)


@pytest.fixture(autouse=True)
def _all_are_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is at the addresses of these agents; tests/integration/test_xds.py has real ones."""

    async def found(*_: object) -> str:
        return ""

    monkeypatch.setattr(reachability, "find_problem", found)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Sites]:
    async with sites_on("embedded", tmp_path, xds=True, max_watchers=STREAMS, stalled_stream_s=2) as made:
        yield made


def door(site: Sites) -> Any:
    return site.coordinators[0]._doors[0]


def agent(channel: grpc.aio.Channel, agent_id: str, methods: Sequence[str] = (ECHO,)) -> LightAgent:
    return LightAgent(channel, agent_id, methods=methods, advertised_address="192.0.2.1:7")


async def test_changes_are_told_in_each_namespace(site: Sites) -> None:
    await site.create("team-a")
    here, there = Stream(site.channel()), Stream(site.channel(), "team-a")
    for stream in (here, there):
        await stream.ask(LISTENER, SERVICE)
        assert not (await stream.told()).resources
        await stream.ask(ENDPOINTS, SERVICE)
    async with agent(site.channel("team-a"), "first"):
        assert await there.addresses() == ["192.0.2.1"]
        assert len((await there.told()).resources) == 1
    assert not (await there.told()).resources, "it has left"
    async with agent(site.channel(), "second"):
        assert await here.addresses() == ["192.0.2.1"]
    nowhere = Stream(site.channel(), "team-b")
    await nowhere.ask(LISTENER, SERVICE)
    await nowhere.refused(grpc.StatusCode.NOT_FOUND, "NAMESPACE_NOT_FOUND")
    deleted = namespace_pb2.DeleteNamespaceRequest(name="team-a", force=True)
    await namespace_pb2_grpc.NamespaceServiceStub(site.channel()).DeleteNamespace(deleted, timeout=10)
    await there.refused(grpc.StatusCode.NOT_FOUND, "NAMESPACE_NOT_FOUND")
    door(site).close(refusals.stopping("it stops", retry_after_s=1.0))
    await here.refused(grpc.StatusCode.UNAVAILABLE, "STOPPING")
    await until(lambda: not door(site)._followed, "nothing is followed any more")


async def test_ill_streams(site: Sites, caplog: pytest.LogCaptureFixture) -> None:
    garbage = Stream(site.channel())
    await garbage.raw(b"\xff")
    await garbage.refused(grpc.StatusCode.INVALID_ARGUMENT, "PAYLOAD_MALFORMED")
    later = Stream(site.channel())
    await later.ask(LISTENER, SERVICE)
    await later.told()
    await later.raw(b"\xff")
    await later.refused(grpc.StatusCode.INVALID_ARGUMENT, "PAYLOAD_MALFORMED")
    silent = Stream(site.channel())
    await silent.call.done_writing()
    assert await silent.call.read() is grpc.aio.EOF

    rejecting = Stream(site.channel())
    await rejecting.ask(LISTENER, SERVICE)
    for _ in range(5):
        nonce = (await rejecting.told()).nonce
        error = status_pb2.Status(code=3, message="no, thank you")
        await rejecting.ask(LISTENER, SERVICE, response_nonce=nonce, error_detail=error)
        # It is not told the same again, but it goes on.
        await rejecting.ask(LISTENER, SERVICE, f"more.{nonce}", response_nonce=nonce)
    await rejecting.told()
    told = [each.getMessage() for each in caplog.records if "xds.rejected" in each.getMessage()]
    assert len(told) == 3, told
    assert "no, thank you" in told[0]

    open_ones = [rejecting, *(Stream(site.channel()) for _ in range(STREAMS - 1))]
    for stream in open_ones[1:]:
        await stream.ask(CLUSTER, SERVICE)
        await stream.told()
    beyond = Stream(site.channel())
    await beyond.ask(CLUSTER, SERVICE)
    await beyond.refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    for stream in open_ones:
        stream.call.cancel()
    await until(lambda: not door(site)._streams, "all have ended")


@pytest.mark.slow
async def test_a_client_that_does_not_read_is_dropped(site: Sites) -> None:
    """Nothing is kept for it beyond one answer, and others are told as before."""
    deaf, well = Stream(site.channel()), Stream(site.channel())
    await well.ask(CLUSTER, SERVICE)
    await well.told()
    names = [f"none.v1.S{number}" for number in range(100)]
    with pytest.raises(grpc.aio.AioRpcError):
        async with agent(site.channel(), "first"):
            await well.told()
            for number in range(100_000):
                await deaf.ask(CLUSTER, SERVICE, names[number % 100])
                if number > 100 and door(site)._streams == 1:
                    break
            await deaf.call.read()
            while await deaf.call.read() is not grpc.aio.EOF:
                pass
    assert not (await well.told()).resources


async def test_who_may_ask(tmp_path: Path) -> None:
    """A token's scope bounds what its holder is told, and whether it may ask at all."""
    file = tmp_path / "operator.token"
    async with sites_on("embedded", tmp_path, xds=True, tokens="on", operator_token_file=file) as site:
        operator = (("weft-token", file.read_text().strip()),)
        made = security_pb2_grpc.TokenServiceStub(site.channel())

        async def token(role: access_pb2.Role, *methods: str) -> tuple[tuple[str, str], ...]:
            request = security_pb2.CreateTokenRequest(role=role, scope={"methods": methods})
            return (("weft-token", (await made.CreateToken(request, timeout=10, metadata=operator)).text),)

        may = await token(access_pb2.ROLE_CLIENT, "envoy.*", ECHO)
        other = await token(access_pb2.ROLE_CLIENT, "envoy.*", "acme.v1.Other/*")
        ill = await token(access_pb2.ROLE_CLIENT, ECHO)
        shown = await token(access_pb2.ROLE_AGENT)
        route = Route(token=token_source(shown[0][1]))
        channel = dial(site.coordinators[0].address, client_options(own_connection=True), route)
        async with channel, agent(channel, "first", (ECHO, CALL)):
            stream = Stream(site.channel(), metadata=may)
            await stream.ask(CLUSTER, SERVICE)
            while not (await stream.told()).resources:
                """Its contract is not accepted yet."""
            stream = Stream(site.channel(), metadata=other)
            await stream.ask(CLUSTER, SERVICE)
            assert not (await stream.told()).resources
            for metadata, code, reason in (
                (ill, grpc.StatusCode.PERMISSION_DENIED, "OUT_OF_SCOPE"),
                ((), grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING"),
            ):
                stream = Stream(site.channel(), metadata=metadata)
                await stream.ask(CLUSTER, SERVICE)
                await stream.refused(code, reason)
