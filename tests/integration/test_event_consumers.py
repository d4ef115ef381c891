"""Consumers share the events of a subscription: at least once, in order by key, whoever comes and goes."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing
from typing import Any

import grpc
import pytest

from probe.v1.probe_pb2 import ProbeRequest
from tests.support.lightweight import CALL, ECHO, LightAgent, never
from tests.support.mesh import MeshHarness
from tests.support.refusals import check, refused
from weft.client import Mesh, NewEvent, connect
from weft.coordinator.events.consumer_rules import leave, prepare, take_part
from weft.v1 import event_pb2, event_pb2_grpc
from weft.v1.event_pb2 import ConsumeEventsRequest

KEYS = [f"k{number}" for number in range(12)]


class Worker:
    """A consumer that notes what it gets."""

    def __init__(self, mesh: Mesh, seen: list[tuple[str, int]], **options: Any) -> None:
        self.count = 0
        self._seen = seen
        self._mesh = mesh
        self._options = options
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        consumed = self._mesh.subscriptions.consume("shared", ProbeRequest, after=0, **self._options)
        async with aclosing(consumed) as events:
            async for event in events:
                self._seen.append((event.key, int(event.message.text)))
                self.count += 1
                await asyncio.sleep(0)

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def publish(mesh: Mesh, first: int, count: int) -> None:
    numbers = range(first, first + count)
    await mesh.events.publish_all(
        [NewEvent(ProbeRequest(text=str(number)), key=KEYS[number % len(KEYS)]) for number in numbers]
    )


def check_seen(seen: list[tuple[str, int]], count: int) -> None:
    """Each event was seen, and of each key, the first times in order."""
    assert {number for _, number in seen} == set(range(count))
    for key in KEYS:
        first = list(dict.fromkeys(number for each, number in seen if each == key))
        assert first == sorted(first), key


@pytest.mark.slow
async def test_consumers_share_a_subscription(doors: tuple[MeshHarness, MeshHarness]) -> None:
    one, other = doors
    async with (
        LightAgent(one.own_channel(), "a1", methods=(ECHO,)),
        connect(one.target) as here,
        connect(other.target) as there,
    ):
        await one.wait_serving()
        await other.wait_serving()
        seen: list[tuple[str, int]] = []
        await publish(here, 0, 240)
        first = Worker(here, seen, max_unacknowledged=20)

        async def saw(count: int) -> bool:
            return len({number for _, number in seen}) >= count

        await one.eventually(lambda: saw(240), "the first consumer has all")
        assert [number for _, number in seen] == list(range(240))
        # Another one joins, at another coordinator if there is one.
        second = Worker(there, seen)
        published = 240

        async def shared() -> bool:
            nonlocal published
            await publish(there, published, 24)
            published += 24
            return second.count > 0

        await one.eventually(shared, "both have some")
        await one.eventually(lambda: saw(published), "together they have all")
        assert first.count > 240
        # The first one goes, without a word for its last events.
        await first.stop()
        await publish(here, published, 240)
        published += 240
        await one.eventually(lambda: saw(published), "the other one has the rest")
        check_seen(seen, published)
        again = sum(count - 1 for count in Counter(number for _, number in seen).values())
        assert again <= 300
        # The place is kept while nobody is there.
        await second.stop()
        await publish(here, published, 60)
        published += 60
        third = Worker(here, seen)
        await one.eventually(lambda: saw(published), "a later one goes on")
        check_seen(seen, published)

        async def settled() -> bool:
            return (await here.subscriptions.get("shared")).cursor >= published

        await one.eventually(settled, "the cursor has moved")
        await third.stop()
        # A subscription that delivers has no consumers.
        await here.subscriptions.create("tasks", "probe.v1.Payload", ECHO)
        stub: Any = event_pb2_grpc.EventServiceStub(one.channel())
        for name, code, reason, field in (
            ("tasks", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "subscription"),
            ("", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "subscription"),
            ("none", grpc.StatusCode.NOT_FOUND, "SUBSCRIPTION_NOT_FOUND", None),
        ):
            asked = [ConsumeEventsRequest(subscription=name)]
            check(await refused(stub.ConsumeEvents(iter(asked))), code, reason, field)


def test_parts_are_shared_and_released() -> None:
    subscription = event_pb2.Subscription(uid="u", start_sequence=7)
    state = event_pb2.SubscriptionState(uid="old", cursor=3)
    prepare(state, subscription)
    assert [each.cursor for each in state.partitions] == [7] * 16
    owned, leaving = take_part(state, "a", 100.0, 5.0, {})
    assert (set(owned), leaving) == (set(range(16)), set())
    # Another one gets nothing before the first one releases.
    assert take_part(state, "b", 101.0, 5.0, {}) == ({}, set())
    owned, leaving = take_part(state, "a", 102.0, 5.0, dict.fromkeys(owned, 9))
    assert leaving == set(range(1, 16, 2))
    owned, leaving = take_part(state, "a", 102.0, 5.0, dict.fromkeys(owned, 10), leaving)
    assert (set(owned), leaving) == (set(range(0, 16, 2)), set())
    owned, _ = take_part(state, "b", 103.0, 5.0, {})
    assert owned == dict.fromkeys(range(1, 16, 2), 10)
    # The first one is silent for too long: all go over, with their cursors.
    assert state.cursor == 10
    owned, _ = take_part(state, "b", 107.1, 5.0, dict.fromkeys(owned, 12))
    assert owned == {number: 12 if number % 2 else 10 for number in range(16)}
    # It comes back, and is told that it has nothing.
    owned, _ = take_part(state, "a", 107.2, 5.0, dict.fromkeys(range(0, 16, 2), 11))
    assert owned == {}
    leave(state, "b", {1: 20})
    assert (state.partitions[1].cursor, {each.owner for each in state.partitions}) == (20, {""})


@pytest.mark.slow
@pytest.mark.parametrize("redis", [False, True], ids=["embedded", "redis"])
async def test_kills_lose_no_event(tmp_path: Any, redis: bool) -> None:
    """Coordinators are killed again and again while consumers, tasks and followers get what is acknowledged."""
    from tests.support.redis_server import RedisServer

    async with RedisServer(tmp_path / "redis") as server, MeshHarness(tmp_path) as mesh:
        if redis:
            mesh.store = server.url
        await mesh.coordinator()
        seen: list[tuple[str, int]] = []
        async with (
            LightAgent(mesh.own_channel(), "a1", methods=(ECHO, CALL), answer=never),
            connect(mesh.target, patience_s=120) as here,
        ):
            await mesh.wait_serving()
            await here.subscriptions.create("tasks", ProbeRequest, CALL)
            workers = [Worker(here, seen) for _ in range(2)]
            for portion in range(6):
                for step in range(10):
                    await publish(here, portion * 240 + step * 24, 24)
                await mesh.restart_coordinator()

            async def saw() -> bool:
                return len({number for _, number in seen}) == 1440

            await mesh.eventually(saw, "all events were seen", timeout_s=60)
            check_seen(seen, 1440)
            for worker in workers:
                await worker.stop()

            async def delivered() -> bool:
                return (await here.subscriptions.get("tasks")).cursor == 1440

            await mesh.eventually(delivered, "all events are tasks", timeout_s=60)
            tasks = [task async for task in here.tasks.list(method=CALL)]
            # Each event is one task, in order: the newest comes first.
            numbers = [int(task.request_id.rpartition(".")[2]) for task in tasks]
            assert numbers == list(range(1440, 0, -1))
