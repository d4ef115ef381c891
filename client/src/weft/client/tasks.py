"""The tasks API: submit, follow, read and steer durable calls."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, Unpack, overload

from google.protobuf.message import Message

from weft.client import api as rpc
from weft.client import generated_ids
from weft.client.bulk_client import DEFAULT_WINDOW, Bulk
from weft.client.bulk_progress import BulkListener, BulkProgress
from weft.client.methods import AnyMethod, Method, as_method
from weft.client.options import SubmitOptions, task_options
from weft.client.task_handle import TaskHandle, response_of
from weft.client.task_snapshot import Task
from weft.client.task_waiting import ended
from weft.client.tasks_by_id import TasksById
from weft.rpc import refusals
from weft.rpc.errors import Cancelled, DeadlineExceeded, WeftError
from weft.rpc.task_policy.option_checks import CALLERS_LIMITS, LEAST_LIMIT_S, STEP_ID
from weft.v1 import coordinator_pb2

if TYPE_CHECKING:
    from weft.client.event_snapshot import NewEvent

Req = TypeVar("Req")
Resp = TypeVar("Resp")
# How long a caller that was cancelled takes to cancel its task.
_ABANDON_S = 2.0
# A call waits this much longer than its task may take: the task's own error then has the reason.
_SLACK_S = 5.0


class HasId(Protocol):
    """An object with a task's id: a handle or a task."""

    @property
    def id(self) -> str: ...


@dataclass(slots=True, eq=False)
class Finished(Generic[Resp]):
    """The result of one request of `run_many`."""

    # Its position in the source, from 0.
    index: int
    request_id: str
    # None: the request was refused, and `error()` has the reason.
    task: Task | None
    _method: Method[Any, Resp]
    _refusal: WeftError | None

    @property
    def succeeded(self) -> bool:
        return self.task is not None and self.task.succeeded

    def error(self) -> WeftError | None:
        """The error, if there is no response. None if there is one."""
        return self._refusal if self.task is None else self.task.error()

    def result(self) -> Resp:
        """The response.

        Raises:
            WeftError: the request was refused, or the task did not succeed.
        """
        if self.task is not None:
            return response_of(self.task, self._method)
        assert self._refusal is not None
        raise self._refusal


class Tasks(TasksById):
    """Durable calls as tasks; `Mesh.tasks` gives it.

    Each submission has a request id, generated unless given, so that it can be repeated safely when its answer is lost.
    The coordinator keeps a generated id for minutes. Every method raises `WeftError`, and `Unreachable` when the coordinator
    was away for too long.
    """

    # -- submitting ---------------------------------------------------------------------------------------------------

    @overload
    async def submit(
        self,
        method: AnyMethod[Req, Resp],
        request: Req,
        *,
        request_id: str | None = None,
        timeout_s: float | None = None,
        publish: Sequence[NewEvent | Message] = (),
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
        publish: Sequence[NewEvent | Message] = (),
        **options: Unpack[SubmitOptions],
    ) -> TaskHandle[bytes]: ...
    async def submit(
        self,
        method: AnyMethod[Any, Any] | str,
        request: Any,
        *,
        request_id: str | None = None,
        timeout_s: float | None = None,
        publish: Sequence[NewEvent | Message] = (),
        **options: Unpack[SubmitOptions],
    ) -> TaskHandle[Any]:
        """Store one task. When this returns, the task is durable.

        Args:
            method: of `methods(Stub)`, or a hosted function; or "pkg.Service/Method", with serialized messages.
            request: the request.
            request_id: submissions with the same id and the same request are one task.
            timeout_s: how long storing may take, repeats included.
            publish: events that are published when the task is stored: both happen, or none.
            options: how the task is run; see `SubmitOptions`.
        """
        return (await self._submit(as_method(method), request, request_id, timeout_s, options, publish))[0]

    async def _submit(
        self,
        called: Method[Any, Any],
        request: Any,
        request_id: str | None,
        timeout_s: float | None,
        options: SubmitOptions,
        publish: Sequence[NewEvent | Message] = (),
    ) -> tuple[TaskHandle[Any], bool]:
        """A stored task, and whether it is another caller's, whose result answers this one too (a cache)."""
        own_id = request_id or uuid.uuid4().hex
        submission = coordinator_pb2.SubmitTaskRequest(
            method=called.name,
            payload=await self._api.payload(called, request),
            request_id=own_id,
            options=task_options(options, step_of="" if request_id else called.name),
        )
        if publish:
            submission.events.extend(await self._api.new_events(publish))
        span_s = self._api.timeout_s if timeout_s is None else timeout_s
        repeated_s = None if request_id else generated_ids.repeated_s(span_s)
        if repeated_s is not None:
            generated_ids.keep(submission, repeated_s)
        answer = await self._api.call(rpc.SUBMIT_TASK, submission, timeout_s=timeout_s, repeated_s=repeated_s)
        own_id = answer.task.request_id if answer.task.request_id.startswith(STEP_ID) else own_id
        handle = TaskHandle(
            self, called, answer.task.id, request_id=own_id, existed=answer.existed, cached=answer.cached
        )
        # Another caller's: this one's id is not its own. An ended task may have given away the one of the cache.
        return handle, not request_id and answer.existed and answer.task.request_id != own_id

    @overload
    async def call(
        self,
        method: AnyMethod[Req, Resp],
        request: Req,
        *,
        request_id: str | None = None,
        timeout_s: float | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Resp: ...
    @overload
    async def call(
        self,
        method: str,
        request: bytes | Message,
        *,
        request_id: str | None = None,
        timeout_s: float | None = None,
        **options: Unpack[SubmitOptions],
    ) -> bytes: ...
    async def call(
        self,
        method: AnyMethod[Any, Any] | str,
        request: Any,
        *,
        request_id: str | None = None,
        timeout_s: float | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Any:
        """Store one task and wait for its response. When the caller is cancelled, the task is cancelled too.

        Args:
            method: of one response; as for `submit`.
            request: the request.
            request_id: submissions with the same id and the same request are one task.
            timeout_s: deadline of submission and task together. It is also the task's `schedule_to_close_s`.
            options: how the task is run; see `SubmitOptions`.

        Raises:
            WeftError: the task's outcome, with the handler's code, message and details.
            TypeError: the method answers with a stream.
        """
        called = as_method(method)
        if called.streaming:
            raise TypeError(f"{called.name} answers with a stream of responses: submit it, and use stream()")
        began_at_s, left_s = time.monotonic(), timeout_s
        while True:
            if left_s is not None:
                options["schedule_to_close_s"] = min(left_s, options.get("schedule_to_close_s", left_s))
            handle, shared = await self._submit(called, request, request_id, left_s, options)
            try:
                return await handle.result(None if left_s is None else left_s + _SLACK_S)
            except (Cancelled, DeadlineExceeded) as error:
                # Another caller's cancellation, or limit, is not this one's.
                cancelled = isinstance(error, Cancelled) or error.metadata.get("limit") in CALLERS_LIMITS
                if not (shared and cancelled):
                    raise
                if timeout_s is not None:
                    left_s = max(LEAST_LIMIT_S, timeout_s + began_at_s - time.monotonic())
            except asyncio.CancelledError:
                if not shared and not handle.request_id.startswith(STEP_ID):
                    with suppress(WeftError, TimeoutError):
                        async with asyncio.timeout(_ABANDON_S):
                            await handle.cancel("its caller gave up")
                raise

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
        """Store many tasks over one stream; gives a handle for each stored task, in the order of the requests.

        A refused request gives a handle with a `refusal`. At most `window` requests are under way.
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
                    cached=entry.cached,
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
        progress: Callable[[BulkProgress], None] | None = None,
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
        progress: Callable[[BulkProgress], None] | None = None,
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
        progress: Callable[[BulkProgress], None] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> AsyncGenerator[Finished[Any]]:
        """Store many tasks over one stream, and give the result of each, in the order in which they end.

        It goes on after lost streams and restarts of the coordinator. At most `window` requests are under way: taken
        from the source, with results that were not yet taken from this iterator.

        Args:
            request_id: gives each request its id; unset: ids are generated.
            stored: called with a request's index and its task's id when the task is stored.
            progress: called with the counts when they change, as often as the coordinator answers; such as for a progress bar.
        """
        called = as_method(method)
        listener = BulkListener(stored, progress) if stored or progress else None
        bulk = self._bulk(called, requests, request_id, window, options, results=True, listener=listener)
        async with aclosing(bulk.entries()) as entries:
            async for entry in entries:
                yield Finished(entry.index, entry.request_id, entry.task, called, entry.error)

    def _bulk(
        self,
        method: Method[Any, Any],
        requests: Iterable[Any] | AsyncIterable[Any],
        request_id: Callable[[Any], str] | None,
        window: int,
        options: SubmitOptions,
        *,
        results: bool,
        listener: BulkListener | None = None,
    ) -> Bulk[Any]:
        return Bulk(
            self._api,
            self._api.bulk_source(method, requests, request_id),
            options=task_options(options),
            results=results,
            window=window,
            patience_s=self._patience_s,
            listener=listener,
        )

    # -- waiting and following ----------------------------------------------------------------------------------------

    @overload
    def handle(self, method: AnyMethod[Any, Resp], task_id: str) -> TaskHandle[Resp]: ...
    @overload
    def handle(self, method: str, task_id: str) -> TaskHandle[bytes]: ...
    def handle(self, method: AnyMethod[Any, Any] | str, task_id: str) -> TaskHandle[Any]:
        """A handle for a task that was submitted elsewhere. Makes no call."""
        return TaskHandle(self, as_method(method), task_id)

    async def wait(self, tasks: Iterable[HasId | str], timeout_s: float | None = None) -> Sequence[Task]:
        """Wait until all tasks have ended or the time is up; gives the ended ones, in the given order.

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
        self, tasks: Iterable[HasId | str], timeout_s: float | None = None
    ) -> AsyncGenerator[Task]:
        """Give each task when it has ended, until all have ended or the time is up.

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
                    raise refusals.task_not_found(task_id)


def _id(task: HasId | str) -> str:
    return task if isinstance(task, str) else task.id
