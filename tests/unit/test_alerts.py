"""Alerts: what is wrong, for how long it must hold, when it is resolved; and whose turn it is to look."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from weft.coordinator.alerts.alert_book import MAX_BYTES, AlertBook, Turn
from weft.coordinator.alerts.alert_rules import (
    AGENT_FAILING,
    BUDGET_SPENT,
    NO_AGENT,
    POOL_FAILING,
    QUEUE_OLD,
    Condition,
    WaitingQueue,
    of_agents,
    of_budgets,
    of_pools,
    of_queues,
)
from weft.coordinator.lifecycle.lifecycle_event import LifecycleEvent
from weft.coordinator.pools.pool_news import PoolNews
from weft.coordinator.store.rules import QueueKey, Requirements
from weft.coordinator.store.table_store import MAX_VALUE_BYTES
from weft.v1 import fleet_pb2, lifecycle_pb2, pool_pb2, usage_pb2

NOBODY, BUSY = fleet_pb2.WAIT_REASON_NO_AGENT, fleet_pb2.WAIT_REASON_AGENTS_BUSY
WRONG = Condition(BUDGET_SPENT, "b", "10 of 10 tokens are used")
WAITS = Condition(NO_AGENT, "a/B", "1 task waits for an agent")


def told(events: list[LifecycleEvent]) -> list[str]:
    return [f"{type(each.message).__name__} {each.key}" for each in events]


def test_what_is_wrong() -> None:
    key = QueueKey("a/B", Requirements(labels=(("zone", "eu"),)))
    found = of_queues(
        [
            WaitingQueue(key, 2, 400.0, NOBODY, "an agent with zone=eu"),
            WaitingQueue(QueueKey("a/C"), 5, 301.0, BUSY, "a free slot"),
            WaitingQueue(QueueKey("a/D"), 5, 299.0, BUSY, "a free slot"),
        ],
        300.0,
    )
    assert [*found] == [
        (NO_AGENT, "a/B [zone=eu]", "2 tasks wait for an agent with zone=eu"),
        (QUEUE_OLD, "a/C", "the oldest of 5 tasks has waited for 301 s, for a free slot"),
    ]
    agents = [fleet_pb2.Agent(id="a1"), fleet_pb2.Agent(id="a2", failing=True)]
    assert [(each.kind, each.subject) for each in of_agents(agents)] == [(AGENT_FAILING, "a2")]
    states = (
        (pool_pb2.POOL_STATE_READY, ""),
        (pool_pb2.POOL_STATE_CHANGING, ""),
        (pool_pb2.POOL_STATE_CHANGING, "the provider process does not answer"),
        (pool_pb2.POOL_STATE_FAILING, "p was never ready"),
    )
    pools = [
        pool_pb2.Pool(name=f"p{n}", state=state, problem=problem) for n, (state, problem) in enumerate(states)
    ]
    assert [(each.kind, each.subject) for each in of_pools(pools)] == [
        (POOL_FAILING, "p2"),
        (POOL_FAILING, "p3"),
    ]
    budgets = [usage_pb2.Budget(name=f"b{spent}", unit="tokens", amount=10, spent=spent) for spent in (9, 10)]
    assert [*of_budgets(budgets)] == [(BUDGET_SPENT, "b10", "10 of 10 tokens are used")]


def test_one_fires_when_it_has_held_and_is_resolved_when_it_has_not() -> None:
    book = AlertBook()
    assert told(book.look([WAITS, WRONG], 100.0)) == ["AlertFired BUDGET_SPENT b"]
    assert told(book.look([WAITS, WRONG], 109.0)) == []
    assert told(book.look([WAITS, WRONG], 110.0)) == ["AlertFired NO_AGENT a/B"]
    # A moment without it is no end of it.
    assert told(book.look([WRONG], 112.0)) == []
    assert told(book.look([WAITS, WRONG], 121.0)) == []
    assert told(book.look([WRONG], 122.0)) == []
    assert told(book.look([WRONG], 131.0)) == []
    (event,) = book.look([WRONG], 132.0)
    assert told([event]) == ["AlertResolved NO_AGENT a/B"]
    message = event.message
    assert isinstance(message, lifecycle_pb2.AlertResolved)
    assert (message.alert.text, message.alert.fire_time.seconds, message.resolve_time.seconds) == (
        WAITS.text,
        110,
        132,
    )
    # It must hold anew, and is another alert then.
    assert told(book.look([WAITS, WRONG], 140.0)) == []
    (again,) = book.look([WAITS, WRONG], 150.0)
    assert again.id != event.id


def test_what_did_not_hold_never_fires() -> None:
    book = AlertBook()
    for now in (0.0, 9.0):
        assert not book.look([WAITS], now)
    assert not book.look([], 9.5)
    assert not book.look([WAITS], 10.0)
    assert not book.firing


def test_another_coordinator_goes_on_and_a_repeat_is_the_same_event() -> None:
    book = AlertBook()
    (fired,) = book.look([WRONG], 100.0)
    row = Turn("c1", 110.0, book.firing).row()
    turn = Turn.of(row)
    assert (turn.coordinator_id, turn.until) == ("c1", 110.0)
    other = AlertBook(turn.firing)
    assert not other.look([WRONG], 120.0)
    assert not other.look([], 121.0)
    (resolved,) = other.look([], 131.0)
    # The row was not stored: the next one finds the same.
    again = AlertBook(Turn.of(row).firing)
    again.look([], 121.0)
    assert again.look([], 131.0) == [resolved]
    assert resolved.id != fired.id


@given(st.binary(max_size=200))
def test_a_row_that_cannot_be_read_is_nobodys_turn(row: bytes) -> None:
    for each in (
        row,
        b'{"by": 1, "until": "x"}',
        b'{"by": "c", "until": 1, "firing": ["!"]}',
        b"[]",
        b"",
    ):
        assert isinstance(Turn.of(each).until, float)
    assert Turn.of(b"\xff") == Turn("", 0.0, {})


@settings(deadline=None)
@given(st.text(min_size=250, max_size=300), st.text(min_size=400, max_size=500))
def test_it_fits_a_row_whatever_is_wrong(subject: str, text: str) -> None:
    book = AlertBook()
    book.look([Condition(BUDGET_SPENT, f"{n} {subject}"[:300], text) for n in range(500)], 1.0)
    assert 0 < sum(alert.ByteSize() for alert in book.firing.values()) < MAX_BYTES + 4096
    assert len(Turn("c" * 64, 1.0, book.firing).row()) < MAX_VALUE_BYTES


def pool(**fields: object) -> pool_pb2.Pool:
    made = pool_pb2.Pool(name="p", uid="u", wanted=2, scaled=2)
    made.create_time.FromSeconds(100)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_a_pool_that_is_to_have_another_size_is_told_with_its_reason() -> None:
    heard: list[lifecycle_pb2.PoolScaled] = []
    news = PoolNews(lambda events: heard.extend(each.message for each in events))  # type: ignore[misc]
    before = pool()
    larger = pool(wanted=5)
    larger.spec.size = 5
    expired = pool(wanted=0, deleting=True)
    expired.spec.ttl.seconds = 10
    once = pool(wanted=1)
    once.spec.ephemeral = before.spec.ephemeral = False
    cases = {
        "it was created": (None, before),
        "it was scaled": (before, larger),
        "it was stopped": (before, pool(wanted=0, stopped=True)),
        "it was resumed": (pool(wanted=0, stopped=True), before),
        "it had nothing to do": (before, pool(wanted=0, idle=True)),
        "there is work again": (pool(wanted=0, idle=True), before),
        "the work needs more members": (before, pool(wanted=3, scaled=3)),
        "the work needs fewer members": (before, pool(wanted=1, scaled=1)),
        "its time is over": (before, expired),
        "it was deleted": (before, pool(wanted=0, deleting=True)),
    }
    for reason, (was, now) in cases.items():
        news.stored(was, now, 7, 200.0, "ann")
        assert (heard[-1].reason, heard[-1].caller, heard[-1].size) == (reason, "ann", now.wanted)
        assert heard[-1].previous_size == (was.wanted if was is not None else 0)
    assert len(heard) == len(cases)
    news.stored(before, pool(paused=True), 8, 200.0)
    assert len(heard) == len(cases), "a pause is none"
