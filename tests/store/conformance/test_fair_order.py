"""Fairness keys: tasks of one queue and priority are served in turns, by weight."""

from __future__ import annotations

from collections import Counter

import pytest
from google.rpc import code_pb2

from tests.store.support import METHOD, Harness, ref
from weft.coordinator.store.records import Claimed, Submission


def keyed(key: str, count: int, weight: float = 1.0, priority: int = 5) -> list[Submission]:
    return [Submission(METHOD, fairness_key=key, fairness_weight=weight, priority=priority)] * count


def keys_of(claims: list[Claimed], ids: dict[str, str]) -> list[str]:
    return [ids[claimed.task_id] for claimed in claims]


async def submit(h: Harness, *many: list[Submission]) -> dict[str, str]:
    """Keys by task id, oldest first."""
    submissions = [each for some in many for each in some]
    ids = await h.submit_many(submissions)
    return {task_id: each.fairness_key for task_id, each in zip(ids, submissions, strict=True)}


async def test_keys_take_turns(h: Harness) -> None:
    ids = await submit(h, keyed("a", 4), keyed("b", 2), keyed("c", 1))
    claims = await h.claim_all(await h.agent())
    assert keys_of(claims, ids) == ["a", "b", "c", "a", "b", "a", "a"]
    # Within a key by age.
    assert [c.task_id for c in claims if ids[c.task_id] == "a"] == [i for i, key in ids.items() if key == "a"]


async def test_turns_are_by_weight(h: Harness) -> None:
    ids = await submit(h, keyed("light", 40), keyed("heavy", 40, 3.0))
    served = Counter(keys_of(await h.claim_all(await h.agent(), limit=40), ids))
    assert served == {"light": 10, "heavy": 30}


async def test_a_key_that_was_idle_is_not_served_for_the_past(h: Harness) -> None:
    owner = await h.agent()
    ids = await submit(h, keyed("busy", 100))
    await h.claim_all(owner, limit=50)
    ids |= await submit(h, keyed("new", 3))
    served = keys_of(await h.claim_all(owner, limit=7), ids)
    # In turns from now on: the new key does not get all of its tasks first, and does not wait behind the others.
    assert Counter(served[:6]) == {"busy": 3, "new": 3}


async def test_the_priority_comes_first(h: Harness) -> None:
    ids = await submit(h, keyed("a", 2, priority=3), keyed("b", 2, priority=7), keyed("a", 2, priority=7))
    assert keys_of(await h.claim_all(await h.agent()), ids) == ["b", "a", "b", "a", "a", "a"]


async def test_tasks_without_a_key_are_a_key_among_others(h: Harness) -> None:
    ids = await submit(h, keyed("a", 3))
    ids |= await submit(h, keyed("", 3))
    served = keys_of(await h.claim_all(await h.agent()), ids)
    assert served == ["a", "", "a", "", "a", ""]


async def test_an_empty_queue_forgets_who_was_served(h: Harness) -> None:
    owner = await h.agent()
    await submit(h, keyed("a", 20))
    await h.claim_all(owner)
    ids = await submit(h, keyed("b", 1), keyed("a", 1), keyed("b", 1))
    assert keys_of(await h.claim_all(owner), ids) == ["b", "a", "b"]


async def test_a_released_task_returns_to_the_front(h: Harness) -> None:
    owner = await h.agent()
    ids = await submit(h, keyed("a", 5), keyed("b", 5))
    claims = await h.claim_all(owner, limit=5)
    last = claims[-1]
    await h.store.release(owner, [ref(last)])
    again = (await h.claim_all(owner, limit=2))[0]
    assert again.task_id == last.task_id
    assert ids[again.task_id] == "a"


async def test_retries_take_turns_as_well(h: Harness) -> None:
    one, other = await h.agent("one", lease_s=1e9), await h.agent("other", lease_s=1e9)
    ids = await submit(h, keyed("a", 3), keyed("b", 2))
    for claimed in await h.claim_all(one):
        await h.end(claimed, code_pb2.UNAVAILABLE)
    await h.pass_time(60.0)
    claims = await h.claim_all(other)
    # The retries' order of readiness is random; no key is served twice while the other waits.
    served = keys_of(claims, ids)
    assert Counter(served) == {"a": 3, "b": 2}
    assert all(set(served[at : at + 2]) == {"a", "b"} for at in (0, 2))


async def test_a_task_keeps_its_key(h: Harness) -> None:
    (task_id,) = await h.submit_many(keyed("a", 1, 2.5))
    record = await h.record(task_id)
    assert (record.submission.fairness_key, record.submission.fairness_weight) == ("a", 2.5)
    await h.end((await h.claim_all(await h.agent()))[0])
    record = await h.record(task_id)
    assert (record.submission.fairness_key, record.submission.fairness_weight) == ("a", 2.5)


@pytest.mark.parametrize("large", [5000])
async def test_a_large_key_does_not_hold_up_small_ones(h: Harness, large: int) -> None:
    """With few tasks, so that each store is asked; `test_embedded_fairness` has 100,000."""
    ids = await submit(h, keyed("large", large))
    for number in range(20):
        ids |= await submit(h, keyed(f"small-{number}", 10))
    claims = await h.claim_all(await h.agent(), limit=300)
    last = max(at for at, key in enumerate(keys_of(claims, ids)) if key.startswith("small"))
    # Alone, the small keys would have been done after 200.
    assert last < 2 * 200
