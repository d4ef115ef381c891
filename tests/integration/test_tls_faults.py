"""Every kind of wrong certificate, at each end: what the client is told, and what the server's log says. Real sockets, a real process.

Clocks that differ by five minutes, an authority that has ended, another host's name, self-signed, SHA-1, TLS 1.1, and the rest.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import grpc
import grpc.aio
import pytest

from tests.support.certificates import TestAuthority, by_openssl, ended_authority, signed_by_sha1, written
from weft.cli.main import _debugs
from weft.client import Unreachable, connect
from weft.rpc.errors import InvalidArgument
from weft.rpc.network.connection_faults import probed
from weft.rpc.security.channel_credentials import ChannelSecurity
from weft.rpc.security.tls import Tls
from weft.rpc.security.tls_files import TlsFiles

DAY, SKEW = timedelta(days=1), timedelta(minutes=5)
SOON_S = 5.0
# TLS 1.1 is deprecated, which is what is tried here.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="makes certificates that weft makes none of"),
]

Files = tuple[Path, Path]


class Fault(NamedTuple):
    """A wrong certificate, and what is said of it. Empty: nothing is wrong.

    Attributes:
        client: what a client is told of a server with it.
        server: a part of the server's log of a caller with it.
    """

    files: Files
    client: str
    server: str


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> TestAuthority:
    return TestAuthority(tmp_path_factory.mktemp("faults"))


def faults(authority: TestAuthority) -> dict[str, Fault]:
    """The table."""
    folder = authority.folder
    stranger = TestAuthority(folder, "stranger")

    def made(name: str, by: TestAuthority = authority, **how: object) -> Files:
        return written(folder / name.replace(" ", "-"), by.issue(name, **how))  # type: ignore[arg-type]

    ended, early = "has ended, or its authority's", "not valid yet: are the clocks"
    return {
        "good": Fault(made("good"), "", ""),
        # Made a moment ago, by a machine whose clock is ahead.
        "clock 5 min ahead": Fault(made("ahead", ago=-SKEW), "", ""),
        "clock 5 min behind": Fault(made("behind", ago=SKEW), "", ""),
        "clock 2 h ahead": Fault(made("far", ago=timedelta(hours=-2)), early, "certificate is not yet valid"),
        "ended": Fault(made("ended", ago=100 * DAY), ended, "certificate has expired"),
        "ended 5 min ago": Fault(made("just-ended", ago=90 * DAY + SKEW), ended, "certificate has expired"),
        "other name": Fault(made("elsewhere", ips=()), "is for another name", ""),
        "other authority": Fault(
            made("foreign", stranger), "not trusted here", "unable to get local issuer certificate"
        ),
        "self-signed": Fault(by_openssl(folder, "self"), "signed by itself", "self signed certificate"),
        # gRPC takes it; weft's doctor does not, and no process of weft starts with one.
        "SHA-1": Fault(signed_by_sha1(authority, "127.0.0.1"), "", ""),
    }


@asynccontextmanager
async def stock_server(files: Files) -> AsyncIterator[str]:
    """A server of gRPC alone, which looks at nothing of its own certificate."""
    cert, key = files
    server = grpc.aio.server()
    port = server.add_secure_port(
        "127.0.0.1:0", grpc.ssl_server_credentials([(key.read_bytes(), cert.read_bytes())])
    )
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def told(address: str, tls: Tls) -> str:
    """What a client is told that cannot connect; empty: it can."""
    async with connect(address, tls=tls, timeout_s=0.3) as mesh:
        try:
            await mesh.ready(SOON_S)
        except Unreachable as error:
            with pytest.raises(Unreachable) as called:
                await mesh.fleet.agents()
            return f"{error.message}\n{called.value.message}"
    return ""


async def test_a_client_is_told_what_is_wrong_with_a_server(authority: TestAuthority) -> None:
    client = authority.tls("client", mutual=False)
    for kind, fault in faults(authority).items():
        if kind == "SHA-1":
            continue
        began_s = time.monotonic()
        async with stock_server(fault.files) as address:
            words = await told(address, client)
        assert time.monotonic() - began_s < SOON_S, kind
        # By `ready`, and by a call.
        assert words.count(fault.client) == 2 if fault.client else words == "", f"{kind}: {words}"


async def test_a_server_says_what_is_wrong_with_a_caller(authority: TestAuthority, tmp_path: Path) -> None:
    """Each kind of caller at one port of another process. The caller is told that it is not taken."""
    own = authority.tls("server")
    log = tmp_path / "log"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.tls_port", own.ca, own.cert, own.key),
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env=os.environ | {"GRPC_VERBOSITY": "info"},
        )
    try:
        assert process.stdout is not None
        port = int(await asyncio.wait_for(process.stdout.readline(), 20))
        for kind, fault in faults(authority).items():
            if kind == "SHA-1":
                # Python's TLS loads no such certificate, and gRPC's takes it.
                continue
            before = log.stat().st_size
            cert, key = map(str, fault.files)
            tls = Tls(own.ca, cert, key)
            # A weft that is started with this certificate says so itself: here, only the server looks.
            security = ChannelSecurity(without_a_look(tls))
            words = await probed(f"127.0.0.1:{port}", security)
            if not fault.server:
                assert words == "", f"{kind}: {words}"
                continue
            assert "does not accept this end's certificate" in words, f"{kind}: {words}"
            await logged(log, before, fault.server)
        for kind, (context, reason) in {
            "no certificate": (stock_context(), "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
            "TLS 1.1": (stock_context(ssl.TLSVersion.TLSv1_1), "UNSUPPORTED_PROTOCOL"),
        }.items():
            before = log.stat().st_size
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.to_thread(shake, port, context)
            await logged(log, before, reason), kind
        before = log.stat().st_size
        with closing(socket.create_connection(("127.0.0.1", port), SOON_S)) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
            await logged(log, before, "HTTP_REQUEST")
    finally:
        process.kill()
        await process.wait()


async def test_no_process_starts_with_a_wrong_certificate(authority: TestAuthority) -> None:
    """Its own side is told at the start, before anybody connects."""
    ca, table = str(authority.ca), faults(authority)
    for kind, why in {
        "ended": "the certificate has ended on",
        "ended 5 min ago": "the certificate has ended on",
        "clock 2 h ahead": "is this machine's clock right?",
        "SHA-1": "signed by SHA-1 or MD5",
    }.items():
        with pytest.raises(InvalidArgument, match="WEFT_TLS_CERT") as refused:
            TlsFiles(Tls(ca, *map(str, table[kind].files)))
        assert why in refused.value.message, kind
    for kind in ("good", "clock 5 min ahead", "clock 5 min behind"):
        TlsFiles(Tls(ca, *map(str, table[kind].files)))
    ended = ended_authority(authority)
    with pytest.raises(InvalidArgument, match="the authority has ended on"):
        TlsFiles(Tls(str(ended.ca)))


async def test_an_authority_ends_while_processes_run(authority: TestAuthority) -> None:
    """The client has read it in time: the handshake says what has happened since."""
    ended = ended_authority(authority)
    cert, key = written(authority.folder / "orphan-server", ended.issue("orphan-server"))
    tls = Tls(str(ended.ca))
    at_that_time = (datetime.now(UTC) - 20 * DAY).timestamp()
    security = ChannelSecurity(TlsFiles(tls, now=lambda: at_that_time))
    async with stock_server((cert, key)) as address:
        assert "has ended, or its authority's" in await probed(address, security)
        credentials = security.credentials()
        async with grpc.aio.secure_channel(address, credentials) as channel:
            with pytest.raises(grpc.aio.AioRpcError, match="certificate has expired"):
                await channel.unary_unary("/a/B")(b"", timeout=SOON_S)


@pytest.mark.slow
async def test_old_tls_and_weak_signatures_of_a_server(authority: TestAuthority) -> None:
    client = authority.tls("client", mutual=False)
    with old_server(faults(authority)["good"].files) as address:
        words = await told(address, client)
        assert words.count("TLS 1.1 or older") == 2, words
    security = ChannelSecurity(TlsFiles(client))
    async with stock_server(faults(authority)["SHA-1"].files) as address:
        assert "signed by SHA-1" in await probed(address, security)


def test_debug_shows_what_grpc_says_of_handshakes() -> None:
    assert _debugs(["weft", "coordinator", "--log-level", "debug"], {})
    assert _debugs(["weft", "agent", "a:b", "--log-level=debug"], {})
    assert _debugs(["weft", "coordinator"], {"WEFT_LOG_LEVEL": "debug"})
    assert not _debugs(["weft", "coordinator", "--log-level", "info"], {"WEFT_LOG_LEVEL": "debug"})
    assert not _debugs(["weft", "coordinator"], {})


def without_a_look(tls: Tls) -> TlsFiles:
    """The files as they are, whatever they hold."""
    made = TlsFiles(Tls(tls.ca))
    made.tls = tls
    return made


def stock_context(version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if version is not None:
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
    return context


def shake(port: int, context: ssl.SSLContext) -> None:
    with (
        socket.create_connection(("127.0.0.1", port), SOON_S) as connection,
        context.wrap_socket(connection) as secured,
    ):
        secured.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        if not secured.recv(1):
            raise ConnectionError("closed")


async def logged(log: Path, before: int, words: str) -> None:
    """Wait until a server's log has words after a place."""
    async with asyncio.timeout(SOON_S):
        while words not in log.read_bytes()[before:].decode(errors="replace"):
            await asyncio.sleep(0.01)


@contextmanager
def old_server(files: Files) -> Iterator[str]:
    """A server with TLS 1.1 alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.load_cert_chain(*files)

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with closing(connection):
                try:
                    context.wrap_socket(connection, server_side=True).close()
                except OSError:
                    continue

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        # Wakes `accept`.
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(SOON_S)
