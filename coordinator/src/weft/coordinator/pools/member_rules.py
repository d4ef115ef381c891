"""What becomes of one member of a pool. Pure: time and what is seen are arguments.

STARTING ──agent ready──► READY ──┐
│ failed, too late            │ ended, lost, too many, older version
└──────────► STOPPING ◄───────┘
└──nothing of it is left──► removed
"""

from __future__ import annotations

from weft.coordinator.pools.freeze_rules import go_on, stands_still, steer_freeze
from weft.coordinator.pools.pool_plan import (
    DEFAULT_GRACE_S,
    DEFAULT_READY_S,
    ELSEWHERE_S,
    FIRST_RETRY_S,
    LAST_RETRY_S,
    LOST_S,
    MAX_PROBLEM_CHARS,
    MAX_REASON_CHARS,
    PAUSES_S,
    READY,
    STABLE_RETRY_S,
    STABLE_S,
    STARTING,
    STOPPING,
    TAKE_UP_S,
    Plan,
    Seen,
)
from weft.coordinator.pools.provider import ListedMember
from weft.coordinator.pools.rollout_rules import healthy_s
from weft.rpc.times import seconds, timestamp
from weft.v1 import fleet_pb2, pool_pb2


def advance(pool: pool_pb2.Pool, member: pool_pb2.PoolMember, seen: Seen, now: float, plan: Plan) -> bool:
    """Take in what is seen of a member. False: nothing is left of it."""
    known = member.place == seen.place and seen.listed is not None and member.id not in seen.busy
    listed = seen.listed.get(member.id) if known and seen.listed is not None else None
    if listed is not None and listed.handle and not member.HasField("start_time"):
        member.start_time.CopyFrom(timestamp(now))
        member.handle = listed.handle[:128]
    if member.state != STOPPING:
        _look_at_agent(pool, member, seen, now)
        _look_at_start(pool, member, seen, now)
    if known and member.state != STOPPING:
        _look_at_process(pool, member, listed, seen, now, plan)
    if member.state == STOPPING:
        return _stopping(pool, member, listed, seen, now, plan, known=known)
    _steer(pool, member, seen, now, plan)
    steer_freeze(pool, member, listed, seen, now, stop_grace_s(pool.spec.template), plan)
    return True


def stop(member: pool_pb2.PoolMember, reason: str, now: float) -> None:
    """A member is not wanted any more."""
    member.state, member.reason = STOPPING, reason[:MAX_REASON_CHARS]
    member.stop_time.CopyFrom(timestamp(now))
    member.ClearField("away_time")
    go_on(member)


def _look_at_agent(pool: pool_pb2.Pool, member: pool_pb2.PoolMember, seen: Seen, now: float) -> None:
    agent = seen.agents.get(member.id)
    if stands_still(member):
        member.ClearField("away_time")
    elif agent is not None and agent.ready:
        member.ClearField("away_time")
        if member.state == STARTING:
            member.state = READY
            member.ready_time.CopyFrom(timestamp(now))
        _forget_failures(pool, member, now)
        if agent.failing and pool.rolling and member.version == pool.version:
            _failed(pool, member, "is ready, but its attempts keep failing", now)
    elif member.state == READY and (agent is None or not agent.connected):
        if not member.HasField("away_time"):
            member.away_time.CopyFrom(timestamp(now))
        elif now - seconds(member.away_time) >= LOST_S:
            _lost(pool, member, "its agent was lost", now)
    else:
        member.ClearField("away_time")


def _forget_failures(pool: pool_pb2.Pool, member: pool_pb2.PoolMember, now: float) -> None:
    """A member works that became ready after others had failed. While members are replaced, it must do so for a while."""
    if not pool.failures or member.version != pool.version or not member.HasField("ready_time"):
        return
    if pool.rolling and now - seconds(member.ready_time) < healthy_s(pool):
        return
    if seconds(member.ready_time) >= seconds(pool.failure_time):
        pool.failures = 0
        pool.ClearField("retry_time")


def _look_at_start(pool: pool_pb2.Pool, member: pool_pb2.PoolMember, seen: Seen, now: float) -> None:
    """Whether its start has failed, or takes too long."""
    if member.state != STARTING:
        return
    if (fault := seen.faults.get(member.id)) is not None:
        _failed(pool, member, f"could not be started: {fault}", now)
        return
    ready_s = ready_timeout_s(pool.spec.template)
    # Its own coordinator decides first.
    margin_s = 0.0 if member.place == seen.place else LOST_S
    if now - seconds(member.create_time) >= ready_s + margin_s:
        why = "its agent has not connected" if member.id not in seen.agents else "its agent takes no calls"
        _failed(pool, member, f"was not ready within {ready_s:g} s: {why}", now)


def _look_at_process(
    pool: pool_pb2.Pool,
    member: pool_pb2.PoolMember,
    listed: ListedMember | None,
    seen: Seen,
    now: float,
    plan: Plan,
) -> None:
    if listed is not None and listed.running:
        return
    if listed is None and not member.HasField("start_time"):
        own = seen.alone or member.coordinator_id == seen.coordinator_id
        if own or now - seconds(member.create_time) >= TAKE_UP_S:
            plan.start.append(member.id)
        return
    if listed is None:
        # It has gone with its keeper, or somebody has removed it: that says nothing of its template.
        _gone(pool, member, "is not there any more", now)
    elif member.state == STARTING:
        _failed(pool, member, f"was never ready: it {listed.ending or 'ended'}", now)
    else:
        _lost(pool, member, listed.ending or "ended", now)


def _failed(pool: pool_pb2.Pool, member: pool_pb2.PoolMember, how: str, now: float) -> None:
    """A member was never ready, or not for long."""
    pool.failed_count += 1
    if member.version == pool.version:
        pool.problem = f"{member.id} {how}"[:MAX_PROBLEM_CHARS]
        # Those that were started together count once.
        if not pool.failures or seconds(member.create_time) > seconds(pool.failure_time):
            pool.failures += 1
            pause_s = min(LAST_RETRY_S, FIRST_RETRY_S * 2 ** min(pool.failures - 1, 16))
            pool.retry_time.CopyFrom(timestamp(now + pause_s))
            pool.failure_time.CopyFrom(timestamp(now))
    stop(member, how, now)


def _lost(pool: pool_pb2.Pool, member: pool_pb2.PoolMember, how: str, now: float) -> None:
    """A member that was ready has ended, or does not answer."""
    if pool.rolling and member.version == pool.version and now - seconds(member.ready_time) < healthy_s(pool):
        # It is no good.
        _failed(pool, member, f"was ready, and then {how}", now)
        return
    _gone(pool, member, how, now)


def _gone(pool: pool_pb2.Pool, member: pool_pb2.PoolMember, how: str, now: float) -> None:
    """A member is to be replaced: soon, or in a moment if it has not been ready for long."""
    pool.lost_count += 1
    lived_s = now - seconds(member.ready_time) if member.HasField("ready_time") else 0.0
    if lived_s < STABLE_S and not pool.HasField("retry_time"):
        pool.retry_time.CopyFrom(timestamp(now + STABLE_RETRY_S))
    stop(member, how, now)


def _stopping(
    pool: pool_pb2.Pool,
    member: pool_pb2.PoolMember,
    listed: ListedMember | None,
    seen: Seen,
    now: float,
    plan: Plan,
    *,
    known: bool,
) -> bool:
    """False: nothing is left of it."""
    grace_s = stop_grace_s(pool.spec.template)
    if known and listed is not None and listed.running:
        plan.stop[member.id] = grace_s
        return True
    left = now - seconds(member.stop_time) < grace_s + ELSEWHERE_S
    if not known and (member.place == seen.place or left):
        return True
    if listed is not None:
        plan.forget.append(member.id)
    if member.token_id:
        plan.revoke.append(member.token_id)
    if member.paused:
        # So that the fleet may forget it.
        plan.desire[member.id] = fleet_pb2.DESIRED_STATE_ACTIVE
    return False


def _steer(pool: pool_pb2.Pool, member: pool_pb2.PoolMember, seen: Seen, now: float, plan: Plan) -> None:
    """Pause or resume its agent with its pool. An agent that an operator drained stays so.

    That the pool pauses it is stored first: or one that is paused after the pool was resumed would stay so.
    """
    agent = seen.agents.get(member.id)
    if agent is None or not agent.connected:
        return
    paused = agent.desired == fleet_pb2.DESIRED_STATE_PAUSED
    if pool.paused:
        member.paused = member.paused or paused or agent.desired == fleet_pb2.DESIRED_STATE_ACTIVE
        if agent.desired == fleet_pb2.DESIRED_STATE_ACTIVE:
            plan.desire[member.id] = fleet_pb2.DESIRED_STATE_PAUSED
    elif member.paused:
        if paused:
            plan.desire[member.id] = fleet_pb2.DESIRED_STATE_ACTIVE
        elif now - seconds(pool.update_time) >= PAUSES_S:
            member.paused = False


def ready_timeout_s(template: pool_pb2.PoolTemplate) -> float:
    return seconds(template.ready_timeout) if template.HasField("ready_timeout") else DEFAULT_READY_S


def stop_grace_s(template: pool_pb2.PoolTemplate) -> float:
    return seconds(template.stop_grace) if template.HasField("stop_grace") else DEFAULT_GRACE_S
