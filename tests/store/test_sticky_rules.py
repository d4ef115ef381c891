"""Which agent a sticky session gets, and until when, over each store; and what it costs at Redis."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from tests.store.support import METHOD, Harness, ManualClock, RecordingListener
from tests.support.redis_meter import RedisMeter
from tests.support.redis_server import RedisServer
from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.sticky import sticky_codec
from weft.coordinator.sticky.sticky_sessions import Asked, StickySessions
from weft.coordinator.sticky.sticky_table import KIND, MOVES_KIND
from weft.coordinator.store.base import Store
from weft.coordinator.store.embedded.embedded_rows import EmbeddedRows
from weft.coordinator.store.records import AgentRecord, Submission
from weft.coordinator.store.redis.redis_rows import RedisRows
from weft.coordinator.store.redis.redis_store import RedisStore
from weft.coordinator.store.rules import NO_AGENT_YET, QueueKey, Requirements
from weft.coordinator.store.sticky_agent import NOBODY, StickyAgent, bound_to, unbound
from weft.coordinator.store.table_store import every_row
from weft.rpc.balancing import rendezvous
from weft.rpc.calls.session_keys import StickyCall
from weft.rpc.errors import Aborted, LimitReached, Unavailable
from weft.v1 import fleet_pb2, sticky_pb2

OTHER = METHOD.rpartition("/")[0] + "/Other"
ACTIVE, DRAINING = fleet_pb2.AGENT_STATE_ACTIVE, fleet_pb2.AGENT_STATE_DRAINING


def agent(
    agent_id: str,
    state: fleet_pb2.AgentState = ACTIVE,
    *,
    process: str = "p",
    methods: tuple[str, ...] = (METHOD,),
) -> AgentRecord:
    """An agent of another coordinator."""
    hosted = [fleet_pb2.HostedMethod(name=name) for name in methods]
    view = fleet_pb2.Agent(
        id=agent_id,
        instance_id=process,
        slots=4,
        state=state,
        methods=hosted,
        labels={"agent.id": agent_id},
        advertised_address="127.0.0.1:1",
    )
    raw = view.SerializeToString()
    return AgentRecord(agent_id, process, 1, raw, connected=True, desired_state=0, view=raw)


class Site:
    """A coordinator's sessions over a store."""

    def __init__(self, store: Store, *agents: AgentRecord) -> None:
        self.register = AgentRegister()
        self.looks = 0
        self.sessions = StickySessions(store, self.register, self._look, grace_s=60.0)
        self.know(*agents or [agent(f"a{number}") for number in range(4)])

    async def _look(self) -> None:
        self.looks += 1

    def know(self, *agents: AgentRecord) -> None:
        self.register.take_news({each.agent_id: each for each in agents}, time.monotonic())

    def leaves(self, agent_id: str) -> None:
        gone = AgentRecord(
            agent_id, "p", 1, agent(agent_id).view, connected=False, desired_state=0, left=True
        )
        self.register.take_news({agent_id: gone}, time.monotonic())

    async def of(
        self, key: str, *, hard: bool = False, ttl_s: float = 60.0, method: str = METHOD
    ) -> StickyAgent:
        call = StickyCall(key, hard, ttl_s)
        (found,) = await self.sessions.agents_for([Asked(call, QueueKey(method))])
        if isinstance(found, Exception):
            raise found
        return found


async def test_the_first_call_chooses_and_the_others_follow(h: Harness) -> None:
    site = Site(h.store)
    chosen = {key: (await site.of(key)).agent_id for key in map(str, range(200))}
    assert min(Counter(chosen.values()).values()) > 20
    assert {key: (await site.of(key)).agent_id for key in chosen} == chosen
    assert site.sessions.changes == {"begun": 200, "moved": 0, "lost": 0}
    # A new agent takes nothing away; another coordinator on the same store knows the same.
    site.know(agent("new"))
    other = Site(h.store)
    assert {key: (await site.of(key)).agent_id for key in chosen} == chosen
    assert {key: (await other.of(key)).agent_id for key in chosen} == chosen


async def test_many_calls_of_one_session_begin_it_once(h: Harness) -> None:
    site = Site(h.store)
    asked = [
        Asked(StickyCall("k", hard, 60.0), QueueKey(METHOD)) for hard in (False, True) for _ in range(50)
    ]
    found = await site.sessions.agents_for(asked)
    assert len(set(found[:50])) == len(set(found[50:])) == 1
    assert site.sessions.changes["begun"] == 2


async def test_two_coordinators_that_begin_it_at_a_time_agree(h: Harness) -> None:
    # They know different agents, so that they would choose different ones.
    one, two = Site(h.store, agent("a1")), Site(h.store, agent("a2"))
    for site in (one, two):
        site.know(agent("a1"), agent("a2"))
    await one.sessions.table.find([])
    for number in range(20):
        call = Asked(StickyCall(str(number), hard=True, idle_ttl_s=60.0), QueueKey(METHOD))
        assert await one.sessions.agents_for([call]) == await two.sessions.agents_for([call])


async def test_a_soft_session_moves_once_and_a_hard_one_is_lost(h: Harness) -> None:
    site = Site(h.store)
    soft, firm = await site.of("k"), await site.of("k", hard=True)
    site.know(agent(soft.agent_id, DRAINING), agent(firm.agent_id, DRAINING))
    moved = await site.of("k")
    assert moved.agent_id != soft.agent_id
    assert await site.of("k", hard=True) == firm
    site.know(agent(soft.agent_id), agent(firm.agent_id))
    assert await site.of("k") == moved
    site.know(agent(firm.agent_id, process="another"))
    with pytest.raises(Aborted, match="was started anew"):
        await site.of("k", hard=True)
    site.leaves(firm.agent_id)
    with pytest.raises(Aborted, match="has left"):
        await site.of("k", hard=True)
    # Each caller is told, until somebody ends it.
    with pytest.raises(Aborted):
        await Site(h.store, agent("a9")).of("k", hard=True)
    name = Asked(StickyCall("k", hard=True, idle_ttl_s=60.0), QueueKey(METHOD)).name
    assert await site.sessions.table.end(name)
    assert not await site.sessions.table.end(name)
    assert (await site.of("k", hard=True)).agent_id != firm.agent_id


async def test_without_agents_there_is_nobody_and_no_row(h: Harness) -> None:
    site = Site(h.store, agent("a1", DRAINING))
    assert await site.of("k") == await site.of("k", hard=True) == NOBODY
    assert not [row async for row in every_row(h.store, KIND)]
    with pytest.raises(Unavailable):
        await site.sessions.find(METHOD, StickyCall("k", hard=False, idle_ttl_s=60.0))


async def test_a_method_that_the_agent_lacks_takes_no_session_away(h: Harness) -> None:
    site = Site(h.store, agent("a1"))
    assert (await site.of("k")).agent_id == "a1"
    site.know(agent("a2", methods=(METHOD, OTHER)))
    assert (await site.of("k", method=OTHER)).agent_id == "a2"
    assert (await site.of("k")).agent_id == "a1"


async def test_a_session_ends_when_no_call_comes(h: Harness) -> None:
    site = Site(h.store)
    table = site.sessions.table
    await site.of("idle", ttl_s=20.0)
    await site.of("used", ttl_s=20.0)
    for _ in range(10):
        h.clock.advance(5.0)
        await site.of("used", ttl_s=20.0)
        await table.keep_house()
    names = [sticky_key(row.value) async for row in every_row(h.store, KIND)]
    assert names == ["used"]
    h.clock.advance(21.0)
    await table.keep_house()
    assert not [row async for row in every_row(h.store, KIND)]
    # One that has ended begins anew, also while its row is still there.
    first = await site.of("again", hard=True, ttl_s=20.0)
    h.clock.advance(21.0)
    site.leaves(first.agent_id)
    assert (await site.of("again", hard=True)).agent_id != first.agent_id


async def test_a_used_session_lasts_though_the_store_was_away(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> list[object]:
        raise Unavailable("away")

    site = Site(h.store)
    first = await site.of("used", hard=True, ttl_s=20.0)
    h.clock.advance(8.0)
    await site.of("used", hard=True, ttl_s=20.0)
    with monkeypatch.context() as patched:
        patched.setattr(h.store, "get_rows", away)
        with pytest.raises(Unavailable):
            await site.sessions.table.keep_house()
    await site.sessions.table.keep_house()
    h.clock.advance(14.0)
    await site.sessions.table.keep_house()
    site.know(*(agent(f"b{number}") for number in range(9)))
    assert await site.of("used", hard=True, ttl_s=20.0) == first
    assert site.sessions.changes["begun"] == 1


def sticky_key(value: bytes) -> str:
    return sticky_pb2.StickySessionRecord.FromString(value).session.key


async def test_a_full_store_refuses_hard_sessions_alone(h: Harness) -> None:
    store = h.store
    assert isinstance(store, EmbeddedRows | RedisRows)
    store.max_rows = 2
    site = Site(h.store)
    await site.of("1")
    await site.of("2")
    with pytest.raises(LimitReached, match="2 sticky sessions"):
        await site.of("3", hard=True)
    # As everybody chooses that knows the same agents.
    assert await site.of("3") == await Site(h.store).of("3")
    assert await site.of("1")


async def test_a_submission_requires_its_agent(h: Harness) -> None:
    site = Site(h.store)
    needed = Requirements.of({"zone": "eu"}, {"gpu": 1.0})
    given = Submission(METHOD, task_id="t", requirements=needed, session=StickyCall("k", True, 60.0))
    for each in site.register.taking(QueueKey(METHOD)):
        each.agent.labels["zone"] = "eu"
        each.agent.resources["gpu"] = 1.0
    assert await site.sessions.place([given]) == {}
    assert given.session is None
    assert unbound(given.requirements) == needed
    assert given.requirements.session == "hard:p"
    labels = dict(given.requirements.labels)
    assert given.requirements.met_by(labels, {"gpu": 1.0}, "p")
    assert not given.requirements.met_by(labels, {"gpu": 1.0}, "another")
    assert not given.requirements.met_by({**labels, "agent.id": "b"}, {"gpu": 1.0}, "p")
    # What has a label of this name is none of the process.
    assert not given.requirements.met_by(
        {"zone": "eu", "agent.id": "b", "weft.session": "hard:p"}, {"gpu": 1.0}
    )
    assert bound_to(given.requirements, NOBODY, hard=False).agent_id == NO_AGENT_YET


def test_a_session_survives_its_way_into_a_context() -> None:
    call = StickyCall("k", True, 123.0)
    assert sticky_codec.of_context(b"" + sticky_codec.in_context(call)) == call
    assert sticky_codec.of_context(b"") is None


def test_keys_go_by_weight_and_stay() -> None:
    fleet = [("a", 1.0), ("b", 3.0), ("c", 4.0)]
    chosen = {str(number): rendezvous.choose(str(number), fleet) for number in range(4000)}
    counts = Counter(chosen.values())
    assert all(abs(counts[name] / 4000 - weight / 8) < 0.04 for name, weight in fleet)
    left = {key: rendezvous.choose(key, fleet[:2]) for key in chosen}
    assert all(left[key] == name for key, name in chosen.items() if name != "c")
    assert rendezvous.choose("k", []) == ""


async def test_a_known_session_asks_redis_nothing(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as server:
        store = RedisStore(server.url, prefix="test", clock=ManualClock())
        await store.open(RecordingListener())
        try:
            site = Site(store)
            names = [str(number) for number in range(100)]
            for name in names:
                await site.of(name)
            await site.sessions.table.keep_house()
            meter = await RedisMeter.start(server)
            for _ in range(10):
                for name in names:
                    await site.of(name)
                await site.sessions.table.keep_house()
            used = await meter.read()
            assert used.commands.total() < 20, used.commands
            # Moved sessions are one further row, once.
            site.know(*(agent(f"a{number}", DRAINING) for number in range(3)))
            for name in names:
                await site.of(name)
            await site.sessions.table.keep_house()
            assert len([row async for row in every_row(store, MOVES_KIND)]) == 1
        finally:
            await store.close()
