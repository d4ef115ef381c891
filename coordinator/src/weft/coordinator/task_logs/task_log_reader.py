"""Reads the log of one task, attempt by attempt, each from the agent that made it; with `follow`, until the task has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator

from weft.coordinator.store import history
from weft.coordinator.store.base import Store
from weft.coordinator.store.records import AttemptRecord, TaskRecord
from weft.coordinator.task_logs.log_requests import LogRequests
from weft.rpc import refusals
from weft.rpc.times import duration
from weft.v1 import logs_pb2

# How long an agent waits for the next line of an attempt that is followed.
WAIT_S = 5.0
# While no attempt runs, the task is looked at so often.
LOOK_S = 0.5

NONE_KEPT = logs_pb2.MISSING_LOG_REASON_NONE_KEPT
TOO_MANY = logs_pb2.MISSING_LOG_REASON_TOO_MANY
# Number and agent: a released attempt's number is used again.
Key = tuple[int, str]


class TaskLogReader:
    """Reads one log once."""

    def __init__(self, store: Store, requests: LogRequests, task_id: str, *, follow: bool) -> None:
        self._store = store
        self._requests = requests
        self._task_id = task_id
        self._follow = follow
        # The position of the last line that was passed on, by attempt.
        self._after: dict[Key, int] = {}
        # Attempts that have ended and were read.
        self._read: set[Key] = set()
        # Attempts of which it was said that lines are missing.
        self._told: set[tuple[Key, logs_pb2.MissingLogReason]] = set()

    async def responses(self) -> AsyncGenerator[logs_pb2.GetTaskLogsResponse]:
        """The log.

        Raises:
            NotFound: there is no such task.
        """
        while True:
            record = await self._record()
            for attempt in history.attempts(record):
                if (attempt.number, attempt.agent_id) not in self._read:
                    async for response in self._attempt(attempt):
                        yield response
            if not self._follow or record.state.terminal:
                return
            await asyncio.sleep(LOOK_S)

    async def _record(self) -> TaskRecord:
        (record,) = await self._store.get([self._task_id], payloads=False, history=True)
        if record is None:
            raise refusals.task_not_found(self._task_id)
        return record

    async def _attempt(self, attempt: AttemptRecord) -> AsyncGenerator[logs_pb2.GetTaskLogsResponse]:
        """The lines of an attempt that were not passed on yet. Of one that is followed: until it has ended."""
        key = attempt.number, attempt.agent_id
        runs = attempt.ended_at is None
        wait_s = WAIT_S if runs and self._follow else 0.0
        while True:
            request = logs_pb2.LogRequest(
                task_id=self._task_id,
                attempt=attempt.number,
                after_sequence=self._after.get(key, 0),
                wait=duration(wait_s),
            )
            reply = await self._requests.ask(attempt.agent_id, request)
            if not isinstance(reply, logs_pb2.LogReply):
                # An agent that is followed may come back: only after the attempt's end it is known to be gone.
                for missing in () if runs and self._follow else self._missing(key, reply):
                    yield missing
                break
            for response in self._passed_on(key, reply):
                yield response
            if reply.more or (wait_s and not reply.ended):
                continue
            if not runs and not reply.last_sequence:
                for missing in self._missing(key, NONE_KEPT):
                    yield missing
            break
        if not runs:
            self._read.add(key)

    def _passed_on(self, key: Key, reply: logs_pb2.LogReply) -> Iterator[logs_pb2.GetTaskLogsResponse]:
        if not reply.lines:
            return
        before, first = self._after.get(key, 0), reply.lines[0].sequence
        if first > before + 1:
            yield from self._missing(key, TOO_MANY, first - before - 1)
        for line in reply.lines:
            line.attempt, line.agent_id = key
        self._after[key] = reply.lines[-1].sequence
        yield logs_pb2.GetTaskLogsResponse(lines=reply.lines)

    def _missing(
        self, key: Key, reason: logs_pb2.MissingLogReason, count: int = 0
    ) -> Iterator[logs_pb2.GetTaskLogsResponse]:
        """Say once that lines are missing; counted ones each time."""
        if not count and (key, reason) in self._told:
            return
        self._told.add((key, reason))
        number, agent_id = key
        missing = logs_pb2.MissingLog(attempt=number, agent_id=agent_id, reason=reason, count=count)
        yield logs_pb2.GetTaskLogsResponse(missing=missing)
