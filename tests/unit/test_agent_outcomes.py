"""Tasks that an agent may have after the ends of its attempts: by tables, with the time passed in."""

from __future__ import annotations

import pytest
from google.rpc import code_pb2

from tests.support.lightweight import ECHO
from tests.support.sessions import A, B, session
from weft.coordinator.sessions.agent_outcomes import (
    ATTEMPT_FAULTS,
    FIRST_SLOTS,
    RULES,
    AgentOutcomes,
    is_fault,
)
from weft.coordinator.sessions.agent_session import AgentSession
from weft.coordinator.sessions.attempt_outcomes import AttemptOutcomes
from weft.coordinator.store.records import AttemptRef
from weft.rpc.balancing.slow_start import WINDOW_S
from weft.v1 import fleet_pb2, session_pb2, task_pb2

OK, FAULT, MISTAKE = code_pb2.OK, code_pb2.UNAVAILABLE, code_pb2.INVALID_ARGUMENT
SLOTS = 100


class Watched:
    """Agents whose attempts end as a test says, with the time in our hands."""

    def __init__(self, known: fleet_pb2.Agent | None = None) -> None:
        self.now_s = 1000.0
        self.changed: list[str] = []
        self.outcomes = AttemptOutcomes(
            lambda _: known,
            changed=lambda each: self.changed.append(each.owner.agent_id),
            now=lambda: self.now_s + 1e9,
            clock=lambda: self.now_s,
        )
        self._count = 0

    def agent(
        self, name: str = "a", *, slots: int = SLOTS, instance: str = "i", **given: int
    ) -> AgentSession:
        made = session(name, slots=slots, methods=(A, B, ECHO), **given)
        made.instance_id = instance
        self.outcomes.begin(made)
        return made

    def end(
        self, at: AgentSession, *codes: int, method: str = A, took_s: float = 0.0, crashed: bool = False
    ) -> None:
        """Attempts that end in one message."""
        results = []
        for code in codes:
            self._count += 1
            since_s = self.now_s - took_s if took_s else 0.0
            at.hold(AttemptRef(f"t{self._count}", 1), (1, method, since_s, "", "", 0))
            outcome = task_pb2.Outcome()
            outcome.status.code = code
            results.append(
                session_pb2.AttemptResult(
                    task_id=f"t{self._count}", attempt=1, outcome=outcome, crashed=crashed
                )
            )
        self.outcomes.take(at, results)
        assert not at.held

    def pass_time(self, seconds: float, *agents: AgentSession) -> None:
        self.now_s += seconds
        for each in agents:
            self.outcomes.look(each)


@pytest.mark.parametrize(
    ("codes", "failing"),
    [
        pytest.param([], False, id="none yet"),
        pytest.param([FAULT] * 2, False, id="two may be chance"),
        pytest.param([FAULT] * 3, True, id="three of three"),
        pytest.param([OK] + [FAULT] * 4, False, id="four in a row, after a success"),
        pytest.param([OK] + [FAULT] * 5, True, id="five in a row"),
        pytest.param([OK] * 10_000 + [FAULT] * 5, True, id="five in a row, however well it worked before"),
        pytest.param([OK, FAULT, FAULT] * 50, False, id="not in a row"),
        pytest.param([MISTAKE] * 50, False, id="callers' mistakes"),
        pytest.param([FAULT, MISTAKE] * 3, True, id="callers' mistakes prove nothing"),
        pytest.param([code_pb2.DEADLINE_EXCEEDED] * 50, False, id="callers' deadlines"),
    ],
)
def test_who_is_ejected(codes: list[int], failing: bool) -> None:
    watched = Watched()
    agent = watched.agent()
    watched.end(agent, *codes)
    assert agent.outcomes.failing is failing
    assert (agent.outcomes.allowance == 0) is failing
    assert watched.changed == ["a"] * failing


def test_every_code_is_a_fault_or_an_answer() -> None:
    names = {code_pb2.Code.Name(code) for code in ATTEMPT_FAULTS}
    assert names == {"UNKNOWN", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
    assert is_fault(OK, crashed=True)


def test_a_trial_is_one_attempt_a_failure_ends_it_and_the_next_is_later() -> None:
    watched = Watched()
    agent = watched.agent()
    watched.end(agent, *[FAULT] * 3)
    for count in range(1, 12):
        out_s = min(count * RULES.base_ejection_s, RULES.max_ejection_s)
        told = agent.outcomes.told
        assert told is not None
        assert (told.count, told.code) == (count, FAULT)
        watched.pass_time(out_s * 0.99, agent)
        assert agent.outcomes.allowance == 0
        watched.pass_time(out_s * 0.02, agent)
        assert (agent.outcomes.allowance, agent.outcomes.failing) == (1, True)
        assert agent.room(all_slots=False) == 1
        watched.end(agent, FAULT)
    assert out_s < 10.0, "an agent that was mended has work again within 10 s"


def test_a_trial_has_slots_for_one_attempt_also_where_the_policy_sets_its_cost() -> None:
    watched = Watched()
    costs = {A: 3, B: 2, ECHO: SLOTS + 1}
    agent = watched.agent()
    agent.raise_costs(lambda method: costs[method])
    watched.end(agent, *[FAULT] * 3)
    watched.pass_time(RULES.base_ejection_s * 1.1, agent)
    assert agent.outcomes.allowance == 3, "room for any task that it can take, and for no second one"


def test_a_mended_agent_starts_slowly() -> None:
    watched = Watched()
    agent = watched.agent()
    watched.end(agent, *[FAULT] * 3)
    watched.pass_time(RULES.base_ejection_s * 1.1, agent)
    watched.end(agent, OK)
    assert not agent.outcomes.failing
    assert agent.outcomes.told is None
    assert agent.outcomes.suspect
    seen = []
    for _ in range(9):
        watched.pass_time(WINDOW_S / 10, agent)
        seen.append(agent.outcomes.allowance)
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (SLOTS // 10, SLOTS * 9 // 10)
    watched.pass_time(WINDOW_S, agent)
    assert (agent.outcomes.allowance, agent.outcomes.suspect) == (None, False)


def test_a_new_agent_has_a_part_of_many_slots_until_it_works() -> None:
    watched = Watched()
    small, large, idle = watched.agent("s", slots=FIRST_SLOTS), watched.agent("l"), watched.agent("i")
    assert (small.outcomes.allowance, large.outcomes.allowance) == (None, FIRST_SLOTS)
    assert not large.outcomes.suspect
    watched.end(large, *[OK] * 10)
    assert large.outcomes.allowance == FIRST_SLOTS + 20
    watched.end(large, *[OK] * 40)
    assert large.outcomes.allowance is None
    watched.pass_time(WINDOW_S, idle)
    assert idle.outcomes.allowance is None, "its tasks may take long"


def test_the_costliest_method_is_always_possible() -> None:
    outcomes = AgentOutcomes(0.0)
    for _ in range(3):
        outcomes.failed(FAULT, 0.0)
    outcomes.settle(64, 20, 2.0)
    assert outcomes.allowance == 20


def test_attempts_lost_with_a_process_are_faults() -> None:
    watched = Watched()
    for number in range(3):
        agent = watched.agent("a", instance=f"p{number}")
        assert not agent.outcomes.failing
        agent.hold(AttemptRef(f"x{number}", 1), (1, "", 0.0, "", "", 0))
        watched.outcomes.end(agent)
    assert watched.agent("a", instance="p3").outcomes.failing
    same = watched.agent("b")
    for number in range(9):
        same.hold(AttemptRef(f"y{number}", 1), (1, "", 0.0, "", "", 0))
    watched.outcomes.end(same)
    assert not watched.agent("b").outcomes.failing, "the same process has kept them"


@pytest.mark.parametrize(("left_s", "allowance"), [(0.7, 0), (-5.0, 1)])
def test_another_coordinators_knowledge_is_taken_over(left_s: float, allowance: int) -> None:
    there = Watched()
    agent = there.agent()
    there.end(agent, *[FAULT] * 3)
    known = fleet_pb2.Agent(failing=True, ejection=agent.outcomes.told)
    here = Watched(known)
    here.now_s += RULES.base_ejection_s - left_s
    moved = here.agent()
    assert (moved.outcomes.failing, moved.outcomes.allowance) == (True, allowance)
    assert moved.outcomes.out_for_s(here.now_s) == pytest.approx(max(0.0, left_s), abs=0.01)
    here.pass_time(1.0, moved)
    here.end(moved, FAULT)
    assert moved.outcomes.told is not None
    assert moved.outcomes.told.count == 2


def test_a_repeated_report_counts_once() -> None:
    watched = Watched()
    agent = watched.agent()
    agent.hold(AttemptRef("t", 1), (1, "", 0.0, "", "", 0))
    outcome = task_pb2.Outcome()
    outcome.status.code = FAULT
    for _ in range(5):
        watched.outcomes.take(agent, [session_pb2.AttemptResult(task_id="t", attempt=1, outcome=outcome)])
    assert agent.outcomes.record.failures == 1


# -- speed ------------------------------------------------------------------------------------------------------------


def test_a_slow_agent_is_loaded_more_for_that_method_alone() -> None:
    watched = Watched()
    fast, slow = watched.agent("fast"), watched.agent("slow")
    for _ in range(30):
        watched.pass_time(0.1, fast, slow)
        watched.end(fast, OK, OK, OK, took_s=0.1)
        watched.end(slow, OK, took_s=1.0)
        watched.end(slow, OK, method=B, took_s=0.1)
        watched.end(fast, OK, method=B, took_s=0.1)
    assert set(slow.outcomes.slow) == {A}
    assert not fast.outcomes.slow
    assert slow.load_for(A) > 1.0 / SLOTS > slow.load_for(B) == fast.load_for(A) == 0.0
    for _ in range(12):
        watched.pass_time(1.0, fast, slow)
    assert not slow.outcomes.slow, "it is tried again"


def test_an_agent_alone_and_different_methods_are_not_slow() -> None:
    watched = Watched()
    one, other = watched.agent("one"), watched.agent("other")
    for number in range(100):
        watched.end(one, OK, took_s=10.0 if number % 7 else 100.0)
        watched.end(other, OK, method=B, took_s=0.01)
    assert not other.outcomes.slow
    watched.pass_time(1.0, one)
    watched.end(one, OK, OK, OK, OK, took_s=10.0)
    assert not one.outcomes.slow


# -- peers ------------------------------------------------------------------------------------------------------------


def test_agents_are_compared_with_those_of_the_same_methods() -> None:
    """By the rules of gRFC A50, which need five peers."""
    watched = Watched()
    peers = [watched.agent(f"p{number}") for number in range(6)]
    other = session("other", methods=(A,))
    watched.outcomes.begin(other)
    for _ in range(60):
        for each in peers[1:]:
            watched.end(each, OK, OK)
        watched.end(peers[0], OK, FAULT, FAULT)
        watched.end(other, OK, FAULT, FAULT)
    watched.outcomes.sweep([*peers, other], watched.now_s + RULES.interval_s)
    assert [each.owner.agent_id for each in (*peers, other) if each.outcomes.failing] == ["p0"]
    assert peers[0].outcomes.allowance == 0
