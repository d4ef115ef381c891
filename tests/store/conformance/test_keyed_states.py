"""Keyed states: given with the attempt, stored with its end, changed by the holder of the lock alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from google.rpc import code_pb2

from tests.store.support import METHOD, OTHER_METHOD, Harness, StoreFactory, ref
from weft.coordinator.store.alternatives import Alternative
from weft.coordinator.store.falling_back import begin_at
from weft.coordinator.store.records import AttemptReport, Claimed, Submission, Verdict
from weft.coordinator.store.rules import DEFAULT_RETRY, State
from weft.coordinator.store.run_limits import LockClaim
from weft.coordinator.store.state_store import (
    StaleAttempt,
    StateConflict,
    StateWrite,
    StoredState,
    TooManyStates,
    kept_by,
)
from weft.rpc.errors import Unavailable

CART = (LockClaim("cart:42", state=True),)


def with_state(name: str = "cart:42", **given: object) -> Submission:
    return Submission(METHOD, locks=(LockClaim("db", shared=True), LockClaim(name, state=True)), **given)  # type: ignore[arg-type]


async def end(h: Harness, claimed: Claimed, write: StateWrite | None, code: int = code_pb2.OK) -> Verdict:
    report = AttemptReport(claimed.owner, claimed.task_id, claimed.attempt, code, b"outcome", state=write)
    return (await h.store.complete([report]))[0]


def change(claimed: Claimed, value: bytes | None, **given: object) -> StateWrite:
    assert claimed.state is not None
    return StateWrite(claimed.state.version, value, **given)  # type: ignore[arg-type]


async def value(h: Harness, name: str = "cart:42") -> bytes | None:
    found = await h.store.get_state(name)
    return None if found is None else found.value


async def test_an_attempt_gets_what_the_one_before_has_left(h: Harness) -> None:
    owner = await h.agent()
    ids = await h.submit_many([with_state(), with_state(), with_state("cart:7"), Submission(METHOD)])
    first, other, plain = await h.claim_all(owner)
    assert [each.task_id for each in (first, other, plain)] == [ids[0], ids[2], ids[3]]
    assert first.state == StoredState("cart:42")
    assert other.state == StoredState("cart:7")
    assert plain.state is None
    assert await end(h, first, change(first, b"one", type="json")) is Verdict.STORED
    (second,) = await h.claim_all(owner)
    assert second.state is not None
    stored = await h.store.get_state("cart:42")
    assert second.state == stored
    assert stored is not None
    assert (stored.value, stored.type, stored.task_id) == (b"one", "json", ids[0])
    assert stored.updated_at == h.clock()
    assert stored.expires_at is None
    assert await end(h, second, change(second, b"two")) is Verdict.STORED
    later = await h.store.get_state("cart:42")
    assert later is not None
    assert (later.value, later.type) == (b"two", "")
    assert later.version > stored.version
    assert kept_by((await h.record(ids[0])).submission.locks) == "cart:42"


async def test_an_attempt_that_says_nothing_changes_nothing(h: Harness) -> None:
    owner = await h.agent()
    await h.submit_many([with_state()] * 3)
    (first,) = await h.claim_all(owner)
    await end(h, first, change(first, b"one"))
    (second,) = await h.claim_all(owner)
    assert await end(h, second, None) is Verdict.STORED
    (third,) = await h.claim_all(owner)
    assert third.state == second.state


async def test_a_failed_attempt_changes_nothing(h: Harness) -> None:
    owner = await h.agent(lease_s=1000.0)
    retry = replace(DEFAULT_RETRY, max_attempts=2, retryable_codes=frozenset({code_pb2.UNAVAILABLE}))
    task_id = await h.submit(with_state(retry=retry))
    (claimed,) = await h.claim_all(owner)
    assert await end(h, claimed, change(claimed, b"lost"), code_pb2.UNAVAILABLE) is Verdict.RETRYING
    assert await value(h) is None
    await h.pass_time(60.0)
    (again,) = await h.claim_all(owner)
    assert again.state == StoredState("cart:42")
    assert await end(h, again, change(again, b"lost"), code_pb2.INTERNAL) is Verdict.STORED
    assert await h.state(task_id) is State.FAILED
    assert await value(h) is None


async def test_a_stale_attempt_changes_nothing(h: Harness) -> None:
    owner = await h.agent(lease_s=10.0)
    await h.submit(with_state())
    (claimed,) = await h.claim_all(owner)
    await h.pass_time(10.0)
    other = await h.agent("b")
    (again,) = await h.claim_all(other)
    assert await end(h, claimed, change(claimed, b"late")) is Verdict.STALE
    saved = await h.store.save_state("a", claimed.task_id, claimed.attempt, change(claimed, b"late"))
    assert saved == StaleAttempt(claimed.task_id)
    assert await end(h, again, change(again, b"right")) is Verdict.STORED
    assert await end(h, again, change(again, b"twice")) is Verdict.STORED
    assert await value(h) == b"right"


async def test_a_report_on_another_version_is_void(h: Harness) -> None:
    owner = await h.agent()
    task_id = await h.submit(with_state())
    (claimed,) = await h.claim_all(owner)
    assert await end(h, claimed, StateWrite(7, b"wrong")) is Verdict.STALE
    record = await h.record(task_id)
    assert (record.state, record.crashes) == (State.QUEUED, 1)
    assert await value(h) is None
    (again,) = await h.claim_all(owner)
    assert await end(h, again, change(again, b"right")) is Verdict.STORED
    assert await value(h) == b"right"


async def test_a_state_that_is_saved_is_there_for_the_next_attempt(h: Harness) -> None:
    owner = await h.agent(lease_s=10.0)
    await h.submit(with_state())
    (claimed,) = await h.claim_all(owner)
    version = await h.store.save_state("a", *ref(claimed), change(claimed, b"half"))
    assert isinstance(version, int)
    assert await h.store.save_state("a", *ref(claimed), change(claimed, b"old")) == StateConflict(version)
    # The same once more: its answer may have been lost.
    assert await h.store.save_state("a", *ref(claimed), change(claimed, b"half")) == version
    assert await value(h) == b"half"
    await h.pass_time(10.0)
    (again,) = await h.claim_all(await h.agent("b"))
    assert again.state is not None
    assert (again.state.value, again.state.version) == (b"half", version)
    deleted = await h.store.save_state("b", *ref(again), change(again, None))
    assert deleted == 0
    assert await h.store.save_state("b", *ref(again), change(again, None)) == 0
    assert await value(h) is None
    assert await end(h, again, StateWrite(0, b"new")) is Verdict.STORED
    new = await h.store.get_state("cart:42")
    assert new is not None
    assert new.version > 0


async def test_only_a_running_attempt_with_a_state_saves_one(h: Harness) -> None:
    owner = await h.agent()
    await h.submit_many([with_state(), Submission(METHOD)])
    claimed, plain = await h.claim_all(owner)
    write = StateWrite(0, b"wrong")
    for agent_id, task_id, attempt in (
        ("b", claimed.task_id, claimed.attempt),
        ("a", claimed.task_id, claimed.attempt + 1),
        ("a", plain.task_id, plain.attempt),
        ("a", "no such task", 1),
    ):
        assert await h.store.save_state(agent_id, task_id, attempt, write) == StaleAttempt(task_id)
    await h.end(plain)
    await end(h, claimed, None)
    assert await h.store.save_state("a", *ref(claimed), write) == StaleAttempt(claimed.task_id)
    assert await value(h) is None


async def test_a_state_is_deleted_with_the_end(h: Harness) -> None:
    owner = await h.agent()
    await h.submit_many([with_state()] * 3)
    (first,) = await h.claim_all(owner)
    await end(h, first, change(first, b"one"))
    before = await h.store.get_state("cart:42")
    (second,) = await h.claim_all(owner)
    assert await end(h, second, change(second, None)) is Verdict.STORED
    assert await value(h) is None
    assert (await h.store.list_states("", limit=10)).states == []
    (third,) = await h.claim_all(owner)
    assert third.state == StoredState("cart:42")
    await end(h, third, change(third, b""))
    after = await h.store.get_state("cart:42")
    assert before is not None
    assert after is not None
    assert after.value == b""


async def test_states_end(h: Harness) -> None:
    owner = await h.agent()
    await h.submit_many([with_state("short"), with_state("long"), with_state("short")])
    short, long = await h.claim_all(owner)
    await end(h, short, change(short, b"s", ttl_s=5.0))
    await end(h, long, change(long, b"l", ttl_s=50.0))
    found = await h.store.get_state("short")
    assert found is not None
    assert found.expires_at == h.clock() + 5.0
    h.clock.advance(5.0)
    assert await value(h, "short") is None
    assert await value(h, "long") == b"l"
    assert [each.name for each in (await h.store.list_states("", limit=10)).states] == ["long"]
    (again,) = await h.claim_all(owner)
    assert again.state == StoredState("short")
    # A change without a time keeps it for ever.
    await end(h, again, change(again, b"new"))
    h.clock.advance(1000.0)
    assert await value(h, "short") == b"new"
    # Also when a later change removes those that have ended.
    await h.store.put_state("other", StateWrite(None, b"o", ttl_s=5.0))
    assert await value(h, "short") == b"new"
    assert await value(h, "long") is None


async def test_an_operator_changes_what_nobody_holds(h: Harness) -> None:
    owner = await h.agent()
    made = await h.store.put_state("cart:42", StateWrite(0, b"one", "json"))
    assert isinstance(made, StoredState)
    found = await h.store.get_state("cart:42")
    assert found is not None
    assert (found.value, found.type, found.task_id, found.version) == (b"one", "json", "", made.version)
    assert await h.store.put_state("cart:42", StateWrite(0, b"two")) == StateConflict(made.version)
    await h.submit(with_state())
    (claimed,) = await h.claim_all(owner)
    assert claimed.state == found
    held = StateConflict(made.version, held=True)
    assert await h.store.put_state("cart:42", StateWrite(None, b"two")) == held
    assert await h.store.put_state("cart:42", StateWrite(None, None)) == held
    await end(h, claimed, change(claimed, b"three"))
    assert isinstance(await h.store.put_state("cart:42", StateWrite(None, b"four")), StoredState)
    assert await value(h) == b"four"
    deleted = await h.store.put_state("cart:42", StateWrite(None, None))
    assert deleted == StoredState("cart:42")
    assert await value(h) is None


async def test_states_are_listed_by_name(h: Harness) -> None:
    names = [f"a:{number:02}" for number in range(25)] + ["b:1", "ä", "b:1\nx"]
    for name in names:
        await h.store.put_state(name, StateWrite(None, name.encode()))
    for prefix in ("", "a:", "b:", "ä", "c"):
        found, cursor = [], ""
        for _ in range(20):
            page = await h.store.list_states(prefix, limit=7, cursor=cursor)
            found += page.states
            cursor = page.cursor
            if not cursor:
                break
        wanted = sorted(name for name in names if name.startswith(prefix))
        assert [(each.name, each.value) for each in found] == [(name, name.encode()) for name in wanted]


async def test_a_page_of_large_states_is_short(h: Harness) -> None:
    for number in range(4):
        await h.store.put_state(f"big:{number}", StateWrite(None, b"x" * 600_000))
    page = await h.store.list_states("", limit=10)
    assert 1 <= len(page.states) < 4
    rest = await h.store.list_states("", limit=10, cursor=page.cursor)
    assert len(page.states) + len(rest.states) == 4


async def test_large_states_come_in_several_claims(h: Harness) -> None:
    owner = await h.agent()
    for number in range(12):
        await h.store.put_state(f"big:{number}", StateWrite(None, bytes([number]) * 1_000_000))
    await h.submit_many([with_state(f"big:{number}") for number in range(12)])
    first = await h.claim(owner, limit=12)
    assert 1 <= len(first) < 12
    claims = [*first, *await h.claim_all(owner)]
    assert [each.state.value[:1] for each in claims if each.state] == [
        bytes([number]) for number in range(12)
    ]


async def test_there_are_not_too_many(h: Harness) -> None:
    h.store.max_states = 2  # type: ignore[attr-defined]
    for name in ("one", "two"):
        assert isinstance(await h.store.put_state(name, StateWrite(None, b"x")), StoredState)
    assert await h.store.put_state("three", StateWrite(None, b"x")) == TooManyStates("three", 2)
    assert await h.store.enqueue([with_state("three")]) == [TooManyStates("three", 2)]
    await h.submit(with_state("two"))
    await h.store.put_state("one", StateWrite(None, None))
    h.clock.advance(10.0)
    await h.submit(with_state("three"))


async def test_states_that_have_ended_make_room(h: Harness) -> None:
    h.store.max_states = 2  # type: ignore[attr-defined]
    for name in ("one", "two"):
        await h.store.put_state(name, StateWrite(None, b"x", ttl_s=5.0))
    assert await h.store.enqueue([with_state("three")]) == [TooManyStates("three", 2)]
    h.clock.advance(10.0)
    await h.submit(with_state("three"))
    # Changes without a time remove nothing.
    for name in ("four", "five"):
        assert isinstance(await h.store.put_state(name, StateWrite(None, b"x")), StoredState)
    assert await h.store.put_state("six", StateWrite(None, b"x")) == TooManyStates("six", 2)


async def test_a_fallback_has_the_state_of_its_own_lock(h: Harness) -> None:
    owner = await h.agent()
    given = Submission(METHOD, locks=CART)
    given.alternatives = (
        Alternative(METHOD, locks=CART),
        Alternative(OTHER_METHOD, locks=(LockClaim("other", state=True),)),
    )
    begin_at(given, 0)
    await h.submit(given)
    (claimed,) = await h.claim_all(owner)
    assert claimed.state == StoredState("cart:42")
    assert await end(h, claimed, change(claimed, b"lost"), code_pb2.INTERNAL) is Verdict.RETRYING
    (fallen,) = await h.claim_all(owner)
    assert fallen.method == OTHER_METHOD
    assert fallen.state == StoredState("other")
    assert await end(h, fallen, change(fallen, b"kept")) is Verdict.STORED
    assert await value(h) is None
    assert await value(h, "other") == b"kept"


async def test_a_retried_task_has_the_state_of_its_first_lock_again(h: Harness) -> None:
    owner = await h.agent()
    given = Submission(METHOD, locks=CART)
    given.alternatives = (
        Alternative(METHOD, locks=CART),
        Alternative(OTHER_METHOD, locks=(LockClaim("other", state=True),)),
    )
    begin_at(given, 0)
    task_id = await h.submit(given)
    for _ in range(2):
        (claimed,) = await h.claim_all(owner)
        await end(h, claimed, None, code_pb2.INTERNAL)
    assert await h.state(task_id) is State.FAILED
    await h.store.retry(task_id)
    (again,) = await h.claim_all(owner)
    assert (again.method, again.state) == (METHOD, StoredState("cart:42"))
    assert await end(h, again, change(again, b"kept")) is Verdict.STORED
    assert (await value(h), await value(h, "other")) == (b"kept", None)


@pytest.mark.parametrize("crash", [False, True], ids=["stop", "crash"])
async def test_states_survive_a_restart(store_factory: StoreFactory, crash: bool) -> None:
    h = await store_factory.open()
    owner = await h.agent()
    ids = await h.submit_many([with_state()] * 3)
    (first,) = await h.claim_all(owner)
    await end(h, first, change(first, b"one", type="json", ttl_s=1000.0))
    before = await h.store.get_state("cart:42")
    (second,) = await h.claim_all(owner)
    h = await store_factory.reopen(h, crash=crash)
    assert await h.store.get_state("cart:42") == before
    if store_factory.forgets_claims:
        # An attempt of before may hold the lock.
        held = await h.store.put_state("cart:42", StateWrite(None, b"x"))
        assert isinstance(held, StateConflict)
        assert held.held
        with pytest.raises(Unavailable, match="waits for its agents"):
            await h.store.save_state("a", *ref(second), change(second, b"early"))
    back = await h.agent()
    assert await h.adopt(back, [(ref(second), second.owner.epoch)]) == [True]
    second.owner = back
    assert await end(h, second, change(second, b"two")) is Verdict.STORED
    (third,) = await h.claim_all(back)
    assert third.task_id == ids[2]
    assert third.state is not None
    assert third.state.value == b"two"
