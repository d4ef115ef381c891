"""A task of an export as a request for the same task in another mesh. Pure."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from weft.coordinator.store.remembered import parent_of
from weft.rpc import refusals
from weft.rpc.task_policy.option_checks import CACHE_ID, IMPORT_ID
from weft.rpc.times import duration, seconds
from weft.v1 import coordinator_pb2, task_pb2

# A deadline that has passed: the task ends at once, as it would have.
_PASSED_S = 0.001
_UNFINISHED = frozenset(
    {task_pb2.TASK_STATE_SCHEDULED, task_pb2.TASK_STATE_QUEUED, task_pb2.TASK_STATE_RUNNING}
)


def request_of(
    task: task_pb2.Task, now: float, *, succeeded: bool = False
) -> coordinator_pb2.SubmitTaskRequest:
    """What submits the task again. The options are all that it had; its group is left out, and its times go on.

    Args:
        now: by the clock of the store that takes it.
        succeeded: it is a remembered call that has succeeded.

    Raises:
        InvalidArgument: such a task is not imported.
    """
    if succeeded and task.state != task_pb2.TASK_STATE_SUCCEEDED:
        raise refusals.invalid_field(
            "only calls that have succeeded come with their parent", field="step.call"
        )
    if not succeeded and task.state not in _UNFINISHED and task.state != task_pb2.TASK_STATE_FAILED:
        raise refusals.invalid_field(
            "only tasks that are SCHEDULED, QUEUED, RUNNING or FAILED are imported", field="task.state"
        )
    if not task.id:
        raise refusals.invalid_field("the task has no id", field="task.id")
    options = task_pb2.TaskOptions()
    options.CopyFrom(task.options)
    for name in ("delay", "group", "no_wait"):
        options.ClearField(name)
    if task.state in _UNFINISHED:
        # One that waits for another attempt runs at once: its attempts begin anew, and a handler that waited finds out for what.
        waits = task.state == task_pb2.TASK_STATE_SCHEDULED and not task.attempt
        if waits and (left_s := _left(task.ready_time, now)) > 0:
            options.delay.CopyFrom(duration(left_s))
        if task.HasField("deadline"):
            left_s = max(_PASSED_S, _left(task.deadline, now))
            options.limits.schedule_to_close.CopyFrom(duration(left_s))
    return coordinator_pb2.SubmitTaskRequest(
        method=task.fallback_of or task.method,
        payload=task.payload,
        request_id=_request_id(task),
        options=options,
    )


def _left(time: Timestamp, now: float) -> float:
    return seconds(time) - now


def _request_id(task: task_pb2.Task) -> str:
    """The task's own; a remembered call's is made of its parent's id. One without, or one that shares its id with equal requests, is known by its id of before."""
    if task.options.context.step and parent_of(task.request_id):
        return ""
    if task.request_id and not task.request_id.startswith(CACHE_ID):
        return task.request_id
    return f"{IMPORT_ID}{task.id}"
