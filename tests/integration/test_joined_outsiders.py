"""Callers and agents with tokens of an outside issuer join a mesh that makes its certificates: these open connections, and the tokens prove who calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest

from tests.support.joined_mesh import METHOD, JoinedMesh, joined_mesh, serving
from tests.support.outside_issuer import OutsideIssuer
from weft.client import DirectState, Unauthenticated, connect
from weft.rpc.errors import InvalidArgument, WeftError
from weft.rpc.identity.caller import CLIENT
from weft.rpc.membership import membership
from weft.rpc.security import tokens

POLICY = """
[[issuers]]
name = "corp"
issuer = "{url}"
audiences = ["weft"]
leeway_s = 0
[[issuers.grants]]
claim = "agent"
values = ["*"]
role = "agent"
agent_ids = ["{{agent}}"]
[[issuers.grants]]
role = "client"
methods = ["probe.*"]
"""
SOON_S = 10.0


class Site:
    """The mesh and the issuer."""

    def __init__(self, mesh: JoinedMesh, issuer: OutsideIssuer) -> None:
        self.mesh = mesh
        self.issuer = issuer


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    with OutsideIssuer() as issuer:
        issuer.add_key("one")
        policy = tmp_path / "policy.toml"
        policy.write_text(POLICY.format(url=issuer.url))
        async with joined_mesh(tmp_path, policy=policy) as mesh:
            yield Site(mesh, issuer)


async def test_outsiders_join_and_call(site: Site) -> None:
    issuer, path = site.issuer, f"/{METHOD}"
    agent = issuer.sign(sub="worker", agent="w/1")
    client = issuer.sign()
    async with serving(site.mesh, "w/1", agent), site.mesh.connect(client) as caller:

        async def reachable() -> bool:
            return all(each.direct_state is DirectState.REACHABLE for each in await caller.fleet.agents())

        async with asyncio.timeout(SOON_S):
            while not await reachable():
                await asyncio.sleep(0.05)
        assert await caller.channel().unary_unary(path)(b"", timeout=SOON_S) == b""
        assert await caller.channel(direct=True).unary_unary(path)(b"", timeout=SOON_S) == b""
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await caller.channel().unary_unary("/acme.v1.S/M")(b"", timeout=SOON_S)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        # Another agent's id is not in the claims, neither for a certificate nor for a session.
        with pytest.raises(WeftError, match="agent_ids"):
            async with serving(site.mesh, "w/2", agent):
                pass
        # The certificate alone stands for nobody.
        origin = tokens.digest(client).hex()
        (member,) = [each for key, each in membership._members.items() if key[2] == origin]
        async with connect(site.mesh.target, tls=member.tls) as bare:
            with pytest.raises(Unauthenticated) as unknown:
                await bare.fleet.agents()
        assert unknown.value.reason_name == "CERTIFICATE_UNKNOWN"


async def test_a_certificate_ends_with_the_outsiders_token(site: Site, tmp_path: Path) -> None:
    """A file with the next token renews it: in time, since the token's end is the certificate's."""
    file = tmp_path / "jwt"
    file.write_text(site.issuer.sign(exp=time.time() + 2))
    began_s = time.monotonic()
    async with site.mesh.connect(file) as caller:
        await caller.fleet.agents()
        next_one = site.issuer.sign(sub="alice")
        file.write_text(next_one)
        while time.monotonic() - began_s < 2.4:
            await caller.fleet.agents()
            await asyncio.sleep(0.05)


async def test_subjects_are_refused_where_nobody_could_show_one(site: Site) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await site.mesh.token(CLIENT, subjects=["spiffe://prod.example/shop/*"])
    assert InvalidArgument.code is refused.value.code()
    assert "--ca auto" in (refused.value.details() or "")
