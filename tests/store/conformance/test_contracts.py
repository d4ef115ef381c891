"""Contracts: kept in the order of their arrival, read if they are not known, and forgotten when they are not needed."""

from __future__ import annotations

from tests.store.support import METHOD, OTHER_METHOD, Harness
from weft.coordinator.store.records import Submission

GRACE_S = 100.0


async def _left(h: Harness, *, hosted: tuple[str, ...] = (), methods: tuple[str, ...] = ()) -> list[str]:
    """The contracts that are there after a look for those that nobody needs."""
    await h.store.agent_news()
    await h.store.forget_contracts(hosted, methods, GRACE_S)
    return list(await h.store.contracts())


async def test_what_is_known_is_not_read_again(h: Harness) -> None:
    await h.store.put_contract("one", b"files", [METHOD])
    await h.store.put_contract("two", b"others", [OTHER_METHOD])
    assert await h.store.contracts(["one"]) == {"one": (b"", [METHOD]), "two": (b"others", [OTHER_METHOD])}
    await h.store.put_contract("two", b"others", [METHOD])
    assert await h.store.contracts(["one", "two"]) == {"one": (b"", []), "two": (b"", [METHOD, OTHER_METHOD])}
    assert list(await h.store.contracts()) == ["one", "two"]


async def test_what_nobody_needs_is_forgotten(h: Harness) -> None:
    for digest, method in (("old", METHOD), ("new", METHOD), ("other", OTHER_METHOD)):
        await h.store.put_contract(digest, b"files", [method])
    assert await _left(h, hosted=("other",)) == ["old", "new", "other"]
    h.clock.advance(GRACE_S - 1.0)
    assert await _left(h, hosted=("other",)) == ["old", "new", "other"]
    h.clock.advance(2.0)
    # One that was needed a moment ago has its time before it.
    assert await _left(h) == ["other"]
    h.clock.advance(GRACE_S)
    assert await _left(h) == []
    assert await h.store.contracts(["old"]) == {}
    await h.store.put_contract("old", b"files again", [METHOD])
    assert await h.store.contracts() == {"old": (b"files again", [METHOD])}
    assert await _left(h) == ["old"]


async def test_what_agents_or_tasks_need_stays(h: Harness) -> None:
    await h.store.put_contract("superseded", b"files", [METHOD])
    await h.store.put_contract("in force", b"files", [METHOD])
    await h.store.put_contract("of a task", b"files", [OTHER_METHOD])
    task_id = await h.submit(Submission(OTHER_METHOD, delay_s=1e6))
    for _ in range(3):
        # Agents host METHOD, with a contract that is older than the one in force.
        left = await _left(h, hosted=("superseded",), methods=(METHOD,))
        assert left == ["superseded", "in force", "of a task"]
        h.clock.advance(GRACE_S)
    await h.cancel(task_id)
    assert len(await _left(h, methods=(METHOD,))) == 3
    h.clock.advance(GRACE_S)
    assert await _left(h, methods=(METHOD,)) == ["in force"]


async def test_the_time_goes_on_over_a_restart(h: Harness, store_factory: object) -> None:
    await h.store.put_contract("old", b"files", [METHOD])
    assert await _left(h) == ["old"]
    h.clock.advance(GRACE_S / 2)
    again = await store_factory.reopen(h, crash=False)  # type: ignore[attr-defined]
    assert await _left(again) == ["old"]
    h.clock.advance(GRACE_S / 2 + 1.0)
    assert await _left(again) == []
