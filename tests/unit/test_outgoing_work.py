"""The work of outgoing hooks, step by step: one reading of the hooks at a time, and an end for each delivery."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from weft.coordinator.hooks import hook_worker
from weft.coordinator.hooks.hook_worker import HookWorker
from weft.coordinator.hooks.outgoing_hooks import OutgoingHooks
from weft.v1 import session_pb2, task_pb2

NOTHING: Any = None


async def test_hooks_are_read_one_after_another() -> None:
    """One that has read before another hook was made would end that hook's subscription."""
    began, goes_on, runs = asyncio.Event(), asyncio.Event(), []

    class Read(OutgoingHooks):
        async def _settle(self) -> None:
            runs.append("begins")
            began.set()
            await goes_on.wait()
            runs.append("ends")

    hooks = Read(NOTHING, NOTHING)
    first = asyncio.create_task(hooks.settle())
    await began.wait()
    hooks.rows_changed("hook")
    second = asyncio.create_task(hooks.settle())
    await asyncio.sleep(0)
    goes_on.set()
    await asyncio.gather(first, second)
    assert runs == ["begins", "ends", "begins", "ends"]


async def test_a_delivery_that_is_cancelled_before_it_begins_has_an_end() -> None:
    async def deliver(_: session_pb2.Assignment) -> task_pb2.Outcome:
        raise AssertionError("it has begun")

    worker = HookWorker(NOTHING, "c1", deliver)
    ref: Any = {"task_id": "t", "attempt": 1}
    worker._take(session_pb2.ConnectResponse(assignments=[ref], cancels=[ref]), [])
    (result,) = (await asyncio.wait_for(worker._requests.get(), 5)).results
    assert (result.task_id, result.outcome.status.code) == ("t", 1)
    assert not worker._running


async def test_a_worker_stops_though_its_session_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    began = asyncio.Event()

    class Stuck:
        async def serve(self, *_: Any) -> None:
            began.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(hook_worker, "STOP_S", 0.01)
    stuck: Any = Stuck()
    worker = HookWorker(stuck, "c1", NOTHING)
    worker.start()
    async with asyncio.timeout(20):
        await began.wait()
    async with asyncio.timeout(5):
        await worker.stop()
    assert not worker.running


async def test_a_worker_that_was_stopped_stays_so() -> None:
    """A hook may be made while its coordinator stops."""
    worker = HookWorker(NOTHING, "c1", NOTHING)
    await worker.stop()
    worker.start()
    assert not worker.running
