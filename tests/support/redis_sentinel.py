"""A primary, its replicas and the Sentinels that watch them, for a test: the primary is lost, a replica takes over.

async with RedisSentinel(tmp_path / "sentinel") as redis:
    await mesh.coordinator(store=redis.url)
    old = await redis.primary()
    await old.kill()
    new = await redis.switched(old)
"""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.redis_server import HOST, RedisServer, eventually, replicate

_DOWN_AFTER_MS = 1000
_FAILOVER_S = 30.0
# On a busy machine Sentinels take their time to tell a server that came back.
_REJOIN_S = 80.0


class RedisSentinel:
    """`servers` are those that keep data, the first primary first, `sentinels` those that agree on which of them is the primary."""

    def __init__(
        self,
        folder: Path,
        *,
        service: str = "weft",
        replicas: int = 1,
        sentinels: int = 3,
        appendfsync: str = "everysec",
        password: str = "",
    ) -> None:
        self.folder = folder
        self.service = service
        self.password = password
        self.servers = [
            RedisServer(folder / name, name=name, appendfsync=appendfsync, password=password)
            for name in (f"redis{number}" for number in range(replicas + 1))
        ]
        self.sentinels: list[RedisServer] = []
        self._sentinel_count = sentinels

    async def __aenter__(self) -> Self:
        try:
            await asyncio.gather(*(server.start() for server in self.servers))
            primary, *replicas = self.servers
            await asyncio.gather(*(replicate(primary, replica) for replica in replicas))
            await self._watch()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        for server in [*self.sentinels, *self.servers]:
            await server.close()

    @property
    def url(self) -> str:
        credentials = f":{self.password}@" if self.password else ""
        addresses = ",".join(sentinel.address for sentinel in self.sentinels)
        return f"redis+sentinel://{credentials}{addresses}/{self.service}"

    async def primary(self) -> RedisServer:
        """The server that a living Sentinel names as the primary."""
        return await self._named(next(sentinel for sentinel in self.sentinels if sentinel.alive))

    async def switched(self, old: RedisServer) -> RedisServer:
        """Wait until every living Sentinel names another primary, which takes writes; that one."""

        async def agreed() -> bool:
            living = [sentinel for sentinel in self.sentinels if sentinel.alive]
            named = {await self._named(sentinel) for sentinel in living}
            return (
                len(named) == 1
                and old not in named
                and (await _replication(next(iter(named)))).get("role") == "master"
            )

        await eventually(agreed, f"another than {old.name} has taken over", timeout_s=_FAILOVER_S)
        return await self.primary()

    async def part(self, primary: RedisServer) -> None:
        """Nothing more of what it writes reaches its replicas, until another one has taken over and `join` is called."""
        for replica in self._others(primary):
            # They come back at once, and are not let in.
            await replica.command("CONFIG", "SET", "masterauth", "wrong")
        await primary.command("CLIENT", "KILL", "TYPE", "replica")

    async def join(self, lost: RedisServer) -> None:
        for server in self._others(lost):
            await server.command("CONFIG", "SET", "masterauth", self.password)

    def _others(self, server: RedisServer) -> list[RedisServer]:
        return [each for each in self.servers if each is not server]

    async def fail_over(self) -> RedisServer:
        """Have the Sentinels switch now, with both servers alive; the new primary."""
        old = await self.primary()

        async def told() -> bool:
            # Refused with NOGOODSLAVE until the Sentinel has heard of the replica.
            return bool(await self.sentinels[0].command("SENTINEL", "FAILOVER", self.service))

        await eventually(told, "the failover has begun")
        return await self.switched(old)

    async def wait_replicating(self) -> None:
        """Wait until the other server, where there are two, follows the primary, whichever is that by then.

        One that was restarted thinks for some ten seconds that it is the primary, until the Sentinels tell it. On a
        busy machine a primary that answers late is taken for lost, and the two change places once more.
        """

        async def follows() -> bool:
            primary = await self.primary()
            (replica,) = self._others(primary)
            found = await _replication(replica)
            return found.get("master_port") == primary.port and found.get("master_link_status") == "up"

        await eventually(follows, "the other server follows the primary", timeout_s=_REJOIN_S)

    async def _watch(self) -> None:
        quorum = self._sentinel_count // 2 + 1
        monitor = {"sentinel monitor": f"{self.service} {HOST} {self.servers[0].port} {quorum}"}
        if self.password:
            monitor["sentinel auth-pass"] = f"{self.service} {self.password}"
        timing = {
            "sentinel down-after-milliseconds": f"{self.service} {_DOWN_AFTER_MS}",
            # Rivals for one failover try again after twice this long.
            "sentinel failover-timeout": f"{self.service} 3000",
        }
        for number in range(self._sentinel_count):
            name = f"sentinel{number}"
            sentinel = RedisServer(self.folder / name, name=name, options=monitor | timing, sentinel=True)
            self.sentinels.append(sentinel)
            await sentinel.start()
        for sentinel in self.sentinels:
            await eventually(
                functools.partial(self._is_informed, sentinel), f"{sentinel.name} knows the others"
            )

    async def _is_informed(self, sentinel: RedisServer) -> bool:
        raw = await sentinel.command("SENTINEL", "MASTER", self.service)
        found = raw if isinstance(raw, dict) else dict(zip(raw[::2], raw[1::2], strict=True))
        counts = int(found["num-other-sentinels"]), int(found["num-slaves"])
        return counts == (self._sentinel_count - 1, len(self.servers) - 1)

    async def _named(self, sentinel: RedisServer) -> RedisServer:
        address = await sentinel.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
        return next(server for server in self.servers if server.port == int(address[1]))


async def _replication(server: RedisServer) -> dict[str, Any]:
    return dict(await server.command("INFO", "replication"))
