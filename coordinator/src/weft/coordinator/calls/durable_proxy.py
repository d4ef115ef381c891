"""Transparent durable calls: a call of any other method on the coordinator's port becomes a task, unless it is to be direct.

    stock client ─► checked, stored ─► waits for the end ─► the handler's own response, status, details and trailers
                                        └ progress of a streaming method, as it comes

Requests and responses pass as bytes. The caller's deadline is the task's time limit. If the caller cancels or goes away, the
task is cancelled, unless another caller waits for it, or the caller asked to be detached.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import grpc
from grpc import aio

from weft.coordinator import codec, guard
from weft.coordinator.calls.call_options import CallOptions, check_mode, is_urgent, mode
from weft.coordinator.calls.call_tasks import CallTasks, not_shared_after_all, task_trailers
from weft.coordinator.calls.deadlines import DeadlineNear
from weft.coordinator.calls.direct_proxy import DirectCalls
from weft.coordinator.calls.following import follow
from weft.coordinator.calls.moved_calls import Moved
from weft.coordinator.calls.task_subscriptions import Follower, TaskSubscriptions
from weft.coordinator.codec import not_durable, result_expired
from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.contracts.method_info import MethodInfo
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.base import Store
from weft.coordinator.store.records import ProgressRow, TaskRecord
from weft.coordinator.store.remembered import parent_of
from weft.coordinator.store.rules import State
from weft.rpc import errors, refusals
from weft.rpc.calls import metadata
from weft.rpc.calls.admission import Admission
from weft.rpc.calls.metadata import DIRECT
from weft.rpc.calls.traced_calls import span_of, traced_handler
from weft.rpc.network.gone import to_caller
from weft.rpc.process.logs import get_logger
from weft.rpc.telemetry import attributes
from weft.rpc.telemetry.span_tracer import SpanTracer
from weft.v1 import fleet_pb2, task_pb2

log = get_logger(__name__)

Context = aio.ServicerContext[bytes, bytes]


class DurableCalls(grpc.GenericRpcHandler):
    """Handles each method that no servicer has."""

    def __init__(
        self,
        tasks: CallTasks,
        store: Store,
        subscriptions: TaskSubscriptions,
        contracts: Contracts,
        direct: DirectCalls,
        settings: CoordinatorSettings,
        tracer: SpanTracer | None = None,
    ) -> None:
        self._tasks = tasks
        self._tracer = tracer
        self._store = store
        self._subscriptions = subscriptions
        self._contracts = contracts
        self._policies = contracts.policies
        self._direct = direct
        self.admission = Admission(settings.max_calls, "the coordinator's setting max_calls", is_urgent)
        self._stalled_stream_s = settings.stalled_stream_s
        self._max_unread_bytes = settings.max_unread_bytes
        # By method, until a contract is forgotten.
        self._handlers: dict[str, tuple[MethodInfo, grpc.RpcMethodHandler[Any, Any]]] = {}
        self._forgotten = 0

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        name = handler_call_details.method.removeprefix("/")
        info = self._contracts.find(name)
        asked, policy = mode(handler_call_details.invocation_metadata or ()), self._policies.find(name)
        direct = asked == DIRECT if asked else policy is not None and policy.direct
        if direct and info is not None:
            return self._direct.handler(info, self.admission)
        if info is None or not info.durable:
            return grpc.stream_stream_rpc_method_handler(_refusal(self._contracts, name))
        known = self._handlers.get(name)
        if known is not None and known[0] is info:
            return known[1]
        handler: grpc.RpcMethodHandler[Any, Any]
        if info.kind == fleet_pb2.METHOD_KIND_UNARY:
            handler = grpc.unary_unary_rpc_method_handler(_guarded(self.unary, info))
        else:
            handler = grpc.unary_stream_rpc_method_handler(_guarded(self.streaming, info))
        if self._tracer is not None:
            handler = traced_handler(handler, name, self._tracer)
        handler = self.admission.bounded(handler)
        if self._forgotten != self._contracts.forgotten:
            self._forgotten = self._contracts.forgotten
            self._handlers.clear()
        self._handlers[name] = (info, handler)
        return handler

    # -- unary --------------------------------------------------------------------------------------------------

    async def unary(self, info: MethodInfo, request: bytes, context: Context) -> bytes:
        call, submission, deadline = self._tasks.submission(info, request, context)
        if call.detach:
            await self._tasks.store_detached(submission, context)
            return b""
        future = self._subscriptions.end_future(submission.task_id)
        task_id = submission.task_id
        shared = False
        span = None if self._tracer is None else span_of(context)
        try:
            enqueued = await self._tasks.store_awaited(submission, deadline.left_s, context)
            if span is not None:
                span.set(attributes.TASK_ID, enqueued.task_id)
            if enqueued.existed:
                future.cancel()
                task_id = enqueued.task_id
                shared = bool(submission.cache_ttl_s)
                future = self._subscriptions.end_future(task_id)
                record = (await self._store.get([task_id], payloads=False))[0]
                if shared and not_shared_after_all(record, enqueued):
                    return await self.unary(info, request, context)
                if record is not None and record.state.terminal:
                    return await self._answer(record, context, cached=enqueued.cached)
            timer = deadline.end_future(future)
            try:
                ended = await future
            except DeadlineNear:
                ended = await self._tasks.late(enqueued, deadline, context, shared=shared)
            except Moved as moved:
                ended = await moved.ended(task_id, context)
            finally:
                if timer is not None:
                    timer.cancel()
            if shared and not_shared_after_all(ended, enqueued):
                return await self.unary(info, request, context)
            if span is not None:
                span.event(attributes.RESULT_STORED)
            return await self._answer(ended, context)
        except asyncio.CancelledError:
            if not shared or parent_of(submission.request_id):
                self._tasks.abandon(task_id, request_id=submission.request_id)
            raise
        finally:
            future.cancel()
            self._tasks.waiting.left(submission.task_id)

    async def _answer(self, record: TaskRecord, context: Context, *, cached: bool = False) -> bytes:
        """Answer with a task's outcome, unchanged but for the trailers that name the task."""
        return (await self._finish(record, context, cached=cached)).response

    async def _finish(
        self, record: TaskRecord, context: Context, *, begun: bool = False, cached: bool = False
    ) -> task_pb2.Outcome:
        """Send a task's metadata; the outcome of a success. A failure ends the call here.

        Args:
            begun: initial metadata and responses are sent already.
            cached: it is the stored result of an earlier call.
        """
        self._tasks.waiting.ended(record)
        if record.expired:
            raise result_expired(record)
        outcome = task_pb2.Outcome.FromString(record.outcome)
        if outcome.headers and not begun:
            await to_caller(context.send_initial_metadata(metadata.from_proto(outcome.headers)))
        trailers = (*metadata.from_proto(outcome.trailers), *task_trailers(record))
        if cached:
            trailers += (metadata.CACHED_TRAILER,)
        if outcome.status.code:
            await guard.abort(context, outcome.status, trailers)
        context.set_trailing_metadata(trailers)
        return outcome

    # -- server streaming -----------------------------------------------------------------------------------------

    async def streaming(self, info: MethodInfo, request: bytes, context: Context) -> None:
        call, submission, deadline = self._tasks.submission(info, request, context)
        if call.detach:
            await self._tasks.store_detached(submission, context)
            return
        task_id = submission.task_id
        follower = self._subscriptions.follow(task_id, most_unread_bytes=self._max_unread_bytes)
        try:
            # Stored first, since `follow` reads the task.
            enqueued = await self._tasks.store_followed(submission, deadline.left_s, context)
            if (span := span_of(context)) is not None:
                span.set(attributes.TASK_ID, enqueued.task_id)
            attempt = 0
            if enqueued.existed:
                self._subscriptions.unfollow(follower)
                task_id = enqueued.task_id
                follower = self._subscriptions.follow(task_id, most_unread_bytes=self._max_unread_bytes)
                record = (await self._store.get([task_id], payloads=False))[0]
                attempt = 0 if record is None else record.attempt
            timer = deadline.end_following(follower)
            try:
                late = partial(self._tasks.late, enqueued, deadline, context)
                await self._relay(task_id, attempt, follower, call, context, late)
            finally:
                if timer is not None:
                    timer.cancel()
        except (asyncio.CancelledError, errors.ResourceExhausted):
            self._tasks.abandon(task_id, request_id=submission.request_id)
            raise
        finally:
            self._subscriptions.unfollow(follower)
            self._tasks.waiting.left(submission.task_id)

    async def _relay(
        self,
        task_id: str,
        attempt: int,
        follower: Follower,
        call: CallOptions,
        context: Context,
        late: Callable[[], Awaitable[TaskRecord]],
    ) -> None:
        """Pass progress on as it comes, then the end. A second attempt does not continue the responses of a first.

        Args:
            attempt: the task's newest attempt so far; progress of earlier ones is not passed on.
            late: ends the call if its deadline is near, unless the task has just ended.
        """
        begun, elsewhere, after = False, False, 0
        events = follow(self._store, self._subscriptions, task_id, 0, follower)
        try:
            while True:
                try:
                    async for item in events:
                        if isinstance(item, TaskRecord) and item.state.terminal:
                            if begun and item.attempt > attempt and item.state is State.SUCCEEDED:
                                self._restarted(task_id, call)
                            if (span := span_of(context)) is not None:
                                span.event(attributes.RESULT_STORED)
                            await self._finish(item, context, begun=begun)
                        elif item.attempt >= attempt:
                            if begun and item.attempt > attempt:
                                self._restarted(task_id, call)
                            attempt = item.attempt
                            if isinstance(item, ProgressRow):
                                after = item.sequence
                                headers = (
                                    None if begun else metadata.from_proto(codec.progress_event(item).headers)
                                )
                                begun = True
                                await guard.write(
                                    context, item.payload, self._stalled_stream_s, headers=headers
                                )
                    return
                except DeadlineNear:
                    await late()
                    # The last responses may have come with the end.
                    events = follow(self._store, self._subscriptions, task_id, after)
                except Moved as moved:
                    if elsewhere:
                        raise
                    elsewhere, events = True, moved.follow(task_id, after, context)
        finally:
            await events.aclose()  # type: ignore[attr-defined]

    def _restarted(self, task_id: str, call: CallOptions) -> None:
        if not call.request_id:
            # Without a request id, no caller can come back for it.
            self._tasks.abandon(task_id)
        raise refusals.stream_restarted(
            f"the attempt that fed this stream ended and task {task_id} began again; call again"
            " (with the same weft-request-id to follow the new attempt)",
            task_id=task_id,
        )


Behaviour = Callable[[MethodInfo, bytes, Context], Awaitable[Any]]


def _guarded(behaviour: Behaviour, info: MethodInfo) -> Callable[[bytes, Context], Awaitable[Any]]:
    """A behaviour with its method bound; grpc needs a coroutine function."""

    async def call(request: bytes, context: Context) -> Any:
        try:
            return await behaviour(info, request, context)
        except errors.WeftError as error:
            failure = error
        except aio.AbortError:
            raise
        except Exception:
            failure = guard.fault(info.name)
        return await guard.abort(context, failure.status())

    return call


def _refusal(contracts: Contracts, name: str) -> Callable[[object, Context], Awaitable[None]]:
    """A behaviour that refuses a method."""

    async def refuse(_: object, context: Context) -> None:
        failure: errors.WeftError
        try:
            contracts.method(name)
            check_mode(context.invocation_metadata() or ())
            failure = not_durable(name)
        except errors.InvalidArgument as no_mode:
            failure = no_mode
        except errors.NotFound as unknown:
            # gRPC's own answer for a method that a server does not have.
            failure = refusals.method_unknown(unknown.message, unknown.metadata["method"], called=True)
        await guard.abort(context, failure.status())

    return refuse
