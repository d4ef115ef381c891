"""An agent that is to end when it has nothing to do."""

from __future__ import annotations

import asyncio

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from pydantic import ValidationError

from tests.support.running_agent import running
from tests.support.scripted_coordinator import ScriptedCoordinator
from weft.agent import Agent
from weft.rpc.errors import InvalidArgument

ECHO, HOLD = "own.v1.Own/Echo", "own.v1.Own/Hold"


def test_it_ends_when_it_has_had_nothing_for_a_while_and_not_before() -> None:
    held = asyncio.Event()
    with ScriptedCoordinator() as coordinator:
        agent = Agent("a1", target=coordinator.address, slots=2, end_when_idle_s=0.3)

        async def hold(request: StringValue) -> StringValue:
            # Longer than it may be idle.
            await asyncio.sleep(0.8)
            held.set()
            return request

        agent.method(HOLD)(hold)
        with running(agent) as run:
            session = coordinator.accept()
            session.welcome(heartbeat_s=0.1)
            session.assign("t1", HOLD, StringValue())
            session.ack(session.result("t1"))
            assert held.is_set()
            run.wait()
            assert run.error is None


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), 1e9])
def test_a_time_that_is_none(wrong: float) -> None:
    with pytest.raises((ValidationError, InvalidArgument)):
        Agent("a1", end_when_idle_s=wrong)
