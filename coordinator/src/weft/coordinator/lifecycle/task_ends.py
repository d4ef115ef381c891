"""Ends of tasks, as events. Pure."""

from __future__ import annotations

from typing import cast

from weft.coordinator.lifecycle.lifecycle_event import LifecycleEvent, event_of
from weft.coordinator.store.records import TaskRecord
from weft.rpc.times import timestamp
from weft.v1 import lifecycle_pb2, task_pb2


def end_of(record: TaskRecord) -> LifecycleEvent:
    """The event of a task's end. Each coordinator that sees the end makes the same one."""
    message = lifecycle_pb2.TaskEnded(
        task_id=record.task_id,
        method=record.submission.method,
        state=cast("task_pb2.TaskState", int(record.state)),
        code=task_pb2.Outcome.FromString(record.outcome).status.code,
        agent_id=record.agent_id,
        attempt=record.attempt,
        group=record.submission.group,
        create_time=timestamp(record.created_at),
        end_time=timestamp(record.finished_at or 0.0),
    )
    if record.started_at is not None:
        message.start_time.CopyFrom(timestamp(record.started_at))
    return event_of(message, record.task_id, record.task_id, record.attempt, record.finished_at)
