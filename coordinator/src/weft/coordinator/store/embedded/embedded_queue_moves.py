"""Tasks of the embedded store that leave their queue for another one, though nothing happened to them: no agent can run them there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, islice

from google.rpc.code_pb2 import UNAVAILABLE

from weft.coordinator.store import store_outcomes, waited
from weft.coordinator.store.embedded import task_queries
from weft.coordinator.store.embedded.core import StoreCore
from weft.coordinator.store.embedded.ready import NUMBER_MASK, ReadyQueue
from weft.coordinator.store.embedded.unfinished_task import may_fall_back
from weft.coordinator.store.queue_moves import LeftQueue, ReadyTask, ReadyTasks, Redirected
from weft.coordinator.store.rules import QueueKey, State
from weft.coordinator.store.task_ids import format_id, parse_id


class EmbeddedQueueMoves:
    """A part of an embedded store; `EmbeddedStore` makes the parts."""

    _core: StoreCore

    async def leave_queue(self, queue: QueueKey, at: int, limit: int) -> LeftQueue:
        core, table, now = self._core, self._core.table, self._core.clock()
        ready = table.backlog.queue(queue)
        numbers = _numbers(ready, at, limit)
        moved = 0
        for number in numbers:
            if table.claimable(number, ready) and may_fall_back(
                task := table.tasks[number], UNAVAILABLE, now
            ):
                what = waited.queued(
                    max(0.0, now - task.ready_at), table.listener.waits_for(queue, paused=False)
                )
                table.fall_back(task, store_outcomes.no_agent(what), now)
                moved += 1
        await core.journal.settled()
        return LeftQueue(moved, at + limit if len(numbers) == limit else None)

    async def ready_tasks(self, queue: QueueKey, at: int, limit: int) -> ReadyTasks:
        core, table = self._core, self._core.table
        ready = table.backlog.queue(queue)
        numbers = _numbers(ready, at, limit)
        ids = [format_id(number) for number in numbers if self._is_ready(number, ready)]
        found = await task_queries.get(core, ids, payloads=True)
        tasks = [
            ReadyTask(each.task_id, each.ready_at, each.submission.context)
            for each in found
            if each is not None
        ]
        return ReadyTasks(tasks, at + limit if len(numbers) == limit else None)

    async def redirect(self, queue: QueueKey, tasks: Sequence[Redirected]) -> int:
        core, table, now = self._core, self._core.table, self._core.clock()
        core.journal.check_writable()
        ready = table.backlog.queue(queue)
        changed = 0
        for each in tasks:
            number = parse_id(each.task_id)
            if number is None or not self._is_ready(number, ready):
                continue
            if each.outcome:
                table.end(table.tasks[number], State.FAILED, each.outcome, now)
            else:
                task = table.tasks[number]
                table.requeue(task, replace(task.record().submission, requirements=each.requirements), now)
            changed += 1
        await core.journal.settled()
        return changed

    def _is_ready(self, number: int, queue: ReadyQueue) -> bool:
        """Whether a task is ready in a queue, and not parked at a gate."""
        table = self._core.table
        if not table.claimable(number, queue):
            return False
        gates = table.tasks[number].gates
        return gates is None or not gates.parked


def _numbers(queue: ReadyQueue, at: int, limit: int) -> list[int]:
    """Numbers of ready tasks, from a place on. Tasks that have left are still among them."""
    return [item & NUMBER_MASK for item in islice(chain.from_iterable(queue.heaps), at, at + limit)]
