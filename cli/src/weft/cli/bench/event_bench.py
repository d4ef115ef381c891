"""Events: published at a steady rate to live subscribers, one of which never reads, and kept ones replayed.

this process ─► publishers ─► coordinator, store ─► processes of subscribers (`event_followers`)
                                                 ─► one here that never reads
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import psutil

from weft.cli.bench.bench_subject import METHOD, PAYLOAD
from weft.cli.bench.event_followers import TOPIC
from weft.cli.bench.event_sample import EventSample
from weft.cli.bench.measure import quantile_of
from weft.cli.bench.redis_process import RedisProcess
from weft.cli.process.children import START_S, Child, Children, until
from weft.client import Mesh, NewEvent, NotFound, connect
from weft.rpc.network.channel import Route, client_options, dial
from weft.rpc.security.channel_credentials import channel_security
from weft.rpc.security.tls import chosen
from weft.v1 import event_pb2, event_pb2_grpc

RATE_PER_S = 10_000
SUBSCRIBERS = 100
_PROCESSES = 2
_PUBLISHERS = 2
_BATCH = 200
# Kept events are published so many at a time, by so many at once.
_LARGE_BATCH = 1000
_AT_ONCE = 4
_MEMORY_EVERY_S = 0.2
_ASK_S = 0.05
# After this, a run on a machine that is far too slow is given up.
_DONE_S = 120.0


@dataclass(frozen=True, slots=True)
class EventEffort:
    """How long events are published live, and how many kept ones are replayed."""

    live_s: float
    replayed: int


QUICK_EVENTS = EventEffort(live_s=2.0, replayed=50_000)
THOROUGH_EVENTS = EventEffort(live_s=20.0, replayed=1_000_000)


class _Found(TypedDict):
    """The figures of one process of subscribers."""

    received: int
    missed: int
    late_s: list[float]
    cpu_s: float


async def embedded_events(children: Children, effort: EventEffort) -> EventSample:
    """Events on the embedded store, durability "process"."""
    store = str(children.folder / "events.db")
    bench = _EventBench(children, store, "process", effort, {})
    return await bench.run("events_embedded", "embedded store, process")


async def redis_events(children: Children, effort: EventEffort) -> EventSample:
    """Events on a Redis that syncs its log every second."""
    server = await RedisProcess.start(children)
    bench = _EventBench(children, server.url, "fast", effort, {"redis": server.child})
    return await bench.run("events_redis", "Redis, everysec")


class _EventBench:
    """The measurement of one store.

    Args:
        others: processes of the store, by name.
    """

    def __init__(
        self, children: Children, store: str, durability: str, effort: EventEffort, others: dict[str, Child]
    ) -> None:
        self._children = children
        self._store = store
        self._durability = durability
        self._effort = effort
        self._others = others
        self._memory_bytes = 0

    async def run(self, prefix: str, title: str) -> EventSample:
        coordinator, target = await self._children.coordinator(
            "coordinator-events", store=self._store, durability=self._durability
        )
        # Its contract has the message type.
        self._children.agent("events-0", "weft.cli.bench.echo:agent", target, slots=1)
        processes = {"coordinator": coordinator} | self._others
        async with connect(target) as mesh:
            await self._children.hosted(mesh, METHOD, agents=1)
            await _until_known(mesh)
            watching = asyncio.create_task(self._watch_memory(coordinator))
            try:
                live = await self._live(mesh, target, processes)
                replayed, replayed_per_s = await self._replay(mesh, target)
            finally:
                watching.cancel()
        return EventSample(
            prefix=prefix,
            title=title,
            replayed=replayed,
            replayed_per_s=replayed_per_s,
            memory_mib=self._memory_bytes / 2**20,
            **live,
        )

    async def _watch_memory(self, coordinator: Child) -> None:
        process = psutil.Process(coordinator.pid)
        while True:
            self._memory_bytes = max(self._memory_bytes, process.memory_info().rss)
            await asyncio.sleep(_MEMORY_EVERY_S)

    # -- live -----------------------------------------------------------------------------------------------------

    async def _live(self, mesh: Mesh, target: str, processes: dict[str, Child]) -> dict[str, Any]:
        total = int(RATE_PER_S * self._effort.live_s) // _BATCH * _BATCH
        files = [self._children.folder / f"followers-{number}.json" for number in range(_PROCESSES)]
        followers = [self._followers(target, total, file) for file in files]
        for file, child in zip(files, followers, strict=True):
            await until(file.with_suffix(".ready").exists, [child], "subscribers to begin")
        async with _channel(target) as channel:
            slow = event_pb2_grpc.EventServiceStub(channel).SubscribeEvents(
                event_pb2.SubscribeEventsRequest(topic=TOPIC, keep_up=True), wait_for_ready=True
            )
            await slow.read()
            before = {name: _cpu_s(child) for name, child in processes.items()}
            own_s, began_s = time.process_time(), time.perf_counter()
            await self._publish(mesh, total, began_s)
            published_s = time.perf_counter() - began_s
            publisher_s = time.process_time() - own_s
            for file, child in zip(files, followers, strict=True):
                await until(file.exists, [child], "subscribers to have all events", timeout_s=_DONE_S)
            done_s = time.perf_counter() - began_s
            used_s = {name: _cpu_s(child) - before[name] for name, child in processes.items()}
            slow_missed = await _missed(slow, total)
        found: list[_Found] = [json.loads(file.read_text()) for file in files]
        used_s |= {"subscribers": sum(each["cpu_s"] for each in found), "publisher": publisher_s}
        late_s = [late_s for each in found for late_s in each["late_s"]]
        return {
            "published_per_s": total / published_s,
            "delivered_per_s": sum(each["received"] for each in found) / done_s,
            "late_p50_ms": quantile_of(late_s, 0.5) * 1e3,
            "late_p99_ms": quantile_of(late_s, 0.99) * 1e3,
            "missed": sum(each["missed"] for each in found),
            "slow_missed": slow_missed,
            "cpu_us": {name: each_s / total * 1e6 for name, each_s in used_s.items()},
        }

    def _followers(self, target: str, total: int, file: Path) -> Child:
        count = str(SUBSCRIBERS // _PROCESSES)
        arguments = ("-m", "weft.cli.bench.event_followers", target, count, str(total), str(file))
        return self._children.python(file.stem, *arguments)

    async def _publish(self, mesh: Mesh, total: int, began_s: float) -> None:
        """Publish at the rate, or as fast as it goes."""
        events = [NewEvent(PAYLOAD)] * _BATCH
        left = iter(range(total // _BATCH))

        async def some() -> None:
            for number in left:
                await mesh.events.publish_all(events)
                ahead_s = began_s + (number + 1) * _BATCH / RATE_PER_S - time.perf_counter()
                await asyncio.sleep(max(0.0, ahead_s))

        await asyncio.gather(*(some() for _ in range(_PUBLISHERS)))

    # -- replayed -------------------------------------------------------------------------------------------------

    async def _replay(self, mesh: Mesh, target: str) -> tuple[int, float]:
        """How many kept events one subscriber reads, and how many of them a second."""
        (topic,) = [topic async for topic in mesh.events.topics() if topic.name == TOPIC]
        await _fill(mesh, self._effort.replayed - topic.last)
        async with _channel(target) as channel:
            began_s, seen = time.perf_counter(), 0
            call = event_pb2_grpc.EventServiceStub(channel).SubscribeEvents(
                event_pb2.SubscribeEventsRequest(topic=TOPIC, after=0), wait_for_ready=True
            )
            async for response in call:
                seen += len(response.events)
                if response.cursor >= self._effort.replayed:
                    break
            return seen, seen / (time.perf_counter() - began_s)


async def _until_known(mesh: Mesh) -> None:
    """Wait until the agent's contract, which has the message type, is accepted."""
    async with asyncio.timeout(START_S):
        while True:
            try:
                await anext(mesh.events.list(TOPIC), None)
                return
            except NotFound:
                await asyncio.sleep(_ASK_S)


async def _fill(mesh: Mesh, count: int) -> None:
    """Publish so many events."""
    batches = iter(range(-(-count // _LARGE_BATCH)))
    events: Sequence[NewEvent] = [NewEvent(PAYLOAD)] * _LARGE_BATCH

    async def some() -> None:
        for _ in batches:
            await mesh.events.publish_all(events)

    await asyncio.gather(*(some() for _ in range(_AT_ONCE)))


async def _missed(slow: Any, total: int) -> int:
    """How many events are left out by the subscriber that has not read yet."""
    missed = 0
    async with asyncio.timeout(_DONE_S):
        while True:
            response = await slow.read()
            missed += int(response.missed)
            if response.cursor >= total:
                slow.cancel()
                return missed


def _channel(target: str) -> Any:
    route = Route(security=channel_security(chosen(None)))
    return dial(target, client_options(own_connection=True), route)


def _cpu_s(child: Child) -> float:
    return sum(psutil.Process(child.pid).cpu_times()[:2])
