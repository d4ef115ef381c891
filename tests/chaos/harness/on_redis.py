"""The Redis store's deployments: two coordinators on one Redis, each behind a proxy that cuts it off, and four agents.

load ─► c1, c2 ─► a proxy each ─► redis-server [─► replica]
        ▲  ▲
   a1 … a4, through a proxy for each of the two
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.harness.deployment import Part
from tests.chaos.harness.fleet import Fleet
from tests.chaos.harness.items import Shape
from tests.support.fault_proxy import FaultProxy
from tests.support.redis_server import RedisServer, replicate

COORDINATORS = ("c1", "c2")
AGENTS = ("a1", "a2", "a3", "a4")


@dataclass(frozen=True, slots=True)
class Mode:
    """How Redis keeps what it acknowledges."""

    durability: str
    appendfsync: str = "everysec"
    replica: bool = False
    # Parts that may take acknowledged writes with them.
    forgetful: frozenset[Part] = frozenset()


# With `everysec` Redis puts off writing its log, for two seconds at most, while the disk is busy with the last sync.
FAST = Mode("fast", forgetful=frozenset({Part.REDIS}))
DURABLE = Mode("durable", appendfsync="always")
# A primary that comes back in its own place has what its own log has.
REPLICATED = Mode("replicated", replica=True, forgetful=frozenset({Part.REDIS}))


class RedisFleet(Fleet):
    """A deployment (see there) in `folder`."""

    parts = frozenset({Part.COORDINATOR, Part.AGENT, Part.LINK, Part.HOME, Part.REDIS, Part.REDIS_LINK})
    volatile: frozenset[Part] = frozenset()
    own_clock = True

    def __init__(self, folder: Path, mode: Mode) -> None:
        super().__init__(folder, COORDINATORS, AGENTS, mode.durability)
        self.forgetful = mode.forgetful
        self.redis = RedisServer(folder / "redis", appendfsync=mode.appendfsync)
        self._replica = RedisServer(folder / "replica", name="replica") if mode.replica else None
        self._links: dict[str, FaultProxy] = {}
        self._open_links = contextlib.AsyncExitStack()

    async def start(self, shape: Shape, clocks_off_s: Sequence[float] = (0.0,)) -> None:
        await self.redis.start()
        if self._replica is not None:
            await self._replica.start()
            await replicate(self.redis, self._replica)
        for name, mesh in self.coordinators.items():
            link = await self._open_links.enter_async_context(FaultProxy(self.redis.address))
            self._links[name] = link
            mesh.store = f"redis://{link.address}/0"
        await super().start(shape, clocks_off_s)

    async def close(self) -> None:
        await super().close()
        await self._open_links.aclose()
        for server in (self.redis, self._replica):
            if server is not None:
                await server.close()

    def logs(self) -> str:
        return f"{super().logs()}\n---- redis\n{self.redis.log_tail()}"

    async def restart_truth(self) -> None:
        await self.kill_redis()
        await asyncio.gather(*map(self.kill_coordinator, self.coordinators))
        await self.start_redis()
        await asyncio.gather(*map(self.start_coordinator, self.coordinators))

    # -- Redis ----------------------------------------------------------------------------------------------------

    async def kill_redis(self) -> None:
        await self.redis.kill()

    async def start_redis(self) -> None:
        await self.redis.restart()

    async def cut_redis(self, coordinator: str) -> None:
        await self._links[coordinator].cut()

    async def silence_redis(self, coordinator: str) -> None:
        await self._links[coordinator].blackhole()

    async def heal_redis(self, coordinator: str) -> None:
        await self._links[coordinator].heal()
