"""A task whose last attempt did not succeed waits in a queue of its own, which names the agent to avoid."""

from __future__ import annotations

import pytest
from google.rpc import code_pb2

from tests.store.support import METHOD, Harness, StoreFactory, ref
from weft.coordinator.store.records import Claimed, ClaimRequest, Owner, QueueDepth, Submission
from weft.coordinator.store.rules import QueueKey, Requirements, State

REQUIREMENTS = [
    pytest.param(Requirements(), id="none"),
    pytest.param(Requirements.of({"zone": "eu"}, {}), id="a label"),
    pytest.param(Requirements.of({}, {"gpu": 1.5}), id="a resource"),
    pytest.param(Requirements.of({"zone": 'e"u],[', "a": "ä\n"}, {"gpu": 1.0, "ram": 2.0}), id="several"),
]


def avoiding(agent_id: str, requirements: Requirements | None = None) -> QueueKey:
    return QueueKey(METHOD, requirements or Requirements(), agent_id)


async def claim(h: Harness, owner: Owner, *keys: QueueKey) -> list[Claimed]:
    return list((await h.store.claim([ClaimRequest(owner, dict.fromkeys(keys, 1), 9, 9)]))[0])


async def fail(h: Harness, claimed: Claimed) -> None:
    """Fail an attempt, and let its backoff pass."""
    await h.end(claimed, code_pb2.UNAVAILABLE)
    await h.pass_time(60.0)


@pytest.mark.parametrize("requirements", REQUIREMENTS)
async def test_a_retry_avoids_the_agent_of_the_last_attempt(h: Harness, requirements: Requirements) -> None:
    base = QueueKey(METHOD, requirements)
    await h.submit(Submission(METHOD, requirements=requirements))
    one, other = await h.agent("one", lease_s=1e9), await h.agent("other", lease_s=1e9)
    for attempt, (owner, key) in enumerate(
        [(one, base), (other, avoiding("one", requirements)), (one, avoiding("other", requirements))], start=1
    ):
        assert h.store.ready_depths() == {key: 1}
        (claimed,) = await claim(h, owner, key)
        assert claimed.attempt == attempt
        record = await h.record(claimed.task_id)
        assert (record.submission.method, record.submission.requirements) == (METHOD, requirements)
        await fail(h, claimed)
    assert h.store.ready_depths() == {avoiding("one", requirements): 1}
    assert await claim(h, one, base) == [], "only who asks for it gets it"
    assert await h.store.depths() == {
        base: QueueDepth(queued=1, oldest_at=(await h.record(claimed.task_id)).ready_at)
    }
    await h.end((await claim(h, one, avoiding("one", requirements)))[0])
    assert await h.store.depths() == {}


async def test_retries_and_the_rest_are_claimed_by_age(h: Harness) -> None:
    ids = await h.submit_many([Submission(METHOD)] * 3)
    owner = await h.agent("a", lease_s=1e9)
    first, second, third = await claim(h, owner, QueueKey(METHOD))
    await fail(h, second)
    await h.store.release(owner, [ref(first), ref(third)])
    again = await claim(h, owner, avoiding("a"), QueueKey(METHOD))
    assert [claimed.task_id for claimed in again] == ids


async def test_what_was_released_still_avoids_the_agent_that_failed(h: Harness) -> None:
    await h.submit()
    one, other = await h.agent("one", lease_s=1e9), await h.agent("other", lease_s=1e9)
    await fail(h, (await claim(h, one, QueueKey(METHOD)))[0])
    (claimed,) = await claim(h, other, avoiding("one"))
    await h.store.release(other, [ref(claimed)])
    assert h.store.ready_depths() == {avoiding("one"): 1}


async def test_a_lost_agent_is_avoided(h: Harness) -> None:
    await h.submit()
    await claim(h, await h.agent("one", lease_s=10.0), QueueKey(METHOD))
    await h.pass_time(11.0)
    assert h.store.ready_depths() == {avoiding("one"): 1}


async def test_a_failed_task_that_is_retried_by_hand_avoids_its_last_agent(h: Harness) -> None:
    task_id = await h.submit()
    (claimed,) = await claim(h, await h.agent("one", lease_s=1e9), QueueKey(METHOD))
    await h.end(claimed, code_pb2.INTERNAL)
    assert await h.state(task_id) is State.FAILED
    await h.store.retry(task_id)
    assert h.store.ready_depths() == {avoiding("one"): 1}


@pytest.mark.parametrize("crash", [True, False])
async def test_a_restart_forgets_nobody(store_factory: StoreFactory, crash: bool) -> None:
    h = await store_factory.open()
    await h.submit()
    owner = await h.agent("one", lease_s=1e9)
    await h.end((await claim(h, owner, QueueKey(METHOD)))[0], code_pb2.UNAVAILABLE)
    await h.store.retire(owner)
    h = await store_factory.reopen(h, crash=crash)
    await h.pass_time(60.0)
    assert h.store.ready_depths() == {avoiding("one"): 1}
