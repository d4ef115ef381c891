"""An agent that is to end when it has nothing to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from pydantic import ValidationError

from tests.support.running_agent import running
from tests.support.scripted_coordinator import ScriptedCoordinator
from weft.agent import Agent
from weft.agent.handlers.slots import Slots
from weft.agent.idle_end import end_when_idle
from weft.rpc.errors import InvalidArgument

IDLE_S = 0.2


class Looked:
    """An agent whose looks are counted: each asks how many calls have ended."""

    connected = True
    looks = 0
    ended = 0

    def __init__(self) -> None:
        self.stopped = asyncio.Event()
        self.slots = Slots(2)
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def stop(self) -> None:
        self.stopped.set()

    def ends(self) -> int:
        self.looks += 1
        return self.ended

    async def many_looks(self, each: Callable[[], None] = lambda: None) -> None:
        """Wait for more looks than fit into the time that it may be idle."""
        until = self.looks + 3 * 20
        while self.looks < until:
            each()
            await asyncio.sleep(0.001)


async def looked_after() -> Looked:
    agent = Looked()
    end_when_idle(IDLE_S, agent.slots, agent.ends, agent, agent.finished)
    return agent


async def test_it_stays_while_it_runs_something_and_ends_then() -> None:
    agent = await looked_after()
    assert agent.slots.take(1)
    await agent.many_looks()
    assert not agent.stopped.is_set()
    agent.slots.give(1)
    await asyncio.wait_for(agent.stopped.wait(), 20)


async def test_it_stays_while_it_is_not_connected() -> None:
    agent = await looked_after()
    agent.connected = False
    await agent.many_looks()
    assert not agent.stopped.is_set()
    agent.connected = True
    await asyncio.wait_for(agent.stopped.wait(), 20)


async def test_what_ran_between_two_looks_counts() -> None:
    agent = await looked_after()

    def one_more() -> None:
        agent.ended += 1

    await agent.many_looks(one_more)
    assert not agent.stopped.is_set()
    await asyncio.wait_for(agent.stopped.wait(), 20)


async def test_who_has_ended_is_looked_at_no_more() -> None:
    agent = await looked_after()
    (watch,) = (task for task in asyncio.all_tasks() if task.get_name() == "idle end")
    agent.finished.set_result(None)
    await asyncio.wait([watch], timeout=20)
    assert watch.cancelled()
    assert not agent.stopped.is_set()


def test_an_agent_ends_by_itself() -> None:
    with ScriptedCoordinator() as coordinator:
        agent = Agent("a1", target=coordinator.address, end_when_idle_s=IDLE_S)

        async def echo(request: StringValue) -> StringValue:
            return request

        agent.method("own.v1.Own/Echo")(echo)
        with running(agent) as run:
            coordinator.accept().welcome(heartbeat_s=0.1)
            run.wait()
            assert run.error is None


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), 1e9])
def test_a_time_that_is_none(wrong: float) -> None:
    with pytest.raises((ValidationError, InvalidArgument)):
        Agent("a1", end_when_idle_s=wrong)
