"""Listing by time, agent, request id and error: every filter finds what fits, over any pages, and reads a bounded part."""

from __future__ import annotations

import itertools

import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2

from tests.store.support import METHOD, OTHER_METHOD, Harness
from weft.coordinator.store import paging
from weft.coordinator.store.paging import ListFilter
from weft.coordinator.store.records import Owner, Submission
from weft.coordinator.store.rules import State, TaskRetryPolicy
from weft.v1 import task_pb2

STEADY = TaskRetryPolicy(max_attempts=3, initial_backoff_s=100.0, max_backoff_s=100.0)


def failure(code: int, message: str, reason: str = "", raised: tuple[str, str] | None = None) -> bytes:
    outcome = task_pb2.Outcome(status=status_pb2.Status(code=code, message=message))
    if reason:
        outcome.status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason))
    if raised is not None:
        outcome.error.CopyFrom(task_pb2.HandlerError(type=raised[0], message=raised[1]))
    return outcome.SerializeToString()


async def filled(h: Harness) -> dict[str, str]:
    """One task of each kind, by name."""
    one, two = await h.agent("one", 1e9), await h.agent("two", 1e9)
    ids: dict[str, str] = {}

    async def ended(
        name: str, owner: Owner, code: int, outcome: bytes, retry: TaskRetryPolicy = STEADY
    ) -> None:
        ids[name] = await h.submit(Submission(METHOD, retry=retry, request_id=f"r-{name}", result_ttl_s=1e6))
        await h.end(await h.claim_one(owner), code, outcome=outcome)
        h.clock.advance(1.0)

    await ended("good", one, 0, task_pb2.Outcome(response=b"no luck").SerializeToString())
    await ended("internal", one, code_pb2.INTERNAL, failure(13, "No Luck here", "BROKEN"))
    await ended(
        "raised", two, code_pb2.UNKNOWN, failure(2, "handler", "HANDLER_FAILED", ("ValueError", "no card"))
    )
    await ended("poison", two, code_pb2.UNKNOWN, b"\xff\xff")
    await ended("waiting", one, code_pb2.UNAVAILABLE, failure(14, "no luck yet"))
    ids["cancelled"] = await h.submit(Submission(METHOD, request_id="r-cancelled"))
    await h.store.cancel([ids["cancelled"]], "no luck wanted", 0.0)
    ids["running"] = await h.submit(Submission(METHOD))
    await h.claim_one(two)
    ids["queued"] = await h.submit(Submission(OTHER_METHOD))
    below = task_pb2.CallContext(root_id="the-root", parent_id="another").SerializeToString()
    ids["below"] = await h.submit(Submission(OTHER_METHOD, context=below))
    ids["odd"] = await h.submit(Submission(OTHER_METHOD, context=b"\xff\xff"))
    await h.store.complete([])
    return ids


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_filters_find_what_fits(h: Harness, limit: int) -> None:
    ids = await filled(h)

    async def found(**parts: object) -> set[str]:
        names = {task_id: name for name, task_id in ids.items()}
        listed = await h.find(ListFilter(**parts), limit=limit)  # type: ignore[arg-type]
        assert len(listed) == len(set(listed))
        assert listed == sorted(listed, reverse=True)
        return {names[task_id] for task_id in listed}

    assert await found() == set(ids)
    assert await found(agent_id="one") == {"good", "internal", "waiting"}
    assert await found(agent_id="two", states=frozenset({State.RUNNING})) == {"running"}
    assert await found(agent_id="nobody") == set()
    assert await found(request_id="r-raised") == {"raised"}
    assert await found(request_id="r-raised", agent_id="one") == set()
    assert await found(request_id="r-none") == set()
    assert await found(error_codes=frozenset({code_pb2.INTERNAL, code_pb2.UNAVAILABLE})) == {
        "internal",
        "waiting",
    }
    assert await found(error_reason="BROKEN") == {"internal"}
    assert await found(error_reason="ValueError") == {"raised"}
    assert await found(error_reason="CANCELLED") == {"cancelled"}
    assert await found(error_text="no luck") == {"internal", "waiting"}
    assert await found(error_text="NO CARD") == {"raised"}
    assert await found(error_text="no luck", states=frozenset({State.FAILED})) == {"internal"}
    assert await found(error_text="no luck", agent_id="two") == set()
    assert await found(error_text="request") == {"cancelled"}
    assert await found(root_id="the-root") == {"below"}
    assert await found(root_id="the-root", method=METHOD) == set()
    assert await found(root_id="another") == set()
    middle = (await h.record(ids["raised"])).created_at
    assert await found(created_from=middle, error_text="luck") == {"waiting"}
    assert await found(created_to=middle, agent_id="one") == {"good", "internal"}


async def test_every_pair_of_filters_is_both(h: Harness) -> None:
    """Two parts together find what each finds."""
    await filled(h)
    parts: list[dict[str, object]] = [
        {"states": frozenset({State.FAILED})},
        {"states": frozenset({State.RUNNING, State.SCHEDULED})},
        {"method": METHOD},
        {"agent_id": "one"},
        {"agent_id": "two"},
        {"request_id": "r-internal"},
        {"error_codes": frozenset({code_pb2.INTERNAL, code_pb2.UNKNOWN})},
        {"error_reason": "BROKEN"},
        {"error_text": "luck"},
        {"root_id": "the-root"},
        {"created_from": h.clock() - 3.5},
    ]
    for one, other in itertools.combinations(parts, 2):
        if one.keys() == other.keys():
            continue
        alone = [set(await h.find(ListFilter(**part))) for part in (one, other)]  # type: ignore[arg-type]
        both = await h.find(ListFilter(**one, **other), limit=2)  # type: ignore[arg-type]
        assert set(both) == alone[0] & alone[1], (one, other)


async def test_a_page_reads_a_bounded_number_of_outcomes(h: Harness) -> None:
    count = 2 * paging.MOST_READ + 10
    owner = await h.agent(lease_s=1e9)
    ids = await h.submit_many([Submission(METHOD)] * count)
    for claimed in await h.claim(owner, limit=count):
        text = "the one" if claimed.task_id == ids[0] else "another"
        await h.end(claimed, code_pb2.INTERNAL, outcome=failure(13, text))
    page = await h.store.list_tasks(ListFilter(error_text="the one"), limit=10)
    assert (list(page.records), bool(page.cursor)) == ([], True)
    assert await h.find(ListFilter(error_text="the one"), limit=10) == [ids[0]]
