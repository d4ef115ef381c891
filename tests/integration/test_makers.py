"""What callers order for later is carried out if they may still call then: ticks of schedules, and callbacks of groups."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration

from tests.support.lightweight import ECHO, LightAgent
from tests.support.outside_issuer import OutsideIssuer
from tests.support.token_door import Door, reason, shown, token_door
from weft.rpc.errors import from_call
from weft.rpc.identity.caller import AGENT, CLIENT
from weft.rpc.network.channel import Route, dial
from weft.rpc.security.token_source import token_source
from weft.rpc.times import timestamp
from weft.v1 import group_pb2, schedule_pb2, security_pb2
from weft.v1.group_pb2_grpc import GroupServiceStub
from weft.v1.schedule_pb2_grpc import ScheduleServiceStub

ISSUER = """
[[issuers]]
name = "{name}"
issuer = "{url}"
audiences = ["weft"]
[[issuers.grants]]
role = "client"
methods = ["probe.*"]
"""
DENIED = """
[[rules]]
effect = "deny"
callers = ["token:narrowed", "jwt:corp:mallory"]
methods = ["probe.*"]
"""


class Site:
    """A coordinator that asks for tokens and trusts an issuer, and an agent."""

    def __init__(self, door: Door, policy: Path, issuer: OutsideIssuer) -> None:
        self.door = door
        self.policy = policy
        self.issuer = issuer
        self.schedules = ScheduleServiceStub(door.channel)
        self.groups = GroupServiceStub(door.channel)

    async def token(self, name: str, **fields: Any) -> security_pb2.CreateTokenResponse:
        return await self.door.create(CLIENT, name=name, **fields)

    async def trust(self, rules: str, issuer: str = "corp") -> None:
        """Change the policy, and wait until it is in force."""
        self.policy.write_text(rules + ISSUER.format(name=issuer, url=self.issuer.url))
        text = (await self.token("narrowed")).text
        denied = "POLICY_DENIED" if rules else ""
        async with asyncio.timeout(5):
            while reason(await self.door.call(f"/{ECHO}", shown(text))) != denied:
                await asyncio.sleep(0.02)

    async def schedule(self, name: str, text: str, at: float) -> None:
        spec = schedule_pb2.ScheduleSpec(method=ECHO, at=timestamp(at))
        request = schedule_pb2.CreateScheduleRequest(name=name, spec=spec)
        await self.schedules.CreateSchedule(request, metadata=shown(text), timeout=10)

    async def read(self, name: str) -> schedule_pb2.Schedule:
        request = schedule_pb2.GetScheduleRequest(name=name)
        answer = await self.schedules.GetSchedule(request, metadata=shown(self.door.operator), timeout=10)
        return answer.schedule

    async def revoke(self, made: security_pb2.CreateTokenResponse) -> None:
        request = security_pb2.RevokeTokenRequest(id=made.token.id)
        await self.door.stub.RevokeToken(request, metadata=shown(self.door.operator), timeout=10)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    policy = tmp_path / "policy.toml"
    async with contextlib.AsyncExitStack() as stack:
        issuer = stack.enter_context(OutsideIssuer())
        issuer.add_key("one")
        policy.write_text(ISSUER.format(name="corp", url=issuer.url))
        door = await stack.enter_async_context(token_door(tmp_path, policy=policy))
        text = (await door.create(AGENT)).text
        channel = dial(door.coordinator.address, None, Route(token=token_source(text)))
        stack.push_async_callback(channel.close)
        await stack.enter_async_context(LightAgent(channel, "worker"))
        made = Site(door, policy, issuer)
        await made.trust("")
        yield made


async def test_ticks_are_of_makers_who_may_still_call(site: Site) -> None:
    texts = {name: await site.token(name) for name in ("kept", "revoked", "narrowed", "taken-over")}
    texts["ended"] = await site.token("ended", ttl=Duration(seconds=1))
    at = time.time() + 1.5
    for name, made in texts.items():
        await site.schedule(name, made.text, at)
    for name in ("alice", "mallory"):
        await site.schedule(name, site.issuer.sign(sub=name), at)
    kept = await site.read("kept")
    assert (kept.maker.subject, kept.maker.role) == ("token:kept", 0)
    assert (await site.read("alice")).maker.scope.methods == ["probe.*"]
    for name in ("revoked", "taken-over"):
        await site.revoke(texts[name])
    # The same spec, by who may.
    taken = schedule_pb2.UpdateScheduleRequest(name="taken-over", spec=(await site.read("taken-over")).spec)
    await site.schedules.UpdateSchedule(taken, metadata=shown(texts["kept"].text), timeout=10)
    await site.trust(DENIED)
    assert time.time() < at, "the ticks have come too early for this test"
    found = {name: await _ticked(site, name) for name in (*texts, "alice", "mallory")}
    submitted, refused = schedule_pb2.TICK_OUTCOME_SUBMITTED, schedule_pb2.TICK_OUTCOME_REFUSED
    assert {name: tick.outcome for name, tick in found.items()} == {
        **dict.fromkeys(("kept", "taken-over", "alice"), submitted),
        **dict.fromkeys(("revoked", "narrowed", "ended", "mallory"), refused),
    }
    for name, why in (
        ("revoked", "was revoked"),
        ("narrowed", "policy"),
        ("ended", "expired"),
        ("mallory", "policy"),
    ):
        assert why in found[name].reason, found[name]
    # An issuer that nobody trusts any more has no callers.
    at = time.time() + 1.0
    await site.schedule("late", site.issuer.sign(sub="alice"), at)
    await site.trust("", issuer="another")
    assert "does not trust" in (await _ticked(site, "late")).reason


async def _ticked(site: Site, name: str) -> schedule_pb2.ScheduleTick:
    async with asyncio.timeout(10):
        while not (schedule := await site.read(name)).last_ticks:
            await asyncio.sleep(0.02)
    return schedule.last_ticks[0]


async def test_callbacks_are_of_makers_who_may_still_call(site: Site) -> None:
    makers = {name: await site.token(name) for name in ("kept", "revoked")}
    for name, made in makers.items():
        callback = group_pb2.GroupCallback(method=ECHO)
        request = group_pb2.CreateGroupRequest(name=name, callback=callback)
        await site.groups.CreateGroup(request, metadata=shown(made.text), timeout=10)
    await site.revoke(makers["revoked"])
    operator = shown(site.door.operator)
    found: dict[str, group_pb2.Group] = {}
    for name in makers:
        await site.groups.CloseGroup(group_pb2.CloseGroupRequest(name=name), metadata=operator, timeout=10)
        async with asyncio.timeout(10):
            while not (found.get(name) and (found[name].callback_task_id or found[name].callback_error)):
                request = group_pb2.GetGroupRequest(name=name)
                found[name] = (await site.groups.GetGroup(request, metadata=operator, timeout=10)).group
                await asyncio.sleep(0.02)
    assert found["kept"].callback_task_id
    assert not found["revoked"].callback_task_id
    assert "was revoked" in found["revoked"].callback_error
    # Who may not call it cannot set it.
    scope = security_pb2.TokenScope(methods=["acme.*"])
    text = (await site.token("elsewhere", scope=scope)).text
    request = group_pb2.CreateGroupRequest(name="other", callback=group_pb2.GroupCallback(method=ECHO))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await site.groups.CreateGroup(request, metadata=shown(text), timeout=10)
    assert from_call(refused.value).reason_name == "OUT_OF_SCOPE"
