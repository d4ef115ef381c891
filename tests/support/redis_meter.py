"""Counts the work of a redis-server: commands, also those inside scripts, and the bytes that it sent and received.

meter = await RedisMeter.start(server)
...
used = await meter.read()
assert used.sent_bytes < 20_000, used
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Self

from redis.asyncio import Redis

from tests.support.redis_server import RedisServer

_OWN = {"info", "hello", "client|setinfo", "select", "auth", "ping"}


@dataclass(frozen=True)
class Used:
    """Since the meter was started."""

    commands: Counter[str]
    sent_bytes: int
    taken_bytes: int

    @property
    def calls(self) -> int:
        return self.commands.total()


class RedisMeter:
    """Counts from `start` on, without its own requests."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    @classmethod
    async def start(cls, server: RedisServer) -> Self:
        meter = cls(server.client())
        first, second = await meter._look(), await meter._look()
        # The cost of one reading, which the next reading contains.
        meter._own = (second[1] - first[1], second[2] - first[2])
        meter._before = second
        return meter

    async def read(self) -> Used:
        commands, sent_bytes, taken_bytes = await self._look()
        before_commands, before_sent_bytes, before_taken_bytes = self._before
        await self._client.aclose()
        return Used(
            commands - before_commands,
            sent_bytes - before_sent_bytes - self._own[0],
            taken_bytes - before_taken_bytes - self._own[1],
        )

    async def _look(self) -> tuple[Counter[str], int, int]:
        stats = await self._client.info("commandstats")
        totals = await self._client.info("stats")
        commands = Counter(
            {
                name.removeprefix("cmdstat_"): int(each["calls"])
                for name, each in stats.items()
                if name.removeprefix("cmdstat_") not in _OWN
            }
        )
        return commands, int(totals["total_net_output_bytes"]), int(totals["total_net_input_bytes"])
