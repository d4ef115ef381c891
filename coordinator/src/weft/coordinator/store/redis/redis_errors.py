"""What an error of Redis means, and word of those that last.

    away     it cannot be reached, or takes no writes: it starts, has no primary, no memory, no disk, too few replicas
    refused  it is there and says no: a key of another type is in the way, a user may not, a script fails

What is refused is refused alone: the rest goes on, and the log says so once, again each minute, and when it is over. That
holds for what a store cannot do without too (a sweep, the look for what was missed): `writable` says that Redis takes writes.
"""

from __future__ import annotations

import re
import time

from redis.exceptions import ResponseError

from weft.rpc.process.logs import get_logger

log = get_logger(__name__)

REPEAT_S = 60.0
_SAID_CHARS = 200
# Redis 6 puts the code of a script's error behind what it says of the script.
_AWAY = re.compile(
    r"(?:^|: -?)(?:ASK|BUSY|CLUSTERDOWN|MASTERDOWN|MISCONF|MOVED|NOREPLICAS|OOM|READONLY|TRYAGAIN)\b"
    # Of a script, while slots move.
    r"|cluster is down|non local key"
)


def refusal(error: Exception) -> str:
    """What Redis said when it is there and refused; empty: it is away. Nothing that was sent to it is in there."""
    if not isinstance(error, ResponseError):
        return ""
    code = getattr(error, "status_code", None)
    said = f"{code} {error}" if code else str(error)
    if _AWAY.search(said):
        return ""
    return said.partition(", with args")[0][:_SAID_CHARS]


class Refusals:
    """What Redis refuses now."""

    def __init__(self) -> None:
        # When each was logged last, by the monotonic clock.
        self._logged_at_s: dict[str, float] = {}

    def add(self, what: str, said: str) -> None:
        now_s = time.monotonic()
        if now_s - self._logged_at_s.get(what, -REPEAT_S) >= REPEAT_S:
            self._logged_at_s[what] = now_s
            log.error("store.refused", what=what, error=said)

    def over(self, what: str) -> None:
        """It was done."""
        if self._logged_at_s and self._logged_at_s.pop(what, None) is not None:
            log.warning("store.accepted", what=what)
