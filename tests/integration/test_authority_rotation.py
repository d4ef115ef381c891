"""The authority of a mesh that makes its certificates is changed while it runs: members follow, and neither a call nor a way in is lost."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from pathlib import Path

import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration

from tests.support.joined_mesh import METHOD, JoinedMesh, joined_mesh, serving, variables_in
from tests.support.load import Load
from tests.support.redis_server import RedisServer
from weft.client import connect
from weft.rpc.errors import WeftError, from_call
from weft.rpc.identity.caller import AGENT, CLIENT
from weft.rpc.membership.membership import Membership
from weft.rpc.security import certificates
from weft.rpc.security.token_source import token_source
from weft.v1 import certificate_pb2
from weft.v1.certificate_pb2_grpc import CertificateServiceStub

SOON_S = 10.0


async def rotated(mesh: JoinedMesh, overlap_s: float | None) -> certificate_pb2.RotateAuthorityResponse:
    request = certificate_pb2.RotateAuthorityRequest()
    if overlap_s is not None:
        request.overlap.CopyFrom(Duration(seconds=int(overlap_s), nanos=int(overlap_s % 1 * 1e9)))
    async with mesh.connect() as operator:
        answer: certificate_pb2.RotateAuthorityResponse
        answer = await CertificateServiceStub(operator.channel()).RotateAuthority(request, timeout=SOON_S)
    return answer


async def told(mesh: JoinedMesh) -> certificate_pb2.GetAuthorityResponse:
    async with mesh.connect() as operator:
        request = certificate_pb2.GetAuthorityRequest()
        answer: certificate_pb2.GetAuthorityResponse
        answer = await CertificateServiceStub(operator.channel()).GetAuthority(request, timeout=SOON_S)
    return answer


async def joins(mesh: JoinedMesh, pin: str, text: str) -> str:
    """The reason why nobody joins by a pin; empty: it is good."""
    token = token_source(text)
    assert token is not None
    member = Membership(replace(mesh.tls, pin=pin), (mesh.target,), token, "")
    try:
        issued = await asyncio.to_thread(member.issued_by_token)
        # What it got is of use.
        member._take(issued)
        async with connect(mesh.target, tls=member.tls) as caller:
            await caller.fleet.agents()
    except WeftError as error:
        return error.reason_name
    finally:
        member.folder.remove()
    return ""


async def until(mesh: JoinedMesh, at: float) -> None:
    """Wait until the coordinator has seen that a step has come."""
    await asyncio.sleep(max(0.0, at - time.time()))
    async with asyncio.timeout(SOON_S):
        while mesh._coordinator.identity._authority.known.until <= at + 0.01:  # type: ignore[union-attr]
            await asyncio.sleep(0.01)


async def test_both_pins_are_good_while_the_authority_changes(tmp_path: Path) -> None:
    async with joined_mesh(tmp_path, "one", join_file=tmp_path / "one.join") as mesh:
        _, client = await mesh.token(CLIENT)
        old = mesh.tls.pin
        change = (await rotated(mesh, 0.8)).change
        again = await rotated(mesh, None)
        assert again.existed
        assert again.change == change
        assert (await told(mesh)).change == change
        assert change.pin == old
        new = change.next_pin
        # The next one does not sign yet.
        assert [await joins(mesh, pin, client) for pin in (old, new)] == ["", "PIN_MISMATCH"]
        await until(mesh, change.sign_time.ToMilliseconds() / 1000)
        assert [await joins(mesh, pin, client) for pin in (old, new)] == ["", ""]
        assert variables_in(tmp_path / "one.join")["WEFT_TLS_PIN"] == new
        await until(mesh, change.end_time.ToMilliseconds() / 1000)
        assert [await joins(mesh, pin, client) for pin in (old, new)] == ["PIN_MISMATCH", ""]
        # The store has the new one alone, also for the next start.
        mesh.tls = replace(mesh.tls, pin=new)
        answer = await told(mesh)
        assert (answer.pin, answer.HasField("change")) == (new, False)
        # A client may not.
        async with mesh.connect(client) as caller:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await CertificateServiceStub(caller.channel()).RotateAuthority(
                    certificate_pb2.RotateAuthorityRequest()
                )
        assert from_call(refused.value).reason_name == "ROLE_NEEDED"
        # At once: nobody has time to follow, as if the key were stolen.
        at_once = (await rotated(mesh, 0)).change
        assert [await joins(mesh, pin, client) for pin in (new, at_once.next_pin)] == ["PIN_MISMATCH", ""]
    async with joined_mesh(tmp_path, "two", join_file=tmp_path / "two.join") as mesh:
        assert mesh.tls.pin == at_once.next_pin


async def _served(channel: grpc.aio.Channel) -> None:
    """Wait until the method is known there."""
    async with asyncio.timeout(SOON_S):
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await channel.unary_unary(f"/{METHOD}")(b"", timeout=SOON_S)
                return
            await asyncio.sleep(0.02)


def test_another_name_cannot_be_crossed() -> None:
    from datetime import UTC, datetime

    now = datetime.now(UTC)
    one, other = certificates.new_authority("weft", now), certificates.new_authority("other", now)
    with pytest.raises(certificates.CertificateFault):
        certificates.crossed(one, other.certificate)


@pytest.mark.slow
async def test_members_follow_another_authority_under_load(tmp_path: Path) -> None:
    """Two coordinators on one store, an agent and a client with certificates for five seconds: no call is lost from the first step to after the last."""
    async with RedisServer(tmp_path / "redis") as redis:
        given = {
            "store": redis.url,
            "certificate_ttl_s": 5.0,
            "operator_token_file": tmp_path / "operator.token",
        }
        async with (
            joined_mesh(tmp_path, "one", join_file=tmp_path / "one.join", **given) as mesh,
            joined_mesh(tmp_path, "two", join_file=tmp_path / "two.join", **given) as other,
        ):
            _, agents = await mesh.token(AGENT)
            _, client = await mesh.token(CLIENT)
            async with (
                serving(mesh, "w/1", agents),
                mesh.connect(client) as caller,
                other.connect(client) as beside,
            ):
                load = Load()
                path = f"/{METHOD}"
                durable, direct = caller.channel(), caller.channel(direct=True)
                load.add("durable", lambda: durable.unary_unary(path)(b"", timeout=SOON_S))
                load.add("direct", lambda: direct.unary_unary(path)(b"", timeout=SOON_S))
                second = beside.channel()
                await _served(second)
                load.add("durable, beside", lambda: second.unary_unary(path)(b"", timeout=SOON_S))
                await asyncio.sleep(0.5)
                change = (await rotated(mesh, None)).change
                await until(other, change.end_time.ToMilliseconds() / 1000)
                # Longer than a certificate lives.
                await asyncio.sleep(5)
                await load.stop()
            assert not load.failed, f"{len(load.failed)} of {load.made}: {load.failed[:5]}"
            assert min(load.made.values()) > 50, load.made
            print(load.made)
            assert (await joins(other, change.next_pin, client)) == ""
            assert (await joins(other, change.pin, client)) == "PIN_MISMATCH"
