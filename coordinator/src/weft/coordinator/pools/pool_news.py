"""Tells that a pool is to have another number of members, and why. Pure, but for where it tells that."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from weft.coordinator.lifecycle.lifecycle_event import LifecycleEvent, event_of
from weft.rpc.times import seconds
from weft.v1 import lifecycle_pb2, pool_pb2

Publish = Callable[[Iterable[LifecycleEvent]], None]


class PoolNews:
    """Publishes `PoolScaled`, of changes that are stored.

    Args:
        publish: costs nothing while nobody follows these events.
    """

    def __init__(self, publish: Publish) -> None:
        self._publish = publish

    def stored(
        self, before: pool_pb2.Pool | None, pool: pool_pb2.Pool, revision: int, now: float, caller: str = ""
    ) -> None:
        """A pool was stored.

        Args:
            before: as it was. None: it is new.
            caller: who asked for that. Empty: weft itself, or it is not known.
        """
        size = before.wanted if before is not None else 0
        if size == pool.wanted:
            return
        told = lifecycle_pb2.PoolScaled(
            pool=pool.name,
            size=pool.wanted,
            previous_size=size,
            reason=why(before, pool, now),
            caller=caller,
        )
        self._publish([event_of(told, pool.name, pool.uid, revision)])


def why(before: pool_pb2.Pool | None, pool: pool_pb2.Pool, now: float) -> str:
    """Why a pool is to have another number of members."""
    if before is None:
        return "it was created"
    if pool.deleting and not before.deleting:
        expires = pool.spec.HasField("ttl") and now - seconds(pool.create_time) >= seconds(pool.spec.ttl)
        idle = pool.spec.ephemeral and pool.spec.HasField("idle_stop")
        return "its time is over" if expires else "it had nothing to do" if idle else "it was deleted"
    if pool.stopped != before.stopped:
        return "it was stopped" if pool.stopped else "it was resumed"
    if pool.spec != before.spec:
        return "it was scaled"
    if pool.idle != before.idle:
        return "it had nothing to do" if pool.idle else "there is work again"
    if pool.scaled != before.scaled:
        return (
            "the work needs more members" if pool.wanted > before.wanted else "the work needs fewer members"
        )
    return "members have ended, and are not replaced" if pool.spec.ephemeral else ""
