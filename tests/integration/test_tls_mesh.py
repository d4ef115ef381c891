"""TLS and mTLS on every hop of a mesh of real processes: one mesh, and a table of its hops."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import time
import traceback
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import grpc.aio
import pytest
from google.protobuf.struct_pb2 import Struct

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import Payload, ProbeRequest
from tests.support.beside import DIRECT, DURABLE
from tests.support.certificates import TestAuthority, credentials, variables
from tests.support.command import weft
from tests.support.mesh import MeshHarness
from tests.support.secure_mesh import SecureMesh
from weft.client import Unreachable, connect
from weft.client.sync import connect as connect_sync
from weft.rpc.security.tls import Tls

Hop = Callable[[SecureMesh], Awaitable[None]]


async def durable_call(secure: SecureMesh) -> None:
    async with connect(secure.mesh.target, tls=secure.client) as mesh:
        await mesh.ready()
        stub = probe_pb2_grpc.ProbeServiceStub(mesh.channel())
        assert (await stub.Call(ProbeRequest(text="a"), timeout=20)).text == "a"


async def direct_call(secure: SecureMesh) -> None:
    async with connect(secure.mesh.target, tls=secure.client) as mesh:
        stub = probe_pb2_grpc.ProbeServiceStub(mesh.channel(direct=True))
        for _ in range(4):
            assert (await stub.Echo(Payload(data=b"a"), timeout=20)).data == b"a"
        explained = await mesh.direct().explain("probe.v1.ProbeService/Echo", 5)
        assert {each.agent_id for each in explained.candidates if each.connected} == {"a1", "side"}


async def sync_client(secure: SecureMesh) -> None:
    def calls() -> bytes:
        with connect_sync(secure.mesh.target, tls=secure.client) as mesh:
            stub = probe_pb2_grpc.ProbeServiceStub(mesh.channel())
            data: bytes = stub.Echo(Payload(data=b"a"), timeout=20).data
            return data

    assert await asyncio.to_thread(calls) == b"a"


async def coordinators_direct_proxy(secure: SecureMesh) -> None:
    reply = await secure.mesh.probe().Echo(Payload(data=b"a"), metadata=(DIRECT,), timeout=20)
    assert reply.data == b"a"


async def child_calls(secure: SecureMesh) -> None:
    channel = secure.mesh.channel()
    for method in ("Async", "Isolated"):
        call = channel.unary_unary(
            f"/test.v1.Children/{method}",
            request_serializer=Struct.SerializeToString,
            response_deserializer=Struct.FromString,
        )
        assert dict(await call(Struct(), timeout=30)) == {"durable": "child", "direct": "child"}


async def sidecars_app(secure: SecureMesh) -> None:
    (side,) = [agent for agent in await secure.agents() if agent.id == "side"]
    options = [("grpc.ssl_target_name_override", "side")]
    trusted = credentials(secure.client)
    async with grpc.aio.secure_channel(side.advertised_address, trusted, options=options) as channel:
        stub = probe_pb2_grpc.ProbeServiceStub(channel)
        assert (await stub.Call(ProbeRequest(text="app"), timeout=20)).text == "app"


async def sidecars_egress(secure: SecureMesh) -> None:
    async with grpc.aio.secure_channel(secure.egress, credentials(secure.client)) as channel:
        stub = probe_pb2_grpc.ProbeServiceStub(channel)
        for mode in (DIRECT, DURABLE):
            reply = await stub.Echo(Payload(data=b"a"), metadata=(mode,), timeout=20, wait_for_ready=True)
            assert reply.data == b"a"


async def commands(secure: SecureMesh) -> None:
    tls, target = secure.client, secure.mesh.target
    options = ["--tls-ca", tls.ca, "--tls-cert", tls.cert, "--tls-key", tls.key]
    by_options = await weft("agents", "list", "--json", *options, target=target)
    assert {each["id"] for each in by_options.document} == {"a1", "children", "side"}, by_options.err
    called = await weft(
        "call", "probe.v1.ProbeService/Echo", "{}", "--direct", target=target, env=variables(tls)
    )
    assert called.status == 0, called.err
    doctor = await weft("doctor", "--json", "--channelz", secure.channelz, target=target, env=variables(tls))
    assert doctor.status == 0, doctor.out + doctor.err
    health = await weft("health", target=target, env=variables(tls))
    assert health.status == 0, health.err


async def metrics_by_https(secure: SecureMesh) -> None:
    def scrape(tls: Tls, *, shows: bool) -> str:
        context = ssl.create_default_context(cafile=tls.ca)
        if shows:
            context.load_cert_chain(tls.cert, tls.key)
        with urllib.request.urlopen(
            f"https://{secure.metrics}/metrics", context=context, timeout=10
        ) as answer:
            return str(answer.read(), "utf-8")

    scraped = await asyncio.to_thread(scrape, secure.client, shows=True)
    (end,) = re.findall(r"^weft_certificate_end_seconds (\S+)$", scraped, re.MULTILINE)
    assert float(end) - time.time() == pytest.approx(90 * 86400, abs=600)
    with pytest.raises(OSError):
        await asyncio.to_thread(scrape, secure.client, shows=False)


async def strangers_are_told_what_is_missing(secure: SecureMesh) -> None:
    target, ca = secure.mesh.target, secure.client.ca
    other = TestAuthority(secure.mesh.folder, "other")
    for tls, why in (
        (False, "the port has TLS, and this end uses none: set WEFT_TLS_CA"),
        (Tls(ca=ca), "it wants a certificate of its callers: set WEFT_TLS_CERT"),
        (other.tls("stranger"), "signed by an authority that is not trusted here (WEFT_TLS_CA)"),
        (Tls(ca, *_pair(other, "foreign")), "it does not accept this end's certificate"),
        (
            Tls(ca, *_pair(secure.authority, "known"), server_name="else"),
            "its certificate is for another name",
        ),
    ):
        async with connect(target, tls=tls) as mesh:
            with pytest.raises(Unreachable) as caught:
                await mesh.ready(0.5)
            assert why in caught.value.message
    command = await weft("agents", "list", target=target)
    assert command.status == 1
    assert "set WEFT_TLS_CA (--tls-ca)" in command.err
    doctor = await weft("doctor", "--json", target=target)
    assert any("the port has TLS" in each["text"] for each in json.loads(doctor.out))


def _pair(authority: TestAuthority, name: str) -> tuple[str, str]:
    tls = authority.tls(name)
    return tls.cert, tls.key


HOPS: tuple[Hop, ...] = (
    durable_call,
    direct_call,
    sync_client,
    coordinators_direct_proxy,
    child_calls,
    sidecars_app,
    sidecars_egress,
    commands,
    metrics_by_https,
    strangers_are_told_what_is_missing,
)


@pytest.mark.slow
async def test_every_hop_of_a_mesh_uses_tls(mesh: MeshHarness, tmp_path: Path) -> None:
    secure = SecureMesh(mesh)
    await secure.start()
    failed: list[str] = []
    for hop in HOPS:
        try:
            await hop(secure)
        except (Exception, pytest.fail.Exception):
            failed.append(f"{hop.__name__}:\n{traceback.format_exc()}")
    assert not failed, "\n".join(failed) + mesh.logs()
