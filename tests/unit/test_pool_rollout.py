"""New versions of pools: enough members are healthy at each moment, a bad version is rolled back, a part of the members may have it."""

from __future__ import annotations

import random

import pytest

from tests.support.pool_world import Case, PoolWorld, new_pool
from weft.coordinator.pools.pool_plan import SeenAgent
from weft.coordinator.pools.rollout_rules import new_version, roll_back, targets, template_of
from weft.v1 import pool_pb2

NEXT = pool_pb2.PoolTemplate(provider="process", program="next:agent")


def update(pool: pool_pb2.Pool) -> None:
    new_version(pool, NEXT)


@pytest.mark.parametrize("size", [1, 3, 8])
@pytest.mark.parametrize("seed", range(4))
def test_enough_members_are_ready_at_each_moment(size: int, seed: int) -> None:
    """Two coordinators, at random turns, one of which is killed now and then."""
    rng = random.Random(seed)
    world = PoolWorld(new_pool(size))
    world.settle()
    assert world.row is not None
    world.change(update)
    for _ in range(4000):
        number = rng.randrange(2)
        rng.choices((world.look, world.act, world.crash), (5, 10, 0.2))[0](number)
        world.now += rng.uniform(0, 0.1)
        assert len(world.running) >= size
        row = world.row
        if {member.version for member in row.members} == {2} and len(row.members) == size:
            break
    world.settle()
    assert {member.version for member in world.row.members} == {2}
    assert (world.row.rolling, world.row.state) == (False, pool_pb2.POOL_STATE_READY)


@pytest.mark.parametrize("size", [1, 5])
def test_a_bad_version_is_rolled_back_by_itself(size: int) -> None:
    world = PoolWorld(new_pool(size))
    world.settle()
    before = world.running
    world.broken.add(2)
    world.change(update)
    world.settle()
    row = world.row
    assert row is not None
    # The members of before have never been touched.
    assert (world.running, row.version, row.spec.template.program) == (before, 1, "m:agent")
    assert row.rolled_back.startswith("version 2: ")
    assert (row.state, row.rolling) == (pool_pb2.POOL_STATE_READY, False)
    # The next one has a number of its own.
    world.change(update)
    world.settle()
    assert {member.version for member in row.members} == {1}
    assert world.row is not None
    assert {member.version for member in world.row.members} == {3}


def test_a_version_that_works_for_a_moment_alone_is_rolled_back() -> None:
    case = Case(1)
    case.ready()
    update(case.pool)
    for _ in range(3):
        (added,) = case.run(10.0).start
        assert case.listed is not None
        case.listed[added] = case.listed["p-1"]
        case.agents[added] = SeenAgent(True, True)
        case.run()
        assert case.states == ["READY", "READY"]
        # Its attempts fail.
        case.agents[added] = SeenAgent(True, True, failing=True)
        case.run(4.0)
        assert case.states == ["READY", "STOPPING"]
        del case.listed[added]
        case.run()
    assert case.pool.version == 1
    assert "keep failing" in case.pool.rolled_back


def test_a_part_of_the_members_has_a_version() -> None:
    world = PoolWorld(new_pool(10))
    world.settle()
    world.change(update)
    world.change(lambda pool: setattr(pool, "percent", 25))
    world.settle()
    row = world.row
    assert row is not None
    assert targets(row) == {2: 3, 1: 7}
    assert sorted(member.version for member in row.members) == [1] * 7 + [2] * 3
    assert (template_of(row, 1).program, template_of(row, 2).program) == ("m:agent", "next:agent")
    # One of the old version that ends is replaced by one of the old version.
    world.kill(0)
    world.settle()
    assert world.row is not None
    assert sorted(member.version for member in world.row.members) == [1] * 7 + [2] * 3
    world.change(lambda pool: (setattr(pool, "percent", 0), setattr(pool, "rolling", True))[0])
    world.settle()
    assert {member.version for member in world.row.members} == {2}


def test_one_can_go_back_once() -> None:
    pool = new_pool()
    assert not roll_back(pool, "why")
    update(pool)
    assert roll_back(pool, "why")
    assert (pool.version, pool.spec.template.program, pool.rolled_back) == (1, "m:agent", "version 2: why")
    assert not roll_back(pool, "why")


def test_a_version_that_is_not_through_is_not_one_to_go_back_to() -> None:
    pool = new_pool()
    update(pool)
    new_version(pool, pool_pb2.PoolTemplate(provider="process", program="third:agent"))
    assert (pool.version, pool.previous_version, pool.previous_template.program) == (3, 1, "m:agent")
