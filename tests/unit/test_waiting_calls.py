"""Calls that wait for their task: who is refused when a queue is too long, and how that is told."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest

from tests.store.support import METHOD
from weft.coordinator.calls.waiting_calls import WaitingCalls
from weft.coordinator.dispatch.queue_forecast import QueueForecast
from weft.coordinator.store.paging import Page
from weft.coordinator.store.records import Submission, TaskRecord
from weft.coordinator.store.rules import State
from weft.rpc.errors import ResourceExhausted

KNOWN = "mine-1"


class LongQueue:
    """A store with a hundred ready tasks in each queue, and one known request id."""

    def __init__(self) -> None:
        self.looks = 0

    def ready_ahead(self, *_: object) -> int:
        return 100

    async def list_tasks(self, where: Any, **_: object) -> Page:
        self.looks += 1
        known = where.request_id == KNOWN
        return Page([TaskRecord("t", State.QUEUED, Submission(METHOD))] if known else [], "")


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> tuple[WaitingCalls, LongQueue, QueueForecast]:
    """With a clock that stands still."""
    now_s = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    store, forecast = LongQueue(), QueueForecast()
    return WaitingCalls(cast("Any", store), forecast), store, forecast


async def test_who_is_refused(waiting: tuple[WaitingCalls, LongQueue, QueueForecast]) -> None:
    calls, store, forecast = waiting
    now_s = time.monotonic()
    await calls.join(Submission(METHOD, task_id="first"), 1.0)
    forecast.started(["first"], now_s + 10.1)
    flow = next(iter(forecast.flows.values()))
    flow.first_at_s, flow.last_at_s = now_s - 1.0, now_s

    with pytest.raises(ResourceExhausted) as caught:
        await calls.join(Submission(METHOD, task_id="late"), 4.0)
    error = caught.value
    assert (error.reason_name, error.metadata["limit"], error.metadata["ahead"]) == (
        "OVERLOADED",
        "queue_wait",
        "100",
    )
    assert "100 tasks of" in error.message
    assert "about 10.1 s, and it has 4.0 s" in error.message
    assert error.retry_after_s == pytest.approx(8.1)
    # Its time to start counts, too.
    with pytest.raises(ResourceExhausted):
        await calls.join(Submission(METHOD, task_id="late", schedule_to_start_s=4.0), None)
    with pytest.raises(ResourceExhausted):
        await calls.join(Submission(METHOD, task_id="late", request_id="new"), 4.0)
    assert (forecast.refused, store.looks) == (3, 1)

    # These may wait: who has time, has no deadline, begins later, shares a task, or is of a flow of which nothing is known.
    await calls.join(Submission(METHOD, task_id="a"), 60.0)
    await calls.join(Submission(METHOD, task_id="b"), None)
    await calls.join(Submission(METHOD, task_id="c", delay_s=1.0), 4.0)
    await calls.join(Submission(METHOD, task_id="d", request_id=KNOWN), 4.0)
    await calls.join(Submission(METHOD, task_id="e", priority=9), 4.0)
    await calls.join(Submission(METHOD, task_id="f", fairness_key="quiet"), 4.0)
    assert forecast.refused == 3
    assert forecast.places.keys() == {"first", "a", "b", "e", "f"}
    for task_id in ("a", "b", "e", "f"):
        calls.left(task_id)
    ended = TaskRecord(
        "first", State.SUCCEEDED, Submission(METHOD), attempt=1, started_at=5.0, finished_at=7.0
    )
    calls.ended(ended)
    calls.late("first")
    assert not forecast.places
