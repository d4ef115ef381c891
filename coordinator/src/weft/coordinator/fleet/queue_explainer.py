"""Explains why a task waits, or where it runs.

`GetTask`, the list of queues and the status of a call that its deadline ended use the same words.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from weft.coordinator.fleet.agent_register import AgentRegister, AgentStanding
from weft.coordinator.store.base import Store
from weft.coordinator.store.records import TaskRecord
from weft.coordinator.store.rules import QueueKey, State
from weft.v1 import fleet_pb2

# How long an answer about a queue is kept: thousands of calls may ask at once.
_KEPT_S = 0.5
_QUEUES = 256


class Wait(NamedTuple):
    """A reason to wait; the text continues "waits: "."""

    reason: fleet_pb2.WaitReason
    text: str

    def proto(self) -> fleet_pb2.Waiting:
        return fleet_pb2.Waiting(reason=self.reason, text=self.text)


def queue_wait(key: QueueKey, standing: AgentStanding, *, paused: bool) -> Wait:
    """The reason why the ready tasks of a queue wait."""
    if paused:
        return Wait(
            fleet_pb2.WAIT_REASON_PAUSED,
            f"{key.method} is paused; `weft queues resume {key.method}` lets it go on",
        )
    if not standing.hosts:
        return Wait(fleet_pb2.WAIT_REASON_NO_AGENT, f"no agent is connected that hosts {key.method}")
    if not standing.fitting:
        wanted = (
            f"no agent with {key.requirements}"
            if str(key.requirements)
            else "no agent has enough slots for it"
        )
        return Wait(
            fleet_pb2.WAIT_REASON_NO_AGENT,
            f"{wanted} ({_agents(standing.hosts)} host{_s(standing.hosts)} {key.method})",
        )
    if not standing.taking:
        return Wait(
            fleet_pb2.WAIT_REASON_NO_AGENT,
            f"none of {_agents(standing.fitting)} takes work now: draining, paused, blocked, or the app behind is down",
        )
    if not standing.free:
        one = standing.taking == 1
        return Wait(
            fleet_pb2.WAIT_REASON_AGENTS_BUSY,
            "the only agent for it is busy" if one else f"all {standing.taking} agents for it are busy",
        )
    return Wait(fleet_pb2.WAIT_REASON_TURN, "its turn: an agent has a free slot")


def task_wait(record: TaskRecord, now: float) -> Wait | None:
    """The reason why a scheduled task waits; None for any other task."""
    if record.state is not State.SCHEDULED:
        return None
    in_s = max(0.0, record.ready_at - now)
    if not record.failures:
        return Wait(fleet_pb2.WAIT_REASON_START_TIME, f"its start time, in {in_s:.1f} s")
    most = record.submission.retry.max_attempts
    return Wait(
        fleet_pb2.WAIT_REASON_RETRY, f"its next try, {record.failures + 1} of {most}, in {in_s:.1f} s"
    )


def _agents(count: int) -> str:
    return "1 agent" if count == 1 else f"{count} agents"


def _s(count: int) -> str:
    return "s" if count == 1 else ""


class QueueExplainer:
    """Explains why queues and tasks wait."""

    def __init__(self, store: Store, register: AgentRegister) -> None:
        self._store = store
        self._register = register
        self._queues: dict[QueueKey, tuple[float, Wait]] = {}

    async def queue(self, key: QueueKey, *, paused: bool | None = None) -> Wait:
        """The reason why the ready tasks of a queue wait; with `paused` None, the store is asked."""
        known = self._queues.get(key)
        now_s = time.monotonic()
        if known is not None and now_s - known[0] < _KEPT_S:
            return known[1]
        if paused is None:
            paused = key.method in await self._store.paused()
        wait = queue_wait(key, self._register.standing(key), paused=paused)
        if len(self._queues) >= _QUEUES:
            self._queues.clear()
        self._queues[key] = now_s, wait
        return wait

    async def task(self, record: TaskRecord) -> Wait | None:
        """The reason why a task waits; None: it runs or has ended."""
        if record.state is State.QUEUED:
            return await self.queue(QueueKey(record.submission.method, record.submission.requirements))
        return task_wait(record, self._store.now())

    async def at_deadline(self, record: TaskRecord, waited_s: float) -> str:
        """A sentence about the state of a call's task at the call's deadline."""
        if record.state is State.RUNNING:
            since_s = 0.0 if record.started_at is None else max(0.0, self._store.now() - record.started_at)
            of = f" of {record.submission.retry.max_attempts}" if record.failures else ""
            return f"attempt {record.attempt}{of} was running at agent {record.agent_id} for {since_s:.1f} s"
        wait = await self.task(record)
        if wait is None:
            return "the task had just ended"
        if record.state is State.QUEUED:
            return f"waited {waited_s:.1f} s in the queue: {wait.text}"
        return f"waited for {wait.text}"
