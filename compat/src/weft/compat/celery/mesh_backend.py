"""What an adopted app reads results by: Celery's `app.backend`, over the tasks of a mesh. Nothing is stored beside them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NoReturn

from celery import states
from celery.backends.base import BaseBackend
from celery.exceptions import ImproperlyConfigured, TaskRevokedError, TimeLimitExceeded, WorkerLostError
from celery.exceptions import TimeoutError as CeleryTimeoutError
from google.protobuf.message import DecodeError

from weft.celery.v1 import celery_pb2
from weft.client import Task, TaskState, WaitReason
from weft.compat.celery.app_mesh import mesh_of_app
from weft.compat.celery.call_messages import of_json, to_json
from weft.compat.celery.running_task import running
from weft.rpc import errors
from weft.v1 import errors_pb2

# A wait for a task asks again so often, to tell of the time that passes.
_WAIT_S = 2.0


class MeshBackend(BaseBackend):  # type: ignore[misc]
    """Celery's result backend: the tasks of the app's mesh.

    Raises:
        ImproperlyConfigured: results are not JSON.
    """

    supports_autoexpire = True
    thread_safe = True

    def __init__(self, app: Any, **settings: Any) -> None:
        if app.conf.result_serializer != "json":
            raise ImproperlyConfigured(
                f"result_serializer is {app.conf.result_serializer!r}, and weft carries JSON: set result_serializer='json'"
            )
        super().__init__(app, **settings)

    # -- what a running task writes -------------------------------------------------------------------------------

    def _store_result(self, task_id: str, result: Any, state: str, _traceback: Any = None, **_: Any) -> None:
        here = running()
        if here is None or here.id != task_id:
            return
        if state == states.SUCCESS:
            here.result_json = to_json(result, "what the task returned")
        elif isinstance(state, str) and state not in states.ALL_STATES:
            here.tell(state, to_json(result, f"the value of the state {state}"))

    # -- what callers read ----------------------------------------------------------------------------------------

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        mesh = mesh_of_app(self.app)
        found = mesh.find(task_id)
        task = None if found is None else mesh.get(found)
        if task is None:
            return {"status": states.PENDING, "result": None}
        meta = _meta(task)
        if task.state is TaskState.RUNNING and (told := mesh.told_state(task.id)) is not None:
            meta["status"], meta["result"] = told
        return self.meta_from_decoded(meta)  # type: ignore[no-any-return]

    def wait_for(
        self,
        task_id: str,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,  # noqa: ARG002 - as Celery calls it
        on_interval: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Wait for a task. One that is not submitted yet, such as a later one of a chain, is looked for at each interval.

        Raises:
            celery.exceptions.TimeoutError: it has not ended in time.
        """
        self._ensure_not_eager()
        mesh = mesh_of_app(self.app)
        ends_at_s = None if timeout is None else time.monotonic() + timeout
        while True:
            left_s = None if ends_at_s is None else ends_at_s - time.monotonic()
            found = mesh.find(task_id)
            if found is not None and (task := self._ended(task_id, found, left_s)) is not None:
                return self.meta_from_decoded(_meta(task))  # type: ignore[no-any-return]
            if on_interval:
                on_interval()
            left_s = None if ends_at_s is None else ends_at_s - time.monotonic()
            if left_s is not None and left_s <= 0:
                raise CeleryTimeoutError("The operation timed out.")
            if found is None:
                time.sleep(interval if left_s is None else min(interval, left_s))

    def _ended(self, task_id: str, mesh_id: str, left_s: float | None) -> Task | None:
        """A task that ends within a while; None: it has not, or is not kept any more."""
        mesh = mesh_of_app(self.app)
        wait_s = _WAIT_S if left_s is None else min(max(left_s, 0.001), _WAIT_S)
        try:
            return mesh.client.tasks.ended(mesh_id, timeout_s=wait_s)
        except errors.DeadlineExceeded:
            return None
        except errors.NotFound:
            mesh.forget(task_id)
            return None

    def _forget(self, task_id: str) -> None:
        """A task is forgotten when its time is over (result_expires)."""

    def _save_group(self, group_id: str, _result: Any) -> NoReturn:
        raise NotImplementedError(
            f"group {group_id} cannot be saved: weft keeps tasks, not GroupResults; keep the ids of its results, or use a group"
            " of weft (docs/how-to/groups.md)"
        )

    def _restore_group(self, group_id: str) -> NoReturn:
        self._save_group(group_id, None)

    def _delete_group(self, group_id: str) -> None:
        """None is saved."""


def _meta(task: Task) -> dict[str, Any]:
    """A task as Celery's result backends describe one."""
    state, result, traceback = _outcome(task)
    ended_at = task.finished_at
    return {
        "status": state,
        "result": result,
        "traceback": traceback,
        "children": [],
        "date_done": None if ended_at is None else ended_at.isoformat(),
    }


def _outcome(task: Task) -> tuple[str, Any, str | None]:
    """State, result and traceback of a task."""
    if task.state is TaskState.SUCCEEDED:
        return _returned(task)
    if task.state is TaskState.CANCELLED:
        return states.REVOKED, TaskRevokedError("revoked"), None
    if task.state is TaskState.FAILED:
        return _failure(task)
    if task.state is TaskState.RUNNING:
        return states.STARTED, None, None
    return (states.RETRY if task.wait_reason is WaitReason.SUSPENDED else states.PENDING), None, None


def _returned(task: Task) -> tuple[str, Any, str | None]:
    """As `_outcome`. The answer is an agent's, which may be no agent of Celery's tasks."""
    try:
        text = celery_pb2.TaskReturn.FromString(task.response).result_json
        return states.SUCCESS, of_json(text) if text else None, None
    except (DecodeError, ValueError) as error:
        return states.FAILURE, ValueError(f"the answer of {task.method} cannot be read: {error}"), None


def _failure(task: Task) -> tuple[str, Any, str | None]:
    status = task.status
    for packed in status.details:
        found = errors.unpacked(packed, celery_pb2.TaskFailure)
        if found is not None:
            try:
                return states.FAILURE, of_json(found.exception_json), found.traceback
            except ValueError:
                break
    error = errors.from_status(status)
    if error.reason == errors_pb2.ERROR_REASON_CRASH_LOOP:
        return states.FAILURE, WorkerLostError(error.message), None
    if isinstance(error, errors.DeadlineExceeded):
        if not task.attempt:
            return states.REVOKED, TaskRevokedError("expired"), None
        return states.FAILURE, TimeLimitExceeded(error.message), None
    return states.FAILURE, error, None
