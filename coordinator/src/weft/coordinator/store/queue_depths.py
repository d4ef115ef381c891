"""The depths of queues, for people. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from weft.coordinator.store.records import QueueDepth
from weft.coordinator.store.rules import QueueKey


def by_base(depths: Iterable[tuple[QueueKey, QueueDepth]]) -> dict[QueueKey, QueueDepth]:
    """Depths for people: retries count in the queue that they were submitted to."""
    total: dict[QueueKey, QueueDepth] = {}
    for key, depth in depths:
        known = total.get(key.base)
        total[key.base] = depth if known is None else together(known, depth)
    return total


def together(one: QueueDepth, other: QueueDepth) -> QueueDepth:
    """Both as one."""
    oldest = [depth.oldest_at for depth in (one, other) if depth.oldest_at is not None]
    return QueueDepth(
        one.queued + other.queued,
        one.scheduled + other.scheduled,
        one.running + other.running,
        min(oldest, default=None),
        one.limited + other.limited,
    )
