"""A mesh that makes its certificates by itself: joined with a pin and a token, mTLS everywhere, no file copied. Real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import grpc
import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration

from tests.support.certificates import by_openssl
from tests.support.joined_mesh import METHOD, JoinedMesh, joined_mesh, serving
from tests.support.load import Load
from tests.support.redis_server import RedisServer
from tests.support.token_door import DENIED, RPCS, called, reason, shown
from weft.agent import Agent
from weft.client import DirectState, connect
from weft.coordinator.identity.authority_table import AuthorityError
from weft.coordinator.server import Coordinator
from weft.coordinator.settings import CoordinatorSettings
from weft.rpc.errors import WeftError, from_call
from weft.rpc.identity.caller import AGENT, CLIENT, OPERATOR, ROLES, roles_of
from weft.rpc.membership import membership
from weft.rpc.membership.identity_folder import IdentityFolder
from weft.rpc.membership.membership import Membership
from weft.rpc.security import certificates, mesh_names, tls_files, tokens
from weft.rpc.security.tls import Tls
from weft.rpc.security.token_source import token_source
from weft.v1 import certificate_pb2, security_pb2
from weft.v1.certificate_pb2_grpc import CertificateServiceStub
from weft.v1.security_pb2_grpc import TokenServiceStub

LIST_AGENTS = "/weft.v1.CoordinatorService/ListAgents"
SOON_S = 10.0


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[JoinedMesh]:
    async with joined_mesh(tmp_path) as made:
        yield made


async def until(found: Callable[[], object]) -> None:
    async with asyncio.timeout(SOON_S):
        while not found():
            await asyncio.sleep(0.01)


async def test_everything_joins_and_calls_each_other(mesh: JoinedMesh) -> None:
    """The operator, a client and two agents join; calls go through the coordinator, and straight to an agent."""
    _, agents = await mesh.token(AGENT, max_uses=2, scope=security_pb2.TokenScope(agent_ids=["w/*"]))
    _, client = await mesh.token(CLIENT)
    async with (
        serving(mesh, "w/1", agents) as one,
        serving(mesh, "w/2", agents),
        mesh.connect(client) as caller,
    ):
        found = {each.id: each for each in await caller.fleet.agents()}
        assert found["w/1"].tls_name == mesh_names.agent_port("w/1")

        async def reachable() -> bool:
            return all(each.direct_state is DirectState.REACHABLE for each in await caller.fleet.agents())

        async with asyncio.timeout(SOON_S):
            while not await reachable():
                await asyncio.sleep(0.05)
        path = f"/{METHOD}"
        assert await caller.channel().unary_unary(path)(b"", timeout=SOON_S) == b""
        assert await caller.channel(direct=True).unary_unary(path)(b"", timeout=SOON_S) == b""
        # The agent's port lets nobody in without a certificate of this mesh, whatever its address.
        plain = grpc.aio.insecure_channel(one.direct_address)
        with pytest.raises(grpc.aio.AioRpcError):
            await plain.unary_unary(path)(b"", timeout=2)
        await plain.close()
        # A third one is too many: the join token counts agents, by id.
        with pytest.raises(WeftError, match="is for 2 agents"):
            async with serving(mesh, "w/3", agents):
                pass
        # Out of the token's scope.
        with pytest.raises(WeftError, match="agent_ids"):
            async with serving(mesh, "x", agents):
                pass


async def test_without_a_certificate_there_is_the_join_port_alone(mesh: JoinedMesh) -> None:
    # A stock client that knows the authority, but has no certificate.
    async with mesh.connect() as operator:
        answer = await CertificateServiceStub(operator.channel()).GetAuthority(
            certificate_pb2.GetAuthorityRequest()
        )
    assert answer.pin == mesh.tls.pin
    assert answer.join_port == address_of(mesh.tls.join)[1]
    credentials = grpc.ssl_channel_credentials(answer.certificate)
    named = (("grpc.ssl_target_name_override", mesh_names.COORDINATOR),)
    token = (("weft-token", mesh.operator_file.read_text().strip()),)
    async with grpc.aio.secure_channel(mesh.target, credentials, options=named) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary(LIST_AGENTS)(b"", metadata=token, timeout=2)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    async with grpc.aio.secure_channel(mesh.tls.join, credentials, options=named) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary(LIST_AGENTS)(b"", metadata=token, timeout=SOON_S)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
        stub = CertificateServiceStub(channel)
        request = certificate_pb2.IssueCertificateRequest(signing_request=certificates.PrivateKey().request())
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.IssueCertificate(request)
        assert from_call(refused.value).reason_name == "TOKEN_MISSING"
        # What it gives is good for a caller alone, for a day, and has the names that the authority chooses.
        issued = await stub.IssueCertificate(request, metadata=token)
        facts = certificates.facts(issued.certificate)
        assert not facts.authority
        assert not facts.names.dns
        assert [each.rpartition("/")[0] for each in facts.names.uris] == ["spiffe://mesh/client"]
        assert 86_000 < (facts.ends - datetime.now(UTC)).total_seconds() <= 86_400
        for request, why in (
            (b"x", "signing_request"),
            (b"x" * 10_000, "signing_request"),
            (certificates.PrivateKey().request()[:-80], "signing_request"),
        ):
            bad = certificate_pb2.IssueCertificateRequest(signing_request=request)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.IssueCertificate(bad, metadata=token)
            assert [each.field for each in from_call(refused.value).violations] == [why]
        bad = certificate_pb2.IssueCertificateRequest(
            signing_request=certificates.PrivateKey().request(), agent_id="a b"
        )
        with pytest.raises(grpc.aio.AioRpcError, match="agent's id"):
            await stub.IssueCertificate(bad, metadata=token)


async def test_every_role_and_token_at_the_join_port(mesh: JoinedMesh) -> None:
    """All its RPCs, by the tokens that its callers show: they have no certificate yet."""
    texts = {role: (await mesh.token(role))[1] for role in ROLES.values()}
    ended, revoked = await mesh.token(CLIENT, ttl=Duration(seconds=1)), await mesh.token(CLIENT)
    elsewhere = await mesh.token(OPERATOR, scope=security_pb2.TokenScope(namespaces=["team-*"]))
    until_s = time.monotonic() + 1.01
    await mesh.revoke(revoked[0])
    async with mesh.connect() as operator:
        request = certificate_pb2.GetAuthorityRequest()
        known = await CertificateServiceStub(operator.channel()).GetAuthority(request)
    named = (("grpc.ssl_target_name_override", mesh_names.COORDINATOR),)
    wrong = {
        tokens.generate(tokens.generate_id()): "TOKEN_INVALID",
        tokens.generate(revoked[0]): "TOKEN_INVALID",
        revoked[1]: "TOKEN_REVOKED",
        ended[1]: "TOKEN_EXPIRED",
        elsewhere[1]: "OUT_OF_SCOPE",
    }
    await asyncio.sleep(max(0.0, until_s - time.monotonic()))
    paths = [path for path in RPCS if "CertificateService" in path]
    assert len(paths) == 3
    credentials = grpc.ssl_channel_credentials(known.certificate)
    async with grpc.aio.secure_channel(mesh.tls.join, credentials, options=named) as channel:
        for path in paths:
            roles = roles_of(path) or frozenset()
            assert reason(await called(channel, path, ())) == "TOKEN_MISSING"
            for text, why in wrong.items():
                assert reason(await called(channel, path, shown(text))) == why, path
            for role, text in texts.items():
                if role not in roles:
                    assert reason(await called(channel, path, shown(text))) == "ROLE_NEEDED", (path, role)
                elif not path.endswith("RotateAuthority"):
                    error = await called(channel, path, shown(text))
                    assert error is None or error.code not in DENIED, (path, role, error)


async def test_a_wrong_pin_and_wrong_places_are_told(mesh: JoinedMesh, tmp_path: Path) -> None:
    async def why(**changed: str) -> str:
        tls = Tls(**({"pin": mesh.tls.pin, "join": mesh.tls.join} | changed))
        async with asyncio.timeout(SOON_S):
            with pytest.raises(WeftError) as refused:
                async with connect(mesh.target, tls=tls, token=mesh.operator_file):
                    pass
        return f"{refused.value.reason_name}: {refused.value.message}"

    assert "PIN_MISMATCH" in await why(pin=f"sha256:{'0' * 64}")
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        unused = f"127.0.0.1:{nobody.getsockname()[1]}"
    assert "NOT_JOINED: cannot join at" in await why(join=unused)
    # Another mesh's certificate in the way, and a server that cannot prove that the authority has signed it.
    if cert_and_key := by_openssl(tmp_path, "impostor"):
        cert, key = cert_and_key
        server = grpc.aio.server()
        pair = key.read_bytes(), cert.read_bytes() + await authority(mesh)
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
        await server.start()
        assert "NOT_JOINED" in await why(join=f"127.0.0.1:{port}")
        await server.stop(None)
    async with asyncio.timeout(SOON_S):
        with pytest.raises(WeftError, match="WEFT_TOKEN"):
            async with connect(mesh.target, tls=mesh.tls):
                pass


async def test_an_agents_certificate_is_bound_to_its_id_and_token(mesh: JoinedMesh) -> None:
    token_id, text = await mesh.token(AGENT)
    member = Membership(mesh.tls, (mesh.target,), token_source(text), "w-1")  # type: ignore[arg-type]
    await asyncio.to_thread(member.join)
    async with connect(mesh.target, tls=member.tls) as mesh_client:
        stub = CertificateServiceStub(mesh_client.channel())
        request = certificate_pb2.IssueCertificateRequest(
            signing_request=certificates.PrivateKey().request(), agent_id="w-2"
        )
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.IssueCertificate(request)
        assert from_call(refused.value).reason_name == "OUT_OF_SCOPE"
        # A client's certificate is for no agent.
        _, client = await mesh.token(CLIENT)
        async with mesh.connect(client) as other:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await CertificateServiceStub(other.channel()).IssueCertificate(request)
        assert from_call(refused.value).reason_name == "ROLE_NEEDED"
        # The token's end is the certificate's, also in open streams.
        assert await mesh_client.channel().unary_unary(LIST_AGENTS)(b"") is not None
        await mesh.revoke(token_id)
        async with asyncio.timeout(2):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                while True:
                    await mesh_client.channel().unary_unary(LIST_AGENTS)(b"")
        assert from_call(refused.value).reason_name == "TOKEN_REVOKED"


async def test_a_join_tokens_end_is_not_that_of_its_agents(mesh: JoinedMesh) -> None:
    # A certificate ends with a whole second, before its token: of one second, nothing may be left to connect in.
    short = {"seconds": 3}
    _, joins = await mesh.token(AGENT, max_uses=5, ttl=short)
    _, plain = await mesh.token(CLIENT, ttl=short)
    async with mesh.connect(plain) as client, serving(mesh, "w-1", joins) as agent:
        assert await client.channel().unary_unary(LIST_AGENTS)(b"") is not None
        began_s = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            while time.monotonic() - began_s < SOON_S:
                await client.channel().unary_unary(LIST_AGENTS)(b"")
                await asyncio.sleep(0.05)
        assert from_call(ended.value).reason_name == "TOKEN_EXPIRED"
        assert agent.connected
        # Nobody joins with it any more.
        with pytest.raises(WeftError, match="expired"):
            async with serving(mesh, "w-2", joins):
                pass


async def test_a_certificate_is_renewed_by_itself(mesh: JoinedMesh, tmp_path: Path) -> None:
    """No token is needed for that; if it cannot be done, the old one stays. A new token in the file is taken."""
    first, second = [await mesh.token(CLIENT) for _ in range(2)]
    file = tmp_path / "client.token"
    file.write_text(first[1])
    file.chmod(0o600)
    member = Membership(mesh.tls, (mesh.target,), token_source(file), "")  # type: ignore[arg-type]

    def subject() -> str:
        (uri,) = certificates.facts(Path(member.tls.cert).read_bytes()).names.uris
        return uri

    await asyncio.to_thread(member.join)
    before = Path(member.tls.cert).read_bytes()
    await asyncio.to_thread(member.renew)
    assert Path(member.tls.cert).read_bytes() != before
    assert subject() == mesh_names.client_uri(first[0])
    file.write_text(second[1])
    await until(lambda: member.token_changed)
    await asyncio.to_thread(member.renew)
    assert subject() == mesh_names.client_uri(second[0])
    await mesh.revoke(second[0])
    before = Path(member.tls.cert).read_bytes()
    with pytest.raises(WeftError, match="revoked"):
        await asyncio.to_thread(member.renew)
    assert Path(member.tls.cert).read_bytes() == before


async def test_each_certificate_and_token_changes_under_load(
    mesh: JoinedMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at once, by hand: no call is lost, and new connections have the new certificates."""
    monkeypatch.setattr(tls_files, "LOOK_S", 0.0)
    _, agents = await mesh.token(AGENT)
    client_id, client_text = await mesh.token(CLIENT)
    async with serving(mesh, "w-1", agents), mesh.connect(client_text) as client:
        path = f"/{METHOD}"
        direct, durable = (client.channel(direct=way).unary_unary(path) for way in (True, False))
        load = Load()
        load.add("direct", lambda: direct(b"", timeout=SOON_S))
        load.add("durable", lambda: durable(b"", timeout=SOON_S))
        await until(lambda: min(load.made.values(), default=0) > 3 and len(load.made) == 2)
        before = certificates.facts(await certificate_at(mesh)).fingerprint
        mesh.renew()
        members = [each for (tls, *_), each in membership._members.items() if tls.pin == mesh.tls.pin]
        assert len(members) == 3
        await asyncio.gather(*(asyncio.to_thread(each.renew) for each in members))
        async with mesh.connect() as operator:
            request = security_pb2.RotateTokenRequest(id=client_id, overlap={"seconds": 0})
            await TokenServiceStub(operator.channel()).RotateToken(request)
        already = dict(load.made)
        await until(lambda: all(load.made[kind] > already[kind] + 20 for kind in already))
        await load.stop()
        assert not load.failed
        assert certificates.facts(await certificate_at(mesh)).fingerprint != before


@pytest.mark.slow
async def test_certificates_are_renewed_while_calls_run(tmp_path: Path) -> None:
    """Short-lived ones of all sides, and no call is lost: also longer than their life."""
    async with joined_mesh(tmp_path, certificate_ttl_s=5) as mesh:
        _, agents = await mesh.token(AGENT, max_uses=1)
        async with serving(mesh, "w-1", agents), mesh.connect() as client:
            direct = client.channel(direct=True).unary_unary(f"/{METHOD}")
            durable = client.channel().unary_unary(f"/{METHOD}")
            began_s, calls = time.monotonic(), 0
            before = certificates.facts(await certificate_at(mesh)).fingerprint
            while time.monotonic() - began_s < 8:
                await asyncio.gather(direct(b"", timeout=SOON_S), durable(b"", timeout=SOON_S))
                calls += 1
                await asyncio.sleep(0.02)
            assert calls > 20
            assert certificates.facts(await certificate_at(mesh)).fingerprint != before
            # A new connection of each kind has a certificate that is valid now.
            async with mesh.connect() as another:
                assert await another.fleet.agents()


async def test_coordinators_share_the_authority(tmp_path: Path) -> None:
    async with RedisServer(tmp_path / "redis") as redis, contextlib.AsyncExitStack() as stack:

        def coordinator(name: str) -> contextlib.AbstractAsyncContextManager[JoinedMesh]:
            file = tmp_path / f"{name}.token"
            return joined_mesh(tmp_path, name, store=redis.url, operator_token_file=file)

        # At the same time: one of them makes the authority.
        made = await asyncio.gather(*(stack.enter_async_context(coordinator(name)) for name in ("a", "b")))
        assert made[0].tls.pin == made[1].tls.pin
        both = ",".join(each.target for each in made)
        # And one of them the first operator's token.
        token = next(each.operator_file for each in made if each.operator_file.exists())
        async with connect(both, tls=made[0].tls, token=token) as mesh:
            assert await mesh.fleet.agents() == []


async def test_the_authority_is_kept_and_its_key_protected(tmp_path: Path) -> None:
    async with joined_mesh(tmp_path) as first:
        pin = first.tls.pin
        for file in tmp_path.glob("weft.db*"):
            if file.suffix in {".db", ".db-wal", ".db-shm"}:
                assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    async with joined_mesh(tmp_path) as again:
        assert again.tls.pin == pin
    # With a passphrase, the key is not in the store as it is.
    locked = tmp_path / "locked"
    locked.mkdir()
    async with joined_mesh(locked, ca_passphrase="open sesame") as mesh:
        pin = mesh.tls.pin
    assert b"BEGIN PRIVATE KEY" not in b"".join(each.read_bytes() for each in locked.glob("weft.db*"))
    for passphrase, why in (("", "WEFT_CA_PASSPHRASE"), ("wrong", "passphrase is not that of the key")):
        coordinator = Coordinator(
            CoordinatorSettings(
                listen="127.0.0.1:0",
                store=str(locked / "weft.db"),
                operator_token_file=locked / "operator.token",
                tokens="on",
                ca="auto",
                ca_passphrase=passphrase or None,
            )
        )
        with pytest.raises(AuthorityError, match=why):
            await coordinator.start()
        await coordinator.stop(0.0)
    async with joined_mesh(locked, ca_passphrase="open sesame") as mesh:
        assert mesh.tls.pin == pin


async def test_an_agent_joins_when_its_coordinator_comes(tmp_path: Path) -> None:
    async with joined_mesh(tmp_path) as mesh:
        _, text = await mesh.token(AGENT)
        ports = {"listen": mesh.target, "join_listen": mesh.tls.join}
    waiting = asyncio.ensure_future(anext(joining := serving_once(mesh, text)))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    async with joined_mesh(tmp_path, **ports):
        async with asyncio.timeout(SOON_S):
            assert (await waiting).connected
        await joining.aclose()


async def serving_once(mesh: JoinedMesh, text: str) -> AsyncIterator[Agent]:
    async with serving(mesh, "late", text) as agent:
        yield agent


def address_of(target: str) -> tuple[str, int]:
    host, _, port = target.rpartition(":")
    return host, int(port)


async def authority(mesh: JoinedMesh) -> bytes:
    async with mesh.connect() as operator:
        stub = CertificateServiceStub(operator.channel())
        answer = await stub.GetAuthority(certificate_pb2.GetAuthorityRequest())
    return bytes(answer.certificate)


async def certificate_at(mesh: JoinedMesh) -> bytes:
    """What the coordinator's join port shows now."""
    return (await asyncio.to_thread(ssl.get_server_certificate, address_of(mesh.tls.join))).encode()


def test_the_folders_of_killed_processes_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    killed = "import os; from weft.rpc.membership.identity_folder import IdentityFolder as F; f = F(); f.put(b'', b'', b''); os._exit(1)"
    subprocess.run([sys.executable, "-c", killed], check=False)
    (left,) = tmp_path.iterdir()
    mine = IdentityFolder()
    assert stat.S_IMODE(mine.path.stat().st_mode) == 0o700
    mine.put(b"certificate", b"key", b"authority")
    assert stat.S_IMODE(mine.identity.stat().st_mode) == 0o600
    # Another one leaves mine alone.
    other = IdentityFolder()
    assert not left.exists()
    assert mine.identity.read_bytes() == b"certificatekey"
    for each in (mine, other):
        each.remove()
        each.remove()
    assert list(tmp_path.iterdir()) == []
