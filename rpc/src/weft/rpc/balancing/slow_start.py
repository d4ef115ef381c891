"""Slow start: a new endpoint is cold (caches, compilers, connections), so its weight grows to the full one. Pure."""

from __future__ import annotations

WINDOW_S = 10.0
LEAST = 0.1
# 1: the weight grows linearly. More than 1: faster at the beginning.
AGGRESSION = 1.0


def factor(
    left_s: float, *, window_s: float = WINDOW_S, least: float = LEAST, aggression: float = AGGRESSION
) -> float:
    """The factor of a new endpoint's weight, when `left_s` of its window are left."""
    if left_s <= 0.0:
        return 1.0
    passed = max(0.0, 1.0 - left_s / window_s)
    grown: float = passed ** (1.0 / aggression)
    return max(least, grown)
