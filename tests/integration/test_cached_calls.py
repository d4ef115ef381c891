"""Cached requests: equal durable calls share one task and its result; on Redis over two coordinators."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.rpc import code_pb2

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import ProbeReply, ProbeRequest
from tests.support.command import weft
from tests.support.lightweight import CALL, ECHO, LightAgent, Request, result_of
from tests.support.mesh import MeshHarness
from tests.support.processes import until
from tests.support.refusals import check, refused
from weft.client import connect
from weft.v1 import session_pb2
from weft.v1.coordinator_pb2 import ListQueuesRequest
from weft.v1.method_pb2 import GetMethodRequest
from weft.v1.method_pb2_grpc import MethodServiceStub

WAIT_S = 20.0


@dataclass
class Cached:
    """Two doors to a mesh whose method `Call` has a cache, and its agent with one slot. An attempt ends when the test says so."""

    doors: tuple[MeshHarness, MeshHarness]
    agent: LightAgent
    stubs: tuple[probe_pb2_grpc.ProbeServiceStub, ...] = ()
    held: list[session_pb2.Assignment] = field(default_factory=list[session_pb2.Assignment])

    def call(self, door: int, text: str = "x", *, metadata: Sequence[tuple[str, str]] = ()) -> Any:
        return self.stubs[door].Call(ProbeRequest(text=text), metadata=metadata, timeout=WAIT_S)

    async def end(self, code: int = code_pb2.OK) -> session_pb2.Assignment:
        """End the attempt that runs, once there is one."""
        await until(lambda: len(self.agent.assigned) > len(self.held), "an attempt runs")
        item = self.agent.assigned[len(self.held)]
        self.held.append(item)
        request = ProbeRequest.FromString(item.payload)
        reply = ProbeReply(text=f"{request.text} {len(self.held)}").SerializeToString()
        result = result_of(item, response=reply)
        result.outcome.status.code = code
        await self.agent.send(Request(results=[result]))
        return item

    async def busy(self) -> asyncio.Task[Any]:
        """Occupy the agent with another call. `end` lets it go."""
        other = asyncio.ensure_future(self.call(0, "busy", metadata=[("weft-cache", "off")]))
        await until(lambda: len(self.agent.assigned) > len(self.held), "the agent is busy")
        return other

    async def queued(self, count: int) -> None:
        """Wait until so many tasks of the method are unfinished."""

        async def so_many() -> bool:
            queues = (await self.doors[1].api().ListQueues(ListQueuesRequest())).queues
            return sum(queue.queued + queue.running for queue in queues) == count

        await self.doors[0].eventually(so_many, f"{count} tasks are unfinished")


async def trailers(call: Any) -> dict[str, str | bytes]:
    return dict(await call.trailing_metadata())


async def _has_cache(door: MeshHarness) -> bool:
    stub = MethodServiceStub(door.channel())
    return (await stub.GetMethod(GetMethodRequest(name=CALL))).method.policy.HasField("cache")


@pytest_asyncio.fixture
async def cached(doors: tuple[MeshHarness, MeshHarness]) -> AsyncIterator[Cached]:
    async with LightAgent(
        doors[0].own_channel(), "a", slots=1, methods=(CALL, ECHO), answer=lambda _: None
    ) as agent:
        await doors[1].wait_serving()
        async with connect(doors[1].target) as mesh:
            await mesh.methods.override(CALL, cache_s=300)
        for door in doors:
            await door.eventually(lambda door=door: _has_cache(door), "each coordinator knows of the cache")
        made = Cached(doors, agent, tuple(door.probe() for door in doors))
        yield made


async def test_equal_calls_share_one_task_and_then_its_result(cached: Cached) -> None:
    calls = [asyncio.ensure_future(cached.call(n % 2)) for n in range(6)]
    await cached.queued(1)
    item = await cached.end()
    assert {(await call).text for call in calls} == {"x 1"}
    hit = cached.call(1, metadata=[("x-caller", "another")])
    assert (await hit).text == "x 1"
    told = await trailers(hit)
    assert (told["weft-cached"], told["weft-task-id"], told["weft-agent"]) == ("true", item.task_id, "a")
    # Other requests, and calls that say that they want a run of their own.
    own = (
        [("weft-cache", "off")],
        [("weft-request-id", "mine")],
        [("weft-require", "agent.id=a")],
        [("weft-agent", "a")],
    )
    for at, metadata in enumerate(own, 2):
        call = asyncio.ensure_future(cached.call(0, metadata=metadata))
        await cached.end()
        assert (await call).text == f"x {at}"
    other = cached.call(0, "y")
    await cached.end()
    assert (await other).text == "y 6"
    assert "weft-cached" not in await trailers(other)
    # None of them replaced the result.
    assert (await cached.call(0)).text == "x 1"
    detached = cached.call(0, metadata=[("weft-detach", "true")])
    await detached
    assert (await trailers(detached))["weft-cached"] == "true"
    await by_library_and_command(cached, item.task_id)


async def by_library_and_command(cached: Cached, task_id: str) -> None:
    request = ProbeRequest(text="x")
    async with connect(cached.doors[1].target) as mesh:
        handle = await mesh.tasks.submit(CALL, request)
        assert (handle.id, handle.existed, handle.cached) == (task_id, True, True)
        assert ProbeReply.FromString(await handle.result()).text == "x 1"
        assert [each.cached async for each in mesh.tasks.submit_many(CALL, [request] * 2)] == [True, True]
        assert [each.task.id async for each in mesh.tasks.run_many(CALL, [request] * 2) if each.task] == [
            task_id
        ] * 2
        own = await mesh.tasks.submit(CALL, request, cache=False)
        assert (own.existed, own.cached) == (False, False)
        later = await mesh.tasks.submit(CALL, request, delay_s=3600)
        assert not later.existed
        await later.cancel()
    await cached.end()
    shown = await weft("call", CALL, '{"text": "x"}', target=cached.doors[0].target)
    assert "attempt 1 on a, cached" in shown.err
    shown = await weft("submit", CALL, '{"text": "x"}', "--json", target=cached.doors[0].target)
    assert shown.document == {"task_id": task_id, "existed": True, "cached": True}


async def test_failures_are_not_reused(cached: Cached) -> None:
    call = asyncio.ensure_future(refused(cached.call(0)))
    await cached.end(code_pb2.INTERNAL)
    assert (await call).code == code_pb2.INTERNAL
    again = asyncio.ensure_future(cached.call(1))
    item = await cached.end()
    assert (await again).text == "x 2"
    hit = cached.call(0)
    assert (await hit).text == "x 2"
    assert (await trailers(hit))["weft-task-id"] == item.task_id


@pytest.mark.parametrize("leaves", [True, False])
async def test_who_joins_a_task_does_not_end_with_its_caller(cached: Cached, leaves: bool) -> None:
    """The first caller goes away, or its deadline passes; those that joined get an answer all the same."""
    request = ProbeRequest(text="x")
    other = await cached.busy()
    async with connect(cached.doors[1].target) as mesh:
        first = cached.stubs[0].Call(request, timeout=WAIT_S if leaves else 1.5)
        began = asyncio.ensure_future(refused(first))
        await cached.queued(2)
        joined = asyncio.ensure_future(cached.call(1))
        calls = [asyncio.ensure_future(mesh.tasks.call(CALL, request, timeout_s=WAIT_S)) for _ in "ab"]
        # These are on their way before this one.
        assert (await mesh.tasks.submit(CALL, request)).existed
        # One that joined and leaves takes nothing from the others.
        calls[1].cancel()
        if leaves:
            first.cancel()
            await asyncio.gather(began, return_exceptions=True)
        else:
            assert (await began).code == code_pb2.DEADLINE_EXCEEDED
        await cached.end()
        await other
        await cached.end()
        reply = await joined
        assert reply.text == "x 2"
        assert ProbeReply.FromString(await calls[0]) == reply
        assert len(cached.agent.assigned) == 2


async def test_bad_input_is_refused(cached: Cached) -> None:
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    for key, value in (("weft-cache", "maybe"), ("weft-request-id", "cache:00")):
        status = await refused(cached.call(0, metadata=[(key, value)]))
        check(status, invalid, "INVALID_FIELD")
    status = await refused(cached.call(0, metadata=[("weft-cache", "off"), ("weft-mode", "direct")]))
    check(status, invalid, "INVALID_FIELD", "weft-cache")
