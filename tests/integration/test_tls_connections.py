"""Connections with wrong certificates end soon, with the reason; those with renewed ones go on. Real ports, in this process."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest

from tests.support.certificates import TestAuthority, by_openssl, written
from tests.support.logged import captured
from weft.agent import Agent
from weft.client import Unreachable, connect
from weft.rpc.network.channel import Route, client_options, dial, make_server
from weft.rpc.network.connection_faults import probed
from weft.rpc.network.ports import open_port
from weft.rpc.network.renewed_channel import RenewedChannel
from weft.rpc.security import tls_files
from weft.rpc.security.channel_credentials import ChannelSecurity
from weft.rpc.security.peer_identity import subject_of
from weft.rpc.security.tls import Tls
from weft.rpc.security.tls_files import TlsFiles

DAY = timedelta(days=1)
# Far below every deadline of gRPC.
SOON_S = 5.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> TestAuthority:
    return TestAuthority(tmp_path_factory.mktemp("pki"))


class WhoCalls(grpc.GenericRpcHandler):
    """Each method answers with its caller's subject. A stream does so when the request arrives, and stays open."""

    def __init__(self) -> None:
        self.release = asyncio.Event()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        async def unary(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            return subject_of(context.auth_context()).encode()

        async def stream(request: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
            yield subject_of(context.auth_context()).encode()
            await self.release.wait()
            yield b"end"

        if details.method.endswith("Stream"):
            return grpc.unary_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(unary)


@asynccontextmanager
async def served(files: TlsFiles | None, handler: WhoCalls | None = None) -> AsyncIterator[str]:
    """A server on a free port; the address."""
    server = make_server()
    server.add_generic_rpc_handlers((handler or WhoCalls(),))
    port = open_port(server, "127.0.0.1:0", files)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@asynccontextmanager
async def stock_server(cert: Path, key: Path) -> AsyncIterator[str]:
    """A server of gRPC alone, with whatever certificate."""
    server = grpc.aio.server()
    pair = key.read_bytes(), cert.read_bytes()
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def refused(address: str, tls: Tls | bool) -> str:
    """What a client is told that cannot connect: by `ready`, and by its calls."""
    began_s = time.monotonic()
    async with connect(address, tls=tls, timeout_s=0.3) as mesh:
        with pytest.raises(Unreachable) as ready:
            await mesh.ready(SOON_S)
        with pytest.raises(Unreachable) as called:
            await mesh.fleet.agents()
    assert time.monotonic() - began_s < SOON_S
    return f"{ready.value.message}\n{called.value.message}"


async def test_a_servers_wrong_certificate_is_named_to_its_client(authority: TestAuthority):
    folder, client = authority.folder, authority.tls("client")
    stranger = TestAuthority(folder, "stranger")
    cases = {
        "ended": (written(folder / "ended", authority.issue("ended", ago=100 * DAY)), "has ended"),
        "early": (written(folder / "early", authority.issue("early", ago=-10 * DAY)), "not valid yet"),
        "other host": (
            written(folder / "elsewhere", authority.issue("elsewhere", ips=())),
            "for another name",
        ),
        "other authority": (written(folder / "foreign", stranger.issue("foreign")), "not trusted here"),
    }
    if shutil.which("openssl"):
        cases["self-signed"] = (by_openssl(folder, "self"), "signed by itself")
    for kind, ((cert, key), why) in cases.items():
        async with stock_server(cert, key) as address:
            told = await refused(address, client)
        assert told.count(why) == 2, f"{kind}: {told}"


async def test_plain_and_tls_do_not_meet(authority: TestAuthority, monkeypatch: pytest.MonkeyPatch):
    async with served(TlsFiles(authority.tls("server", mutual=False))) as address:
        told = await refused(address, False)
        assert "the port has TLS, and this end uses none: set WEFT_TLS_CA" in told
        assert "if the port has TLS, set WEFT_TLS_CA" in told
    async with served(None) as address:
        told = await refused(address, authority.tls("client"))
        assert told.count("the port has no TLS, and this end uses it") == 2
    monkeypatch.setattr("weft.rpc.network.connection_faults.PROBE_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        began_s = time.monotonic()
        assert await probed(address) == ""
        assert time.monotonic() - began_s < SOON_S


async def test_a_callers_wrong_certificate_is_named_to_it(authority: TestAuthority):
    ca, folder = str(authority.ca), authority.folder
    stranger = TestAuthority(folder, "stranger")
    foreign = written(folder / "caller", stranger.issue("caller"))
    async with served(TlsFiles(authority.tls("server"))) as address:
        told = await refused(address, Tls(ca=ca))
        assert "it wants a certificate of its callers: set WEFT_TLS_CERT" in told
        assert "perhaps it wants a certificate" in told
        told = await refused(address, Tls(ca, *map(str, foreign)))
        assert told.count("it does not accept this end's certificate") == 2


async def test_old_tls_is_refused(authority: TestAuthority):
    async with served(TlsFiles(authority.tls("server", mutual=False))) as address:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        host, _, port = address.partition(":")

        def shake() -> None:
            with socket.create_connection((host, int(port)), SOON_S) as connection:
                context.wrap_socket(connection)

        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.to_thread(shake)


async def test_everything_is_renewed_under_load_and_no_call_is_lost(
    authority: TestAuthority, monkeypatch: pytest.MonkeyPatch
):
    """New certificates of a new authority at both ends, as an operator does it: trust both, then renew, then trust the new one."""
    monkeypatch.setattr(tls_files, "LOOK_S", 0.0)
    folder = authority.folder
    trusted = folder / "trusted.pem"
    trusted.write_bytes(authority.pair.certificate)
    paths = {name: written(folder / name, authority.issue(name)) for name in ("port", "caller-1")}
    server, client = (
        Tls(str(trusted), *map(str, paths[name]), client_ca=str(trusted)) for name in ("port", "caller-1")
    )
    handler = WhoCalls()
    async with served(TlsFiles(server), handler) as address:
        security = ChannelSecurity(TlsFiles(client))
        async with dial(address, client_options(own_connection=True), Route(security=security)) as channel:
            assert isinstance(channel, RenewedChannel)
            first = channel.newest()
            call = channel.unary_unary("/who/Call")
            stream = channel.unary_stream("/who/Stream")(b"", timeout=30)
            assert await stream.read() == b"caller-1"
            callers: set[bytes] = set()
            stopped = asyncio.Event()

            async def load() -> int:
                made = 0
                while not stopped.is_set():
                    callers.add(await call(b"", timeout=10))
                    made += 1
                return made

            async def until_newest_changes(before: object) -> None:
                async with asyncio.timeout(10):
                    while channel.newest() is before:
                        await asyncio.sleep(0.005)

            loads = [asyncio.ensure_future(load()) for _ in range(8)]
            newer = TestAuthority(folder, "newer")
            trusted.write_bytes(authority.pair.certificate + newer.pair.certificate)
            await until_newest_changes(first)
            second = channel.newest()
            for name, subject in (("port", "port"), ("caller-1", "caller-2")):
                written(folder / name, newer.issue(subject))
            async with asyncio.timeout(10):
                while b"caller-2" not in callers:
                    await asyncio.sleep(0.005)
            await until_newest_changes(second)
            third = channel.newest()
            trusted.write_bytes(newer.pair.certificate)
            await until_newest_changes(third)
            stopped.set()
            assert all(await asyncio.gather(*loads))
            assert callers == {b"caller-1", b"caller-2"}

            # The stream has stayed on its connection, which closes after it.
            assert first.channel.get_state() is grpc.ChannelConnectivity.READY
            handler.release.set()
            assert [await stream.read(), await stream.read()] == [b"end", grpc.aio.EOF]
            async with asyncio.timeout(10):
                while first.channel.get_state() is not grpc.ChannelConnectivity.SHUTDOWN:
                    await asyncio.sleep(0.005)


async def test_new_certificates_that_nobody_takes_cut_no_connection(
    authority: TestAuthority, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tls_files, "LOOK_S", 0.0)
    monkeypatch.setattr("weft.rpc.network.renewed_channel.READY_TIMEOUT_S", 0.3)
    client = authority.tls("careful")
    async with served(TlsFiles(authority.tls("server"))) as address:
        route = Route(security=ChannelSecurity(TlsFiles(client)))
        async with dial(address, client_options(own_connection=True), route) as channel:
            call = channel.unary_unary("/who/Call")
            assert await call(b"", timeout=10) == b"careful"
            # Another authority alone is trusted now: the server's certificate is none of its.
            Path(client.ca).write_bytes(TestAuthority(authority.folder, "alien").pair.certificate)
            try:
                began_s = time.monotonic()
                while time.monotonic() - began_s < 0.6:
                    assert await call(b"", timeout=10) == b"careful"
            finally:
                authority.ca.write_bytes(authority.pair.certificate)


async def test_several_coordinators_have_a_name_in_common(authority: TestAuthority):
    first, second = (authority.tls(name, dns=(name, "mesh"), ips=()) for name in ("one", "two"))
    client = authority.tls("caller-of-several", server_name="mesh")
    async with served(TlsFiles(first)) as one, served(TlsFiles(second)) as two:
        for targets in ([one, two], [two, one], [one]):
            async with connect(targets, tls=client) as mesh:
                await mesh.ready(SOON_S)
                call = mesh.channel().unary_unary("/who.Who/Call")
                assert await call(b"", timeout=10) == b"caller-of-several"
    # Without it, the host of the first one is the name of all.
    both = authority.tls("both")
    async with (
        served(TlsFiles(both)) as one,
        served(TlsFiles(both)) as two,
        connect([one, two], tls=authority.tls("caller")) as mesh,
    ):
        await mesh.ready(SOON_S)
        assert await mesh.channel().unary_unary("/who.Who/Call")(b"", timeout=10) == b"caller"


@pytest.mark.parametrize(
    ("own", "why"),
    [
        (False, "if the port has TLS, set WEFT_TLS_CA"),
        (True, "perhaps it wants a certificate of its callers"),
        ("stranger", "signed by an authority that is not trusted here"),
    ],
)
async def test_an_agents_log_says_why_it_has_no_session(authority: TestAuthority, own: bool | str, why: str):
    tls: Tls | bool = own if own is False else Tls(ca=str(authority.ca))
    if own == "stranger":
        tls = Tls(ca=str(TestAuthority(authority.folder, "stranger").ca))
    async with served(TlsFiles(authority.tls("server"))) as address:
        agent = Agent("lonely", target=address, listen="off", tls=tls)

        @agent.method("test.v1.None/Called")
        def called(request: dict) -> dict:
            return request

        with captured() as told:
            running = asyncio.ensure_future(agent.serve())
            async with asyncio.timeout(SOON_S):
                while not any(each["event"] == "session.unavailable" for each in told):
                    await asyncio.sleep(0.005)
            agent.stop()
            agent.stop()
            await running
    errors = [each["error"] for each in told if each["event"] == "session.unavailable"]
    assert why in errors[0]
