"""How many members a pool should have: as it says, as the work needs, or none while there is none. Pure: the work and time are arguments."""

from __future__ import annotations

from weft.coordinator.pools.pool_plan import MAX_METHOD_CHARS, MAX_METHODS, STARTING, Load, Seen
from weft.rpc.times import seconds, timestamp
from weft.v1 import pool_pb2

DEFAULT_COOL_DOWN_S = 60.0


def needs_load(pool: pool_pb2.Pool) -> bool:
    """Whether the work that there is decides how many members a pool has."""
    return pool.spec.HasField("autoscale") or pool.spec.HasField("idle_stop")


def wanted_size(pool: pool_pb2.Pool) -> int:
    """How many members it should have now."""
    if pool.deleting or pool.stopped or pool.idle or pool.HasField("end_time"):
        return 0
    if pool.spec.ephemeral:
        ended = pool.lost_count + pool.failed_count
        return max(0, pool.spec.size - ended)
    return pool.scaled if pool.spec.HasField("autoscale") else pool.spec.size


def rescale(pool: pool_pb2.Pool, seen: Seen, now: float) -> None:
    """Decide how many members there should be by the work that there is, and note it in the pool."""
    if pool.spec.HasField("ttl") and now - seconds(pool.create_time) >= seconds(pool.spec.ttl):
        pool.deleting = True
    if not needs_load(pool):
        return
    _note_methods(pool, seen)
    if seen.load is None or pool.paused or pool.stopped:
        pool.ClearField("idle_time")
        return
    if pool.spec.HasField("autoscale"):
        _autoscale(pool, seen.load, now)
    if pool.spec.HasField("idle_stop"):
        _rest(pool, seen.load, now)


def watched_methods(pool: pool_pb2.Pool) -> list[str]:
    """The methods whose tasks are the pool's work."""
    return [*(pool.spec.autoscale.methods or pool.methods)]


def _note_methods(pool: pool_pb2.Pool, seen: Seen) -> None:
    """Keep the methods of its members: they count also when it has none any more."""
    found = {
        method
        for agent in seen.agents.values()
        if agent.ready
        for method in agent.methods
        if len(method) <= MAX_METHOD_CHARS
    }
    kept = sorted(found)[:MAX_METHODS]
    if kept and kept != list(pool.methods):
        del pool.methods[:]
        pool.methods.extend(kept)


def scaled_to(autoscale: pool_pb2.Autoscale, slots: int, load: Load) -> int:
    """How many members the work needs."""
    target = autoscale.target_per_member or slots or 1
    need = -(-load.work // target)
    return max(autoscale.min, min(autoscale.max, need))


def _autoscale(pool: pool_pb2.Pool, load: Load, now: float) -> None:
    autoscale = pool.spec.autoscale
    need = scaled_to(autoscale, pool.spec.template.slots, load)
    present = max(autoscale.min, min(autoscale.max, pool.scaled))
    if need >= present:
        pool.scaled = need
        pool.ClearField("lower_time")
        pool.lower_size = 0
        return
    pool.scaled = present
    if not pool.failures and any(member.state == STARTING for member in pool.members):
        # How many are needed shows when all are there: a start may take longer than the pause.
        pool.ClearField("lower_time")
        pool.lower_size = 0
        return
    if not pool.HasField("lower_time"):
        pool.lower_time.CopyFrom(timestamp(now))
        pool.lower_size = need
    # The most that was needed in the meantime.
    pool.lower_size = max(pool.lower_size, need)
    cool_down_s = seconds(autoscale.cool_down) if autoscale.HasField("cool_down") else DEFAULT_COOL_DOWN_S
    if now - seconds(pool.lower_time) >= cool_down_s:
        pool.scaled = pool.lower_size
        pool.ClearField("lower_time")
        pool.lower_size = 0


def _rest(pool: pool_pb2.Pool, load: Load, now: float) -> None:
    """Let a pool without work rest, and wake it when there is some."""
    if load.work:
        pool.idle = False
        pool.ClearField("idle_time")
    elif pool.idle or not pool.ready_count:
        pool.ClearField("idle_time")
    elif not pool.HasField("idle_time"):
        pool.idle_time.CopyFrom(timestamp(now))
    elif now - seconds(pool.idle_time) >= seconds(pool.spec.idle_stop):
        pool.ClearField("idle_time")
        if pool.spec.ephemeral:
            pool.deleting = True
        else:
            pool.idle = True
