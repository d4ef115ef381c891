"""How many members a pool has: by the work, with a pause before there are fewer; none while there is no work; none after its time."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pool_world import RUNS, Case
from weft.coordinator.pools.pool_plan import Load, SeenAgent
from weft.coordinator.pools.scaling_rules import scaled_to, watched_methods
from weft.v1.pool_pb2 import Autoscale

NOTHING = Load()


def scaled(case: Case, load: Load | None, after_s: float = 1.0) -> int:
    """Let all members run, and look what the pool wants then."""
    case.listed = {member.id: RUNS for member in case.pool.members}
    case.agents = {each: SeenAgent(True, True, methods=("a/B",)) for each in case.listed}
    case.run(after_s, load=load)
    return case.pool.wanted


def by_work(**fields: int) -> Case:
    case = Case(1)
    case.pool.spec.autoscale.CopyFrom(
        Autoscale(min=1, max=5, target_per_member=10, cool_down=Duration(seconds=30))
    )
    for name, value in fields.items():
        setattr(case.pool.spec.autoscale, name, value)
    case.pool.scaled = 1
    return case


def test_more_at_once_and_fewer_after_a_while() -> None:
    case = by_work()
    assert scaled(case, Load(queued=25)) == 3
    assert scaled(case, Load(queued=500)) == 5
    assert scaled(case, Load(running=3)) == 5
    # In the meantime two were needed.
    assert scaled(case, Load(queued=11), 20.0) == 5
    assert scaled(case, Load(running=3), 10.0) == 2
    assert scaled(case, NOTHING, 10.0) == 2
    # It is needed again: the time begins anew.
    assert scaled(case, Load(queued=15), 10.0) == 2
    assert scaled(case, NOTHING, 10.0) == 2
    assert scaled(case, NOTHING, 30.0) == 1
    # Not known: nothing changes.
    assert scaled(case, Load(queued=25)) == 3
    assert scaled(case, None, 3600.0) == 3


def test_the_pause_begins_when_all_members_are_there() -> None:
    case = by_work(min=0)
    case.run(load=NOTHING)
    assert case.states == ["STARTING"]
    # However long a start takes: a pool that goes away before it was there helps nobody.
    for _ in range(3):
        case.listed = {member.id: RUNS for member in case.pool.members}
        case.run(14.0, load=NOTHING)
        assert case.pool.wanted == 1
    assert scaled(case, NOTHING, 1.0) == 1
    assert scaled(case, NOTHING, 29.0) == 1
    assert scaled(case, NOTHING, 1.0) == 0


def test_a_pool_that_fails_may_have_fewer() -> None:
    case = by_work(min=0)
    started = case.run(load=NOTHING).start
    case.run(load=NOTHING, faults=dict.fromkeys(started, "no such image"))
    assert case.pool.failures == 1
    case.run(1.0, load=NOTHING)
    assert case.states[-1] == "STARTING"
    case.run(30.0, load=NOTHING)
    assert case.pool.wanted == 0


def test_direct_calls_count_and_running_tasks_count_once() -> None:
    case = by_work()
    assert scaled(case, Load(running=20, used=20)) == 2
    assert scaled(case, Load(used=40)) == 4


def test_without_a_target_it_is_the_members_slots() -> None:
    assert scaled_to(Autoscale(max=10), 4, Load(queued=9)) == 3
    assert scaled_to(Autoscale(max=10), 0, Load(queued=9)) == 9


@given(
    low=st.integers(0, 200),
    high=st.integers(1, 200),
    target=st.integers(0, 50),
    queued=st.integers(0, 10_000),
)
def test_it_is_always_within_bounds_and_enough(low: int, high: int, target: int, queued: int) -> None:
    autoscale = Autoscale(min=min(low, high), max=high, target_per_member=target)
    size = scaled_to(autoscale, 1, Load(queued=queued))
    assert autoscale.min <= size <= autoscale.max
    assert size * (target or 1) >= queued or size == autoscale.max


def test_its_methods_are_remembered_so_that_it_wakes_from_nothing() -> None:
    case = by_work(min=0)
    scaled(case, Load(queued=1))
    scaled(case, NOTHING)
    assert scaled(case, NOTHING, 40.0) == 0
    case.run()
    assert watched_methods(case.pool) == ["a/B"]
    assert scaled(case, Load(queued=1)) == 1


def test_a_pool_without_work_rests_until_there_is_some() -> None:
    case = Case(2)
    case.pool.spec.idle_stop.seconds = 60
    assert scaled(case, NOTHING) == 2
    assert scaled(case, NOTHING) == 2
    assert scaled(case, Load(used=1), 50.0) == 2
    assert scaled(case, NOTHING, 50.0) == 2
    assert scaled(case, NOTHING, 61.0) == 0
    case.listed = {}
    case.run(load=NOTHING)
    assert case.state == "IDLE"
    assert case.run(3600.0, load=NOTHING).start == []
    assert len(case.run(load=Load(queued=1)).start) == 2


def test_an_ephemeral_pool_without_work_is_deleted() -> None:
    case = Case(1, ephemeral=True)
    case.pool.spec.idle_stop.seconds = 60
    for after_s in (1.0, 1.0, 1.0, 61.0):
        scaled(case, NOTHING, after_s)
    assert case.pool.deleting


@pytest.mark.parametrize("ephemeral", [False, True])
def test_a_pool_is_deleted_after_its_time(ephemeral: bool) -> None:
    case = Case(1, ephemeral=ephemeral)
    case.pool.create_time.FromSeconds(int(case.now))
    case.pool.spec.ttl.seconds = 60
    case.ready()
    case.run(59.0)
    assert not case.pool.deleting
    case.run(1.0)
    assert case.state == "DELETING"
