"""Reads, follows and changes tasks by their ids."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from datetime import datetime
from typing import Any

import grpc

from weft.client import api as rpc
from weft.client.api import Api
from weft.client.task_log import LogLine, MissingLog, read_log
from weft.client.task_snapshot import Progress, Task, TaskState
from weft.client.task_steps import RecordedStep, send_signal, steps_of
from weft.client.task_waiting import Waiter
from weft.client.task_watching import watch
from weft.rpc.times import duration, timestamp
from weft.v1 import coordinator_pb2, task_pb2

_PAGE_TASKS = 200


class TasksById:
    """The part of the tasks API that needs only ids. `Tasks` adds submissions."""

    def __init__(self, api: Api, *, patience_s: float) -> None:
        self._api = api
        self._patience_s = patience_s
        self._waiter = Waiter(api, patience_s=patience_s)

    async def close(self) -> None:
        """End all waits."""
        await self._waiter.close()

    async def ended(self, task_id: str, timeout_s: float | None = None) -> Task:
        """Wait for a task and give it. Waits that begin together share one stream.

        Raises:
            DeadlineExceeded: it has not ended by then (CALL_DEADLINE).
            NotFound: no task has this id.
        """
        return await self._waiter.wait(task_id, timeout_s)

    def watch(self, task_id: str, after_sequence: int = 0) -> AsyncGenerator[Task | Progress]:
        """Follow a task: snapshots and responses as they come, until it has ended.

        A lost stream is resumed after the last response seen: each response comes once.
        """
        return watch(self._api, task_id, after_sequence, patience_s=self._patience_s)

    def logs(self, task_id: str, *, follow: bool = False) -> AsyncGenerator[LogLine | MissingLog]:
        """What the handlers of a task have logged, attempt by attempt, as far as their agents keep it.

        A `MissingLog` says in the place of lines why they cannot be had.

        Args:
            follow: go on with lines as they are logged, until the task has ended.
        """
        return read_log(self._api, task_id, follow=follow, patience_s=self._patience_s)

    async def get(self, task_id: str) -> Task:
        """The task as it is now.

        Raises:
            NotFound: no task has this id.
        """
        request = coordinator_pb2.GetTaskRequest(task_id=task_id)
        return await self._api.task((await self._api.call(rpc.GET_TASK, request)).task)

    async def list(
        self,
        *,
        states: Iterable[TaskState] = (),
        method: str = "",
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        agent_id: str = "",
        request_id: str = "",
        group: str = "",
        error_codes: Iterable[grpc.StatusCode] = (),
        error_reason: str = "",
        error_text: str = "",
        root_id: str = "",
        limit: int | None = None,
        full: bool = False,
    ) -> AsyncGenerator[Task]:
        """Tasks that match, newest first, without requests and responses unless `full`; page by page as they are taken.

        Args:
            states: any of these; none: all.
            method: full name.
            created_from: submitted at this time or later; `created_to`: before this time.
            agent_id: of the current or last attempt.
            request_id: the caller's; `group`: the name of a group.
            error_codes: the last failure has one of these codes; `error_reason`: it has this reason, or the exception
                has this type; `error_text`: its message or its exception contains this text.
            root_id: below this task: submitted by its handler, or by that of a task below. These come with their
                requests, and with their place (`proto.options.context`). Give `created_from` too: tasks are read to find them.
            limit: at most so many.
        """
        where = coordinator_pb2.TaskFilter(
            states=[state.value for state in states],  # type: ignore[misc]
            method=method,
            create_time_from=None if created_from is None else timestamp(created_from.timestamp()),
            create_time_to=None if created_to is None else timestamp(created_to.timestamp()),
            agent_id=agent_id,
            request_id=request_id,
            group=group,
            error_codes=[code.value[0] for code in error_codes],
            error_reason=error_reason,
            error_text=error_text,
            root_id=root_id,
        )
        view = task_pb2.TASK_VIEW_FULL if full or root_id else task_pb2.TASK_VIEW_BASIC
        page_token = ""
        while limit is None or limit > 0:
            size = _PAGE_TASKS if limit is None else min(limit, _PAGE_TASKS)
            page = await self._api.call(
                rpc.LIST_TASKS,
                coordinator_pb2.ListTasksRequest(
                    filter=where, page_size=size, page_token=page_token, view=view
                ),
            )
            for task in page.tasks:
                yield await self._api.task(task)
            limit = None if limit is None else limit - len(page.tasks)
            page_token = page.next_page_token
            if not page_token:
                return

    async def cancel(self, task_id: str, reason: str = "", *, grace_s: float | None = None) -> Task:
        """Cancel a task, durably. A running handler gets `grace_s` to end (default: the coordinator's setting)."""
        request = coordinator_pb2.CancelTaskRequest(
            task_id=task_id, reason=reason, grace=None if grace_s is None else duration(grace_s)
        )
        return await self._api.task((await self._api.call(rpc.CANCEL_TASK, request)).task)

    async def signal(
        self, task_id: str, name: str, value: Any = None, *, signal_id: str = ""
    ) -> RecordedStep:
        """Send a signal to a task, durably. Its handler gets it by `current_task().wait_signal(name)`, now or later.

        Args:
            name: 1 to 128 letters, digits, ".", "_", "-" and "/".
            value: what it brings: JSON values, or bytes of JSON; at most 256 KiB.
            signal_id: signals of one name and id are stored once, so that a repeat does no harm. Empty: each is another signal.

        Raises:
            NotFound: no task has this id.
            FailedPrecondition: the task has ended (TASK_STATE).
            ResourceExhausted: it has as many signals and steps as it may have (STEP_LIMIT).
        """
        return await send_signal(self._api, task_id, name, value, signal_id)

    async def steps(self, task_id: str) -> AsyncGenerator[RecordedStep]:
        """The steps that a task's handler has recorded, and its signals, oldest first.

        Raises:
            NotFound: no task has this id.
        """
        async for page in steps_of(self._api, task_id):
            for step in page.steps:
                yield RecordedStep.of(step)

    async def retry(self, task_id: str) -> Task:
        """Queue a FAILED or CANCELLED task again, with all its attempts and its whole time.

        Raises:
            FailedPrecondition: it is in another state.
        """
        request = coordinator_pb2.RetryTaskRequest(task_id=task_id)
        # Not repeated: if the answer was lost, the task may have been queued, have run and have failed again.
        return await self._api.task((await self._api.call(rpc.RETRY_TASK, request, repeatable=False)).task)
