"""Tokens at the coordinator: every RPC with every role, good and bad tokens at every door, their life and their end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from tests.support.redis_server import RedisServer
from tests.support.token_door import DENIED, OTHERS, RPCS, Door, Pairs, reason, shown, token_door
from weft.coordinator.server import Coordinator
from weft.coordinator.settings import CoordinatorSettings
from weft.rpc.errors import WeftError, from_call
from weft.rpc.identity import refusal_pace
from weft.rpc.identity.caller import AGENT, CLIENT, OBSERVER, OPERATOR, ROLES, roles_of
from weft.rpc.security import tokens
from weft.v1 import errors_pb2, security_pb2


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with token_door(tmp_path) as opened:
        yield opened


async def test_every_rpc_with_every_role_and_token(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """The matrix, made from the descriptors: a new RPC is in it by itself."""
    monkeypatch.setattr(refusal_pace, "BURST", 10_000)
    assert len(RPCS) > 40
    texts = {role: (await door.create(role)).text for role in ROLES.values()}
    expired = await door.create(OPERATOR, ttl=Duration(seconds=1))
    revoked = await door.create(OPERATOR)
    elsewhere = await door.create(OPERATOR, scope=security_pb2.TokenScope(namespaces=["team-*"]))
    await door.stub.RevokeToken(
        security_pb2.RevokeTokenRequest(id=revoked.token.id), metadata=shown(door.operator)
    )
    until = asyncio.get_running_loop().time() + 1.01

    async def check(path: str) -> None:
        roles = roles_of(path) or {CLIENT, AGENT, OPERATOR}
        for role, text in texts.items():
            # Some streams that are let in stay open.
            error = await door.call(path, shown(text), 0.1 if role in roles else 20.0)
            if role in roles:
                assert error is None or error.code not in DENIED, (path, role, error)
            else:
                assert reason(error) == "ROLE_NEEDED", (path, role, error)
        assert reason(await door.call(path, ())) == "TOKEN_MISSING", path
        unknown = tokens.generate(tokens.generate_id())
        assert reason(await door.call(path, shown(unknown))) == "TOKEN_INVALID", path
        # The id of a good token with another secret.
        other = tokens.generate(tokens.id_of(door.operator))
        assert reason(await door.call(path, shown(other))) == "TOKEN_INVALID", path
        assert reason(await door.call(path, shown(revoked.text))) == "TOKEN_REVOKED", path
        # In a namespace that its token does not cover, whether there is one or not.
        for named in (), (("weft-namespace", "default"),), (("weft-namespace", "of-others"),):
            error = await door.call(path, (*shown(elsewhere.text), *named))
            assert reason(error) == "OUT_OF_SCOPE", (path, named, error)
        await asyncio.sleep(max(0.0, until - asyncio.get_running_loop().time()))
        assert reason(await door.call(path, shown(expired.text))) == "TOKEN_EXPIRED", path

    await asyncio.gather(*map(check, [*RPCS, *OTHERS]))


BAD: dict[str, tuple[Pairs, str]] = {
    "cut": (shown("{}"[:0] + "weft_abc"), "TOKEN_INVALID"),
    "another prefix": ((("authorization", "Bearer ghp_0123456789"),), "TOKEN_INVALID"),
    "no scheme": ((("authorization", "weft_0123456789"),), "TOKEN_INVALID"),
    "basic": ((("authorization", "Basic dXNlcjpwYXNz"),), "TOKEN_INVALID"),
    "empty": (shown(""), "TOKEN_INVALID"),
    "10 kB": (shown("weft_" + "x" * 10_240), "TOKEN_INVALID"),
    "10 kB of authorization": ((("authorization", "Bearer " + "weft_" * 2048),), "TOKEN_INVALID"),
    "spaces": (shown("weft_ " + "0" * 60), "TOKEN_INVALID"),
    "binary key": ((("weft-token-bin", b"\xff\x00"),), "TOKEN_MISSING"),
}


async def test_bad_tokens_at_the_door(door: Door) -> None:
    path = "/weft.v1.TokenService/ListTokens"
    good = door.operator
    for name, (pairs, expected) in BAD.items():
        error = await door.call(path, pairs)
        assert reason(error) == expected, name
        assert error is not None
        assert "ghp_" not in error.message
        assert "dXNl" not in error.message
    assert reason(await door.call(path, shown(good[:-1]))) == "TOKEN_INVALID"
    assert reason(await door.call(path, shown(good + good))) == "TOKEN_INVALID"
    assert reason(await door.call(path, shown(good) * 2)) == "TOKEN_INVALID"
    bearer = ("authorization", f"Bearer {good}")
    assert reason(await door.call(path, (bearer, bearer))) == "TOKEN_INVALID"
    # Those that are right, in their ways; an application's own authorization is left alone beside weft's token.
    assert await door.call(path, (bearer,)) is None
    assert await door.call(path, (("authorization", f"bearer {good}"),)) is None
    assert await door.call(path, (*shown(good), ("authorization", "Bearer of-an-app"))) is None


@pytest.mark.parametrize("revoked", [False, True])
async def test_a_token_is_judged_again_while_a_request_is_on_its_way(
    door: Door, monkeypatch: pytest.MonkeyPatch, revoked: bool
) -> None:
    """The handler is chosen when a call's head arrives, and runs when its request is there."""
    edge = door.coordinator.identity.edge
    made = await door.create(OPERATOR)
    path, pairs = "/weft.v1.TokenService/ListTokens", shown(made.text)
    assert await door.call(path, pairs) is None
    chosen = asyncio.Event()
    entered = edge.entered

    def seen(*args: Any) -> Any:
        handler = entered(*args)
        chosen.set()
        return handler

    monkeypatch.setattr(edge, "entered", seen)
    call = door.channel.stream_unary(path)(metadata=pairs, timeout=20.0)
    await asyncio.wait_for(chosen.wait(), 20.0)
    if revoked:
        request = security_pb2.RevokeTokenRequest(id=made.token.id)
        await door.stub.RevokeToken(request, metadata=shown(door.operator))
    await edge.look_again(every=True)
    await call.write(b"")
    await call.done_writing()
    if not revoked:
        await call
        return
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    assert reason(from_call(refused.value)) == "TOKEN_REVOKED"


async def test_probes_need_no_token_and_learn_little(door: Door) -> None:
    path = "/grpc.health.v1.Health/Check"
    assert await door.call(path, ()) is None
    hosted = door.channel.unary_unary(path)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await hosted(b"\x0a\x09acme.v1.S")
    assert from_call(refused.value).reason == errors_pb2.ERROR_REASON_TOKEN_MISSING
    observer = await door.create(OBSERVER)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await hosted(b"\x0a\x09acme.v1.S", metadata=shown(observer.text))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_the_life_of_a_token(door: Door) -> None:
    stub, operator = door.stub, shown(door.operator)
    made = await door.create(
        CLIENT, comment="for the shop", scope=security_pb2.TokenScope(methods=["shop.*"])
    )
    assert made.token.created_by == tokens.id_of(door.operator)
    read = (await stub.GetToken(security_pb2.GetTokenRequest(id=made.token.id), metadata=operator)).token
    assert read == made.token
    listed = await stub.ListTokens(security_pb2.ListTokensRequest(page_size=1), metadata=operator)
    assert len(listed.tokens) == 1
    assert listed.next_page_token

    path = "/weft.v1.CoordinatorService/ListTasks"
    assert await door.call(path, shown(made.text)) is None
    # Two texts for a while, then one.
    rotated = await stub.RotateToken(
        security_pb2.RotateTokenRequest(id=made.token.id, overlap=Duration(seconds=1)), metadata=operator
    )
    assert rotated.token.id == made.token.id
    assert rotated.text != made.text
    assert await door.call(path, shown(rotated.text)) is None
    assert await door.call(path, shown(made.text)) is None
    async with asyncio.timeout(5):
        while await door.call(path, shown(made.text)) is None:
            await asyncio.sleep(0.05)
    assert reason(await door.call(path, shown(made.text))) == "TOKEN_EXPIRED"
    assert await door.call(path, shown(rotated.text)) is None
    await stub.RevokeToken(security_pb2.RevokeTokenRequest(id=made.token.id), metadata=operator)
    async with asyncio.timeout(2):
        while await door.call(path, shown(rotated.text)) is None:
            await asyncio.sleep(0.02)
    assert reason(await door.call(path, shown(rotated.text))) == "TOKEN_REVOKED"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.RotateToken(security_pb2.RotateTokenRequest(id=made.token.id), metadata=operator)
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_revocation_ends_open_streams(door: Door) -> None:
    made = await door.create(CLIENT)
    ends = asyncio.gather(
        *(
            door.call(path, shown(made.text), 10.0)
            for path in (
                "/weft.v1.CoordinatorService/WatchAgents",
                "/grpc.health.v1.Health/Watch",
            )
        )
    )
    # Still open after a while.
    await asyncio.sleep(0.2)
    assert not ends.done()
    began_s = asyncio.get_running_loop().time()
    await door.stub.RevokeToken(
        security_pb2.RevokeTokenRequest(id=made.token.id), metadata=shown(door.operator)
    )
    assert [reason(each) for each in await ends] == ["TOKEN_REVOKED"] * 2
    assert asyncio.get_running_loop().time() - began_s < 2


async def test_a_token_holds_at_every_coordinator(tmp_path: Path) -> None:
    """Made at one, valid at the other at once; revoked at one, its streams end at the other within 2 s."""
    async with contextlib.AsyncExitStack() as stack:
        redis = await stack.enter_async_context(RedisServer(tmp_path / "redis"))
        found: list[Door] = []
        file = tmp_path / "operator.token"
        for _ in range(2):
            settings = CoordinatorSettings(
                listen="127.0.0.1:0", store=redis.url, tokens="on", operator_token_file=file
            )
            coordinator = Coordinator(settings)
            await coordinator.start()
            stack.push_async_callback(coordinator.stop, 0.0)
            # The second one finds the first one's operator, and makes none.
            found.append(Door(coordinator, file.read_text().strip()))
            stack.push_async_callback(found[-1].channel.close)
        here, there = found
        assert (
            len(
                (
                    await there.stub.ListTokens(
                        security_pb2.ListTokensRequest(), metadata=shown(there.operator)
                    )
                ).tokens
            )
            == 1
        )
        made = await here.create(CLIENT)
        watch = "/weft.v1.CoordinatorService/WatchAgents"
        opened = asyncio.create_task(there.call(watch, shown(made.text)))
        await asyncio.sleep(0.2)
        assert not opened.done()
        began_s = asyncio.get_running_loop().time()
        await here.stub.RevokeToken(
            security_pb2.RevokeTokenRequest(id=made.token.id), metadata=shown(here.operator)
        )
        assert reason(await opened) == "TOKEN_REVOKED"
        assert asyncio.get_running_loop().time() - began_s < 2
        assert reason(await there.call(watch, shown(made.text))) == "TOKEN_REVOKED"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"role": 0}, "role"),
        ({"role": 77}, "role"),
        ({"role": CLIENT, "ttl": Duration(seconds=0)}, "ttl"),
        ({"role": CLIENT, "ttl": Duration(seconds=1 << 40)}, "ttl"),
        ({"role": CLIENT, "ttl": Duration(seconds=5), "never_expires": True}, "never_expires"),
        ({"role": CLIENT, "max_uses": 1}, "max_uses"),
        ({"role": AGENT, "max_uses": 1001}, "max_uses"),
        ({"role": CLIENT, "comment": "x" * 257}, "comment"),
        ({"role": CLIENT, "scope": security_pb2.TokenScope(methods=["*"] * 65)}, "scope.methods"),
        ({"role": CLIENT, "scope": security_pb2.TokenScope(hosts=[""])}, "scope.hosts"),
        ({"role": CLIENT, "scope": security_pb2.TokenScope(agent_ids=["\x00"])}, "scope.agent_ids"),
        ({"role": CLIENT, "scope": security_pb2.TokenScope(labels=["zone"])}, "scope.labels"),
    ],
)
def test_bad_requests_for_tokens(fields: dict[str, Any], field: str) -> None:
    from weft.coordinator.identity.token_rules import new_token

    with pytest.raises(WeftError) as refused:
        new_token(security_pb2.CreateTokenRequest(**fields), "x" * 12, "", 1.0)
    assert refused.value.field == field


async def test_nothing_of_a_token_is_stored(door: Door, tmp_path: Path) -> None:
    made = await door.create(CLIENT)
    secret = made.text[17:].encode()
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("weft.db*"))
    assert made.token.id.encode() in stored
    assert secret not in stored
    assert door.operator[17:].encode() not in stored
