"""Members that stand still: only without work or after their grace, not counted as lost, thawed by a resume."""

from __future__ import annotations

from tests.support.pool_world import RUNS, Case
from weft.coordinator.pools.pool_plan import Plan, SeenAgent
from weft.v1 import fleet_pb2, pool_pb2

IDLE = SeenAgent(True, True, desired=fleet_pb2.DESIRED_STATE_PAUSED, here=True)
GONE = SeenAgent(False, False, desired=fleet_pb2.DESIRED_STATE_PAUSED)
FROZEN = RUNS._replace(frozen=True)


def paused(case: Case, agent: SeenAgent = IDLE, *, freeze: bool = True) -> Plan:
    """All members are ready, and the pool is paused."""
    case.ready()
    case.pool.paused, case.pool.frozen = True, freeze
    case.pool.pause_time.FromSeconds(int(case.now))
    assert set(case.run().desire.values()) == {fleet_pb2.DESIRED_STATE_PAUSED}
    case.agents = dict.fromkeys(case.agents, agent)
    return case.run()


def frozen(case: Case) -> None:
    """All members stand still, and their agents have left."""
    paused(case)
    case.listed = dict.fromkeys(case.agents, FROZEN)
    case.run()
    case.agents = dict.fromkeys(case.agents, GONE)
    case.run()
    assert case.state == "PAUSED"


def test_members_without_work_stand_still_and_their_agents_leave_then() -> None:
    case = Case(2)
    made = paused(case)
    assert sorted(made.freeze) == sorted(case.agents)
    assert not made.leave
    assert case.state == "CHANGING"
    case.listed = dict.fromkeys(case.agents, FROZEN)
    made = case.run()
    assert (sorted(made.leave), made.freeze) == (sorted(case.agents), [])
    assert case.state == "PAUSED"
    # Nothing is heard of them for a day.
    case.agents = dict.fromkeys(case.agents, GONE)
    made = case.run(86_400.0)
    assert (case.state, case.states, case.pool.lost_count) == ("PAUSED", ["READY", "READY"], 0)
    assert made == Plan()


def test_a_pause_alone_freezes_nothing() -> None:
    case = Case(2)
    assert not paused(case, freeze=False).freeze
    assert case.state == "PAUSED"


def test_members_with_work_stand_still_when_it_is_done_or_their_grace_is_over() -> None:
    case = Case(1)
    for busy in (IDLE._replace(in_flight=1), IDLE._replace(used=1), IDLE._replace(here=False)):
        case = Case(1)
        assert not paused(case, busy).freeze
        assert not case.run(29.0).freeze
        assert case.run(1.0).freeze
    # What its session's coordinator is to do, another one does later.
    case.listed = dict.fromkeys(case.agents, FROZEN)
    assert not case.run().leave
    assert case.run(2.0).leave


def test_a_resume_thaws_and_the_agents_have_time_to_come_back() -> None:
    case = Case(2)
    frozen(case)
    case.pool.paused = case.pool.frozen = False
    made = case.run()
    assert sorted(made.thaw) == sorted(case.agents)
    case.listed = dict.fromkeys(case.agents, RUNS)
    assert not case.run().thaw
    case.run(9.0)
    assert (case.state, case.pool.lost_count) == ("CHANGING", 0)
    case.agents = dict.fromkeys(case.agents, IDLE)
    assert set(case.run().desire.values()) == {fleet_pb2.DESIRED_STATE_ACTIVE}
    case.agents = dict.fromkeys(case.agents, SeenAgent(True, True, here=True))
    case.run()
    assert (case.state, case.pool.started_count) == ("READY", 2)


def test_one_that_does_not_come_back_is_replaced() -> None:
    case = Case(1)
    frozen(case)
    case.pool.paused = case.pool.frozen = False
    case.run()
    case.listed = dict.fromkeys(case.agents, RUNS)
    case.run()
    assert case.state == "CHANGING"
    case.run(10.0)
    assert case.states[0] == "STOPPING"
    assert case.pool.lost_count == 1


def test_a_pause_without_freeze_thaws_and_stays_paused() -> None:
    case = Case(1)
    frozen(case)
    case.pool.frozen = False
    assert case.run().thaw
    case.listed = dict.fromkeys(case.agents, RUNS)
    case.agents = dict.fromkeys(case.agents, IDLE)
    made = case.run()
    assert (made.thaw, made.desire, case.state) == ([], {}, "PAUSED")


def test_one_that_ends_while_it_stands_still_is_lost_and_replaced_after_the_resume() -> None:
    case = Case(1)
    frozen(case)
    case.listed = {}
    case.run()
    case.run()
    assert (case.pool.lost_count, case.states) == (1, [])
    case.pool.paused = case.pool.frozen = False
    assert len(case.run(5.0).start) == 1


def test_a_pool_is_deleted_while_it_stands_still() -> None:
    case = Case(1)
    frozen(case)
    case.pool.deleting = True
    case.run()
    made = case.run()
    assert list(made.stop) == list(case.agents)
    assert (made.freeze, made.thaw) == ([], [])
    assert not case.pool.members[0].frozen


def test_a_provider_that_cannot_freeze_now_says_why() -> None:
    case = Case(1)
    paused(case)
    case.run(faults=dict.fromkeys(case.agents, "no cgroup"))
    assert (case.state, case.pool.problem) == (
        "CHANGING",
        f"{case.pool.members[0].id} does not stand still: no cgroup",
    )
    case.listed = dict.fromkeys(case.agents, FROZEN)
    case.run()
    assert (case.state, case.pool.problem) == ("PAUSED", "")


def test_a_provider_that_does_not_answer_loses_nobody() -> None:
    case = Case(1)
    frozen(case)
    case.listed = None
    case.run(3600.0)
    case.pool.paused = case.pool.frozen = False
    case.run(3600.0)
    assert (case.states, case.pool.lost_count) == (["READY"], 0)
    assert case.pool.members[0].HasField("freeze_time")
    assert case.pool.state == pool_pb2.POOL_STATE_CHANGING
