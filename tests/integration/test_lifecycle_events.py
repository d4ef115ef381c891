"""What coordinators publish about members: each change once, in order, whichever coordinator sees it; nothing while nobody listens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from probe.v1.probe_pb2 import Payload, ProbeRequest
from tests.support.lightweight import ECHO, LightAgent, Request
from tests.support.mesh import MeshHarness
from weft.agent import Agent
from weft.client import Event, Mesh, TaskHandle, TaskState, connect
from weft.v1 import lifecycle_pb2, session_pb2

KINDS = [
    lifecycle_pb2.AgentJoined,
    lifecycle_pb2.AgentDraining,
    lifecycle_pb2.AgentSuspect,
    lifecycle_pb2.AgentLost,
    lifecycle_pb2.AgentLeft,
    lifecycle_pb2.CoordinatorStopping,
    lifecycle_pb2.TaskEnded,
]
T = 20.0


class Heard:
    """What a subscriber of all lifecycle events has heard, in order."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self.events: list[Event[Any]] = []

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Heard]:
        begun = [asyncio.Event() for _ in KINDS]
        tasks = [
            asyncio.create_task(self._listen(kind, each)) for kind, each in zip(KINDS, begun, strict=True)
        ]
        try:
            async with asyncio.timeout(T):
                await asyncio.gather(*(each.wait() for each in begun))
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self, kind: Any, begun: asyncio.Event) -> None:
        async with aclosing(self._mesh.events.subscribe(kind, on_start=lambda _: begun.set())) as events:
            async for event in events:
                self.events.append(event)

    def of(self, agent_id: str) -> list[str]:
        return [type(each.message).__name__ for each in self.events if each.key == agent_id]

    def code_of(self, task_id: str) -> int:
        return next(each.message.code for each in self.events if each.key == task_id)

    async def until(self, agent_id: str, *kinds: str) -> list[Event[Any]]:
        async with asyncio.timeout(T):
            while len(self.of(agent_id)) < len(kinds):
                await asyncio.sleep(0.01)
        # In the order of their arrival, which between topics is not that of the changes.
        assert sorted(self.of(agent_id)) == sorted(kinds)
        return [each for each in self.events if each.key == agent_id]


async def test_the_life_of_members(mesh: MeshHarness) -> None:
    await mesh.coordinator(heartbeat_interval_s=0.2, reconnect_grace_s=0.5)
    async with connect(mesh.target) as client, LightAgent(mesh.own_channel(), "before"):
        await mesh.wait_serving()
        assert [each async for each in client.events.topics()] == [], "nobody listens"
        async with Heard(client).listening() as heard:
            channel = mesh.own_channel()
            one = LightAgent(channel, "a1", labels={"zone": "eu"}, version="1.2", instance_id="i1")
            await one.open()
            (joined,) = await heard.until("a1", "AgentJoined")
            assert joined.message.member.labels["zone"] == "eu"
            assert joined.message.member.version == "1.2"
            assert list(joined.message.methods) == ["probe.v1.ProbeService/Echo"]
            # It loses its connection, and comes back within its grace.
            await one.close(goodbye=False)
            await heard.until("a1", "AgentJoined", "AgentSuspect")
            again = LightAgent(mesh.own_channel(), "a1", instance_id="i1", heartbeats=False)
            await again.open()
            back = (await heard.until("a1", "AgentJoined", "AgentSuspect", "AgentJoined"))[-1]
            assert back.message.member.instance_id == joined.message.member.instance_id
            assert back.message.member.epoch > joined.message.member.epoch
            await again.send(Request(state=session_pb2.AgentReport(sequence=1, draining=True)))
            await heard.until("a1", "AgentJoined", "AgentSuspect", "AgentJoined", "AgentDraining")
            heard.events.clear()
            await again.close()
            await heard.until("a1", "AgentLeft")
            # One is lost for good.
            two = LightAgent(mesh.own_channel(), "a2")
            await two.open()
            await two.close(goodbye=False)
            lost = await heard.until("a2", "AgentJoined", "AgentSuspect", "AgentLost")
            assert len({each.message.member.epoch for each in lost}) == 1
            assert heard.of("before") == []
            # Its events are kept for those who come later, and a stop is told.
            last = max(each.sequence for each in heard.events if "Joined" in type(each.message).__name__)
        assert mesh.coordinator_process is not None
        assert await mesh.coordinator_process.terminate() == 0
        await mesh.restart_coordinator()
        kept = [each async for each in client.events.list(lifecycle_pb2.AgentJoined)]
        assert [each.sequence for each in kept] == list(range(1, last + 1))
        (stopped,) = [each async for each in client.events.list(lifecycle_pb2.CoordinatorStopping)]
        assert stopped.message.coordinator_id == stopped.key != ""


async def running(handle: TaskHandle[Any]) -> None:
    """Until an agent has the task: one that is cancelled before has none."""
    async with asyncio.timeout(T):
        while await handle.state() is not TaskState.RUNNING:
            await asyncio.sleep(0.01)


async def test_ends_of_tasks(pair: tuple[MeshHarness, MeshHarness]) -> None:
    """Of both coordinators, each once, whoever waits for the task or not."""
    here, there = pair
    await there.agent("a1")
    await here.wait_agent("a1")
    async with connect(here.target) as client, connect(there.target) as other:
        before = await client.tasks.submit("probe.v1.ProbeService/Echo", b"")
        await before.ended(T)
        async with Heard(client).listening() as heard, Heard(other).listening():
            handles = [
                await each.tasks.submit("probe.v1.ProbeService/Call", ProbeRequest(**request))
                for each in (client, other)
                for request in ({}, {"fail_code": 3}, {"sleep_s": 60})
            ]
            for handle in (handles[2], handles[5]):
                await running(handle)
                await handle.cancel()
            for handle in handles:
                (event,) = await heard.until(handle.id, "TaskEnded")
                task = await handle.ended(T)
                told = event.message
                assert (told.method, told.agent_id, told.attempt) == (task.method, "a1", 1)
                assert told.state == task.state.value
                assert told.end_time.ToMicroseconds() > 0
            codes = [heard.code_of(handle.id) for handle in handles]
            assert codes == [0, 3, 1, 0, 3, 1]
        found = [each.message.task_id async for each in client.events.list(lifecycle_pb2.TaskEnded)]
        # The one before may be told of too: it ended when somebody began to listen.
        assert sorted({*found} - {before.id}) == sorted(handle.id for handle in handles)
        assert len(found) == len({*found})


async def test_each_change_is_one_event_at_two_coordinators(pair: tuple[MeshHarness, MeshHarness]) -> None:
    here, there = pair
    async with connect(here.target) as client, connect(there.target) as other:
        async with Heard(client).listening() as heard, Heard(other).listening():
            one = LightAgent(here.own_channel(), "a1", instance_id="i1")
            await one.open()
            await heard.until("a1", "AgentJoined")
            # It goes on at the other coordinator.
            two = LightAgent(there.own_channel(), "a1", instance_id="i1")
            await two.open()

            await heard.until("a1", "AgentJoined", "AgentJoined")
            assert there.coordinator_process is not None
            # Its coordinator is killed: the other one tells what becomes of it.
            await there.coordinator_process.kill()
            await heard.until("a1", "AgentJoined", "AgentJoined", "AgentSuspect", "AgentLost")
            await one.close(goodbye=False)
            await two.close(goodbye=False)
        for kind in KINDS:
            ids = [each.id async for each in client.events.list(kind)]
            assert len(ids) == len(set(ids))
        joined = [each.message.member.epoch async for each in client.events.list(lifecycle_pb2.AgentJoined)]
        assert len(joined) == len(set(joined)) == 2
        lost = [each async for each in client.events.list(lifecycle_pb2.AgentLost)]
        assert len(lost) == 1


async def test_what_happens_becomes_tasks(mesh: MeshHarness) -> None:
    """Durable subscriptions of lifecycle topics; also two that watch the ends of tasks, which make no tasks of each other's ends."""
    await mesh.coordinator(heartbeat_interval_s=0.2, reconnect_grace_s=0.5)
    ended: list[tuple[str, str]] = []
    lost: list[str] = []
    watcher = Agent("watcher", target=mesh.target)

    @watcher.method("probe.v1.Watcher/Ended")
    async def note_end(event: lifecycle_pb2.TaskEnded) -> Payload:
        ended.append(("Ended", event.task_id))
        return Payload()

    @watcher.method("probe.v1.Watcher/EndedToo")
    async def note_end_too(event: lifecycle_pb2.TaskEnded) -> Payload:
        ended.append(("EndedToo", event.task_id))
        return Payload()

    @watcher.method("probe.v1.Watcher/Lost")
    async def note_loss(event: lifecycle_pb2.AgentLost) -> Payload:
        lost.append(event.member.agent_id)
        return Payload()

    running = asyncio.create_task(watcher.serve())
    async with connect(mesh.target) as client:
        await mesh.wait_serving("probe.v1.Watcher")
        for name in ("Ended", "EndedToo"):
            await client.subscriptions.create(name, lifecycle_pb2.TaskEnded, f"probe.v1.Watcher/{name}")
        await client.subscriptions.create("Lost", lifecycle_pb2.AgentLost, "probe.v1.Watcher/Lost")
        # The next coordinator goes on with them.
        await mesh.restart_coordinator()
        async with LightAgent(mesh.own_channel(), "a1"):
            await mesh.wait_serving()
            handles = [await client.tasks.submit(ECHO, Payload(data=b"x")) for _ in range(3)]
            async with asyncio.timeout(T):
                for handle in handles:
                    await handle.result()
        two = LightAgent(mesh.own_channel(), "a2")
        await two.open()
        await two.close(goodbye=False)

        async def seen() -> bool:
            return len(ended) >= 8 and bool(lost)

        await mesh.eventually(seen, "all of it became tasks")
        # The ends of these tasks were published, and made none: 3 of a1, and 9 of the watcher.

        async def passed() -> bool:
            subscriptions = [await client.subscriptions.get(name) for name in ("Ended", "EndedToo")]
            return all(each.cursor >= 12 for each in subscriptions)

        await mesh.eventually(passed, "they have looked at their own ends")
        wanted = {(name, each.id) for name in ("Ended", "EndedToo") for each in handles}
        assert wanted <= set(ended)
        # The end of the task that noted the loss is one more, for each.
        assert len(ended) == len(wanted) + 2
        assert lost == ["a2"]
    watcher.stop()
    await running
