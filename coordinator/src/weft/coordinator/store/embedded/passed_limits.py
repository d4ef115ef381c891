"""The outcomes of tasks, and of attempts, of which a time limit has passed: they say what was waited for."""

from __future__ import annotations

from weft.coordinator.store import store_outcomes, waited
from weft.coordinator.store.embedded.task_table import TaskTable
from weft.coordinator.store.embedded.unfinished_task import UnfinishedTask
from weft.coordinator.store.rules import State


def outcome(table: TaskTable, limit: str, task: UnfinishedTask, now: float) -> bytes:
    """The outcome of a task, or of an attempt, of which a time limit has passed: it says what was waited for."""
    policy = task.spec.retry
    if task.state is State.RUNNING:
        agent_id = task.owner.agent_id if task.owner is not None else ""
        seconds = max(0.0, now - (task.started_at or now))
        what = waited.running(task.attempt, policy.max_attempts, agent_id, seconds)
    elif task.state is State.QUEUED:
        what = waited.queued(max(0.0, now - task.ready_at), _waits_for(table, task))
    else:
        in_s = max(0.0, task.ready_at - now)
        waits_for = (
            waited.next_try(task.failures, policy.max_attempts, in_s)
            if task.failures
            else waited.start_time(in_s)
        )
        what = waited.scheduled(waits_for)
    return store_outcomes.time_limit(limit, what)


def _waits_for(table: TaskTable, task: UnfinishedTask) -> str:
    """What a ready task waits for."""
    if task.gates is not None and task.gates.parked and task.gates.lot is not None:
        return f"the {task.gates.lot.gate.key}"
    if task.held_back:
        return waited.AGENTS_OF_BEFORE
    queue = task.spec.queue.key
    return table.listener.waits_for(queue, paused=queue.method in table.backlog.paused)
