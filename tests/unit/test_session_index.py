"""The session index: it agrees with an examination of all sessions, and examines few."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import hypothesis.strategies as st
import pytest
from google.rpc import code_pb2
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, rule

from tests.store.support import Harness, ManualClock, RecordingListener
from tests.support.sessions import A, B, index_of, session
from weft.coordinator.calls.task_subscriptions import TaskSubscriptions
from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.dispatch import session_index
from weft.coordinator.dispatch.dispatcher import PASS_RETRY_QUEUES, PATIENCE_S, Dispatcher
from weft.coordinator.dispatch.session_index import FEW_POOLS, MOST_POOLS, SessionIndex
from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.fleet.fleet_sync import FleetSync
from weft.coordinator.sessions.agent_outcomes import RULES
from weft.coordinator.sessions.agent_session import AgentSession
from weft.coordinator.sessions.attempt_outcomes import AttemptOutcomes
from weft.coordinator.sessions.contract_admission import ContractAdmission
from weft.coordinator.sessions.sessions import Sessions
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.embedded.embedded_store import EmbeddedStore
from weft.coordinator.store.records import AttemptRef, ClaimRequest, Owner, Submission
from weft.coordinator.store.rules import QueueKey, Requirements
from weft.v1 import fleet_pb2, session_pb2

GPU = Requirements.of({"gpu": "yes"}, {})
QUEUES = [QueueKey(A), QueueKey(B), QueueKey(A, GPU)]
NOW_S = 1000.0
IDLE = 5000


def fail(taker: AgentSession, now_s: float = NOW_S) -> None:
    for _ in range(RULES.first_series):
        taker.outcomes.failed(code_pb2.UNAVAILABLE, now_s)
    settle(taker, now_s)


def settle(taker: AgentSession, now_s: float) -> None:
    taker.outcomes.settle(taker.slots, 1, now_s)


def taken(index: SessionIndex, count: int, key: QueueKey = QUEUES[0], now_s: float = NOW_S) -> list[str]:
    """Who is chosen; all are given back as they were."""
    found = index.take(key, count, now_s)
    for each in found:
        index.changed(each)
    return [each.owner.agent_id for each in found]


def test_the_least_loaded_first() -> None:
    busy, idle, half = session("busy"), session("idle"), session("half")
    for taker, held in ((busy, 3), (half, 2)):
        for number in range(held):
            taker.hold(AttemptRef(f"{number}", 1), (1, "", 0.0, ""))
    index = index_of(busy, idle, half)
    assert taken(index, 9) == ["idle", "half", "busy"]
    busy.hold(AttemptRef("last", 1), (1, "", 0.0, ""))
    assert taken(index, 9) == ["idle", "half"], "who is full is left out, told or not"
    busy.let_go(AttemptRef("last", 1))
    index.changed(busy)
    assert taken(index, 9) == ["idle", "half", "busy"]


def test_a_program_s_backlog_counts_as_load_and_takes_no_slot() -> None:
    waiting, busy, idle = session("waiting"), session("busy"), session("idle")
    busy.hold(AttemptRef("1", 1), (1, "", 0.0, ""))
    index = index_of(waiting, busy, idle)
    for sequence, (backlog, order) in enumerate(
        (
            (2.0, ["busy", "waiting"]),
            (0.5, ["waiting", "busy"]),
            (1e300, ["busy", "waiting"]),
            (math.nan, ["waiting", "busy"]),
            (-5.0, ["waiting", "busy"]),
        )
    ):
        load = fleet_pb2.HostLoad(backlog_slots=backlog)
        waiting.take_heartbeat(session_pb2.AgentReport(sequence=sequence, load=load))
        index.changed(waiting)
        found = taken(index, 9)
        assert [each for each in found if each != "idle"] == order
        assert waiting.free_slots == 4


def test_a_change_that_is_told_after_the_end_of_a_session_does_not_bring_it_back() -> None:
    old, other = session("a"), session("b")
    index = index_of(old, other)
    old.close()
    index.left(old)
    new = session("a", epoch=2)
    index.changed(new)
    # A claim or a report that began before the end.
    index.changed(old)
    assert index.with_room("a", QUEUES[0]) is new
    assert taken(index, 9) == ["b", "a"]


def test_equals_take_turns() -> None:
    index = index_of(*(session(name) for name in "abc"))
    assert [taken(index, 1)[0] for _ in range(6)] == ["a", "b", "c"] * 2


def test_who_keeps_failing_gets_nothing_while_others_serve_the_queue() -> None:
    bad, one, other = session("bad"), session("one", slots=1), session("other", slots=1)
    fail(bad)
    index = index_of(bad, one, other)
    assert taken(index, 9) == ["one", "other"]
    for taker in (one, other):
        taker.hold(AttemptRef("x", 1), (1, "", 0.0, ""))
    assert taken(index, 9) == [], (
        "nor when the others are full: their slots come free sooner than this one works"
    )
    assert taken(index, 9, now_s=NOW_S + 1.1 * RULES.base_ejection_s) == ["bad"], "it is on trial"
    bad.hold(AttemptRef("trial", 1), (1, "", 0.0, ""))
    index.changed(bad)
    assert taken(index, 9) == [], "one attempt at a time"


def test_failing_is_ignored_when_most_fail() -> None:
    bad, worse, good = session("bad"), session("worse"), session("good")
    fail(bad)
    index = index_of(bad, worse, good)
    assert taken(index, 9) == ["worse", "good"]
    fail(worse)
    index.changed(worse)
    assert sorted(taken(index, 9)) == ["bad", "good", "worse"]
    index.left(worse)
    assert taken(index, 9) == ["good"], "one of two is not most"
    index.left(good)
    assert taken(index, 9) == ["bad"], "better than nobody"


@pytest.mark.parametrize(
    ("elsewhere", "chosen"),
    [
        pytest.param((0, 0), ["bad"], id="nobody"),
        pytest.param((1, 0), [], id="one that works"),
        pytest.param((1, 1), ["bad"], id="one that fails"),
        pytest.param((3, 2), ["bad"], id="most fail, with this one"),
        pytest.param((3, 1), [], id="one of three fails"),
    ],
)
def test_agents_at_other_coordinators_count(elsewhere: tuple[int, int], chosen: list[str]) -> None:
    bad = session("bad")
    fail(bad)
    index = SessionIndex(lambda _: elsewhere)
    index.changed(bad)
    assert taken(index, 9) == chosen


def test_another_method_of_a_failing_agent_goes_on_where_nobody_else_has_it() -> None:
    bad, good = session("bad", methods=(A, B)), session("good")
    fail(bad)
    index = index_of(bad, good)
    assert taken(index, 9) == ["good"]
    assert taken(index, 9, QUEUES[1]) == ["bad"]


def test_pools_are_bounded() -> None:
    index = index_of(session("a"))
    for number in range(3 * MOST_POOLS):
        assert taken(index, 1, QueueKey(A, Requirements.of({"n": str(number)}, {}))) == []
    assert taken(index, 1) == ["a"]
    assert len(index._pools) == MOST_POOLS


def test_many_queues_are_remembered_together() -> None:
    """A look at them examines what has changed, as with few."""
    index = index_of(*(session(str(number)) for number in range(20)))
    queues = [QueueKey(A, Requirements.of({}, {f"n{number}": 0.0})) for number in range(4 * FEW_POOLS)]
    for key in queues:
        assert index.has_room(key, NOW_S)
    index.examined = 0
    for key in queues:
        assert index.has_room(key, NOW_S)
    assert index.examined == len(queues)


def test_pools_of_a_large_fleet_are_bounded_by_their_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_index, "MOST_MEMBERS", 10 * FEW_POOLS)
    index = index_of(*(session(str(number)) for number in range(10)))
    for number in range(2 * FEW_POOLS):
        taken(index, 1, QueueKey(A, Requirements.of({}, {f"n{number}": 0.0})))
    assert len(index._pools) == FEW_POOLS


class AgainstALookAtAll(RuleBasedStateMachine):
    """Sessions come, go, work and fail; whoever the index gives is who a look at all of them would give."""

    def __init__(self) -> None:
        super().__init__()
        self.index = SessionIndex()
        self.sessions: list[AgentSession] = []
        self.now_s = NOW_S
        self.count = 0

    @rule(slots=st.integers(1, 3), gpu=st.booleans(), methods=st.sets(st.sampled_from([A, B]), min_size=1))
    def come(self, slots: int, methods: set[str], *, gpu: bool) -> None:
        self.count += 1
        self.sessions.append(session(f"a{self.count}", slots=slots, methods=sorted(methods), gpu=gpu))
        self.index.changed(self.sessions[-1])

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        if self.sessions:
            gone = data.draw(st.sampled_from(self.sessions))
            self.sessions.remove(gone)
            gone.close()
            self.index.left(gone)

    @rule(data=st.data())
    def end_something(self, data: st.DataObject) -> None:
        at_work = [each for each in self.sessions if each.held]
        if at_work:
            taker = data.draw(st.sampled_from(at_work))
            taker.let_go(next(iter(taker.held)))
            if data.draw(st.booleans()):
                taker.outcomes.succeeded(1, self.now_s)
            else:
                taker.outcomes.failed(14, self.now_s)
            settle(taker, self.now_s)
            self.index.changed(taker)

    @rule(data=st.data(), draining=st.booleans())
    def drain(self, data: st.DataObject, *, draining: bool) -> None:
        if self.sessions:
            taker = data.draw(st.sampled_from(self.sessions))
            taker.draining = draining
            self.index.changed(taker)

    @rule(seconds=st.sampled_from([1.0, 20.0]))
    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        # As heartbeats do.
        for each in self.sessions:
            settle(each, self.now_s)
            self.index.changed(each)

    @rule(data=st.data(), method=st.sampled_from([A, B]))
    def be_slow(self, data: st.DataObject, method: str) -> None:
        if self.sessions:
            taker = data.draw(st.sampled_from(self.sessions))
            taker.outcomes.slow = {method: data.draw(st.sampled_from([0.1, 0.5]))}
            self.index.changed(taker)

    @rule(key=st.sampled_from(QUEUES), count=st.integers(1, 5))
    def take(self, key: QueueKey, count: int) -> None:
        members = [each for each in self.sessions if each.takes_work and each.queue_cost(key) is not None]
        suspects = {each for each in members if each.outcomes.suspect}
        free = suspects if len(suspects) > len(members) / 2 else set()
        if len(members) == 1:
            free = set(members)
        able = [each for each in members if each.room(all_slots=each in free) > 0]
        wanted = sorted(each.load_for(key.method) for each in able)[:count]
        assert self.index.has_room(key, self.now_s) is bool(wanted)
        found = self.index.take(key, count, self.now_s)
        assert [each.load_for(key.method) for each in found] == wanted
        assert len(set(found)) == len(found)
        assert set(found) <= set(able)
        for each in found:
            assert self.index.room(each, key) == each.room(all_slots=each in free)
        for each in found:
            self.count += 1
            each.hold(AttemptRef(f"t{self.count}", 1), (1, "", 0.0, ""))
            self.index.changed(each)


AgainstALookAtAll.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAgainstALookAtAll = AgainstALookAtAll.TestCase


# -- what a pass looks at -------------------------------------------------------------------------------------------


@pytest.fixture
async def h(tmp_path: Path) -> AsyncIterator[Harness]:
    clock, listener = ManualClock(), RecordingListener()
    store = EmbeddedStore(tmp_path / "store.db", clock=clock)
    await store.open(listener)
    yield Harness(store, clock, listener)
    await store.close()


@pytest.mark.parametrize("tasks", [1, 20])
@pytest.mark.parametrize(
    "method", [pytest.param(A, id="that serve the queue"), pytest.param(B, id="with another method")]
)
async def test_a_pass_looks_at_those_that_it_gives_to(h: Harness, method: str, tasks: int) -> None:
    """However many are connected, and again and again."""
    owners = await asyncio.gather(*(h.agent(f"idle-{number}", lease_s=1e9) for number in range(IDLE)))
    idle = [session(owner.agent_id, methods=[method], epoch=owner.epoch) for owner in owners]
    busy = session("busy", slots=200, epoch=(await h.agent("busy", lease_s=1e9)).epoch)
    index = index_of(*idle, busy)
    dispatcher = Dispatcher(h.store, index)
    assert index.has_room(QUEUES[0], NOW_S), "all are looked at once"
    for turn in range(1, 6):
        before = index.examined
        await h.submit_many([Submission(A)] * tasks)
        await dispatcher.run_pass()
        assert sum(len(each.held) for each in (*idle, busy)) == turn * tasks
        # Those of the last pass are looked at again: they have changed.
        assert index.examined - before <= 2 * tasks + 2


async def test_several_queues_with_the_same_best_agent_are_all_served_at_once(h: Harness) -> None:
    """The pass gives it to one of them; the next pass finds others for the rest."""
    both = session("both", slots=1, methods=[A, B], epoch=(await h.agent("both", lease_s=1e9)).epoch)
    one = session("one", slots=1, methods=[B], epoch=(await h.agent("one", lease_s=1e9)).epoch)
    other = session("other", slots=1, methods=[A], epoch=(await h.agent("other", lease_s=1e9)).epoch)
    dispatcher = Dispatcher(h.store, index_of(both, one, other))
    await h.submit_many([Submission(A), Submission(B)])
    while await dispatcher.run_pass():
        pass
    assert h.store.ready_depths() == {}


# -- retries ----------------------------------------------------------------------------------------------------------


class Passes:
    """A dispatcher with agents of one method, the time in our hands."""

    def __init__(self, h: Harness, *, elsewhere: bool = False) -> None:
        self.h = h
        self.now_s = NOW_S
        self.index = SessionIndex(lambda _: (int(elsewhere), 0))
        self.dispatcher = Dispatcher(h.store, self.index, clock=lambda: self.now_s)

    async def agent(self, name: str, slots: int = 1) -> AgentSession:
        made = session(name, slots=slots, epoch=(await self.h.agent(name, lease_s=1e9)).epoch)
        self.index.changed(made)
        return made

    async def failed_at(self, taker: AgentSession) -> None:
        """A task whose first attempt, by this agent, has failed."""
        await self.h.submit()
        ((claimed,),) = await self.h.store.claim([ClaimRequest(taker.owner, {QUEUES[0]: 1}, 1, 1)])
        await self.h.end(claimed, code_pb2.UNAVAILABLE)
        await self.h.pass_time(60.0)

    async def run(self) -> None:
        while await self.dispatcher.run_pass():
            pass


async def test_a_retry_goes_to_another_agent_though_that_is_busier(h: Harness) -> None:
    passes = Passes(h)
    one, other = await passes.agent("one", slots=8), await passes.agent("other", slots=2)
    other.hold(AttemptRef("x", 1), (1, "", 0.0, ""))
    await passes.failed_at(one)
    # An agent that gets less than others, too.
    one.outcomes.slow = {A: 0.5}
    await passes.run()
    assert (len(one.held), len(other.held)) == (0, 2)


async def test_a_retry_goes_to_the_same_agent_where_no_other_serves_its_queue(h: Harness) -> None:
    passes = Passes(h)
    one = await passes.agent("one")
    passes.index.changed(session("unfit", methods=[B]))
    fail(one)
    await passes.failed_at(one)
    await passes.run()
    assert len(one.held) == 1


async def test_a_retry_does_not_wait_for_an_agent_that_keeps_failing(h: Harness) -> None:
    passes = Passes(h)
    one, full, bad = await passes.agent("one"), await passes.agent("full"), await passes.agent("bad")
    full.hold(AttemptRef("x", 1), (1, "", 0.0, ""))
    fail(bad)
    passes.index.changed(bad)
    await passes.failed_at(one)
    await passes.run()
    assert not one.held, "the full one may be given it soon"
    passes.index.left(full)
    await passes.run()
    assert len(one.held) == 1


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "at another coordinator"])
async def test_a_retry_waits_for_another_agent_for_a_while(h: Harness, elsewhere: bool) -> None:
    passes = Passes(h, elsewhere=elsewhere)
    one = await passes.agent("one")
    if not elsewhere:
        (await passes.agent("full")).hold(AttemptRef("x", 1), (1, "", 0.0, ""))
    await passes.failed_at(one)
    await passes.run()
    passes.now_s += PATIENCE_S * 0.9
    await passes.run()
    assert not one.held
    passes.now_s += PATIENCE_S * 0.2
    await passes.run()
    assert len(one.held) == 1


async def test_retries_of_many_agents_are_all_handed_out(h: Harness) -> None:
    """A pass looks at a few of their queues, and there are as many passes as it takes."""
    passes = Passes(h)
    count = 3 * PASS_RETRY_QUEUES
    agents = [await passes.agent(f"a{number:02}", slots=2) for number in range(count)]
    for taker in agents:
        await passes.failed_at(taker)
    assert len(h.store.ready_depths()) == count
    await passes.run()
    attempts = [attempt for taker in agents for attempt in taker.held]
    assert [attempt.attempt for attempt in attempts] == [2] * count


async def test_a_retry_does_not_wait_for_the_turns_of_many_that_nobody_can_have(h: Harness) -> None:
    """Each second all queues of retries are looked at, though nothing is handed out from the first ones."""
    passes = Passes(h)
    left = [await h.agent(f"left-{number:03}", lease_s=1e9) for number in range(20 * PASS_RETRY_QUEUES)]
    await h.submit_many([Submission(A, requirements=GPU)] * len(left))
    for owner in left:
        ((claimed,),) = await h.store.claim([ClaimRequest(owner, {QUEUES[2]: 1}, 1, 1)])
        await h.end(claimed, code_pb2.UNAVAILABLE)
    await passes.failed_at(await passes.agent("failed", slots=0))
    taker = await passes.agent("taker")
    passes.dispatcher.start()
    try:
        async with asyncio.timeout(5.0):
            while not taker.held:
                await asyncio.sleep(0.01)
    finally:
        await passes.dispatcher.stop()


# -- what is remembered of agents -------------------------------------------------------------------------------------


class Unheard:
    """A listener that does nothing."""

    def session_changed(self, session: AgentSession) -> None: ...

    def slots_changed(self, session: AgentSession, *, wake: bool = True) -> None: ...

    def session_ended(self, session: AgentSession) -> None: ...

    def ready(self) -> None: ...


async def _nothing() -> None: ...


async def _no_contracts(methods: Iterable[str]) -> None: ...


async def test_an_agent_that_another_coordinator_forgot_is_forgotten_here(h: Harness) -> None:
    sessions = Sessions(
        h.store,
        ContractAdmission(h.store, Contracts(), AgentRegister(), _nothing),
        CoordinatorSettings(),
        "here",
        listener=Unheard(),
        readers=TaskSubscriptions(max_followers=1),
        outcomes=AttemptOutcomes(),
    )
    fleet = FleetSync(
        h.store,
        AgentRegister(),
        sessions,
        hasten=lambda: None,
        bring_contracts=_no_contracts,
        forget_after_s=3600.0,
    )
    owner = Owner("gone", await h.store.register("gone", "instance", b"", 10.0))
    sessions.stale_refused["gone"] = 1
    await fleet.look(NOW_S)
    await h.store.retire(owner)
    await fleet.look(NOW_S)
    assert sessions.stale_refused == {"gone": 1}, "it may come back"
    await h.store.forget_agent("gone")
    await fleet.look(NOW_S)
    assert sessions.stale_refused == {}
