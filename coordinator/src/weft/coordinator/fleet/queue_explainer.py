"""Explains why a task waits, or where it runs.

`GetTask`, the list of queues and the status of a call that its deadline ended use the same words.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.fleet.agent_standing import TOLD, AgentStanding, agents
from weft.coordinator.fleet.attempt_choice import retry_choices, running_choice
from weft.coordinator.fleet.gate_explainer import (
    Wait,
    all_limited,
    limit_wait,
    lock_of,
    lock_wait,
    resource_wait,
)
from weft.coordinator.fleet.resource_view import ResourceView
from weft.coordinator.fleet.session_explainer import explained, free_slot, missing_agent
from weft.coordinator.store import history, waited
from weft.coordinator.store.base import Store
from weft.coordinator.store.records import QueueDepth, TaskRecord
from weft.coordinator.store.rules import QueueKey, State
from weft.v1 import fleet_pb2, task_pb2

# How long an answer about a queue is kept: thousands of calls may ask at once.
_KEPT_S = 0.5
_QUEUES = 256


def queue_wait(key: QueueKey, standing: AgentStanding, *, paused: bool, lacking: str = "") -> Wait:
    """The reason why the ready tasks of a queue wait.

    Args:
        paused: the method is paused.
        lacking: what agents have instead, if none fits.
    """
    method = key.method
    if paused:
        return Wait(
            fleet_pb2.WAIT_REASON_PAUSED,
            f"{method} to be resumed: it is paused, and `weft queues resume {method}` lets it go on",
        )
    if not standing.taking:
        return Wait(fleet_pb2.WAIT_REASON_NO_AGENT, no_agent(key, standing, lacking))
    if standing.free <= len(standing.failing) and not key.requirements.session:
        other = f" at another agent than {standing.avoided}, where its last attempt failed"
        wanted = f"a free slot{other if standing.avoided else ''}"
        return Wait(fleet_pb2.WAIT_REASON_AGENTS_BUSY, f"{wanted}; {_busy(method, standing)}")
    if not standing.free:
        return Wait(fleet_pb2.WAIT_REASON_AGENTS_BUSY, free_slot(key))
    return Wait(fleet_pb2.WAIT_REASON_TURN, "its turn; an agent has a free slot")


def no_agent(key: QueueKey, standing: AgentStanding, lacking: str) -> str:
    """Which agent is missing for a queue, and which there are: "an agent with gpu>=1; 3 agents host X, none has it"."""
    method, hosts = key.method, standing.hosts
    if key.requirements.session:
        return missing_agent(key, standing)
    if not hosts:
        wanted = f" with {key.requirements}" if str(key.requirements) else ""
        return f"an agent{wanted} that hosts {method}; none is connected"
    if not standing.fitting:
        wanted = str(key.requirements) or "slots enough for one task of it"
        have = f" ({lacking})" if lacking else ""
        return f"an agent with {wanted}; {agents(hosts)} host{_s(hosts)} {method}, none has it{have}"
    states = {
        "draining": standing.draining,
        "paused": standing.paused,
        "without its app": standing.down,
        "blocked or not back": standing.able,
    }
    told = ", ".join(f"{count} {state}" for state, count in states.items() if count)
    return f"an agent that takes work; of {agents(standing.fitting)} for {method}: {told}"


def _busy(method: str, standing: AgentStanding) -> str:
    failing = standing.failing
    busy = standing.taking - standing.free
    if not failing:
        other = " other" if standing.avoided else ""
        if busy == 1:
            return f"the only{other} agent for {method} is busy"
        return f"all {busy}{other} agents for {method} are busy"
    named = ", ".join(failing[:TOLD]) + (f" and {len(failing) - TOLD} more" if len(failing) > TOLD else "")
    out = f"{named} get{_s(len(failing))} few or none, because attempts there keep failing"
    if not busy:
        return out
    return f"{agents(busy)} for {method} {'is' if busy == 1 else 'are'} busy, and {out}"


def task_wait(record: TaskRecord, now: float) -> Wait | None:
    """The reason why a scheduled task waits; None for any other task."""
    if record.state is not State.SCHEDULED:
        return None
    in_s = max(0.0, record.ready_at - now)
    last = record.history[-1] if record.history else None
    if last is not None and (until := history.suspension(last)) is not None:
        return Wait(
            fleet_pb2.WAIT_REASON_SUSPENDED,
            waited.suspended(
                history.message(last).status.message, in_s if until.HasField("wake_time") else None
            ),
        )
    if not record.failures:
        return Wait(fleet_pb2.WAIT_REASON_START_TIME, waited.start_time(in_s))
    most = record.submission.retry.max_attempts
    return Wait(fleet_pb2.WAIT_REASON_RETRY, waited.next_try(record.failures, most, in_s))


def _s(count: int) -> str:
    return "s" if count == 1 else ""


class QueueExplainer:
    """Explains why queues and tasks wait."""

    def __init__(self, store: Store, register: AgentRegister, resources: ResourceView) -> None:
        self._store = store
        self._register = register
        self._resources = resources
        self._queues: dict[QueueKey, tuple[float, Wait]] = {}

    async def depth(self, key: QueueKey, depth: QueueDepth, *, paused: bool) -> Wait:
        """The reason why all of these tasks of a queue wait."""
        wait = await self.queue(key, paused=paused)
        return wait if paused else all_limited(depth) or wait

    async def queue(self, key: QueueKey, *, paused: bool | None = None) -> Wait:
        """The reason why the ready tasks of a queue wait that no gate holds; with `paused` None, the store is asked."""
        if (known := self._known(key)) is not None:
            return known
        if paused is None:
            paused = key.method in await self._store.paused()
        short = await self._resources.short_of(key) if key.requirements.consumes else None
        return self.queue_now(key, paused=paused, short=short)

    def queue_now(
        self,
        key: QueueKey,
        *,
        paused: bool,
        short: Mapping[str, Sequence[fleet_pb2.ResourceUse]] | None = None,
    ) -> Wait:
        """The same, if it is known whether the method is paused.

        Args:
            short: as `ResourceView.short_of` says; None: it is not known of agents elsewhere.
        """
        if (known := self._known(key)) is not None:
            return known
        wait = self._wait(key, paused=paused)
        if key.requirements.consumes and wait.reason == fleet_pb2.WAIT_REASON_TURN:
            short = self._resources.short_here(key) if short is None else short
            wait = resource_wait(key.requirements, short) if short else wait
        if len(self._queues) >= _QUEUES:
            self._queues.clear()
        self._queues[key] = time.monotonic(), wait
        return wait

    def _wait(self, key: QueueKey, *, paused: bool) -> Wait:
        key = explained(key)
        standing = self._register.standing(key)
        lacking = "" if standing.fitting or not standing.hosts else self._register.lacking(key)
        return queue_wait(key, standing, paused=paused, lacking=lacking)

    def _known(self, key: QueueKey) -> Wait | None:
        known = self._queues.get(key)
        return known[1] if known is not None and time.monotonic() - known[0] < _KEPT_S else None

    async def task(self, record: TaskRecord) -> Wait | None:
        """The reason why a task waits; None: it runs or has ended."""
        if record.state is not State.QUEUED:
            return task_wait(record, self._store.now())
        given = record.submission
        wait = await self.queue(QueueKey(given.method, given.requirements, record.avoid))
        if not record.limited_by or wait.reason == fleet_pb2.WAIT_REASON_PAUSED:
            return wait
        if name := lock_of(given, record.limited_by):
            return lock_wait(name, await self._store.locks(name), self._store.now())
        return limit_wait(given, record.limited_by, (await self._store.run_limits()).get(given.method, {}))

    async def explain(self, record: TaskRecord, task: task_pb2.Task) -> None:
        """Tell in a task what it waits for, and why agents had its attempts. The record was read with its history."""
        if (wait := await self.task(record)) is not None:
            task.waiting.CopyFrom(wait.proto())
        attempts = history.attempts(record)
        choices = retry_choices(attempts)
        if choices and record.state is State.RUNNING:
            key = QueueKey(record.submission.method, record.submission.requirements)
            choices[-1] = running_choice(choices[-1], self._register.standing(key))
        for attempt, choice in zip(task.attempts, choices, strict=True):
            attempt.choice = choice

    async def at_deadline(self, record: TaskRecord, waited_s: float) -> str:
        """What a call's task did until the call's deadline, as a sentence."""
        if record.state is State.RUNNING:
            since_s = 0.0 if record.started_at is None else max(0.0, self._store.now() - record.started_at)
            most = record.submission.retry.max_attempts
            return waited.running(record.attempt, most, record.agent_id, since_s)
        wait = await self.task(record)
        if wait is None:
            return "the task had just ended"
        if record.state is State.QUEUED:
            return waited.queued(waited_s, wait.text)
        return waited.scheduled(wait.text)
