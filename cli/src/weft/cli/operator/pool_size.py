"""How many agents a pool is to have. Pure.

More come at once. Fewer are left when so few have been enough for a time: of what was wanted within that time the most holds, as with a HorizontalPodAutoscaler.
"""

from __future__ import annotations

from typing import NamedTuple


class Wanted(NamedTuple):
    """So many agents were wanted, last at this time."""

    at_s: float
    replicas: int


# What was wanted lately, the oldest first; each is smaller than the one before.
History = tuple[Wanted, ...]


def bounded(replicas: int, least: int, most: int) -> int:
    """Within the bounds of a pool."""
    return min(max(replicas, least), most)


def steadied(history: History, replicas: int, now_s: float, window_s: float) -> tuple[History, int]:
    """How many agents there are to be.

    Args:
        replicas: wanted now.
        window_s: how long so few must have been enough before agents go.

    Returns:
        The history with this moment, and the number.
    """
    kept = [each for each in history if now_s - each.at_s < window_s and each.replicas > replicas]
    found = (*kept, Wanted(now_s, replicas))
    return found, found[0].replicas
