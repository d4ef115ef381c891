"""The access policy in a mesh of real processes: the same decision at each way to a method, for each proof, and after the file has changed."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration

from probe.v1.probe_pb2 import ProbeReply, ProbeRequest
from tests.support.beside import DIRECT, DURABLE, StockApp, direct_address, free_address, sidecar
from tests.support.mesh import MeshHarness
from tests.support.token_door import Pairs, shown
from weft.client import Mesh, connect
from weft.rpc.errors import WeftError, from_call
from weft.rpc.identity.caller import AGENT, CLIENT
from weft.rpc.network.channel import Route, dial
from weft.rpc.security import tokens
from weft.rpc.security.token_source import token_source
from weft.v1 import security_pb2
from weft.v1.security_pb2_grpc import TokenServiceStub

ALLOWED, DENIED = "/probe.v1.ProbeService/Call", "/probe.v1.ProbeService/CallSync"
POLICY = """
default = "deny"
[[rules]]
effect = "deny"
methods = ["probe.v1.ProbeService/CallSync"]
[[rules]]
effect = "allow"
callers = ["token:shop", "token:side"]
methods = ["probe.v1.ProbeService/*"]
"""
TURNED = """
[[rules]]
effect = "deny"
callers = ["token:shop"]
methods = ["probe.v1.ProbeService/*"]
"""


class Ways:
    """The mesh, and each way to a method of its agents."""

    def __init__(self, mesh: MeshHarness) -> None:
        self.mesh = mesh
        self.policy = mesh.folder / "policy.toml"
        self.operator = ""
        self.expired_at = 0.0
        self.texts: dict[str, str] = {}
        # By name: a channel, and what a call says there.
        self.ways: dict[str, tuple[grpc.aio.Channel, Pairs]] = {}

    async def start(self) -> None:
        mesh, file = self.mesh, self.mesh.folder / "operator.token"
        self.policy.write_text(POLICY)
        await mesh.coordinator(tokens="on", operator_token_file=file, policy=self.policy)
        self.operator = file.read_text().strip()
        await self._make_tokens()
        # The harness looks at the mesh as an operator.
        mesh._shared = self._dialled(mesh.target, self.operator)
        env = {"WEFT_TOKEN": self.texts["worker"]}
        await mesh.agent("worker", env=env)
        app = StockApp(mesh)
        await app.start()
        egress = free_address()
        await sidecar(mesh, app.address, egress=egress, env={"WEFT_TOKEN": self.texts["side"]})
        at_agent, at_egress = await direct_address(mesh, "worker"), egress
        at_side = await direct_address(mesh, "side")
        plain = {name: self._dialled(name) for name in (mesh.target, at_agent, at_egress, at_side)}
        self.ways = {
            "durable": (plain[mesh.target], ()),
            "proxied": (plain[mesh.target], (DIRECT,)),
            "agent": (plain[at_agent], ()),
            "ingress": (plain[at_side], ()),
            "egress, durable": (plain[at_egress], (DURABLE,)),
            "egress, direct": (plain[at_egress], (DIRECT,)),
        }

    async def _make_tokens(self) -> None:
        stub = TokenServiceStub(self._dialled(self.mesh.target, self.operator))

        async def made(name: str, role: int = CLIENT, **fields: Any) -> security_pb2.CreateTokenResponse:
            request = security_pb2.CreateTokenRequest(name=name, role=role, **fields)
            answer: security_pb2.CreateTokenResponse = await stub.CreateToken(request, timeout=10)
            self.texts[name] = answer.text
            return answer

        for name, role in (("shop", CLIENT), ("other", CLIENT), ("worker", AGENT), ("side", AGENT)):
            await made(name, role)
        expired = await made("expired", ttl=Duration(seconds=1))
        self.expired_at = expired.token.expire_time.ToMilliseconds() / 1000
        await made("elsewhere", scope=security_pb2.TokenScope(namespaces=["team-*"]))
        revoked = await made("revoked")
        await stub.RevokeToken(security_pb2.RevokeTokenRequest(id=revoked.token.id), timeout=10)
        self.texts["wrong"] = tokens.generate(tokens.id_of(self.texts["shop"]))

    def _dialled(self, target: str, text: str = "") -> grpc.aio.Channel:
        channel = dial(target, None, Route(token=token_source(text) if text else None))
        self.mesh._channels.append(channel)
        return channel

    async def reason(self, way: str, path: str, text: str) -> str:
        """Why a call is not let in; empty: it is answered."""
        channel, said = self.ways[way]
        call = channel.unary_unary(
            path,
            request_serializer=ProbeRequest.SerializeToString,
            response_deserializer=ProbeReply.FromString,
        )
        pairs = (*said, *(shown(text) if text else ()))
        try:
            reply = await call(ProbeRequest(text="x"), metadata=pairs, timeout=20.0)
        except grpc.aio.AioRpcError as error:
            return from_call(error).reason_name
        assert reply.text == "x"
        return ""


@pytest.fixture
async def ways(mesh: MeshHarness) -> Ways:
    made = Ways(mesh)
    await made.start()
    return made


REASONS = {
    "shop": ("", "POLICY_DENIED"),
    "other": ("POLICY_DENIED", "POLICY_DENIED"),
    "wrong": ("TOKEN_INVALID", "TOKEN_INVALID"),
    "expired": ("TOKEN_EXPIRED", "TOKEN_EXPIRED"),
    "revoked": ("TOKEN_REVOKED", "TOKEN_REVOKED"),
    "elsewhere": ("OUT_OF_SCOPE", "OUT_OF_SCOPE"),
    "": ("TOKEN_MISSING", "TOKEN_MISSING"),
}


@pytest.mark.slow
async def test_one_decision_at_each_way_for_each_proof(ways: Ways) -> None:
    await asyncio.sleep(max(0.0, ways.expired_at - time.time() + 0.01))
    for way in ways.ways:
        for name, expected in REASONS.items():
            if not name and way.startswith("egress"):
                # It is the sidecar itself.
                expected = REASONS["shop"]
            for path, why in zip((ALLOWED, DENIED), expected, strict=True):
                text = ways.texts[name] if name else ""
                assert await ways.reason(way, path, text) == why, (way, name, path, ways.mesh.logs())
    async with connect(ways.mesh.target, token=ways.texts["shop"]) as client:
        await _library(client)
        opened = await _open_streams(ways)
        ways.policy.write_text(TURNED)
        began_s = asyncio.get_running_loop().time()
        # Open calls end, and new ones are denied, also of those with tickets from before.
        for way, ended in opened.items():
            assert (await asyncio.wait_for(ended, 10)).reason_name == "POLICY_DENIED", way
        assert asyncio.get_running_loop().time() - began_s < 5
        for way in ways.ways:
            assert await ways.reason(way, ALLOWED, ways.texts["shop"]) == "POLICY_DENIED", way
            assert await ways.reason(way, DENIED, ways.texts["other"]) == "", way
        assert (await _direct(client, ALLOWED)) == "POLICY_DENIED"


async def _library(client: Mesh) -> None:
    """Weft's own client, which calls agents with tickets."""
    await client.ready()
    assert await _direct(client, ALLOWED) == ""
    assert await _direct(client, DENIED) == "POLICY_DENIED"


async def _direct(client: Mesh, path: str) -> str:
    call = client.channel(direct=True).unary_unary(path)
    try:
        await call(ProbeRequest(text="x").SerializeToString(), timeout=20.0)
    except grpc.aio.AioRpcError as error:
        return from_call(error).reason_name
    return ""


async def _open_streams(ways: Ways) -> dict[str, asyncio.Task[WeftError]]:
    """A stream of the caller's at each way that has gone on for one answer: what it ends with."""

    async def end(call: Any) -> WeftError:
        try:
            while await call.read() is not grpc.aio.EOF:
                pass
        except grpc.aio.AioRpcError as error:
            return from_call(error)
        raise AssertionError("it went on to its end")

    opened: dict[str, asyncio.Task[WeftError]] = {}
    request = ProbeRequest(text="x", stream_count=10_000, sleep_s=0.05).SerializeToString()
    for way, (channel, said) in ways.ways.items():
        call = channel.unary_stream("/probe.v1.ProbeService/Stream")(
            request, metadata=(*said, *shown(ways.texts["shop"])), timeout=60.0
        )
        assert await call.read() is not grpc.aio.EOF
        opened[way] = asyncio.create_task(end(call))
    return opened
