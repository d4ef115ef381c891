"""The faults of Redis and of the way to it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import cast

from tests.chaos.harness.deployment import Deployment, OneRedis, Part, ReplicatedRedis
from tests.chaos.harness.faults import HEARS_S, Blow, Fault

# Redis is away for so long at most: within the leases of agents, as when a supervisor starts it again.
_REDIS_AWAY_S = 1.5
# Cut off for so long at most: sometimes past the leases of the coordinator's agents, who have gone to another by then.
_CUT_S = 4.0


async def _kill_redis(mesh: Deployment, rng: random.Random) -> Blow:
    redis, away_s = cast("OneRedis", mesh), rng.uniform(0, _REDIS_AWAY_S)
    struck_at_s = time.time()
    await redis.kill_redis()
    await asyncio.sleep(away_s)
    await redis.start_redis()
    return _away(mesh, "redis-killed", Part.REDIS, struck_at_s)


async def _lose_primary(mesh: Deployment, rng: random.Random) -> Blow:  # there is one
    struck_at_s = time.time()
    await cast("ReplicatedRedis", mesh).lose_primary()
    return _away(mesh, "primary-lost", Part.PRIMARY, struck_at_s)


def _away(mesh: Deployment, fault: str, part: Part, struck_at_s: float) -> Blow:
    """Redis was away until now. Where it may forget, anything may run again."""
    now_s, everybody = time.time(), frozenset(mesh.agent_ids)
    return Blow(
        fault,
        part,
        "redis",
        struck_at_s,
        now_s,
        disowned=everybody if part in mesh.forgetful else frozenset(),
        disowned_until_s=now_s + HEARS_S,
        bereft=everybody,
    )


async def _cut_redis(mesh: Deployment, rng: random.Random) -> Blow:
    return await _part(mesh, rng, "redis-cut", cast("OneRedis", mesh).cut_redis)


async def _silence_redis(mesh: Deployment, rng: random.Random) -> Blow:
    return await _part(mesh, rng, "redis-silent", cast("OneRedis", mesh).silence_redis)


async def _part(
    mesh: Deployment, rng: random.Random, fault: str, part_it: Callable[[str], Awaitable[None]]
) -> Blow:
    name, away_s = rng.choice(mesh.coordinator_names), rng.uniform(0, _CUT_S)
    struck_at_s = time.time()
    at_it = _at(mesh, name)
    await part_it(name)
    try:
        await asyncio.sleep(away_s)
    finally:
        at_it |= _at(mesh, name)
        await cast("OneRedis", mesh).heal_redis(name)
    now_s = time.time()
    return Blow(
        fault,
        Part.REDIS_LINK,
        name,
        struck_at_s,
        now_s,
        bereft=at_it,
    )


def _at(mesh: Deployment, name: str) -> frozenset[str]:
    return frozenset(agent_id for agent_id in mesh.agent_ids if mesh.home(agent_id) == name)


REDIS_KILLED = Fault("redis-killed", Part.REDIS, _kill_redis)
REDIS_CUT = Fault("redis-cut", Part.REDIS_LINK, _cut_redis)
REDIS_SILENT = Fault("redis-silent", Part.REDIS_LINK, _silence_redis)
PRIMARY_LOST = Fault("primary-lost", Part.PRIMARY, _lose_primary)
