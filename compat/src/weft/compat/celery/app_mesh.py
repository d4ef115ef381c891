"""An app's way to its mesh: submits calls, and finds tasks by the ids that Celery gives them."""

from __future__ import annotations

import contextvars
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from kombu.exceptions import OperationalError

from weft.agent.handlers.mesh_clients import own_clients
from weft.celery.v1 import celery_pb2
from weft.client import Method, SubmitOptions, Task
from weft.client.sync import SyncMesh, connect
from weft.compat.celery.call_messages import TaskMessage, read_state
from weft.compat.celery.task_names import TAKES, method_name, queue_label
from weft.rpc.calls import call_context
from weft.rpc.errors import InvalidArgument, NotFound, RetryLater, Unimplemented
from weft.rpc.network.targets import DEFAULT_TARGET

T = TypeVar("T")
# The step that a task's own state is.
STATE_STEP = "celery.state"
_MOST_KNOWN = 10_000


class AppMesh:
    """What one app submits to. Any thread may use it; a forked process connects anew.

    Args:
        target: the coordinator's address; None: WEFT_TARGET, or else 127.0.0.1:7700.
    """

    def __init__(self, target: str | None) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._client: tuple[int, SyncMesh] | None = None
        # Celery's ids of tasks that were submitted here -> those of the mesh.
        self._known: OrderedDict[str, str] = OrderedDict()

    @property
    def client(self) -> SyncMesh:
        """The client of the mesh: in a task, that of its agent."""
        if (clients := own_clients()) is not None:
            return clients.sync_mesh
        with self._lock:
            if self._client is None or self._client[0] != os.getpid():
                target = self._target or os.environ.get("WEFT_TARGET") or DEFAULT_TARGET
                self._client = os.getpid(), connect(target)
            return self._client[1]

    def submit(self, message: TaskMessage) -> None:
        """Store a call as a task. It is durable when this returns.

        Raises:
            EncodeError: an argument is none of JSON.
            ValueError: an option cannot be had.
            OperationalError: no coordinator can be reached, or it is full.
            WeftError: a coordinator refuses it.
        """
        method = Method.of(method_name(message.task), celery_pb2.TaskCall, celery_pb2.TaskReturn)
        call, options = message.to_call(), options_of(message, datetime.now(UTC))
        client = self.client
        try:
            stored = _without_deadline(
                lambda: client.tasks.submit(method, call, request_id=message.id, **options)
            )
        except RetryLater as error:
            # What programs of Celery catch when the broker is away.
            raise OperationalError(error.message) from error
        except (NotFound, Unimplemented) as error:
            error.add_note(
                "a mesh knows a task once an agent has hosted it: start `weft agent --celery` first"
            )
            raise
        self._remember(message.id, stored.id)

    def find(self, task_id: str) -> str | None:
        """The mesh's id of a task, by Celery's; None: no task has it (yet)."""
        if (known := self._known.get(task_id)) is not None:
            return known
        for task in self.client.tasks.list(request_id=task_id, limit=1):
            self._remember(task_id, task.id)
            return task.id
        # Tasks of schedules, and of other callers, have the mesh's id at Celery, too.
        return task_id if self.get(task_id) is not None else None

    def forget(self, task_id: str) -> None:
        """Look for a task anew the next time."""
        with self._lock:
            self._known.pop(task_id, None)

    def get(self, mesh_id: str) -> Task | None:
        """A task by the mesh's own id; None: there is none."""
        try:
            return self.client.tasks.get(mesh_id)
        except (NotFound, InvalidArgument):
            return None

    def told_state(self, mesh_id: str) -> tuple[str, Any] | None:
        """The last state of its own that a task has told (`update_state`), and its value; None: it has told none."""
        told = b""
        for step in self.client.tasks.steps(mesh_id):
            if step.name == STATE_STEP or step.name.startswith(f"{STATE_STEP}#"):
                told = step.value
        return read_state(told)

    def _remember(self, task_id: str, mesh_id: str) -> None:
        with self._lock:
            self._known[task_id] = mesh_id
            while len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)


_MESHES: WeakKeyDictionary[Any, AppMesh] = WeakKeyDictionary()


def set_mesh(app: Any, target: str | None) -> None:
    """Say where an app submits to. Without a target, what was said before stays."""
    if app not in _MESHES or target is not None:
        _MESHES[app] = AppMesh(target)


def mesh_of_app(app: Any) -> AppMesh:
    """The mesh of an app that was adopted."""
    return _MESHES[app]


def options_of(message: TaskMessage, now: datetime) -> SubmitOptions:
    """A call's options as a task's.

    Raises:
        ValueError: the priority is none of weft's.
    """
    made: SubmitOptions = {}
    delay_s = message.delay_s(now)
    if delay_s > 0:
        made["delay_s"] = delay_s
    if (expires_s := message.expires_s(now)) is not None:
        # Counted from the time when the delay is over.
        made["schedule_to_start_s"] = max(expires_s - max(delay_s, 0.0), 0.001)
    hard_s = (message.headers.get("timelimit") or [None])[0]
    if hard_s:
        made["start_to_close_s"] = float(hard_s)
    if message.priority is not None:
        if not 0 <= message.priority <= 9:
            raise ValueError(f"{message.task}: priority {message.priority} is not 0 to 9, higher first")
        made["priority"] = message.priority
    if message.queue:
        made["require_labels"] = {queue_label(message.queue): TAKES}
    return made


def _without_deadline(call: Callable[[], T]) -> T:
    """Make a call that does not end with the task in which it is made: in Celery, what a task submits lives for itself. It stays in the
    task's tree and trace."""
    handled = call_context.handled()
    if handled is None:
        return call()
    context = contextvars.copy_context()
    context.run(call_context.enter, _Unbounded(handled))
    return context.run(call)


class _Unbounded:
    """The call that is being handled, whose own calls have no deadline of it."""

    def __init__(self, handled: call_context.HandledCall) -> None:
        self._handled = handled

    def child_context(self) -> call_context.CallContext:
        return replace(self._handled.child_context(), deadline_at=None)

    def log_fields(self) -> Mapping[str, str | int]:
        return self._handled.log_fields()

    def call_steps(self, *, asked: bool = False) -> call_context.CallSteps | None:
        return self._handled.call_steps(asked=asked)
