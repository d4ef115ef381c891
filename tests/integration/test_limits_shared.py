"""Run limits over two coordinators on one Redis, with an agent at each: nobody overruns them, and nothing waits for nothing."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio

from tests.support.lightweight import ECHO, LightAgent, Request, echo, never
from tests.support.processes import until
from tests.support.redis_server import RedisServer
from tests.support.soak import SOAKS
from weft.coordinator.server import Coordinator
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.records import Submission
from weft.coordinator.store.rules import QueueKey
from weft.coordinator.store.run_limits import LockClaim
from weft.v1 import coordinator_pb2, coordinator_pb2_grpc, session_pb2


@dataclass
class Mesh:
    """Two coordinators, and an agent at each, which keeps its assignments unless `answers`."""

    coordinators: list[Coordinator] = field(default_factory=list[Coordinator])
    agents: list[LightAgent] = field(default_factory=list[LightAgent])
    answers: bool = False
    # When each assignment came that was answered at once.
    times_s: list[float] = field(default_factory=list[float])
    ended: set[str] = field(default_factory=set[str])

    def answer(self, item: session_pb2.Assignment) -> session_pb2.AttemptResult | None:
        self.times_s.append(time.monotonic())
        return echo(item) if self.answers else never(item)

    async def limit(self, **limits: Any) -> None:
        """As an operator: what is set in the store alone, coordinators take back."""
        request = coordinator_pb2.UpdateQueueRequest(
            method=ECHO, limits=coordinator_pb2.QueueLimits(**limits)
        )
        async with grpc.aio.insecure_channel(self.coordinators[0].address) as channel:
            await coordinator_pb2_grpc.CoordinatorServiceStub(channel).UpdateQueue(request, timeout=10)

    async def submit(self, submissions: list[Submission]) -> None:
        """Store tasks, in turns at both."""
        for at in range(0, len(submissions), 250):
            await self.coordinators[at // 250 % 2].default._store.enqueue(submissions[at : at + 250])

    @property
    def running(self) -> list[session_pb2.Assignment]:
        return [item for agent in self.agents for item in agent.assigned if item.task_id not in self.ended]

    async def end_one_each(self) -> None:
        """End one attempt of each agent that runs one."""
        for agent in self.agents:
            for item in agent.assigned:
                if item.task_id not in self.ended:
                    self.ended.add(item.task_id)
                    await agent.send(Request(results=[echo(item)]))
                    break


@pytest_asyncio.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    async with RedisServer(tmp_path) as redis, contextlib.AsyncExitStack() as stack:
        settings = CoordinatorSettings(listen="127.0.0.1:0", store=redis.url)
        mesh = Mesh()
        for number in range(2):
            coordinator = Coordinator(settings)
            await coordinator.start()
            stack.push_async_callback(coordinator.stop, 0.1)
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(coordinator.address))
            agent = LightAgent(channel, f"a{number}", slots=50, answer=mesh.answer)
            await stack.enter_async_context(agent)
            mesh.coordinators.append(coordinator)
            mesh.agents.append(agent)
        await until(
            lambda: all(each.default._register.serving(QueueKey(ECHO)) == 2 for each in mesh.coordinators),
            "both coordinators know both agents",
        )
        yield mesh


async def test_as_many_run_as_may_over_both(mesh: Mesh) -> None:
    await mesh.limit(max_running=3)
    await mesh.submit([Submission(ECHO)] * 40)
    # At most two end at a time: whoever has them, others start for them.
    while len(mesh.ended) < 40:
        room = min(3, 40 - len(mesh.ended))
        await until(lambda most=room: len(mesh.running) >= most, f"{room} run")
        assert len(mesh.running) == room
        await mesh.end_one_each()


async def test_a_lock_is_held_once_over_both(mesh: Mesh) -> None:
    locked = [Submission(ECHO, locks=(LockClaim("db", shared=number % 5 != 0),)) for number in range(20)]
    await mesh.submit(locked)
    while len(mesh.ended) < 20:
        await until(lambda: len(mesh.running) > 0, "one runs")
        held = {record.name: record for record in await mesh.coordinators[1].default._store.locks()}
        holders = held["db"].holders
        assert len(holders) == 1 or all(holder.shared for holder in holders)
        await mesh.end_one_each()
    async with asyncio.timeout(20):
        while await mesh.coordinators[0].default._store.locks():
            await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_a_rate_holds_for_long_over_both(mesh: Mesh) -> None:
    """For a minute with TEST_SOAK=1."""
    lasts_s = 60 if SOAKS else 15
    mesh.answers = True
    await mesh.limit(max_rate_per_s=100.0)
    await mesh.submit([Submission(ECHO)] * (100 * lasts_s + 1000))
    began_s = time.monotonic()
    await asyncio.sleep(lasts_s + 2)
    # Without the burst.
    counts = Counter(int(at_s - began_s) for at_s in mesh.times_s)
    each = [counts[second] for second in range(1, lasts_s + 1)]
    print(sum(each) / lasts_s, each, [len(agent.assigned) for agent in mesh.agents])
    # A machine with other work may be late, and never early.
    assert (95 if SOAKS else 80) <= sum(each) / lasts_s <= 105
    assert all(len(agent.assigned) > 16 * lasts_s for agent in mesh.agents)
