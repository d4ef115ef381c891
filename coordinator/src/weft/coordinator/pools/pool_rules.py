"""From what a pool should be, and what is seen of it, to what is to be done: the reconciler. Pure: time, what is seen and new ids are
arguments. A plan changes the pool; the actions follow when that is stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from weft.coordinator.pools.member_rules import advance, stop
from weft.coordinator.pools.pool_plan import (
    MAX_MEMBERS,
    MAX_PROBLEM_CHARS,
    READY,
    STARTING,
    STOPPING,
    Plan,
    Seen,
)
from weft.rpc.times import seconds, timestamp
from weft.v1 import pool_pb2

# An ephemeral pool that has failed is kept for so long, so that somebody can look.
KEEP_ENDED_S = 3600.0
# While members are replaced, there may be so many more: a quarter of them, at least one.
_SURGE = 4


class NewMember(NamedTuple):
    """The ids of a member that is to be: of its agent, and of its token. An empty token id: it needs none."""

    id: str
    token_id: str = ""


def plan(pool: pool_pb2.Pool, seen: Seen, now: float, new_member: Callable[[], NewMember]) -> Plan:
    """Plan what is to be done now, and note it in the pool.

    Args:
        pool: is changed.
        new_member: draws ids.
    """
    made = Plan()
    kept = [member for member in pool.members if advance(pool, member, seen, now, made)]
    if len(kept) != len(pool.members):
        left = [pool_pb2.PoolMember.FromString(member.SerializeToString()) for member in kept]
        del pool.members[:]
        pool.members.extend(left)
    pool.wanted = wanted_size(pool)
    _add(pool, seen, now, new_member, made)
    _take_away(pool, seen, now, made)
    _end(pool, now, made)
    _judge(pool, seen)
    return made


def wanted_size(pool: pool_pb2.Pool) -> int:
    """How many members it should have now."""
    if pool.deleting or pool.stopped or pool.HasField("end_time"):
        return 0
    if pool.spec.ephemeral:
        ended = pool.lost_count + pool.failed_count
        return max(0, pool.spec.size - ended)
    return pool.spec.size


def live(pool: pool_pb2.Pool) -> list[pool_pb2.PoolMember]:
    """The members that are not being stopped."""
    return [member for member in pool.members if member.state != STOPPING]


def _add(
    pool: pool_pb2.Pool, seen: Seen, now: float, new_member: Callable[[], NewMember], made: Plan
) -> None:
    """Add the members that are missing."""
    members = live(pool)
    current = [member for member in members if member.version == pool.version]
    old = len(members) - len(current)
    surge = -(-pool.wanted // _SURGE) if old else 0
    missing = min(
        pool.wanted - len(current),
        pool.wanted + surge - len(members),
        MAX_MEMBERS - len(pool.members),
    )
    if pool.spec.ephemeral:
        missing = min(missing, pool.spec.size - pool.started_count)
    if pool.HasField("retry_time") and now >= seconds(pool.retry_time):
        pool.ClearField("retry_time")
    if missing <= 0 or pool.paused or seen.listed is None or pool.HasField("retry_time"):
        return
    if pool.failures:
        # One tries, for all.
        missing = 0 if any(member.state == STARTING for member in current) else 1
    for _ in range(missing):
        drawn = new_member()
        pool.members.add(
            id=drawn.id,
            token_id=drawn.token_id,
            state=STARTING,
            version=pool.version,
            place=seen.place,
            coordinator_id=seen.coordinator_id,
            create_time=timestamp(now),
        )
        pool.started_count += 1
        made.start.append(drawn.id)


def _take_away(pool: pool_pb2.Pool, seen: Seen, now: float, made: Plan) -> None:
    """Stop the members that are too many, and those of earlier versions for which there are others."""
    members = live(pool)
    old = [member for member in members if member.version != pool.version]
    ready = sum(_serves(member) for member in members)

    def take(member: pool_pb2.PoolMember, reason: str) -> None:
        stop(member, reason, now)
        if member.id in made.start:
            made.start.remove(member.id)
        made.desire.pop(member.id, None)

    for member in sorted(old, key=lambda each: (_serves(each), _in_flight(each, seen))):
        if not _serves(member):
            if len(members) > pool.wanted or pool.failures == 0:
                take(member, "a new version takes its place")
        elif ready > pool.wanted:
            take(member, "a new version takes its place")
            ready -= 1
    members = live(pool)
    surplus = len(members) - pool.wanted
    if surplus <= 0 or (any(member.version != pool.version for member in members) and pool.wanted):
        return
    # The youngest of those with the least to do.
    youngest = list(reversed(members))
    youngest.sort(key=lambda each: (each.version == pool.version, _serves(each), _in_flight(each, seen)))
    for member in youngest[:surplus]:
        take(member, "the pool is to have fewer")


def _serves(member: pool_pb2.PoolMember) -> bool:
    return member.state == READY and not member.HasField("away_time")


def _in_flight(member: pool_pb2.PoolMember, seen: Seen) -> int:
    agent = seen.agents.get(member.id)
    return 0 if agent is None else agent.in_flight


def _end(pool: pool_pb2.Pool, now: float, made: Plan) -> None:
    """End a pool that is deleted, or was ephemeral, when it has no members any more."""
    if pool.members:
        return
    ended_s = now - seconds(pool.end_time) if pool.HasField("end_time") else 0.0
    if pool.deleting or ended_s > KEEP_ENDED_S:
        made.gone = True
    elif pool.spec.ephemeral and pool.started_count >= pool.spec.size and not pool.HasField("end_time"):
        if pool.failed_count:
            pool.end_time.CopyFrom(timestamp(now))
        else:
            made.gone = True


def _judge(pool: pool_pb2.Pool, seen: Seen) -> None:
    """The state of the pool."""
    pool.ready_count = sum(map(_serves, pool.members))
    settled = pool.ready_count == pool.wanted == len(pool.members) and all(
        member.version == pool.version for member in pool.members
    )
    if pool.deleting:
        pool.state = pool_pb2.POOL_STATE_DELETING
    elif pool.HasField("end_time"):
        pool.state = pool_pb2.POOL_STATE_ENDED
    elif pool.stopped and not pool.members:
        pool.state = pool_pb2.POOL_STATE_STOPPED
    elif pool.failures:
        pool.state = pool_pb2.POOL_STATE_FAILING
    elif pool.paused and all(member.state == READY and member.paused for member in pool.members):
        pool.state = pool_pb2.POOL_STATE_PAUSED
    else:
        pool.state = pool_pb2.POOL_STATE_READY if settled else pool_pb2.POOL_STATE_CHANGING
    if pool.state == pool_pb2.POOL_STATE_READY:
        pool.problem = ""
    elif seen.listed is None:
        pool.problem = seen.problem[:MAX_PROBLEM_CHARS]
