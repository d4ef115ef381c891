"""Members that stand still: when one may, and how it goes on. Pure: time and what is seen are arguments.

READY, paused ──nothing to do, or the grace is over──► freeze_time ──provider freezes it──► frozen ─► its agent has left, in order
      ▲                                                                                       │
      └────────────── its agent joins again ◄──────────── provider thaws it ◄── resumed ──────┘

It leaves only when its processes stand still: before that, it would dial again at once.
"""

from __future__ import annotations

from weft.coordinator.pools.pool_plan import MAX_PROBLEM_CHARS, READY, TAKE_UP_S, Plan, Seen
from weft.coordinator.pools.provider import ListedMember
from weft.rpc.times import seconds, timestamp
from weft.v1 import fleet_pb2, pool_pb2


def stands_still(member: pool_pb2.PoolMember) -> bool:
    """Whether a member is being frozen, is frozen, or is being thawed: nothing is to be heard of its agent."""
    return member.HasField("freeze_time")


def go_on(member: pool_pb2.PoolMember) -> None:
    """Note that a member does not stand still, or is not meant to any more."""
    member.frozen = False
    member.ClearField("freeze_time")


def steer_freeze(
    pool: pool_pb2.Pool,
    member: pool_pb2.PoolMember,
    listed: ListedMember | None,
    seen: Seen,
    now: float,
    grace_s: float,
    plan: Plan,
) -> None:
    """Freeze or thaw a member with its pool.

    Args:
        listed: as the provider has it. None: that is not known here.
        grace_s: for what it runs.
    """
    if pool.paused and pool.frozen and member.paused and member.state == READY:
        if not stands_still(member) and _may_stand_still(pool, member, seen, now, grace_s):
            member.freeze_time.CopyFrom(timestamp(now))
        if stands_still(member):
            _freeze(pool, member, listed, seen, now, plan)
    elif stands_still(member) and listed is not None:
        if listed.frozen:
            plan.thaw.append(member.id)
        else:
            go_on(member)
            agent = seen.agents.get(member.id)
            if agent is None or not agent.connected:
                # From now on it has some time to come back.
                member.away_time.CopyFrom(timestamp(now))


def _may_stand_still(
    pool: pool_pb2.Pool, member: pool_pb2.PoolMember, seen: Seen, now: float, grace_s: float
) -> bool:
    agent = seen.agents.get(member.id)
    if agent is None or not agent.ready or agent.desired == fleet_pb2.DESIRED_STATE_ACTIVE:
        return False
    if agent.here and not agent.in_flight and not agent.used:
        return True
    return now - max(seconds(pool.pause_time), seconds(member.ready_time)) >= grace_s


def _freeze(
    pool: pool_pb2.Pool,
    member: pool_pb2.PoolMember,
    listed: ListedMember | None,
    seen: Seen,
    now: float,
    plan: Plan,
) -> None:
    if listed is not None and listed.running:
        member.frozen = listed.frozen
        if not listed.frozen:
            plan.freeze.append(member.id)
    if (fault := seen.faults.get(member.id)) is not None:
        pool.problem = f"{member.id} does not stand still: {fault}"[:MAX_PROBLEM_CHARS]
    agent = seen.agents.get(member.id)
    # The coordinator with its session ends that; another one only if that one does not.
    ends = agent is not None and (agent.here or now - seconds(member.freeze_time) >= TAKE_UP_S)
    if member.frozen and agent is not None and agent.connected and ends:
        plan.leave.append(member.id)
