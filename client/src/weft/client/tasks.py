"""The tasks API: submit, follow, read and steer durable calls."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar, Unpack, overload

import grpc
from google.protobuf.message import Message

from weft.client import api as rpc
from weft.client import generated_ids
from weft.client.api import Api
from weft.client.bulk_client import DEFAULT_WINDOW, Bulk, BulkItem
from weft.client.methods import AnyMethod, Method, as_method
from weft.client.options import SubmitOptions, task_options
from weft.client.task_handle import TaskHandle, response_of
from weft.client.task_snapshot import Progress, Task, TaskState
from weft.client.task_waiting import Waiter, ended
from weft.client.task_watching import watch
from weft.rpc.errors import NotFound, WeftError
from weft.rpc.times import duration, timestamp
from weft.v1 import coordinator_pb2, task_pb2

Req = TypeVar("Req")
Resp = TypeVar("Resp")

_PAGE_TASKS = 200


@dataclass(slots=True, eq=False)
class Finished(Generic[Resp]):
    """What came of one request among many."""

    # Its position in the source, from 0.
    index: int
    request_id: str
    # None: it was refused, and `error()` says why.
    task: Task | None
    _method: Method[Any, Resp]
    _refusal: WeftError | None

    @property
    def succeeded(self) -> bool:
        return self.task is not None and self.task.succeeded

    def error(self) -> WeftError | None:
        """Why there is no response; None when there is one."""
        return self._refusal if self.task is None else self.task.error()

    def result(self) -> Resp:
        """The response.

        Raises:
            WeftError: it was refused, or did not succeed.
        """
        if self.task is not None:
            return response_of(self.task, self._method)
        assert self._refusal is not None
        raise self._refusal


class Tasks:
    """Durable calls as tasks; got from `Mesh.tasks`.

    Submissions always carry a request id, drawn here unless given, so that they are repeated safely when an answer
    is lost; one that was drawn here is kept for minutes. Every method raises `WeftError`; `Unreachable` when the coordinator was away for too long.
    """

    def __init__(self, api: Api, *, patience_s: float) -> None:
        self._api = api
        self._patience_s = patience_s
        self._waiter = Waiter(api, patience_s=patience_s)

    async def close(self) -> None:
        await self._waiter.close()

    # -- submitting ---------------------------------------------------------------------------------------------------

    @overload
    async def submit(
        self,
        method: AnyMethod[Req, Resp],
        request: Req,
        *,
        request_id: str | None = None,
        timeout_s: float | None = None,
        **options: Unpack[SubmitOptions],
    ) -> TaskHandle[Resp]: ...
    @overload
    async def submit(
        self,
        method: str,
        request: bytes | Message,
        *,
        request_id: str | None = None,
        timeout_s: float | None = None,
        **options: Unpack[SubmitOptions],
    ) -> TaskHandle[bytes]: ...
    async def submit(
        self,
        method: AnyMethod[Any, Any] | str,
        request: Any,
        *,
        request_id: str | None = None,
        timeout_s: float | None = None,
        **options: Unpack[SubmitOptions],
    ) -> TaskHandle[Any]:
        """Store one task. When this returns, it is not lost any more.

        Args:
            method: with the types of its messages; or "pkg.Service/Method", with serialized messages.
            request: the request.
            request_id: the same id with the same request is the same task.
            timeout_s: how long storing may take, repeats included.
            options: how it is to be run.
        """
        called = as_method(method)
        own_id = request_id or uuid.uuid4().hex
        submission = coordinator_pb2.SubmitTaskRequest(
            method=called.name,
            payload=called.serialize(request),
            request_id=own_id,
            options=task_options(options),
        )
        repeated_s = None
        if not request_id:
            repeated_s = generated_ids.repeated_s(self._api.timeout_s if timeout_s is None else timeout_s)
            generated_ids.keep(submission, repeated_s)
        answer = await self._api.call(rpc.SUBMIT_TASK, submission, timeout_s=timeout_s, repeated_s=repeated_s)
        return TaskHandle(self, called, answer.task.id, request_id=own_id, existed=answer.existed)

    @overload
    def submit_many(
        self,
        method: AnyMethod[Req, Resp],
        requests: Iterable[Req] | AsyncIterable[Req],
        *,
        request_id: Callable[[Req], str] | None = None,
        window: int = DEFAULT_WINDOW,
        **options: Unpack[SubmitOptions],
    ) -> AsyncGenerator[TaskHandle[Resp]]: ...
    @overload
    def submit_many(
        self,
        method: str,
        requests: Iterable[bytes | Message] | AsyncIterable[bytes | Message],
        *,
        request_id: Callable[[bytes | Message], str] | None = None,
        window: int = DEFAULT_WINDOW,
        **options: Unpack[SubmitOptions],
    ) -> AsyncGenerator[TaskHandle[bytes]]: ...
    async def submit_many(
        self,
        method: AnyMethod[Any, Any] | str,
        requests: Iterable[Any] | AsyncIterable[Any],
        *,
        request_id: Callable[[Any], str] | None = None,
        window: int = DEFAULT_WINDOW,
        **options: Unpack[SubmitOptions],
    ) -> AsyncGenerator[TaskHandle[Any]]:
        """Store many tasks over one stream; gives their handles, in the order of the requests, once stored.

        A request that is refused gives a handle with a `refusal`. Of the requests, at most `window` are under way.
        """
        called = as_method(method)
        bulk = self._bulk(called, requests, request_id, window, options, results=False)
        async with aclosing(bulk.entries()) as entries:
            async for entry in entries:
                yield TaskHandle(
                    self,
                    called,
                    entry.task_id,
                    request_id=entry.request_id,
                    existed=entry.existed,
                    refusal=entry.error,
                )

    @overload
    def run_many(
        self,
        method: AnyMethod[Req, Resp],
        requests: Iterable[Req] | AsyncIterable[Req],
        *,
        request_id: Callable[[Req], str] | None = None,
        window: int = DEFAULT_WINDOW,
        stored: Callable[[int, str], None] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> AsyncGenerator[Finished[Resp]]: ...
    @overload
    def run_many(
        self,
        method: str,
        requests: Iterable[bytes | Message] | AsyncIterable[bytes | Message],
        *,
        request_id: Callable[[bytes | Message], str] | None = None,
        window: int = DEFAULT_WINDOW,
        stored: Callable[[int, str], None] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> AsyncGenerator[Finished[bytes]]: ...
    async def run_many(
        self,
        method: AnyMethod[Any, Any] | str,
        requests: Iterable[Any] | AsyncIterable[Any],
        *,
        request_id: Callable[[Any], str] | None = None,
        window: int = DEFAULT_WINDOW,
        stored: Callable[[int, str], None] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> AsyncGenerator[Finished[Any]]:
        """Store many tasks over one stream, and give what came of each, in the order in which they end.

        Lost streams and restarts of the coordinator are mended underneath. Of the requests, at most `window` are
        under way: drawn, and not yet taken from this iterator.

        Args:
            request_id: gives each request its id; unset: drawn here, and unique.
            stored: is called with a request's index and its task's id, as soon as the task is stored.
        """
        called = as_method(method)
        bulk = self._bulk(called, requests, request_id, window, options, results=True, stored=stored)
        async with aclosing(bulk.entries()) as entries:
            async for entry in entries:
                yield _finished(entry, called)

    def _bulk(
        self,
        method: Method[Any, Any],
        requests: Iterable[Any] | AsyncIterable[Any],
        request_id: Callable[[Any], str] | None,
        window: int,
        options: SubmitOptions,
        *,
        results: bool,
        stored: Callable[[int, str], None] | None = None,
    ) -> Bulk[Any]:
        return Bulk(
            self._api,
            method,
            requests,
            options=task_options(options),
            request_id=request_id,
            results=results,
            window=window,
            patience_s=self._patience_s,
            stored=stored,
        )

    # -- waiting and following ----------------------------------------------------------------------------------------

    @overload
    def handle(self, method: AnyMethod[Any, Resp], task_id: str) -> TaskHandle[Resp]: ...
    @overload
    def handle(self, method: str, task_id: str) -> TaskHandle[bytes]: ...
    def handle(self, method: AnyMethod[Any, Any] | str, task_id: str) -> TaskHandle[Any]:
        """A handle for a task that was submitted elsewhere. Asks nobody."""
        return TaskHandle(self, as_method(method), task_id)

    async def wait(
        self, tasks: Iterable[TaskHandle[Any] | str], timeout_s: float | None = None
    ) -> Sequence[Task]:
        """Those of the tasks that have ended when all have or the time is up, in the order asked for.

        Raises:
            NotFound: no task has one of the ids.
        """
        ids = [_id(task) for task in tasks]
        found: dict[str, Task] = {}
        async with aclosing(self._as_finished(ids, timeout_s)) as finished:
            async for task in finished:
                found[task.id] = task
        return [found[task_id] for task_id in ids if task_id in found]

    def as_finished(
        self, tasks: Iterable[TaskHandle[Any] | str], timeout_s: float | None = None
    ) -> AsyncGenerator[Task]:
        """Each of the tasks when it has ended, until all have or the time is up.

        Raises:
            NotFound: no task has one of the ids.
        """
        return self._as_finished([_id(task) for task in tasks], timeout_s)

    async def _as_finished(self, ids: Sequence[str], timeout_s: float | None) -> AsyncGenerator[Task]:
        waits = ended(self._api, ids, timeout_s=timeout_s, patience_s=self._patience_s)
        async with aclosing(waits):
            async for some in waits:
                for task in some.tasks:
                    yield task
                for task_id in some.unknown:
                    raise NotFound(f"there is no task {task_id}")

    def watch(self, task_id: str, after_sequence: int = 0) -> AsyncGenerator[Task | Progress]:
        """Snapshots of a task and its responses as they come, until it has ended.

        A lost stream is resumed after the last response seen: none is missed, none comes twice.
        """
        return watch(self._api, task_id, after_sequence, patience_s=self._patience_s)

    # -- reading and steering -----------------------------------------------------------------------------------------

    async def get(self, task_id: str) -> Task:
        """The task as it is now.

        Raises:
            NotFound: no task has this id.
        """
        request = coordinator_pb2.GetTaskRequest(task_id=task_id)
        return Task((await self._api.call(rpc.GET_TASK, request)).task)

    async def list(
        self,
        *,
        states: Iterable[TaskState] = (),
        method: str = "",
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        agent_id: str = "",
        request_id: str = "",
        error_codes: Iterable[grpc.StatusCode] = (),
        error_reason: str = "",
        error_text: str = "",
        limit: int | None = None,
    ) -> AsyncGenerator[Task]:
        """Tasks that match, newest first, without requests and responses; page by page as they are taken.

        Args:
            states: any of these; none: all.
            method: full name.
            created_from: submitted then or later; `created_to`: before then.
            agent_id: of the current or last attempt.
            request_id: the caller's.
            error_codes: the last failure has one of these; `error_reason`: this reason, or this type was raised;
                `error_text`: this in its message, or in what was raised.
            limit: at most so many.
        """
        where = coordinator_pb2.TaskFilter(
            states=[task_pb2.TaskState.Name(state.value) for state in states],
            method=method,
            create_time_from=None if created_from is None else timestamp(created_from.timestamp()),
            create_time_to=None if created_to is None else timestamp(created_to.timestamp()),
            agent_id=agent_id,
            request_id=request_id,
            error_codes=[code.value[0] for code in error_codes],
            error_reason=error_reason,
            error_text=error_text,
        )
        page_token = ""
        while limit is None or limit > 0:
            size = _PAGE_TASKS if limit is None else min(limit, _PAGE_TASKS)
            page = await self._api.call(
                rpc.LIST_TASKS,
                coordinator_pb2.ListTasksRequest(
                    filter=where, page_size=size, page_token=page_token, view=task_pb2.TASK_VIEW_BASIC
                ),
            )
            for task in page.tasks:
                yield Task(task)
            limit = None if limit is None else limit - len(page.tasks)
            page_token = page.next_page_token
            if not page_token:
                return

    async def cancel(self, task_id: str, reason: str = "", *, grace_s: float | None = None) -> Task:
        """Ask for a task's end, durably. A running handler gets `grace_s` (the coordinator's setting unless given)."""
        request = coordinator_pb2.CancelTaskRequest(
            task_id=task_id, reason=reason, grace=None if grace_s is None else duration(grace_s)
        )
        return Task((await self._api.call(rpc.CANCEL_TASK, request)).task)

    async def retry(self, task_id: str) -> Task:
        """Queue a FAILED or CANCELLED task again, with fresh budgets.

        Raises:
            FailedPrecondition: it is in another state.
        """
        request = coordinator_pb2.RetryTaskRequest(task_id=task_id)
        # Not repeated: after a lost answer the task may have been queued, run and failed again.
        return Task((await self._api.call(rpc.RETRY_TASK, request, repeatable=False)).task)


def _id(task: TaskHandle[Any] | str) -> str:
    return task if isinstance(task, str) else task.id


def _finished(entry: BulkItem, method: Method[Any, Resp]) -> Finished[Resp]:
    return Finished(entry.index, entry.request_id, entry.task, method, entry.error)
