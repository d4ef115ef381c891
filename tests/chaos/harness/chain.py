"""The methods with a fallback, a cache and a group's end that a deployment's agents host (`hosted`)."""

from __future__ import annotations

SERVICE = "chaos.v1.Chain"
# Falls back to the second one, whose response has this index.
FIRST, SECOND = f"{SERVICE}/First", f"{SERVICE}/Second"
FALLEN = 2
# The fallback's run limit where the load is gated.
SECOND_RUNNING = 2
CACHED = f"{SERVICE}/Cached"
CACHE_S = 1.0
# The callback of groups.
GATHERED = f"{SERVICE}/Gathered"
# Events become tasks of this one.
DELIVERED = f"{SERVICE}/Delivered"


def second_ledger(path: str) -> str:
    """Where the fallback's runs are recorded once more, apart."""
    return f"{path}.second"
