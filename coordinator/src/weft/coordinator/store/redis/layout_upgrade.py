"""Brings an earlier layout in Redis to the present one."""

from __future__ import annotations

from weft.coordinator.store.redis.redis_keys import LAYOUT
from weft.coordinator.store.redis.redis_link import RedisLink
from weft.coordinator.store.stored_options import FIELDS, LEFT_OUT, encode

# Tasks at a time: others wait while a script runs.
_TASKS = 250


# Layouts before this one lack something.
_COMPLETE = 3


async def upgrade(link: RedisLink, layout: int) -> None:
    """Add what layouts 1 and 2 did not have. No coordinator of an earlier version may run meanwhile.

    Layouts 3 to 5 lack nothing. Layout 4 tells earlier versions, which know nothing of run limits and locks and would start
    tasks over them, to stay away; layout 5 those that know nothing of groups and would not count their tasks; layout 6 those that know
    nothing of keyed states and steps, and would lose a state's change and forget a task without its steps.

    After an interruption it starts again from the beginning. Two coordinators may do it at once.

    Raises:
        Unavailable: Redis cannot be reached, or refuses.
    """
    left_out = encode(LEFT_OUT).split()
    behind: bytes | bool = b""
    while layout < _COMPLETE and behind is not False:
        behind = await link.run("upgrade", [behind, _TASKS, FIELDS, left_out])
    await link.client.set(link.keys("layout"), LAYOUT)
