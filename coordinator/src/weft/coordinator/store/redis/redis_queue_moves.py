"""Tasks of the Redis store that leave their queue for another one, though nothing happened to them: no agent can run them there."""

from __future__ import annotations

from collections.abc import Sequence

from weft.coordinator.store.queue_moves import LeftQueue, ReadyTask, ReadyTasks, Redirected
from weft.coordinator.store.records import TaskRecord
from weft.coordinator.store.redis import task_reads
from weft.coordinator.store.redis.encoding import queue_name
from weft.coordinator.store.redis.redis_link import RedisLink
from weft.coordinator.store.redis.write_buffer import WriteBuffer
from weft.coordinator.store.rules import QueueKey, State


class RedisQueueMoves:
    """A part of a Redis store; `RedisStore` makes the parts."""

    _link: RedisLink
    _buffer: WriteBuffer

    async def leave_queue(self, queue: QueueKey, at: int, limit: int) -> LeftQueue:
        text = self._link.listener.waits_for(queue, paused=False)
        moved, next_at = await self._link.run("leave_queue", [queue_name(queue), at, limit, text])
        return LeftQueue(moved, next_at if next_at is not False else None)

    async def ready_tasks(self, queue: QueueKey, at: int, limit: int) -> ReadyTasks:
        await self._buffer.flushed()
        found: tuple[list[TaskRecord | None], bool] = await self._link.read(
            "queue", self._read(queue, at, limit)
        )
        records, more = found
        tasks = [
            ReadyTask(each.task_id, each.ready_at, each.submission.context)
            for each in records
            if each is not None and each.state is State.QUEUED
        ]
        return ReadyTasks(tasks, at + limit if more else None)

    async def _read(self, queue: QueueKey, at: int, limit: int) -> tuple[list[TaskRecord | None], bool]:
        client, keys = self._link.client, self._link.keys
        raw = await client.zrange(keys.of("ready", queue_name(queue)), at, at + limit - 1)
        ids = [each.decode() for each in raw]
        return await task_reads.read(client, keys, ids, payloads=True), len(ids) == limit

    async def redirect(self, queue: QueueKey, tasks: Sequence[Redirected]) -> int:
        if not tasks:
            return 0
        given = [
            (each.task_id, queue_name(QueueKey(queue.method, each.requirements)), each.outcome or False)
            for each in tasks
        ]
        outcomes = {each.task_id: each.outcome for each in tasks if each.outcome}
        changed: int = await self._link.run("redirect", [queue_name(queue), given], outcomes)
        return changed
