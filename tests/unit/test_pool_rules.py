"""The rules of pools: what is done for each thing that is seen, and that any order of kills and changes ends where it should."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.pool_world import PLACE, RUNS, Case, PoolWorld, new_pool
from weft.coordinator.pools.pool_codec import MAX_TEMPLATE_BYTES
from weft.coordinator.pools.pool_plan import (
    LOST_S,
    MAX_METHOD_CHARS,
    MAX_METHODS,
    MAX_PROBLEM_CHARS,
    MAX_SIZE,
    Plan,
    SeenAgent,
)
from weft.coordinator.pools.pool_rules import KEEP_ENDED_S
from weft.coordinator.pools.provider import ListedMember
from weft.coordinator.pools.rollout_rules import new_version, roll_back, targets
from weft.coordinator.store.table_store import MAX_VALUE_BYTES
from weft.rpc.times import seconds
from weft.v1 import fleet_pb2, pool_pb2

PAUSED, ACTIVE = fleet_pb2.DESIRED_STATE_PAUSED, fleet_pb2.DESIRED_STATE_ACTIVE


def test_members_are_stored_first_and_started_until_they_are_there() -> None:
    case = Case()
    assert case.run().start == ["p-1", "p-2"]
    assert (case.states, case.state) == (["STARTING", "STARTING"], "CHANGING")
    # The provider has none of them yet: another coordinator may have been killed before it did it.
    assert case.run().start == ["p-1", "p-2"]
    case.listed = {"p-1": RUNS, "p-2": RUNS}
    case.agents = {"p-1": SeenAgent(True, True), "p-2": SeenAgent(True, False)}
    assert not case.run().start
    assert (case.states, case.state) == (["READY", "STARTING"], "CHANGING")
    case.agents["p-2"] = SeenAgent(True, True)
    assert case.run() == Plan()
    assert (case.state, case.pool.ready_count) == ("READY", 2)


def test_one_that_has_ended_is_replaced_at_once() -> None:
    case = Case()
    case.ready()
    case.run(60.0)
    assert case.listed is not None
    case.listed["p-1"] = ListedMember("1", False, "was ended by SIGKILL")
    made = case.run()
    assert (made.start, made.forget, made.revoke) == (["p-3"], ["p-1"], ["t"])
    assert (case.pool.lost_count, case.pool.failures) == (1, 0)


def test_one_that_has_gone_before_it_was_ready_says_nothing_of_its_template() -> None:
    """Its keeper was killed: all members are replaced together, after a moment."""
    case = Case(3)
    case.run()
    case.listed = dict.fromkeys(["p-1", "p-2", "p-3"], RUNS)
    case.run()
    case.listed = {}
    assert case.run().start == []
    assert (case.pool.failures, case.pool.lost_count, case.state) == (0, 3, "CHANGING")
    assert len(case.run(0.5).start) == 3


def test_one_whose_agent_is_lost_is_stopped_after_a_while() -> None:
    case = Case()
    case.ready()
    case.agents["p-1"] = SeenAgent(connected=False, ready=False)
    assert case.run(60.0) == Plan()
    assert case.state == "CHANGING"
    made = case.run(LOST_S)
    assert (case.states[0], made.start, list(made.stop)) == ("STOPPING", ["p-3"], ["p-1"])


def test_one_that_is_suspect_stays() -> None:
    case = Case()
    case.ready()
    case.agents = dict.fromkeys(case.agents, SeenAgent(connected=True, ready=False))
    assert case.run(60.0) == Plan()
    assert case.run(60.0) == Plan()


def test_failed_starts_are_tried_less_and_less_often_and_the_pool_says_why() -> None:
    case = Case(3)
    assert len(case.run().start) == 3
    faults = {member.id: "no such file" for member in case.pool.members}
    case.run(faults=faults)
    assert (case.state, case.pool.failures) == ("FAILING", 1)
    assert case.pool.problem == "p-3 could not be started: no such file"
    pauses = []
    for _ in range(10):
        pause_s = seconds(case.pool.retry_time) - case.now
        pauses.append(pause_s)
        assert not case.run(pause_s - 0.01).start
        made = case.run(0.02)
        # The first failure may be chance. Then one tries, for all.
        assert len(made.start) == (1 if pauses[1:] else 3)
        case.run(faults=dict.fromkeys(made.start, "no such file"))
    assert pauses == pytest.approx([0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60])
    # It works again.
    (tries,) = case.run(61.0).start
    case.listed, case.agents = {tries: RUNS}, {tries: SeenAgent(True, True)}
    assert len(case.run().start) == 2
    assert (case.pool.failures, case.state) == (0, "CHANGING")


def test_one_that_never_becomes_ready_is_stopped() -> None:
    case = Case(1)
    case.run()
    case.listed = {"p-1": RUNS}
    assert case.run(59.0) == Plan()
    made = case.run(1.0)
    assert list(made.stop) == ["p-1"]
    assert case.pool.problem == "p-1 was not ready within 60 s: its agent has not connected"


def test_a_provider_that_does_not_answer_changes_nothing() -> None:
    case = Case()
    case.listed = None
    assert case.run() == Plan()
    assert (case.pool.problem, case.states) == ("hangs", [])
    case.listed = {}
    case.ready()
    case.listed = None
    assert case.run(3600.0) == Plan()
    assert case.state == "READY"


def test_members_elsewhere_are_judged_by_their_agents_alone() -> None:
    case = Case()
    case.ready()
    case.listed = {}
    assert case.run(60.0, place="there") == Plan()
    case.agents = {}
    assert case.run(60.0, place="there") == Plan()
    made = case.run(LOST_S, place="there")
    assert len(made.start) == 2
    assert not made.stop
    assert [member.place for member in case.pool.members] == [PLACE, PLACE, "there", "there"]
    # Nobody looks there any more: what was there has ended by itself.
    case.listed = dict.fromkeys(made.start, RUNS)
    case.agents = dict.fromkeys(made.start, SeenAgent(True, True))
    case.run(place="there")
    made = case.run(3600.0, place="there")
    assert len(case.pool.members) == 2
    assert made.revoke == ["t", "t"]


def test_a_smaller_pool_stops_the_youngest_of_the_least_busy() -> None:
    case = Case(4)
    case.ready()
    case.agents["p-4"] = SeenAgent(True, True, in_flight=2)
    case.pool.spec.size = 2
    case.run()
    assert case.states == ["READY", "STOPPING", "STOPPING", "READY"]


def test_a_paused_pool_pauses_its_agents_and_starts_none() -> None:
    case = Case()
    case.ready()
    case.pool.paused = True
    assert case.run().desire == {"p-1": PAUSED, "p-2": PAUSED}
    case.agents = dict.fromkeys(case.agents, SeenAgent(True, True, PAUSED))
    assert case.run() == Plan()
    assert case.state == "PAUSED"
    case.listed = {"p-2": RUNS}
    assert not case.run().start
    assert not case.run(10.0).start
    case.pool.paused = False
    made = case.run()
    assert (made.desire, len(made.start)) == ({"p-2": ACTIVE}, 1)
    # An agent that an operator drained by hand stays so.
    case.agents["p-2"] = SeenAgent(True, True, fleet_pb2.DESIRED_STATE_DRAINING)
    assert not case.run().desire


def test_a_restart_replaces_members_while_enough_are_ready() -> None:
    case = Case(4)
    case.ready()
    new_version(case.pool, None)
    for _ in range(4):
        (added,) = case.run().start
        assert "STOPPING" not in case.states
        assert case.listed is not None
        case.listed[added] = RUNS
        case.agents[added] = SeenAgent(True, True)
        case.run()
        assert "STOPPING" not in case.states
        case.run(5.0)
        assert case.states.count("STOPPING") == 1
        (stopped,) = (
            each.id for each in case.pool.members if each.state == pool_pb2.POOL_MEMBER_STATE_STOPPING
        )
        del case.listed[stopped]
    case.run()
    assert {member.version for member in case.pool.members} == {2}
    assert (case.state, case.pool.rolling) == ("READY", False)


def test_an_ephemeral_pool_ends_with_its_members() -> None:
    case = Case(2, ephemeral=True)
    case.ready()
    case.listed = {"p-2": RUNS}
    made = case.run()
    assert (made.start, made.gone, case.pool.wanted) == ([], False, 1)
    case.listed = {}
    assert case.run().gone


def test_an_ephemeral_pool_that_fails_says_so_and_goes_after_a_while() -> None:
    case = Case(1, ephemeral=True)
    case.run()
    assert not case.run(faults={"p-1": "no"}).gone
    assert (case.state, case.pool.problem) == ("ENDED", "p-1 could not be started: no")
    assert case.run(KEEP_ENDED_S + 1).gone


def test_a_deleted_pool_goes_when_nothing_is_left() -> None:
    case = Case()
    case.ready()
    case.pool.deleting = True
    assert not case.run().gone
    assert list(case.run().stop) == ["p-1", "p-2"]
    case.listed = {}
    made = case.run()
    assert (made.gone, made.revoke) == (True, ["t", "t"])


def test_a_pause_that_is_done_after_the_resume_is_undone() -> None:
    case = Case(1)
    case.ready()
    case.pool.paused = True
    assert case.run().desire == {"p-1": PAUSED}
    # An operator resumes it before that is done.
    case.pool.paused = False
    case.pool.update_time.FromSeconds(int(case.now))
    assert case.run().desire == {}
    case.agents["p-1"] = SeenAgent(True, True, desired=PAUSED)
    assert case.run(1.0).desire == {"p-1": ACTIVE}
    case.agents["p-1"] = SeenAgent(True, True)
    assert case.run(5.0).desire == {}
    # Later pauses are an operator's.
    case.agents["p-1"] = SeenAgent(True, True, desired=PAUSED)
    assert case.run().desire == {}


def test_the_largest_pool_fits_its_row() -> None:
    case = Case(MAX_SIZE)
    case.pool.spec.template.environment["LARGE"] = "x" * MAX_TEMPLATE_BYTES
    case.pool.previous_template.CopyFrom(case.pool.spec.template)
    case.pool.methods.extend("m" * MAX_METHOD_CHARS for _ in range(MAX_METHODS))
    case.pool.problem, case.pool.rolled_back = "p" * MAX_PROBLEM_CHARS, "r" * MAX_PROBLEM_CHARS
    case.ready()
    case.pool.spec.autoscale.methods.extend(case.pool.methods)
    for member in case.pool.members:
        member.id, member.token_id, member.handle, member.place = "i" * 47, "t" * 12, "h" * 12, "p" * 32
        member.coordinator_id = "c" * 32
        member.frozen = True
        member.freeze_time.CopyFrom(member.create_time)
    assert case.pool.ByteSize() < MAX_VALUE_BYTES


def _set(pool: pool_pb2.Pool, **fields: object) -> None:
    for name, value in fields.items():
        setattr(pool, name, value)


COORDINATORS = st.integers(0, 1)
CHANGES: dict[str, Callable[[pool_pb2.Pool], None]] = {
    "delete": lambda pool: setattr(pool, "deleting", True),
    "stop": lambda pool: setattr(pool, "stopped", True),
    "resume": lambda pool: _set(pool, stopped=False, paused=False, frozen=False),
    "pause": lambda pool: _set(pool, paused=True, frozen=False),
    "freeze": lambda pool: _set(pool, paused=True, frozen=True),
    "restart": lambda pool: new_version(pool, None),
    "update": lambda pool: new_version(pool, pool_pb2.PoolTemplate(provider="process", program="n:agent")),
    "ramp": lambda pool: _set(pool, percent=40, rolling=True),
    "back": lambda pool: (roll_back(pool, "an operator"), None)[1],
}
# An ephemeral pool is not changed so.
OF_KEPT_POOLS = frozenset({"restart", "update", "ramp", "back"})
STEPS = st.one_of(
    st.tuples(st.just("look"), COORDINATORS),
    st.tuples(st.just("act"), COORDINATORS),
    st.tuples(st.just("crash"), COORDINATORS),
    st.tuples(st.just("kill"), st.integers(0, 5)),
    st.tuples(st.just("scale"), st.integers(0, 6)),
    st.tuples(st.just("time"), st.integers(0, 40)),
    st.tuples(st.sampled_from(sorted(CHANGES)), st.just(0)),
)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(STEPS, max_size=40), ephemeral=st.booleans())
def test_whatever_is_killed_the_pool_gets_where_it_should_be(
    steps: list[tuple[str, int]], ephemeral: bool
) -> None:
    world = PoolWorld(new_pool(3, ephemeral=ephemeral))
    for step, number in steps:
        match step:
            case "look":
                world.look(number)
            case "act":
                world.act(number)
            case "crash":
                world.crash(number)
            case "kill":
                world.kill(number)
            case "scale" if not ephemeral:
                world.change(lambda pool, size=number: setattr(pool.spec, "size", size))
            case "time":
                world.now += number / 4
            case name if name in CHANGES and not (ephemeral and name in OF_KEPT_POOLS):
                world.change(CHANGES[name])
        if world.row is not None:
            # Never more than it should have, and those that are replaced.
            assert len(world.row.members) <= 256
    world.change(lambda pool: _set(pool, paused=False, frozen=False))
    world.settle()
    row = world.row
    if row is None:
        assert not world.processes
        return
    assert sorted(member.id for member in row.members) == world.running
    assert not (world.frozen | world.left) & set(world.running)
    assert {world.desired.get(each, ACTIVE) for each in world.running} <= {ACTIVE}
    assert not [each for each, runs in world.processes.items() if not runs]
    if not ephemeral:
        assert len(row.members) == (0 if row.stopped else row.spec.size)
        assert Counter(member.version for member in row.members) == Counter(targets(row))
    assert not {member.token_id for member in row.members} & world.revoked
