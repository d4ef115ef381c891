"""Coordinators, agents and consumers of events that are killed by chance, with Redis, and started again."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.mesh import MeshHarness
from tests.support.processes import Process
from tests.support.redis_server import RedisServer

TOPIC = "probe.v1.ProbeRequest"
AGENTS, CONSUMERS = ("a1", "a2"), 2


@dataclass
class World:
    """What runs in one test."""

    folder: Path
    meshes: list[MeshHarness]
    redis: RedisServer | None = None
    # Of each coordinator beside its durability.
    settings: Sequence[Mapping[str, Any]] = ({}, {})
    # Of the agents; None: the harness's own.
    program: str | None = None
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
        own = {} if self.program is None else {"program": self.program}
        await home.agent(agent_id, slots=8, target=self.target, wait=False, **own)

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
    folder: Path, store: str, settings: Sequence[Mapping[str, Any]] = ({}, {}), program: str | None = None
) -> AsyncIterator[World]:
    """One coordinator on a file, or two on a Redis that syncs each write."""
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(MeshHarness(folder))
        here = World(folder, [first], settings=settings, program=program)
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
