"""Quantiles from counts by bucket, and buckets that are fine enough for them. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

# Each bound is at most so many times the one before.
GROWTH = 1.3


def finer(bounds: Sequence[float], least: float) -> tuple[float, ...]:
    """Bounds between `least` and the last of `bounds`, all of `bounds` among them, that grow by GROWTH at most."""
    found = [least]
    for bound in bounds:
        below = found[-1]
        steps = math.ceil(math.log(bound / below) / math.log(GROWTH))
        found += [below * (bound / below) ** (step / steps) for step in range(1, steps)]
        found.append(bound)
    return tuple(found)


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float:
    """The value that `share` of the observations do not exceed, as if those of a bucket were spread evenly; 0.0 without observations.

    Args:
        bounds: upper bounds of the buckets.
        counts: observations by bucket; the last one is above all bounds.
    """
    rank = share * sum(counts)
    below, passed = 0.0, 0
    for bound, count in zip(bounds, counts, strict=False):
        if count and passed + count >= rank:
            return below + (bound - below) * max(0.0, rank - passed) / count
        passed += count
        below = bound
    # Above all bounds.
    return below if passed < sum(counts) else 0.0
