"""The Redis store's deployments: two coordinators on one Redis, each behind a proxy that cuts it off, and four agents.

load ─► c1, c2 ─► a proxy each ─► redis-server
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
from tests.support.redis_sentinel import RedisSentinel
from tests.support.redis_server import RedisServer

COORDINATORS = ("c1", "c2")
# What a lost primary wrote at its end had no time to reach a replica.
_PARTED_S = 0.2
AGENTS = ("a1", "a2", "a3", "a4")


@dataclass(frozen=True, slots=True)
class Mode:
    """How Redis keeps what it acknowledges."""

    durability: str
    appendfsync: str = "everysec"
    # Parts that may take acknowledged writes with them.
    forgetful: frozenset[Part] = frozenset()


# With `everysec` Redis puts off writing its log, for two seconds at most, while the disk is busy with the last sync.
FAST = Mode("fast", forgetful=frozenset({Part.REDIS, Part.PRIMARY}))
DURABLE = Mode("durable", appendfsync="always")
REPLICATED = Mode("replicated")

_MESH = frozenset({Part.COORDINATOR, Part.AGENT, Part.LINK, Part.HOME})


class RedisFleet(Fleet):
    """A deployment (see there) in `folder`."""

    parts = _MESH | {Part.REDIS, Part.REDIS_LINK}
    volatile: frozenset[Part] = frozenset()
    own_clock = True

    def __init__(self, folder: Path, mode: Mode) -> None:
        super().__init__(folder, COORDINATORS, AGENTS, mode.durability)
        self.forgetful = mode.forgetful
        self.redis = RedisServer(folder / "redis", appendfsync=mode.appendfsync)
        self._links: dict[str, FaultProxy] = {}
        self._open_links = contextlib.AsyncExitStack()

    async def start(self, shape: Shape, clocks_off_s: Sequence[float] = (0.0,)) -> None:
        await self.redis.start()
        for name, mesh in self.coordinators.items():
            link = await self._open_links.enter_async_context(FaultProxy(self.redis.address))
            self._links[name] = link
            mesh.store = f"redis://{link.address}/0"
        await super().start(shape, clocks_off_s)

    async def close(self) -> None:
        await super().close()
        await self._open_links.aclose()
        await self.redis.close()

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


class SentinelFleet(Fleet):
    """The same on a primary with two replicas, one of which takes its place when Sentinels agree that it is lost.

    Sentinels tell the servers' own addresses: no proxy comes between them and a coordinator. With one replica nothing
    would be left to replicate to.
    """

    parts = _MESH | {Part.PRIMARY}
    volatile: frozenset[Part] = frozenset()
    own_clock = True

    def __init__(self, folder: Path, mode: Mode) -> None:
        super().__init__(folder, COORDINATORS, AGENTS, mode.durability)
        self.forgetful = mode.forgetful
        self.redis = RedisSentinel(folder / "redis", replicas=2, appendfsync=mode.appendfsync)

    async def start(self, shape: Shape, clocks_off_s: Sequence[float] = (0.0,)) -> None:
        await self.redis.__aenter__()
        for mesh in self.coordinators.values():
            mesh.store = self.redis.url
        await super().start(shape, clocks_off_s)

    async def close(self) -> None:
        await super().close()
        await self.redis.close()

    async def lose_primary(self) -> None:
        old = await self.redis.primary()
        await self.redis.part(old)
        await asyncio.sleep(_PARTED_S)
        await old.kill()
        await self.redis.join(old)
        await self.redis.switched(old)
