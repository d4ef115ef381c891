"""Events under kills of everything: coordinators, agents, consumers, Redis, one or two at a time. What was acknowledged to a publisher reaches every
durable subscriber at least once, in order by key; what a follower gets is the topic itself.

`make soak` runs it: 20 seeds on each store, or one by TEST_SEED.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from probe.v1.probe_pb2 import ProbeRequest
from tests.support.ledger import Ledger
from tests.support.lightweight import CALL
from tests.support.mesh import MeshHarness
from tests.support.processes import Process
from tests.support.redis_server import RedisServer
from tests.support.soak import soak
from weft.client import Mesh, NewEvent, RetryPolicy, WeftError, connect

SEEDS = [int(os.environ["TEST_SEED"])] if "TEST_SEED" in os.environ else list(range(1, 21))
TOPIC = "probe.v1.ProbeRequest"
KEYS = [f"k{number}" for number in range(6)]
ROUNDS = 6
# Two coordinators' consumers have to be given up by a dead one, leases to end, tasks to be done once more.
SETTLES_S = 60.0
AGENTS, CONSUMERS = ("a1", "a2"), 2


@dataclass
class World:
    """What runs in one test."""

    folder: Path
    meshes: list[MeshHarness]
    redis: RedisServer | None = None
    # Of each coordinator beside its durability.
    settings: Sequence[Mapping[str, Any]] = ({}, {})
    consumers: list[Process | None] = field(default_factory=lambda: [None] * CONSUMERS)

    @property
    def target(self) -> str:
        return ",".join(mesh.target for mesh in self.meshes)

    async def start(self) -> None:
        durability = None if self.redis is None else "durable"
        for mesh, settings in zip(self.meshes, self.settings, strict=False):
            await mesh.coordinator(durability=durability, **settings)
        for agent_id in AGENTS:
            await self.start_agent(agent_id)

    async def start_agent(self, agent_id: str) -> None:
        home = self.meshes[0]
        if agent_id in home.agents:
            await home.agents[agent_id].kill()
        await home.agent(agent_id, slots=8, target=self.target, wait=False)

    @property
    def consumed(self) -> Path:
        """What consumers have printed: one file for all, so that it has their order."""
        return self.folder / "consumed"

    async def start_consumer(self, number: int) -> None:
        if (known := self.consumers[number]) is not None and known.alive:
            await known.kill()
        words = ("events", "consume", "shared", TOPIC, "--after", "0", "--json", "--target", self.target)
        self.consumers[number] = Process.weft(f"consumer{number}", *words, log=self.consumed)

    async def keep_consumers(self) -> None:
        """Start those again that have ended by themselves: no coordinator could be reached."""
        for number, each in enumerate(self.consumers):
            if each is None or not each.alive:
                await self.start_consumer(number)

    def close(self) -> None:
        for each in self.consumers:
            if each is not None:
                each.cleanup()


@asynccontextmanager
async def world(
    folder: Path, store: str, settings: Sequence[Mapping[str, Any]] = ({}, {})
) -> AsyncIterator[World]:
    """One coordinator on a file, or two on a Redis that syncs each write."""
    async with contextlib.AsyncExitStack() as stack:
        here = World(folder, [await stack.enter_async_context(MeshHarness(folder))], settings=settings)
        if store == "redis":
            (folder / "other").mkdir()
            server = RedisServer(folder / "redis", appendfsync="always")
            here.redis = await stack.enter_async_context(server)
            here.meshes.append(await stack.enter_async_context(MeshHarness(folder / "other")))
            for mesh in here.meshes:
                mesh.store = server.url
        stack.callback(here.close)
        await here.start()
        yield here


class Killer:
    """Kills something by chance, and starts it again."""

    def __init__(self, rng: random.Random, world: World) -> None:
        self._rng, self._world = rng, world
        self._kinds: dict[str, Callable[[], Awaitable[object]]] = {
            "coordinator": self._coordinator,
            "agent": lambda: world.start_agent(rng.choice(AGENTS)),
        }
        if any(world.consumers):
            self._kinds["consumer"] = lambda: world.start_consumer(rng.randrange(CONSUMERS))
        if world.redis is not None:
            self._kinds["redis"] = self._redis

    async def strike(self) -> str:
        kinds = self._rng.sample(sorted(self._kinds), self._rng.choice([1, 1, 2]))
        for kind in kinds:
            await asyncio.sleep(self._rng.uniform(0, 0.5))
            await self._kinds[kind]()
        return "+".join(kinds)

    async def _coordinator(self) -> None:
        mesh = self._rng.choice(self._world.meshes)
        assert mesh.coordinator_process is not None
        await mesh.coordinator_process.kill()
        await asyncio.sleep(self._rng.choice([0.0, self._rng.uniform(0, 2.0)]))
        await mesh.restart_coordinator()

    async def _redis(self) -> None:
        assert self._world.redis is not None
        await self._world.redis.kill()
        await asyncio.sleep(self._rng.uniform(0, 1.0))
        await self._world.redis.restart()


class Publisher:
    """Publishes the numbers of each key in order, and notes what was acknowledged."""

    def __init__(self, mesh: Mesh, rng: random.Random, ledger: Ledger) -> None:
        self.acknowledged: set[str] = set()
        self._mesh, self._rng, self._ledger = mesh, rng, ledger
        self._stopped = False
        self._tasks = [asyncio.create_task(self._publish(key)) for key in KEYS]

    async def _publish(self, key: str) -> None:
        number = 0
        while not self._stopped:
            texts = [f"{key}/{number + each}" for each in range(self._rng.choice([1, 1, 3]))]
            number += len(texts)
            events = [NewEvent(ProbeRequest(text=text, ledger=self._ledger.path), key=key) for text in texts]
            # Without an answer, they may be there or not.
            with contextlib.suppress(WeftError):
                await self._mesh.events.publish_all(events)
                self.acknowledged.update(texts)
            await asyncio.sleep(self._rng.uniform(0.01, 0.1))

    async def stop(self) -> None:
        self._stopped = True
        await asyncio.gather(*self._tasks)


async def follow(mesh: Mesh, seen: list[str]) -> None:
    async with aclosing(mesh.events.subscribe(ProbeRequest, after=0)) as events:
        async for event in events:
            seen.append(event.message.text)


def printed(path: Path) -> list[str]:
    """The events that consumers have printed, in order, with all repeats."""
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return [json.loads(each)["message"]["text"] for each in lines if each.startswith("{")]


def check_order(what: str, texts: Iterable[str]) -> None:
    """Of each key, the first times come in order."""
    last: dict[str, int] = {}
    for text in dict.fromkeys(texts):
        key, _, number = text.partition("/")
        assert int(number) > last.get(key, -1), f"{what}: {text} came after {key}/{last[key]}"
        last[key] = int(number)


@soak
@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("store", ["embedded", "redis"])
async def test_event_kills(tmp_path: Path, store: str, seed: int) -> None:
    rng = random.Random(seed)
    async with world(tmp_path, store) as here, connect(here.target, patience_s=120, timeout_s=60) as mesh:
        ledger, followed = Ledger(tmp_path / "ledger"), list[str]()
        # The contract reaches the other coordinator a moment later.
        await asyncio.gather(*(each.wait_serving() for each in here.meshes))
        retry = RetryPolicy(max_attempts=50)
        await mesh.subscriptions.create("tasks", ProbeRequest, CALL, after=0, retry=retry)
        await here.keep_consumers()
        following = asyncio.create_task(follow(mesh, followed))
        publisher, killer = Publisher(mesh, rng, ledger), Killer(rng, here)
        for _ in range(ROUNDS):
            await asyncio.sleep(rng.uniform(0, 1.5))
            print(f"seed {seed}: {await killer.strike()}")
            await here.keep_consumers()
        await publisher.stop()
        truth = [event.message.text async for event in mesh.events.list(ProbeRequest)]
        assert len(set(truth)) == len(truth), "an event was stored twice"
        assert publisher.acknowledged <= set(truth), "an acknowledged event is lost"
        check_order("the topic", truth)
        began_s, consumed, started = time.monotonic(), list[str](), list[str]()
        while time.monotonic() < began_s + SETTLES_S:
            started = [fact.text for fact in ledger.facts("start")]
            consumed = printed(here.consumed)
            if set(started) >= set(truth) and set(consumed) >= set(truth) and len(followed) >= len(truth):
                break
            await here.keep_consumers()
            await asyncio.sleep(0.2)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        print(
            f"seed {seed}: {len(truth)} events, {len(publisher.acknowledged)} acknowledged; consumed {len(consumed)},"
            f" started {len(started)} times; all after {time.monotonic() - began_s:.1f} s"
        )
        assert followed == truth
        for what, texts in (("consumers", consumed), ("tasks", started)):
            assert not set(truth) - set(texts), f"{what} did not get {sorted(set(truth) - set(texts))[:5]}"
            check_order(what, texts)
