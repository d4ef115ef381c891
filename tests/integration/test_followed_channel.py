"""A channel whose addresses a source names: new calls follow it, calls under way end by themselves, and certificates are checked by the service's name."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest

from tests.support.certificates import TestAuthority
from tests.support.consul import ConsulDouble
from tests.support.dns_server import DnsServer
from weft.client import Unreachable, connect
from weft.rpc.errors import FailedPrecondition
from weft.rpc.network.channel import NO_TLS, Route, dial, make_server
from weft.rpc.network.ports import open_port
from weft.rpc.registries import followed as following
from weft.rpc.registries.coordinator_channel import dial_any
from weft.rpc.registries.resolved_targets import resolved
from weft.rpc.security import tokens
from weft.rpc.security.channel_credentials import channel_security
from weft.rpc.security.tls_files import TlsFiles
from weft.rpc.security.token_source import token_source

SOON_S = 20.0
UNARY, STREAM = "/acme.v1.Who/Unary", "/acme.v1.Who/Stream"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "MAX_BACKOFF_S", 0.1)
    monkeypatch.setattr("weft.rpc.registries.file_source.LOOK_S", 0.02)


class Who(grpc.GenericRpcHandler):
    """Each method answers with the server's name. A stream stays open."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.release = asyncio.Event()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        async def unary(_request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
            return self.name

        async def stream(_request: bytes, _context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
            yield self.name
            await self.release.wait()
            yield b"end"

        if handler_call_details.method == STREAM:
            return grpc.unary_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(unary)


@asynccontextmanager
async def served(
    name: bytes, files: TlsFiles | None = None, address: str = "127.0.0.1:0"
) -> AsyncIterator[tuple[str, Who]]:
    server, handler = make_server(), Who(name)
    server.add_generic_rpc_handlers((handler,))
    port = open_port(server, address, files)
    await server.start()
    try:
        yield f"127.0.0.1:{port}", handler
    finally:
        await server.stop(None)


class Source:
    """A file of addresses."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "coordinators.json"
        self.target = f"file://{self._path}"

    def put(self, *addresses: str) -> None:
        other = self._path.with_suffix(".new")
        other.write_text(json.dumps([{"targets": addresses}]))
        other.replace(self._path)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path)


async def answered(channel: grpc.aio.Channel, wanted: bytes) -> None:
    """Call until the wanted server answers. A channel that moves loses no call."""
    async with asyncio.timeout(SOON_S):
        while await channel.unary_unary(UNARY)(b"") != wanted:
            await asyncio.sleep(0.01)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not condition():
            await asyncio.sleep(0.01)


async def test_new_calls_follow_and_old_ones_end_by_themselves(source: Source) -> None:
    async with served(b"one") as (one, first), served(b"two") as (two, _):
        source.put(one)
        channel = dial_any([source.target])
        stream = channel.unary_stream(STREAM)(b"")
        assert await stream.read() == b"one"
        source.put(two)
        await answered(channel, b"two")
        # The one that has gone from the source still lives.
        first.release.set()
        assert await stream.read() == b"end"
        assert await stream.code() is grpc.StatusCode.OK
        await channel.close()


async def test_a_set_that_grows_moves_nobody(source: Source) -> None:
    async with served(b"one") as (one, _), served(b"two") as (two, _):
        source.put(one)
        channel = dial_any([source.target])
        await answered(channel, b"one")
        found = following.follow(source.target)
        source.put(one, two)
        await until(lambda: len(found.known) == 2)
        for _ in range(20):
            assert await channel.unary_unary(UNARY)(b"") == b"one"
        found.release()
        await channel.close()


async def test_what_is_gone_is_left_when_its_connection_breaks(source: Source) -> None:
    async with served(b"two") as (two, _):
        async with served(b"one") as (one, _):
            source.put(one)
            channel = dial_any([source.target])
            await answered(channel, b"one")
        # Before the source tells.
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary(UNARY)(b"", timeout=SOON_S)
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        found = following.follow(source.target)
        source.put(two)
        await until(lambda: found.known == {two})
        assert await channel.unary_unary(UNARY)(b"", timeout=SOON_S, wait_for_ready=True) == b"two"
        found.release()
        await channel.close()


async def test_without_addresses_calls_fail_until_there_is_one(source: Source) -> None:
    channel = dial_any([source.target])
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await channel.unary_unary(UNARY)(b"", timeout=SOON_S)
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
    async with connect(source.target, timeout_s=0.3) as mesh:
        with pytest.raises(Unreachable, match="has named no coordinator yet"):
            await mesh.fleet.agents()
    async with served(b"one") as (one, _):
        source.put(one)
        async with asyncio.timeout(SOON_S):
            await channel.channel_ready()
        assert await channel.unary_unary(UNARY)(b"") == b"one"
        await channel.close()


async def test_certificates_have_the_services_name(tmp_path: Path) -> None:
    authority = TestAuthority(tmp_path)
    right = authority.tls("right", dns=("weft.service.consul",), ips=(), mutual=False)
    wrong = authority.tls("wrong", dns=("other.service.consul",), mutual=False)
    route = Route(security=channel_security(right))
    async with (
        ConsulDouble() as consul,
        served(b"right", TlsFiles(right)) as (address, _),
        served(b"wrong", TlsFiles(wrong)) as (other, _),
    ):
        consul.put(address)
        # Consul is served by this loop, which must not wait for it.
        assert await asyncio.to_thread(resolved, [consul.target]) == (address,)
        channel = dial_any([consul.target], route)
        assert await channel.unary_unary(UNARY)(b"", timeout=SOON_S) == b"right"
        # The name of a setting comes first. Each agent's dials take the same name.
        assert route.named_for([consul.target]).name == "weft.service.consul"
        named = Route(security=channel_security(authority.tls("own", server_name="other.service.consul")))
        assert named.named_for([consul.target]).name == ""
        consul.put(other)
        found = following.follow(consul.target)
        await until(lambda: found.known == {other})
        found.release()
        by_setting = dial_any([consul.target], named)
        assert await by_setting.unary_unary(UNARY)(b"", timeout=SOON_S) == b"wrong"
        # Calls stay where they are as long as the new address proves to be somebody else.
        assert await channel.unary_unary(UNARY)(b"", timeout=SOON_S) == b"right"
        await channel.close()
        await by_setting.close()


async def test_a_name_gets_another_address() -> None:
    """Plain DNS, without a source: gRPC looks the name up again when its connection is lost."""
    async with DnsServer() as dns:
        async with served(b"one") as (one, _):
            port = one.rpartition(":")[2]
            dns.records["host.example.test.", "A"] = ["127.0.0.1"]
            channel = dial(f"dns://127.0.0.1:{dns.port}/host.example.test:{port}")
            assert await channel.unary_unary(UNARY)(b"", timeout=SOON_S) == b"one"
        async with served(b"two", address=f"127.0.0.2:{port}"):
            dns.records["host.example.test.", "A"] = ["127.0.0.2"]
            # gRPC's own pace would be half a minute. A call may still be sent into the broken connection.
            async with asyncio.timeout(SOON_S):
                while True:
                    with contextlib.suppress(grpc.aio.AioRpcError):
                        assert await channel.unary_unary(UNARY)(b"", wait_for_ready=True) == b"two"
                        break
        await channel.close()


async def test_a_token_stays_here_whatever_the_source_names(source: Source) -> None:
    route = Route(token=token_source(tokens.generate(tokens.generate_id())))
    source.put("10.0.0.1:7700")
    with pytest.raises(FailedPrecondition, match=r"is not sent to 10\.0\.0\.1:7700"):
        dial_any([source.target], route)
    async with served(b"one") as (one, _):
        source.put(one)
        found = following.follow(source.target)
        await until(lambda: found.known == {one})
        channel = dial_any([source.target], route)
        assert await channel.unary_unary(UNARY)(b"") == b"one"
    source.put("10.0.0.1:7700")
    await until(lambda: found.known == {"10.0.0.1:7700"})
    with pytest.raises(grpc.aio.AioRpcError, match="no-tls"):
        while True:
            await channel.unary_unary(UNARY)(b"", timeout=SOON_S)
    found.release()
    await channel.close()


def test_who_has_addresses_pays_nothing() -> None:
    assert NO_TLS.named_for(["10.0.0.1:7700"]) is NO_TLS
