"""Certificates in the place of tokens: a coordinator whose port wants certificates (mTLS) knows callers by them. Real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration

from tests.support.certificates import TestAuthority, credentials
from tests.support.token_door import DENIED, OTHERS, RPCS, called, reason
from weft.agent import Agent
from weft.client import connect
from weft.coordinator.server import Coordinator
from weft.coordinator.settings import CoordinatorSettings
from weft.rpc.errors import InvalidArgument, WeftError, from_call
from weft.rpc.identity import refusal_pace
from weft.rpc.identity.caller import AGENT, CLIENT, OBSERVER, OPERATOR, ROLES, roles_of
from weft.rpc.security.tls import Tls
from weft.v1 import coordinator_pb2, security_pb2
from weft.v1.coordinator_pb2_grpc import CoordinatorServiceStub
from weft.v1.security_pb2_grpc import TokenServiceStub

LIST_AGENTS = "/weft.v1.CoordinatorService/ListAgents"
LIST_TOKENS = "/weft.v1.TokenService/ListTokens"


class Port:
    """A coordinator with mTLS and tokens, and its operator's client."""

    def __init__(self, authority: TestAuthority, coordinator: Coordinator, operator: Path) -> None:
        self.authority = authority
        self.coordinator = coordinator
        self.address = coordinator.address
        self.operator = connect(self.address, tls=authority.tls("operator"), token=operator)
        self.tokens = TokenServiceStub(self.operator.channel())

    def certificate(self, name: str, spiffe: str = "") -> Tls:
        return self.authority.tls(name, spiffe=spiffe)

    async def grant(self, role: int, *subjects: str, **fields: Any) -> str:
        """Make a token that certificates stand for; its id."""
        request = security_pb2.CreateTokenRequest(role=role, subjects=subjects, **fields)
        made = await self.tokens.CreateToken(request)
        assert made.text == ""
        return str(made.token.id)

    async def refusal(self, tls: Tls, path: str = LIST_AGENTS, token: str | None = None) -> str:
        """Why a call with an empty request is refused; empty: it is not."""
        try:
            async with connect(self.address, tls=tls, token=token) as mesh:
                await mesh.channel().unary_unary(path)(b"", timeout=10)
        except grpc.RpcError as error:
            return from_call(error).reason_name
        except WeftError as error:
            return error.reason_name
        return ""


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[Port]:
    authority = TestAuthority(tmp_path)
    own = authority.tls("coordinator")
    (tmp_path / "policy.toml").write_text("")
    settings = CoordinatorSettings(
        listen="127.0.0.1:0",
        store=str(tmp_path / "weft.db"),
        operator_token_file=tmp_path / "operator.token",
        tokens="on",
        policy=tmp_path / "policy.toml",
        **{f"tls_{name}": getattr(own, name) for name in ("ca", "cert", "key", "client_ca")},
    )
    coordinator = Coordinator(settings)
    await coordinator.start()
    made = Port(authority, coordinator, tmp_path / "operator.token")
    yield made
    await made.operator.close()
    await coordinator.stop(0.0)


async def test_rules_for_a_token_concern_those_who_show_a_certificate_for_it(
    port: Port, tmp_path: Path
) -> None:
    identity = port.coordinator.identity
    shop = port.certificate("shop", "spiffe://prod/shop/1")
    token_id = await port.grant(CLIENT, "spiffe://prod/shop/*", name="shop")

    async def denied(callers: str) -> bool:
        file = tmp_path / "policy.toml"
        file.write_text(f'[[rules]]\neffect = "deny"\ncallers = ["{callers}"]\nmethods = ["a.B/C"]\n')
        await identity.keep_house(0.0)
        async with connect(port.address, tls=shop) as mesh:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await mesh.channel().unary_unary("/a.B/C")(b"", timeout=10)
        return from_call(refused.value).reason_name == "POLICY_DENIED"

    meant = "token:shop", f"token:{token_id}", "role:client", "spiffe://prod/*", "certificate:spiffe://prod/*"
    assert [await denied(each) for each in meant] == [True] * len(meant)
    others = "token:other", "role:agent", "spiffe://test/*", "certificate:shop", "jwt:*"
    assert [await denied(each) for each in others] == [False] * len(others)


async def test_a_certificate_stands_for_a_token(port: Port) -> None:
    shop, other = port.certificate("shop", "spiffe://prod/shop/1"), port.certificate("other")
    assert await port.refusal(shop) == "CERTIFICATE_UNKNOWN"
    wide = await port.grant(OBSERVER, "spiffe://prod/*")
    assert await port.refusal(shop) == ""
    # Its role is checked as that of any token.
    assert await port.refusal(shop, LIST_TOKENS) == "ROLE_NEEDED"
    assert await port.refusal(other) == "CERTIFICATE_UNKNOWN"
    # Without a SPIFFE id, its first host name counts.
    await port.grant(CLIENT, "other")
    await asyncio.sleep(1.1)
    assert await port.refusal(other) == ""
    # The longest pattern counts, and a token that is shown comes first.
    narrow = await port.grant(CLIENT, "spiffe://prod/shop/*", scope=security_pb2.TokenScope(methods=["none"]))
    await asyncio.sleep(1.1)
    async with connect(port.address, tls=shop) as mesh:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await CoordinatorServiceStub(mesh.channel()).SubmitTask(
                coordinator_pb2.SubmitTaskRequest(method="a.B/C")
            )
    assert from_call(refused.value).reason_name == "OUT_OF_SCOPE"
    text = (await port.tokens.CreateToken(security_pb2.CreateTokenRequest(role=CLIENT))).text
    assert await port.refusal(other, token=text) == ""
    mistyped = text[:-1] + ("y" if text.endswith("x") else "x")
    assert await port.refusal(shop, token=mistyped) == "INVALID_FIELD"
    # A revoked one is gone within two seconds, and what it has open is ended.
    async with connect(port.address, tls=shop) as mesh:
        watch = CoordinatorServiceStub(mesh.channel()).WatchAgents(coordinator_pb2.WatchAgentsRequest())
        await watch.read()
        began_s = time.monotonic()
        for token_id in (narrow, wide):
            await port.tokens.RevokeToken(security_pb2.RevokeTokenRequest(id=token_id))
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            while True:
                await watch.read()
        assert time.monotonic() - began_s < 2
        assert from_call(ended.value).reason_name == "TOKEN_REVOKED"
    assert await port.refusal(shop) == "TOKEN_REVOKED"


async def test_every_rpc_with_every_role_and_certificate(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    """The matrix of `test_tokens` once more: the handler is chosen before the caller is known, which is another way through the edge."""
    monkeypatch.setattr(refusal_pace, "BURST", 10_000)
    subjects = {role: f"spiffe://prod/{name}" for name, role in ROLES.items()}
    for role, subject in subjects.items():
        await port.grant(role, subject)
    revoked = await port.grant(OPERATOR, "spiffe://prod/revoked")
    await port.tokens.RevokeToken(security_pb2.RevokeTokenRequest(id=revoked))
    await port.grant(OPERATOR, "spiffe://prod/ended", ttl=Duration(seconds=1))
    scope = security_pb2.TokenScope(namespaces=["team-*"])
    await port.grant(OPERATOR, "spiffe://prod/elsewhere", scope=scope)
    until_s = time.monotonic() + 1.01
    wrong = {
        "unknown": "CERTIFICATE_UNKNOWN",
        "revoked": "TOKEN_REVOKED",
        "ended": "TOKEN_EXPIRED",
        "elsewhere": "OUT_OF_SCOPE",
    }
    async with contextlib.AsyncExitStack() as stack:

        def channel(name: str, subject: str) -> grpc.aio.Channel:
            tls = port.certificate(name, subject)
            options = [("grpc.use_local_subchannel_pool", 1)]
            made = grpc.aio.secure_channel(port.address, credentials(tls), options=options)
            stack.push_async_callback(made.close)
            return made

        right = {role: channel(f"as-{role}", subject) for role, subject in subjects.items()}
        bad = {name: channel(name, f"spiffe://prod/{name}") for name in wrong}

        async def check(path: str) -> None:
            roles = roles_of(path) or {CLIENT, AGENT, OPERATOR}
            for role, by in right.items():
                # Some streams that are let in stay open.
                error = await called(by, path, (), 0.1 if role in roles else 20.0)
                if role in roles:
                    assert error is None or error.code not in DENIED, (path, role, error)
                else:
                    assert reason(error) == "ROLE_NEEDED", (path, role, error)
            await asyncio.sleep(max(0.0, until_s - time.monotonic()))
            for name, by in bad.items():
                assert reason(await called(by, path, ())) == wrong[name], (path, name)
            # A namespace that the certificate's token does not cover, whether there is one or not.
            named = (("weft-namespace", "of-others"),)
            assert reason(await called(bad["elsewhere"], path, named)) == "OUT_OF_SCOPE", path

        await asyncio.gather(*map(check, [*RPCS, *OTHERS]))


async def test_an_agent_has_the_id_of_its_certificate(port: Port) -> None:
    await port.grant(AGENT, "spiffe://prod/agent/*", scope=security_pb2.TokenScope(agent_ids=["w-*"]))
    tls = port.certificate("w-1", "spiffe://prod/agent/w-1")

    async def told(agent_id: str, tls: Tls) -> str:
        """Why an agent is refused; empty: it gets in."""
        agent = Agent(agent_id, target=port.address, tls=tls)
        agent.method("probe.v1.Probe/Nothing")(nothing)
        serving = asyncio.ensure_future(agent.serve())
        try:
            async with asyncio.timeout(10):
                while not agent.connected and not serving.done():
                    await asyncio.sleep(0.01)
            return serving.exception().message if serving.done() else ""  # type: ignore[union-attr]
        finally:
            agent.stop()
            await asyncio.gather(serving, return_exceptions=True)

    assert await told("w-1", tls) == ""
    assert "agent_ids" in await told("w-2", tls)
    # The id of the certificate is out of the token's scope.
    stranger = port.certificate("x-1", "spiffe://prod/agent/x-1")
    assert "stands for no token" in await told("x-1", stranger)


async def test_requests_for_tokens_of_certificates(port: Port) -> None:
    for fields, field in (
        ({"subjects": [""]}, "subjects"),
        ({"subjects": ["a"] * 65}, "subjects"),
        ({"subjects": ["a"], "max_uses": 1, "role": AGENT}, "max_uses"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await port.tokens.CreateToken(security_pb2.CreateTokenRequest(**({"role": CLIENT} | fields)))
        error = from_call(refused.value)
        assert isinstance(error, InvalidArgument)
        assert [each.field for each in error.violations] == [field]
    token_id = await port.grant(CLIENT, "spiffe://a/b")
    with pytest.raises(grpc.aio.AioRpcError, match="has no text"):
        await port.tokens.RotateToken(security_pb2.RotateTokenRequest(id=token_id))


async def nothing(request: dict[str, str]) -> dict[str, str]:
    return request
