"""What an adopted app steers by: Celery's `app.control`. Tasks are revoked; workers are agents, which weft's own commands steer."""

from __future__ import annotations

import contextlib
from typing import Any, NoReturn

from celery.app.control import Control

from weft.client import TaskState
from weft.compat.celery.app_mesh import mesh_of_app
from weft.rpc.errors import FailedPrecondition

# Celery's remote control commands -> what does it in weft.
_INSTEAD = {
    "active": "weft tasks list --state RUNNING",
    "active_queues": "weft agents list",
    "add_consumer": "weft agents labels",
    "cancel_consumer": "weft agents labels",
    "ping": "weft agents list",
    "rate_limit": "weft queues limit",
    "registered": "weft methods list",
    "reserved": "weft queues list",
    "scheduled": "weft tasks list --state SCHEDULED",
    "shutdown": "weft agents stop",
    "stats": "weft stats",
    "time_limit": "weft methods set",
}


class MeshControl(Control):  # type: ignore[misc]
    """Celery's `Control`: revokes tasks of the app's mesh."""

    def revoke(
        self,
        task_id: Any,
        destination: Any = None,  # noqa: ARG002 - as Celery calls it
        terminate: bool = False,
        signal: Any = None,  # noqa: ARG002
        **_: Any,
    ) -> None:
        """Cancel tasks that have not started; with `terminate`, running ones too.

        A running task in a thread cannot be stopped: its result is dropped when it comes.
        """
        mesh = mesh_of_app(self.app)
        for each in [task_id] if isinstance(task_id, str) else task_id:
            found = mesh.find(each)
            task = None if found is None else mesh.get(found)
            if task is None or task.ended or (task.state is TaskState.RUNNING and not terminate):
                continue
            # It may have ended since.
            with contextlib.suppress(FailedPrecondition):
                mesh.client.tasks.cancel(task.id, "revoked")

    def broadcast(self, command: str, *_: Any, **__: Any) -> NoReturn:
        """
        Raises:
            NotImplementedError: always. The message has the command that does it in weft.
        """
        instead = _INSTEAD.get(command, "weft --help")
        raise NotImplementedError(f"weft has no broadcast {command!r} to workers: use `{instead}`")

    def purge(self, *_: Any, **__: Any) -> NoReturn:
        """
        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("weft has no purge: use `weft tasks cancel --state QUEUED`")

    discard_all = purge
