"""Bringing what an earlier version left in Redis to the present layout."""

from __future__ import annotations

from weft.coordinator.store.redis.redis_keys import LAYOUT
from weft.coordinator.store.redis.redis_link import RedisLink

# Tasks at a time: others wait while a script runs.
_TASKS = 250


async def upgrade(link: RedisLink) -> None:
    """Make up for what version 1 did not keep. No coordinator of that version may run on.

    Should it be broken off, or two do it at once: it is done again from the start, and comes to the same.

    Raises:
        Unavailable: Redis cannot be reached, or refuses.
    """
    behind: bytes | bool = b""
    while behind is not False:
        behind = await link.run("upgrade", [behind, _TASKS])
    await link.client.set(link.keys("layout"), LAYOUT)
