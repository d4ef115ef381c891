"""How members of a new version take the place of others: how many of each there should be, when a member counts, and when a version is rolled
back. Pure."""

from __future__ import annotations

from weft.coordinator.pools.pool_plan import MAX_PROBLEM_CHARS, READY
from weft.rpc.times import seconds
from weft.v1 import pool_pb2

DEFAULT_HEALTHY_S = 5.0
DEFAULT_FAILURES = 3
# Of the members, at least one.
_SURGE_PART = 4


def targets(pool: pool_pb2.Pool) -> dict[int, int]:
    """How many members of each version there should be."""
    if pool.previous_version and 0 < pool.percent < 100:
        new = -(-pool.wanted * pool.percent // 100)
        return {pool.version: new, pool.previous_version: pool.wanted - new}
    return {pool.version: pool.wanted}


def template_of(pool: pool_pb2.Pool, version: int) -> pool_pb2.PoolTemplate:
    """What a member of a version is started from."""
    return pool.previous_template if version == pool.previous_version != pool.version else pool.spec.template


def surge(pool: pool_pb2.Pool) -> int:
    """How many members more there may be while some are replaced."""
    return min(pool.spec.rollout.surge or -(-pool.wanted // _SURGE_PART), max(pool.wanted, 1))


def healthy_s(pool: pool_pb2.Pool) -> float:
    """How long a new member must have been ready."""
    rollout = pool.spec.rollout
    return seconds(rollout.healthy_for) if rollout.HasField("healthy_for") else DEFAULT_HEALTHY_S


def serves(member: pool_pb2.PoolMember) -> bool:
    """Whether a member is ready, and its agent connected."""
    return member.state == READY and not (member.frozen or member.HasField("away_time"))


def counts(pool: pool_pb2.Pool, member: pool_pb2.PoolMember, now: float) -> bool:
    """Whether another member may go because this one is there."""
    if not serves(member) or not pool.rolling or member.version != pool.version:
        return serves(member)
    return now - seconds(member.ready_time) >= healthy_s(pool)


def new_version(pool: pool_pb2.Pool, template: pool_pb2.PoolTemplate | None) -> None:
    """Give a pool a new version.

    Args:
        template: None: the same one, for a restart.
    """
    if template is None:
        # There is nothing else to go back to.
        pool.previous_version, pool.percent = 0, 0
        pool.ClearField("previous_template")
    else:
        # A version that is not through yet is not one to go back to.
        if not (pool.rolling and pool.previous_version):
            pool.previous_version = pool.version
            pool.previous_template.CopyFrom(pool.spec.template)
        pool.rolled_back = ""
        pool.spec.template.CopyFrom(template)
    pool.last_version = max(pool.last_version, pool.version) + 1
    pool.version, pool.rolling = pool.last_version, True
    forget_failures(pool)


def forget_failures(pool: pool_pb2.Pool) -> None:
    pool.failures, pool.problem = 0, ""
    pool.ClearField("retry_time")
    pool.ClearField("failure_time")


def roll_back(pool: pool_pb2.Pool, why: str) -> bool:
    """Go back to the version before. False: there is none."""
    if not pool.previous_version or pool.previous_version == pool.version:
        return False
    pool.rolled_back = f"version {pool.version}: {why}"[:MAX_PROBLEM_CHARS]
    pool.spec.template.CopyFrom(pool.previous_template)
    # Its members that are still there stay.
    pool.version, pool.previous_version = pool.previous_version, 0
    pool.ClearField("previous_template")
    pool.percent, pool.rolling = 0, True
    forget_failures(pool)
    return True


def judge_rollout(pool: pool_pb2.Pool, now: float) -> None:
    """Roll a version back that fails, and end a rollout that is through."""
    if not pool.rolling:
        return
    if pool.failures >= (pool.spec.rollout.max_failures or DEFAULT_FAILURES):
        roll_back(pool, pool.problem)
        return
    wanted = targets(pool)
    there = dict.fromkeys(wanted, 0)
    for member in pool.members:
        if member.version not in there or not counts(pool, member, now):
            return
        there[member.version] += 1
    if there == wanted:
        pool.rolling = False
