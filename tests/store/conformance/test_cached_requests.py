"""Cached requests: the request id stands for the request, and its task for the result, for some time after it has succeeded."""

from __future__ import annotations

from dataclasses import replace

import pytest
from google.rpc import code_pb2

from tests.store.support import METHOD, Harness
from weft.coordinator.store.paging import ListFilter
from weft.coordinator.store.records import Enqueued, RequestIdReused, Submission
from weft.coordinator.store.rules import State

CACHED = Submission(
    METHOD,
    b"q",
    request_id="c",
    cache_ttl_s=10.0,
    request_id_ttl_s=10.0,
    result_ttl_s=20.0,
    failure_ttl_s=20.0,
)


async def stored(h: Harness, *submissions: Submission) -> list[Enqueued]:
    results = await h.store.enqueue(submissions)
    assert all(isinstance(result, Enqueued) for result in results)
    return [result for result in results if isinstance(result, Enqueued)]


async def test_equal_requests_share_one_flight_and_then_its_result(h: Harness) -> None:
    first, second = await stored(h, CACHED, CACHED)
    joined = Enqueued(first.task_id, existed=True)
    assert (first.existed, first.cached, second) == (False, False, joined)
    owner = await h.agent(lease_s=1e6)
    claimed = await h.claim_one(owner)
    assert await stored(h, CACHED) == [joined]
    await h.end(claimed)
    hit = Enqueued(first.task_id, existed=True, cached=True)
    assert await stored(h, CACHED, CACHED) == [hit, hit]
    assert (await h.record(first.task_id)).outcome == b"outcome"
    # From the end on, by what the later request says.
    await h.pass_time(5.0)
    assert await stored(h, replace(CACHED, cache_ttl_s=6.0)) == [hit]
    again, joins = await stored(h, replace(CACHED, cache_ttl_s=4.0), CACHED)
    assert again.task_id != first.task_id
    assert joins == Enqueued(again.task_id, existed=True)
    assert h.store.unfinished() == 1


@pytest.mark.parametrize("how", ["failed", "cancelled", "late", "expired"])
async def test_a_task_that_is_no_answer_gives_the_request_id_away(h: Harness, how: str) -> None:
    given = replace(CACHED, result_ttl_s=2.0) if how == "expired" else CACHED
    (first,) = await stored(h, given)
    if how == "cancelled":
        await h.cancel(first.task_id)
    else:
        claimed = await h.claim_one(await h.agent(lease_s=1e6))
        await h.end(claimed, code_pb2.INTERNAL if how == "failed" else code_pb2.OK)
    await h.pass_time({"late": 10.0, "expired": 3.0}.get(how, 0.0))
    second, joined = await stored(h, given, given)
    assert not second.existed
    assert second.task_id != first.task_id
    assert joined == Enqueued(second.task_id, existed=True)
    # In the next transaction too, and for people.
    assert await stored(h, given) == [joined]
    assert await h.find(ListFilter(request_id="c")) == [second.task_id]
    if how != "expired":
        assert (await h.record(first.task_id)).submission.request_id == ""
    # The end of the first one is not the end of the second one's request id.
    await h.pass_time(30.0)
    assert await h.store.get([first.task_id]) == [None]
    assert await stored(h, given) == [joined]


async def test_a_failed_task_that_lost_its_request_id_can_be_retried(h: Harness) -> None:
    owner = await h.agent(lease_s=1e6)
    (first,) = await stored(h, CACHED)
    await h.end(await h.claim_one(owner), code_pb2.INTERNAL)
    (second,) = await stored(h, CACHED)
    await h.end(await h.claim_one(owner))
    await h.store.retry(first.task_id)
    await h.end((await h.claim_all(owner))[0], outcome=b"late")
    assert await h.state(first.task_id) is State.SUCCEEDED
    assert await stored(h, CACHED) == [Enqueued(second.task_id, existed=True, cached=True)]


async def test_it_is_retried_as_the_task_of_its_request_id_while_it_has_it(h: Harness) -> None:
    owner = await h.agent(lease_s=1e6)
    (first,) = await stored(h, CACHED)
    await h.end(await h.claim_one(owner), code_pb2.INTERNAL)
    await h.store.retry(first.task_id)
    assert await stored(h, CACHED) == [Enqueued(first.task_id, existed=True)]


async def test_other_requests_and_ordinary_ones_keep_to_the_request_id(h: Harness) -> None:
    (first,) = await stored(h, CACHED)
    other = replace(CACHED, payload=b"other")
    assert list(await h.store.enqueue([other])) == [RequestIdReused(first.task_id)]
    await h.end(await h.claim_one(await h.agent(lease_s=1e6)), code_pb2.INTERNAL)
    ordinary = replace(CACHED, cache_ttl_s=0.0)
    assert await stored(h, ordinary) == [Enqueued(first.task_id, existed=True)]
    (second,) = await stored(h, other)
    assert second.task_id != first.task_id


async def test_a_takeover_is_one_change(h: Harness) -> None:
    """Also of a task that nobody was told of."""
    (first,) = await stored(h, CACHED)
    await h.cancel(first.task_id)
    new = h.store.new_task_id(METHOD)
    (second,) = await h.store.enqueue([replace(CACHED, task_id=new)], acknowledged=False)
    assert second == Enqueued(new)
    assert await stored(h, CACHED) == [Enqueued(new, existed=True)]
    assert await h.find(ListFilter(request_id="c")) == [new]
