"""The meaning of an error of Redis, and the log of lasting refusals.

    away     it cannot be reached, or takes no writes: it starts, has no primary, no memory, no disk, too few replicas
    refused  it answers with a refusal: a key has another type, the user lacks a permission, a script fails

A refusal concerns one request; all others go on. The log has it once, then each minute, and when it is over. That also holds
for requests that the store needs (a sweep, a poll): `writable` only means that Redis takes writes.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Awaitable, Callable

from redis.exceptions import RedisError, ResponseError

from weft.rpc.errors import Unavailable
from weft.rpc.process.logs import get_logger

log = get_logger(__name__)

REPEAT_S = 60.0
# For a step that nothing may hold up.
STEP_S = 2.0
_TEXT_CHARS = 200
# Redis 6 puts the code of a script's error after the script's name.
_AWAY = re.compile(
    r"(?:^|: -?)(?:ASK|BUSY|CLUSTERDOWN|MASTERDOWN|MISCONF|MOVED|NOREPLICAS|OOM|READONLY|TRYAGAIN)\b"
    # From a script, while slots move.
    r"|cluster is down|non local key"
)


def refusal(error: Exception) -> str:
    """The text of a refusal; empty: Redis is away. It contains nothing of the request."""
    if not isinstance(error, ResponseError):
        return ""
    code = getattr(error, "status_code", None)
    text = f"{code} {error}" if code else str(error)
    if _AWAY.search(text):
        return ""
    return text.partition(", with args")[0][:_TEXT_CHARS]


class Refusals:
    """The present refusals of Redis, by script or kind of read."""

    def __init__(self) -> None:
        # When each was last logged, by the monotonic clock.
        self._logged_at_s: dict[str, float] = {}

    def add(self, what: str, text: str) -> None:
        now_s = time.monotonic()
        if now_s - self._logged_at_s.get(what, -REPEAT_S) >= REPEAT_S:
            self._logged_at_s[what] = now_s
            log.error("store.refused", operation=what, error=text)

    def over(self, what: str) -> None:
        """A request succeeded: its refusal is over."""
        if self._logged_at_s and self._logged_at_s.pop(what, None) is not None:
            log.info("store.accepted", operation=what)


async def bounded(step: Callable[[], Awaitable[object]]) -> None:
    """A step of the end, which nothing may hold up."""
    with contextlib.suppress(RedisError, OSError, Unavailable, TimeoutError):
        async with asyncio.timeout(STEP_S):
            await step()
