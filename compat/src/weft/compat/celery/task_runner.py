"""Runs a task that an agent hosts, by Celery's own tracer, until it has ended or waits for its next try.

    TaskCall ─► try ─► returned ─────────────────────────────► TaskReturn
                ▲ └─── raised ───────────────────────────────► TaskFailed
                └───── retry, replace ─► a step is recorded ─► sleep (the slot is given back)

A try that asks for another one is a recorded step, so that each try counts once: an agent that dies takes away the try that runs, and no more.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from celery import states
from celery.app.trace import build_tracer
from celery.exceptions import Reject
from google.protobuf import any_pb2
from google.rpc import status_pb2

from weft.agent.handlers.current_call import RunningTask, current_task
from weft.celery.v1 import celery_pb2
from weft.compat.celery.app_mesh import STATE_STEP
from weft.compat.celery.call_messages import TaskMessage
from weft.compat.celery.running_task import TaskRun
from weft.rpc.errors import RetryLater, Unknown, WeftError
from weft.rpc.process.logs import get_logger

_log = get_logger("weft.compat.celery")

_STEP = "celery.next"
_MOST_EXCEPTION = 2000
_MOST_TRACEBACK = 3000


class TaskFailed(Unknown):
    """A task's own failure: its exception is a detail of the status, from which Celery's callers get it back."""

    def __init__(self, message: str, failure: celery_pb2.TaskFailure) -> None:
        super().__init__(message)
        self._failure = failure

    def status(self) -> status_pb2.Status:
        made = super().status()
        packed = any_pb2.Any()
        packed.Pack(self._failure)
        made.details.append(packed)
        return made


class TaskRequeued(RetryLater):
    """A task asks for another attempt, by `Reject(requeue=True)`."""


class _Returned(Exception):
    """The task has returned: there is no next try."""

    def __init__(self, value: celery_pb2.TaskReturn) -> None:
        super().__init__()
        self.value = value


class TaskRunner:
    """Runs the tasks of an app. Any thread may use it.

    Args:
        app: the app, which is final.
        agent_id: gives the agent's id, which tasks see as their worker's name.
    """

    def __init__(self, app: Any, agent_id: Callable[[], str]) -> None:
        self.app = app
        self.agent_id = agent_id
        # Task -> its tracer, made at its first call.
        self._tracers: dict[str, Callable[..., Any]] = {}
        # The log says once that a state could not be recorded.
        self._told = False

    def run(self, task: str, call: celery_pb2.TaskCall) -> celery_pb2.TaskReturn:
        """Run a call of a task in this thread.

        Raises:
            TaskFailed: it has failed.
            TaskRequeued: it rejects the call for now.
            MalformedCall: the call cannot be read.
        """
        current = current_task()
        message = TaskMessage.of_call(task, call, current.id)
        # A first attempt has no records yet, so none are asked for.
        recorded = current.attempt > 1
        try:
            while True:
                made = self._next_of(message, current, recorded=recorded)
                message = _following(message, made)
                current.sync_steps.sleep(max(0.0, made["delay_s"]))
        except _Returned as returned:
            return returned.value

    def _next_of(self, message: TaskMessage, current: RunningTask, *, recorded: bool) -> dict[str, Any]:
        """The record of what a task goes on as.

        Raises:
            _Returned: it does not.
        """

        def take() -> dict[str, Any]:
            return _record(message, self._try(message, current))

        if recorded:
            return current.sync_steps.step(_STEP, take)
        made = take()
        return current.sync_steps.step(_STEP, lambda: made)

    def _try(self, message: TaskMessage, current: RunningTask) -> TaskMessage:
        task = self.app.tasks[message.task]
        if (trace := self._tracers.get(task.name)) is None:
            trace = self._tracers[task.name] = build_tracer(
                task.name, task, app=self.app, hostname=self.agent_id()
            )
        with TaskRun(message.id, self._tell) as here:
            try:
                kept, told, _, _ = trace(
                    message.id, message.args, dict(message.kwargs), self._request(message, current)
                )
            except Reject as rejected:
                raise _rejected(rejected) from None
            except BaseException as ending:
                # SystemExit and the like cost this task alone.
                raise self._failed(task, ending, "") from None
        if here.following is not None:
            return here.following
        if told is None or told.state == states.IGNORED:
            raise _Returned(celery_pb2.TaskReturn(result_json=here.result_json))
        if told.state == states.REJECTED:
            raise _rejected(told.retval)
        raise self._failed(task, told.retval, str(getattr(kept, "traceback", "") or ""))

    def _tell(self, state: str, value: str) -> None:
        """Record a state of the task's own. A task that tells too many goes on: the last one that was recorded is seen."""
        try:
            current_task().sync_steps.step(STATE_STEP, lambda: [state, value])
        except (WeftError, TypeError, ValueError) as error:
            if not self._told:
                self._told = True
                _log.warning("celery.state_not_kept", error=str(error), effect="nobody sees it")

    def _request(self, message: TaskMessage, current: RunningTask) -> dict[str, Any]:
        """What the task sees as `self.request`."""
        priority = message.priority
        return {
            **message.headers,
            "id": message.id,
            "hostname": self.agent_id(),
            "is_eager": False,
            "correlation_id": message.id,
            "delivery_info": {
                "exchange": "",
                "routing_key": message.queue,
                "priority": current.priority if priority is None else priority,
                "redelivered": current.attempt > 1 and not message.retries,
            },
            **dict.fromkeys(("callbacks", "errbacks", "chain", "chord")),
            **message.embed,
        }

    def _failed(self, task: Any, raised: BaseException, traceback: str) -> TaskFailed:
        prepared = task.backend.prepare_exception(raised)
        text = json.dumps(prepared, default=repr)
        if len(text) > _MOST_EXCEPTION:
            text = json.dumps({**prepared, "exc_message": repr(raised)[: _MOST_EXCEPTION // 2]})
        failure = celery_pb2.TaskFailure(exception_json=text, traceback=traceback[-_MOST_TRACEBACK:])
        return TaskFailed(f"{type(raised).__name__}: {_text(raised)}", failure)


def _text(raised: BaseException) -> str:
    try:
        return str(raised)
    except Exception:
        return "(its text cannot be had)"


def _rejected(rejected: Any) -> TaskRequeued | TaskFailed:
    text = f"the task rejects the call: {rejected.reason!r}"
    if rejected.requeue:
        return TaskRequeued(text)
    told = {"exc_type": "Reject", "exc_message": [repr(rejected.reason)], "exc_module": "celery.exceptions"}
    return TaskFailed(text, celery_pb2.TaskFailure(exception_json=json.dumps(told)))


def _record(now: TaskMessage, following: TaskMessage) -> dict[str, Any]:
    """What is recorded of the next try: what differs. Arguments may be long, and records are not."""
    call, before = following.to_call(), now.to_call()
    return {
        "task": following.task,
        "delay_s": max(0.0, following.delay_s(datetime.now(UTC))),
        "args": None if call.args_json == before.args_json else call.args_json,
        "kwargs": None if call.kwargs_json == before.kwargs_json else call.kwargs_json,
        "headers": dict(following.headers),
        "embed": None if following.embed == now.embed else dict(following.embed),
    }


def _following(now: TaskMessage, made: dict[str, Any]) -> TaskMessage:
    """The next try, of its record."""
    call = celery_pb2.TaskCall(args_json=made["args"] or "", kwargs_json=made["kwargs"] or "")
    read = TaskMessage.of_call(made["task"], call, now.id)
    return replace(
        now,
        task=made["task"],
        args=now.args if made["args"] is None else read.args,
        kwargs=now.kwargs if made["kwargs"] is None else read.kwargs,
        headers=made["headers"],
        embed=now.embed if made["embed"] is None else made["embed"],
    )
