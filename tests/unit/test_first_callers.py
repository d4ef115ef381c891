"""Callers may know an agent before it has its first welcome: its port does not send them away."""

from __future__ import annotations

import asyncio

import pytest

from weft.agent.direct import caller_check
from weft.agent.direct.caller_check import CallerCheck
from weft.rpc.errors import Unavailable
from weft.rpc.security import tickets
from weft.rpc.times import timestamp
from weft.v1 import access_pb2, security_pb2, session_pb2

KEY = b"k" * 32


def ticket(check: CallerCheck) -> str:
    caller = security_pb2.CheckTokenResponse(id="x" * 12, role=access_pb2.ROLE_CLIENT)
    now = check.now()
    return tickets.signed(
        security_pb2.Ticket(
            agent=security_pb2.AgentProcess(agent_id="a1", instance_id="i1"),
            caller=caller,
            create_time=timestamp(now + 60),
            expire_time=timestamp(now + 600),
        ),
        KEY,
    )


async def test_a_call_before_the_first_welcome_waits_for_it() -> None:
    check = CallerCheck("a1", "i1", lambda: None, has_token=True)
    judged = asyncio.create_task(check.judge(ticket(check)))
    await asyncio.sleep(0)
    assert not judged.done()
    check.welcomed(session_pb2.Welcome(tokens_checked=True, ticket_key=KEY))
    async with asyncio.timeout(5):
        assert (await judged).caller.role == access_pb2.ROLE_CLIENT


async def test_it_is_sent_away_when_none_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller_check, "WELCOME_S", 0.01)
    check = CallerCheck("a1", "i1", lambda: None, has_token=True)
    with pytest.raises(Unavailable):
        await check.judge(ticket(check))
