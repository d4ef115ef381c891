"""The register of agents: whatever its inputs bring, and in whichever order, each reader gets the same fleet."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.support.sessions import A, B, record, session
from weft.coordinator.fleet.agent_register import AgentRegister, AgentStanding
from weft.coordinator.sessions.agent_session import AgentSession
from weft.coordinator.store.records import AgentRecord, Owner
from weft.coordinator.store.rules import QueueKey, Requirements
from weft.v1 import fleet_pb2

GPU = Requirements.of({"gpu": "yes"}, {})
ACTIVE, SUSPECT = fleet_pb2.AGENT_STATE_ACTIVE, fleet_pb2.AGENT_STATE_SUSPECT
LOST, LEFT = fleet_pb2.AGENT_STATE_LOST, fleet_pb2.AGENT_STATE_LEFT
ACTIVE_DESIRED = fleet_pb2.DESIRED_STATE_ACTIVE


def shown(register: AgentRegister) -> dict[str, int]:
    return {agent.id: agent.state for agent in register.shown()}


@pytest.fixture
def register() -> AgentRegister:
    return AgentRegister()


def test_a_session_is_shown_once_its_contract_is_accepted(register: AgentRegister) -> None:
    one = session("a")
    one.accepted = False
    register.session_changed(one)
    assert shown(register) == {}
    assert register.standing(QueueKey(A)) == AgentStanding(1, 1, 0, 0)
    one.accepted = True
    register.session_changed(one)
    assert shown(register) == {"a": ACTIVE}
    assert register.standing(QueueKey(A)) == AgentStanding(1, 1, 1, 1)


def test_the_end_of_a_session_is_not_undone_by_a_record_from_before(register: AgentRegister) -> None:
    one = session("a")
    register.session_changed(one)
    one.close()
    register.session_changed(one)
    register.take_news({"a": record(one, shown=True)}, 0.0)
    assert shown(register) == {"a": SUSPECT}
    later = session("a", epoch=2)
    register.take_news({"a": record(later, shown=True)}, 0.0)
    assert shown(register) == {"a": ACTIVE}
    # The last event of the session of before comes late.
    register.session_changed(one)
    assert shown(register) == {"a": ACTIVE}
    assert register.elsewhere(QueueKey(A)) == (1, 0)


def test_an_agent_that_left_is_not_shown_by_a_record_from_before(register: AgentRegister) -> None:
    one = session("a")
    register.session_changed(one)
    one.goodbye = True
    one.close()
    register.session_changed(one)
    register.take_news({"a": record(one, shown=True)}, 0.0)
    assert shown(register) == {}
    entry = register.get("a")
    assert entry is not None
    assert entry.agent.state == LEFT
    register.take_news({"a": None}, 0.0)
    assert register.get("a") is None
    assert (register.contracts, register.methods) == ([], [])


def test_a_lost_agent_is_gone_for_watchers_and_stays_in_lists(register: AgentRegister) -> None:
    one = session("a")
    register.session_changed(one)
    one.close()
    register.session_changed(one)
    register.session_lost(Owner("a", 1))
    entry = register.get("a")
    assert entry is not None
    assert (shown(register), entry.agent.state) == ({}, LOST)
    assert register.since(1) == ([], ["a"])
    assert register.methods == [A]
    assert register.standing(QueueKey(A)).hosts == 0


def test_agents_of_before_are_awaited_until_they_are_back_or_lost() -> None:
    changes: list[None] = []
    register = AgentRegister(lambda: changes.append(None))
    agents = [session(name) for name in "abc"]
    news = {one.owner.agent_id: record(one, shown=one is agents[2]) for one in agents}
    register.take_news(news, 0.0, first=True)
    assert len(changes) == 1, "once for all of them"
    assert shown(register) == {"a": SUSPECT, "b": SUSPECT, "c": ACTIVE}
    assert register.awaited == {"a", "b"}
    register.session_changed(session("a", epoch=2))
    register.session_lost(Owner("b", 1))
    assert register.awaited == set()
    register.session_changed(session("a", epoch=2))
    assert len(changes) == 3, "the same again changes nothing"


def test_what_an_operator_set_elsewhere_reaches_the_session(register: AgentRegister) -> None:
    one = session("a")
    register.session_changed(one)
    paused = replace(record(one), desired_state=fleet_pb2.DESIRED_STATE_PAUSED)
    assert register.take_news({"a": paused}, 0.0) == [("a", fleet_pb2.DESIRED_STATE_PAUSED)]
    one.desired = fleet_pb2.DESIRED_STATE_PAUSED
    assert register.take_news({"a": paused}, 0.0) == []


def test_agents_that_are_gone_are_due_after_their_time(register: AgentRegister) -> None:
    gone = {name: record(session(name), connected=False) for name in "ab"}
    gone["b"] = replace(gone["b"], desired_state=fleet_pb2.DESIRED_STATE_DRAINING)
    register.take_news(gone, 10.0)
    assert register.due_to_forget(69.0, 60.0) == []
    assert register.due_to_forget(70.0, 60.0) == ["a"], "b is to drain when it comes back"
    register.take_news({"a": record(session("a", epoch=2))}, 71.0)
    assert register.due_to_forget(200.0, 60.0) == []


def test_questions_about_a_queue_look_at_its_hosts_only(register: AgentRegister) -> None:
    others = {f"other{n}": record(session(f"other{n}", methods=(B,)), shown=True) for n in range(1000)}
    hosts = {f"host{n}": record(session(f"host{n}", gpu=n == 0), shown=True) for n in range(5)}
    register.take_news({**others, **hosts}, 0.0)
    index = register._index
    for ask in (register.serving, register.elsewhere, register.standing):
        before = index.examined
        ask(QueueKey(A, GPU))
        assert index.examined - before == 5
    before = index.examined
    assert register.elsewhere(QueueKey(A, GPU)) == (1, 0)
    assert index.examined == before, "the count is kept until a host changes"
    assert register.served() == {A, B}
    assert index.examined - before == 2


@dataclass
class Model:
    """An agent, as the test knows it."""

    epoch: int = 0
    here: AgentSession | None = None
    record: AgentRecord | None = None
    methods: tuple[str, ...] = field(default=(A,))


class RegisterMachine(RuleBasedStateMachine):
    """Inputs in any order: all readers agree with each other, and with a look at every entry."""

    def __init__(self) -> None:
        super().__init__()
        self.register = AgentRegister()
        self.agents = {f"a{n}": Model() for n in range(5)}
        self.watched: dict[str, fleet_pb2.Agent] = {}
        self.position = 0

    names = st.sampled_from([f"a{n}" for n in range(5)])
    hosted = st.sampled_from([(A,), (B,), (A, B)])

    @rule(name=names, methods=hosted, accepted=st.booleans(), gpu=st.booleans())
    def open(self, name: str, methods: tuple[str, ...], accepted: bool, gpu: bool) -> None:
        model = self.agents[name]
        model.epoch += 1
        if model.here is not None:
            model.here.close()
        model.here = session(name, model.epoch, methods, gpu=gpu)
        model.here.accepted = accepted
        self.register.session_changed(model.here)

    @rule(name=names, goodbye=st.booleans())
    def end(self, name: str, goodbye: bool) -> None:
        model = self.agents[name]
        if model.here is not None:
            model.here.goodbye = goodbye
            model.here.close()
            self.register.session_changed(model.here)

    @rule(name=names)
    def lose(self, name: str) -> None:
        self.register.session_lost(Owner(name, self.agents[name].epoch))

    @rule(name=names, methods=hosted, view=st.booleans(), connected=st.booleans(), newer=st.booleans())
    def hear(self, name: str, methods: tuple[str, ...], view: bool, connected: bool, newer: bool) -> None:
        model = self.agents[name]
        model.epoch += newer
        told = record(session(name, model.epoch, methods), shown=view, connected=connected)
        self.register.take_news({name: told}, 0.0)

    @rule(name=names)
    def forget(self, name: str) -> None:
        self.register.take_news({name: None}, 0.0)

    @rule()
    def watch(self) -> None:
        news = self.register.since(self.position)
        assert news is not None
        self.position = self.register.position
        for agent_id in news.removed:
            self.watched.pop(agent_id, None)
        self.watched.update({agent.id: agent for agent in news.agents})
        assert self.watched == {agent.id: agent for agent in self.register.shown()}

    @invariant()
    def readers_agree(self) -> None:
        register = self.register
        entries = {agent_id: register.get(agent_id) for agent_id in register.ids()}
        known = [entry for entry in entries.values() if entry is not None]
        assert {name for entry in known for name in entry.methods} == set(register.methods)
        assert {entry.agent.contract_hash for entry in known} == set(register.contracts)
        for agent in register.shown():
            entry = entries[agent.id]
            assert entry is not None
            assert entry.connected
        for key in (QueueKey(A), QueueKey(B), QueueKey(A, GPU), QueueKey(A, avoid="a0")):
            hosts = [entry for entry in known if entry.connected and key.method in entry.methods]
            standing = register.standing(key)
            avoided = [entry for entry in hosts if entry.agent.id == key.avoid] if standing.avoided else []
            assert standing.hosts == len(hosts) - len(avoided)
            assert (
                standing.hosts
                >= standing.fitting
                >= standing.taking
                >= standing.free
                >= len(standing.failing)
            )
            assert standing.able >= standing.taking
            assert standing.taking == sum(entry.takes(key) for entry in hosts if entry not in avoided)
            assert not avoided or standing.taking
            assert register.serving(key) == sum(entry.takes(key) for entry in hosts)
            assert register.elsewhere(key)[0] == sum(
                entry.takes(key) and entry.session is None and entry.agent.id != key.avoid for entry in hosts
            )


RegisterMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestInputsInAnyOrder = RegisterMachine.TestCase
