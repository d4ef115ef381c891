"""Waiting for many tasks at once: those that have ended come at once, the others as they end, batched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from weft.coordinator import codec
from weft.coordinator.calls.ended_tasks import EndedTasks
from weft.coordinator.calls.task_subscriptions import TaskSubscriptions
from weft.coordinator.store.base import Store
from weft.coordinator.store.records import TaskRecord
from weft.rpc.calls.pacing import Pacer
from weft.v1 import coordinator_pb2

# Each with its outcome, which may be large.
READ_TASKS = 64


async def wait_tasks(
    store: Store,
    subscriptions: TaskSubscriptions,
    task_ids: Sequence[str],
    timeout_s: float | None,
    view: int,
) -> AsyncIterator[coordinator_pb2.WaitTasksResponse]:
    """Responses until every task has been sent or the time is over.

    Raises:
        WeftError: the subscriptions was closed.
    """
    loop = asyncio.get_running_loop()
    filled = asyncio.Event()
    finished = EndedTasks(store)
    awaited = dict.fromkeys(task_ids)
    pacer = Pacer()
    over = False

    def ended(record: TaskRecord) -> None:
        if awaited.pop(record.task_id, True) is None:
            finished.add(record)
            filled.set()

    def time_over() -> None:
        nonlocal over
        over = True
        filled.set()

    timer = loop.call_later(timeout_s, time_over) if timeout_s is not None else None
    subscriptions.on_close(filled.set)
    for task_id in awaited:
        subscriptions.on_end(task_id, ended)
    try:
        ids = list(awaited)
        for start in range(0, len(ids), READ_TASKS):
            chunk = ids[start : start + READ_TASKS]
            not_found = []
            for task_id, record in zip(chunk, await store.get(chunk, payloads=False), strict=True):
                if record is None:
                    # One that has ended since, and was deleted at once, was found.
                    if awaited.pop(task_id, True) is None:
                        not_found.append(task_id)
                elif record.state.terminal:
                    ended(record)
            if not_found:
                yield coordinator_pb2.WaitTasksResponse(not_found=not_found)
            while finished:
                yield _response(await finished.take(), view)
        while awaited and not over:
            if subscriptions.closed is not None:
                raise subscriptions.closed
            await filled.wait()
            if (wait_s := pacer.wait_s(len(awaited) + len(finished), loop.time())) > 0.0:
                await asyncio.sleep(wait_s)
            filled.clear()
            while finished:
                yield _response(await finished.take(), view)
                pacer.sent(loop.time())
        while finished:
            yield _response(await finished.take(), view)
    finally:
        if timer is not None:
            timer.cancel()
        subscriptions.off_close(filled.set)
        for task_id in task_ids:
            subscriptions.off_end(task_id, ended)


def _response(finished: Sequence[TaskRecord], view: int) -> coordinator_pb2.WaitTasksResponse:
    return coordinator_pb2.WaitTasksResponse(tasks=[codec.task(record, view) for record in finished])
