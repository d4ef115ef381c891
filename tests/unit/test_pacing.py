"""Pacing: the rule by a table; and that a client's and an agent's stream heed it, by counting their messages.

How many messages there may be follows from how long the flow took: a slow machine is allowed more, never less.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import Int32Value

from tests.support.running_agent import running
from tests.support.scripted_coordinator import ScriptedCoordinator, assignment
from tests.support.task_api import TaskApi, TaskApiServer
from weft.agent import Agent
from weft.client import connect
from weft.rpc.calls.pacing import FEW_ITEMS, LEAST_GAP_S, Pacer
from weft.v1 import coordinator_pb2 as pb

ITEMS = 300
# Between items, so that each would be a message of its own.
APART_S = 0.0005


def most_messages(for_s: float) -> int:
    """How many messages a paced stream may send in this time: at once while there are few, else with gaps."""
    return FEW_ITEMS + 2 + int(for_s / LEAST_GAP_S)


@pytest.mark.parametrize(
    ("since_last_s", "under_way", "wait_s"),
    [
        pytest.param(None, 1000, 0.0, id="the first message"),
        pytest.param(0.0, 1, 0.0, id="a lone item"),
        pytest.param(0.0, FEW_ITEMS, 0.0, id="a few items"),
        pytest.param(0.0, FEW_ITEMS + 1, LEAST_GAP_S, id="many items, just after a message"),
        pytest.param(0.0005, 100_000, LEAST_GAP_S - 0.0005, id="many items: the rest of the gap"),
        pytest.param(LEAST_GAP_S, 1000, 0.0, id="the gap is over"),
        pytest.param(60.0, 1000, 0.0, id="nothing was sent for long"),
    ],
)
def test_how_long_a_message_waits(since_last_s: float | None, under_way: int, wait_s: float) -> None:
    pacer, now_s = Pacer(), 100.0
    if since_last_s is not None:
        pacer.sent(now_s - since_last_s)
    assert pacer.wait_s(under_way, now_s) == pytest.approx(wait_s)


async def _one_by_one() -> AsyncIterator[bytes]:
    for number in range(ITEMS):
        yield b"%d" % number
        await asyncio.sleep(APART_S)


class _Slow(TaskApi):
    """Its tasks end when all have come."""

    async def SubmitTasks(
        self, requests: AsyncIterator[pb.SubmitTasksRequest], context: Any
    ) -> AsyncIterator[pb.SubmitTasksResponse]:
        async for message in requests:
            self.message_sizes.append(len(message.tasks))
            tasks = [self.store(request)[0] for request in message.tasks]
            yield pb.SubmitTasksResponse(acks=[pb.SubmitAck(task_id=task.id) for task in tasks])
            if len(self.tasks) == ITEMS:
                yield pb.SubmitTasksResponse(finished=self.tasks.values())


async def test_a_clients_submissions_go_together_while_many_are_under_way() -> None:
    server = TaskApiServer()
    server.api = _Slow()
    async with server, connect(server.target) as mesh:
        began_s = time.monotonic()
        done = [each.index async for each in mesh.tasks.run_many("acme.v1.Echo/Echo", _one_by_one())]
        took_s = time.monotonic() - began_s
    assert sorted(done) == list(range(ITEMS))
    assert len(server.api.message_sizes) <= most_messages(took_s)


async def test_a_client_with_one_task_at_a_time_sends_each_alone() -> None:
    answered = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        for number in range(20):
            answered.clear()
            yield b"%d" % number
            await answered.wait()

    async with TaskApiServer() as server, connect(server.target) as mesh:
        async for done in mesh.tasks.run_many("acme.v1.Echo/Echo", source()):
            done.result()
            answered.set()
        assert server.api.message_sizes == [1] * 20


def test_an_agents_results_go_together_while_many_attempts_are_under_way() -> None:
    with ScriptedCoordinator() as coordinator:
        agent = Agent("a1", target=coordinator.address, slots=ITEMS)

        @agent.method("acme.v1.Waiter/Wait")
        async def wait(request: Int32Value) -> Int32Value:
            await asyncio.sleep(request.value * APART_S)
            return request

        with running(agent):
            session = coordinator.accept()
            session.welcome(heartbeat_s=60.0)
            began_s = time.monotonic()
            session.send(
                assignments=[
                    assignment(f"t{number}", "acme.v1.Waiter/Wait", Int32Value(value=number))
                    for number in range(ITEMS)
                ]
            )
            session.wait(lambda: len(session.results()) == ITEMS or None, "all results")
            took_s = time.monotonic() - began_s
            messages = sum(bool(message.results) for message in session.received)
    # The last few go at once again.
    assert messages <= most_messages(took_s) + FEW_ITEMS
