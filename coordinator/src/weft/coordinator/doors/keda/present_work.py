"""How much work there is for replicas. Pure: what the queues hold, and the time, are arguments."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from weft.coordinator.doors.keda.scaler_metadata import FollowedWork
from weft.coordinator.store.records import QueueDepth
from weft.coordinator.store.rules import QueueKey


class QueueLook(NamedTuple):
    """The queues at a moment.

    Attributes:
        paused: methods that an operator paused.
        now_s: by the store's clock.
    """

    depths: Mapping[QueueKey, QueueDepth]
    paused: Collection[str]
    now_s: float


NOTHING = QueueLook({}, (), 0.0)


class PresentWork(NamedTuple):
    """Tasks that run or could run if there were replicas, and how long the oldest of these has waited, in seconds."""

    tasks: int = 0
    oldest_age_s: float = 0.0


def present_work(work: FollowedWork, look: QueueLook, sees: Callable[[str], bool]) -> PresentWork:
    """The work of what a trigger follows.

    Further replicas would not help tasks that wait for a run limit or a lock, or whose method is paused: they do not count. Running tasks do, so that
    no replica is taken from under them.

    Args:
        sees: whether the caller may see tasks of a method.
    """
    tasks, oldest_age_s = 0, 0.0
    for key, depth in look.depths.items():
        if not work.follows(key.method) or not sees(key.method):
            continue
        if work.requirements is not None and work.requirements != _parts(key):
            continue
        tasks += depth.running
        waiting = 0 if key.method in look.paused else max(0, depth.queued - depth.limited)
        tasks += waiting
        if waiting and depth.oldest_at is not None:
            oldest_age_s = max(oldest_age_s, look.now_s - depth.oldest_at)
    return PresentWork(tasks, oldest_age_s)


def is_active(work: FollowedWork, present: PresentWork) -> bool:
    """Whether there must be replicas."""
    return present.tasks > work.activation_tasks


def _parts(key: QueueKey) -> frozenset[str]:
    return frozenset(filter(None, str(key.requirements).split(",")))
