"""From what a pool should be, and what is seen of it, to what is to be done: the reconciler. Pure: time, what is seen and new ids are
arguments. A plan changes the pool; the actions follow when that is stored."""

from __future__ import annotations

from collections import Counter
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
from weft.coordinator.pools.rollout_rules import counts, judge_rollout, serves, surge, targets
from weft.coordinator.pools.scaling_rules import rescale, wanted_size
from weft.rpc.times import seconds, timestamp
from weft.v1 import pool_pb2

# An ephemeral pool that has failed is kept for so long, so that somebody can look.
KEEP_ENDED_S = 3600.0


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
    rescale(pool, seen, now)
    pool.wanted = wanted_size(pool)
    judge_rollout(pool, now)
    _add(pool, seen, now, new_member, made)
    _take_away(pool, seen, now, made)
    _end(pool, now, made)
    _judge(pool, seen, made)
    return made


def live(pool: pool_pb2.Pool) -> list[pool_pb2.PoolMember]:
    """The members that are not being stopped."""
    return [member for member in pool.members if member.state != STOPPING]


def _add(
    pool: pool_pb2.Pool, seen: Seen, now: float, new_member: Callable[[], NewMember], made: Plan
) -> None:
    """Add the members that are missing."""
    members, wanted = live(pool), targets(pool)
    there = Counter(member.version for member in members)
    too_many = sum(max(0, count - wanted.get(version, 0)) for version, count in there.items())
    room = min(
        pool.wanted + (surge(pool) if too_many else 0) - len(members),
        MAX_MEMBERS - len(pool.members),
    )
    if pool.spec.ephemeral:
        room = min(room, pool.spec.size - pool.started_count)
    if pool.HasField("retry_time") and now >= seconds(pool.retry_time):
        pool.ClearField("retry_time")
    if room <= 0 or pool.paused or seen.listed is None or pool.HasField("retry_time"):
        return
    if pool.failures > 1:
        # The first failure may be chance. Now one tries, for all.
        room = 0 if any(member.state == STARTING for member in members) else 1
    for version, count in wanted.items():
        for _ in range(min(room, count - there[version])):
            room -= 1
            _add_one(pool, version, seen, now, new_member(), made)


def _add_one(pool: pool_pb2.Pool, version: int, seen: Seen, now: float, drawn: NewMember, made: Plan) -> None:
    pool.members.add(
        id=drawn.id,
        token_id=drawn.token_id,
        state=STARTING,
        version=version,
        place=seen.place,
        coordinator_id=seen.coordinator_id,
        create_time=timestamp(now),
    )
    pool.started_count += 1
    made.start.append(drawn.id)


def _take_away(pool: pool_pb2.Pool, seen: Seen, now: float, made: Plan) -> None:
    """Stop the members that are too many of their version, while enough of all are there."""
    versions, wanted = targets(pool), pool.wanted
    left = Counter(versions)
    members = live(pool)
    enough = sum(counts(pool, member, now) for member in members)
    # The oldest of those with the most to do stay.
    excess: list[pool_pb2.PoolMember] = []
    for member in sorted(members, key=lambda each: (not serves(each), -_in_flight(each, seen))):
        left[member.version] -= 1
        if left[member.version] < 0:
            excess.append(member)
    for member in reversed(excess):
        if counts(pool, member, now):
            if enough <= wanted:
                continue
            enough -= 1
        elif serves(member) and enough < wanted:
            continue
        stop(member, "the pool is to have fewer" if member.version in versions else "another version", now)
        if member.id in made.start:
            made.start.remove(member.id)
        made.desire.pop(member.id, None)


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


def _judge(pool: pool_pb2.Pool, seen: Seen, made: Plan) -> None:
    """The state of the pool."""
    pool.ready_count = sum(map(serves, pool.members))
    there = Counter(member.version for member in pool.members)
    settled = pool.ready_count == pool.wanted and there == Counter(targets(pool)) and not pool.rolling
    if pool.deleting:
        pool.state = pool_pb2.POOL_STATE_DELETING
    elif pool.HasField("end_time"):
        pool.state = pool_pb2.POOL_STATE_ENDED
    elif pool.stopped and not pool.members:
        pool.state = pool_pb2.POOL_STATE_STOPPED
    elif pool.idle and not pool.members:
        pool.state = pool_pb2.POOL_STATE_IDLE
    elif pool.failures:
        pool.state = pool_pb2.POOL_STATE_FAILING
    elif pool.paused:
        rests = not made.desire and all(
            member.state == READY and member.paused and member.frozen == pool.frozen
            for member in pool.members
        )
        pool.state = pool_pb2.POOL_STATE_PAUSED if rests else pool_pb2.POOL_STATE_CHANGING
    else:
        pool.state = pool_pb2.POOL_STATE_READY if settled else pool_pb2.POOL_STATE_CHANGING
    if pool.state in (pool_pb2.POOL_STATE_READY, pool_pb2.POOL_STATE_PAUSED):
        pool.problem = ""
    elif seen.listed is None:
        pool.problem = seen.problem[:MAX_PROBLEM_CHARS]
