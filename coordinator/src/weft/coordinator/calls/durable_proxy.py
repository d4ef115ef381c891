"""Transparent durable calls: any other method that is called on the coordinator's port becomes a task, unless its caller
wants it direct.

    stock client ─► checked, stored ─► waits for the end ─► the handler's own response, status, details and trailers
                                        └ progress of a streaming method, as it comes

Requests and responses pass as bytes. The caller's deadline is the task's limit; when the caller cancels or goes away,
the task is cancelled, unless somebody else waits for it, or the caller asked to be detached.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import grpc
from grpc import aio

from weft.coordinator import codec, guard
from weft.coordinator.calls.call_options import CallOptions, asks_direct, check_mode, from_metadata
from weft.coordinator.calls.deadlines import Deadline, DeadlineNear
from weft.coordinator.calls.direct_proxy import DirectCalls
from weft.coordinator.calls.following import follow
from weft.coordinator.calls.submission import SubmissionService, accepted
from weft.coordinator.calls.task_subscriptions import Follower, TaskSubscriptions
from weft.coordinator.codec import not_durable, result_expired
from weft.coordinator.contracts.contract_catalogue import Contracts, MethodInfo
from weft.coordinator.fleet.queue_explainer import QueueExplainer
from weft.coordinator.store.base import Store
from weft.coordinator.store.records import Enqueued, ProgressRow, Submission, TaskRecord
from weft.coordinator.store.rules import State
from weft.rpc import errors, refusals
from weft.rpc.calls import metadata
from weft.rpc.calls.admission import Admission
from weft.rpc.network.gone import to_caller
from weft.rpc.process.logs import get_logger
from weft.rpc.times import MAX_DURATION_S
from weft.v1 import fleet_pb2, task_pb2

log = get_logger(__name__)

Context = aio.ServicerContext[bytes, bytes]


class DurableCalls(grpc.GenericRpcHandler):
    """Handles every method that no servicer has."""

    def __init__(
        self,
        store: Store,
        subscriptions: TaskSubscriptions,
        submission_service: SubmissionService,
        contracts: Contracts,
        direct: DirectCalls,
        explainer: QueueExplainer,
        admission: Admission,
        *,
        cancel_grace_s: float,
        stalled_stream_s: float,
        max_unread_bytes: int,
    ) -> None:
        self._store = store
        self._subscriptions = subscriptions
        self._submission_service = submission_service
        self._contracts = contracts
        self._direct = direct
        self._explainer = explainer
        self._admission = admission
        self._cancel_grace_s = cancel_grace_s
        self.stalled_stream_s = stalled_stream_s
        self._max_unread_bytes = max_unread_bytes
        # By method, as many as contracts may have in force.
        self._handlers: dict[str, tuple[MethodInfo, grpc.RpcMethodHandler[Any, Any]]] = {}
        # Cancellations of tasks whose callers went away, under way.
        self._cancelling: set[asyncio.Task[None]] = set()

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        name = handler_call_details.method.removeprefix("/")
        info = self._contracts.find(name)
        if info is not None and asks_direct(handler_call_details.invocation_metadata or ()):
            return self._direct.handler(info, self._admission)
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
        handler = self._admission.bounded(handler)
        self._handlers[name] = (info, handler)
        return handler

    # -- unary --------------------------------------------------------------------------------------------------

    async def unary(self, info: MethodInfo, request: bytes, context: Context) -> bytes:
        call, submission, deadline = self._submission(info, request, context)
        if call.detach:
            await self._detached(submission, context)
            return b""
        future = self._subscriptions.end_future(submission.task_id)
        task_id = submission.task_id
        try:
            enqueued = await self._take(submission)
            if enqueued.existed:
                future.cancel()
                task_id = enqueued.task_id
                future = self._subscriptions.end_future(task_id)
                record = (await self._store.get([task_id], payloads=False))[0]
                if record is not None and record.state.terminal:
                    return await self._answer(record, context)
            timer = deadline.end_future(future)
            try:
                ended = await future
            except DeadlineNear:
                ended = await self._late(enqueued, deadline, context)
            finally:
                if timer is not None:
                    timer.cancel()
            return await self._answer(ended, context)
        except asyncio.CancelledError:
            self._abandon(task_id)
            raise
        finally:
            future.cancel()

    async def _answer(self, record: TaskRecord, context: Context) -> bytes:
        """Answer with a task's outcome: unchanged, but for the trailers that name the task."""
        return (await self._finish(record, context)).response

    async def _finish(self, record: TaskRecord, context: Context, *, begun: bool = False) -> task_pb2.Outcome:
        """The outcome of a success, its metadata said; a failure ends the call here.

        Args:
            begun: responses have gone out, and the initial metadata before them.
        """
        if record.expired:
            raise result_expired(record)
        outcome = task_pb2.Outcome.FromString(record.outcome)
        if outcome.headers and not begun:
            await to_caller(context.send_initial_metadata(metadata.from_proto(outcome.headers)))
        trailers = (*metadata.from_proto(outcome.trailers), *_trailers(record))
        if outcome.status.code:
            await guard.abort(context, outcome.status, trailers)
        context.set_trailing_metadata(trailers)
        return outcome

    # -- server streaming -----------------------------------------------------------------------------------------

    async def streaming(self, info: MethodInfo, request: bytes, context: Context) -> None:
        call, submission, deadline = self._submission(info, request, context)
        if call.detach:
            await self._detached(submission, context)
            return
        task_id = submission.task_id
        follower = self._subscriptions.follow(task_id, most_unread_bytes=self._max_unread_bytes)
        try:
            # Stored first: what follows it reads it.
            enqueued = accepted((await self._submission_service.store([submission]))[0], call.request_id)
            attempt = 0
            if enqueued.existed:
                self._subscriptions.unfollow(follower)
                task_id = enqueued.task_id
                follower = self._subscriptions.follow(task_id, most_unread_bytes=self._max_unread_bytes)
                record = (await self._store.get([task_id], payloads=False))[0]
                attempt = 0 if record is None else record.attempt
            timer = deadline.end_following(follower)
            try:
                late = partial(self._late, enqueued, deadline, context)
                await self._relay(task_id, attempt, follower, call, context, late)
            finally:
                if timer is not None:
                    timer.cancel()
        except (asyncio.CancelledError, errors.ResourceExhausted):
            self._abandon(task_id)
            raise
        finally:
            self._subscriptions.unfollow(follower)

    async def _relay(
        self,
        task_id: str,
        attempt: int,
        follower: Follower,
        call: CallOptions,
        context: Context,
        late: Callable[[], Awaitable[TaskRecord]],
    ) -> None:
        """Pass progress on as it comes, then the end; a second attempt is no continuation of a first.

        Args:
            attempt: the task's newest so far: what earlier ones sent is no part of the answer.
            late: ends the call when its deadline is near, unless the task has just ended.
        """
        begun, after = False, 0
        events = follow(self._store, self._subscriptions, task_id, 0, follower)
        try:
            while True:
                try:
                    async for item in events:
                        if isinstance(item, TaskRecord) and item.state.terminal:
                            if begun and item.attempt > attempt and item.state is State.SUCCEEDED:
                                self._restarted(task_id, call)
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
                                    context, item.payload, self.stalled_stream_s, headers=headers
                                )
                    return
                except DeadlineNear:
                    await late()
                    # Its last responses may have come with its end.
                    events = follow(self._store, self._subscriptions, task_id, after)
        finally:
            await events.aclose()  # type: ignore[attr-defined]

    def _restarted(self, task_id: str, call: CallOptions) -> None:
        if not call.request_id:
            # Nobody can come back for it.
            self._abandon(task_id)
        raise refusals.stream_restarted(
            f"the attempt that fed this stream ended and task {task_id} began again; call again"
            " (with the same weft-request-id to follow the new attempt)",
            task_id=task_id,
        )

    # -- both -----------------------------------------------------------------------------------------------------

    def _submission(
        self, info: MethodInfo, request: bytes, context: Context
    ) -> tuple[CallOptions, Submission, Deadline]:
        left_s = context.time_remaining()
        call = from_metadata(context.invocation_metadata() or ())
        # Most calls ask for nothing but an answer in time.
        options = call.options if call.options.ListFields() else None
        submission = self._submission_service.check_call(info, request, call.request_id, options)
        if left_s is not None and left_s < MAX_DURATION_S:
            submission.schedule_to_close_s = max(0.0, left_s)
        # A handler's call has what is left of the call that it handles: told early of its end, the handler would have time
        # to fail by it, and that would be what its own caller is told.
        answered_early = not call.options.context.parent_id
        return (
            call,
            submission,
            Deadline.of(left_s if answered_early else None, asyncio.get_running_loop().time()),
        )

    async def _take(self, submission: Submission) -> Enqueued:
        """Take a task in whose caller waits here: its end is what is acknowledged, and makes it durable too."""
        results = await self._submission_service.store([submission], acknowledged=False)
        return accepted(results[0], submission.request_id)

    async def _detached(self, submission: Submission, context: Context) -> None:
        """Store the task and leave it: an empty response, with the task's id in the trailers."""
        result = accepted((await self._submission_service.store([submission]))[0], submission.request_id)
        context.set_trailing_metadata((("weft-task-id", result.task_id),))

    async def _late(self, task: Enqueued, deadline: Deadline, context: Context) -> TaskRecord:
        """The deadline is about to pass: answer with what the call waited for; or the task's end, if it has just come.

        A task of this very call that runs is ended by its own limit, and its handler sees that it is late; any other is
        cancelled, as when its caller goes away.
        """
        record = (await self._store.get([task.task_id], payloads=False))[0]
        trailers: metadata.Pairs
        if record is None:
            # A busy store takes a while, and nobody is shown a task before it is durable.
            why, trailers = "its task is being stored", (("weft-task-id", task.task_id),)
        elif record.state.terminal:
            return record
        else:
            waited_s = asyncio.get_running_loop().time() - deadline.came_at_s
            why, trailers = await self._explainer.at_deadline(record, waited_s), _trailers(record)
        if task.existed or record is None or record.state is not State.RUNNING:
            self._abandon(task.task_id, f"the caller's deadline passed: {why}")
        late = refusals.call_deadline(f"the call's deadline passed: {why}")
        await guard.abort(context, late.status(), trailers)
        raise AssertionError("abort raises")

    def _abandon(self, task_id: str, why: str = "the caller cancelled or went away") -> None:
        """The caller is gone: cancel its task, unless somebody else waits for it or this process is stopping."""
        if self._submission_service.stopping:
            return

        async def cancel() -> None:
            # One turn later the caller's own registration is gone.
            await asyncio.sleep(0)
            if self._subscriptions.attached(task_id):
                return
            try:
                await self._store.cancel([task_id], why, self._cancel_grace_s)
            except errors.WeftError as error:
                log.warning("call.cancel_failed", task=task_id, error=error.message)

        task = asyncio.get_running_loop().create_task(cancel())
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)


def _trailers(record: TaskRecord) -> metadata.Pairs:
    return (
        ("weft-task-id", record.task_id),
        ("weft-attempt", str(record.attempt)),
        (metadata.AGENT_KEY, record.agent_id),
    )


Behaviour = Callable[[MethodInfo, bytes, Context], Awaitable[Any]]


def _guarded(behaviour: Behaviour, info: MethodInfo) -> Callable[[bytes, Context], Awaitable[Any]]:
    """A behaviour with its method bound, in the form that grpc takes (it must be a coroutine function)."""

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
    """Answers a method that cannot be called here."""

    async def refuse(_: object, context: Context) -> None:
        failure: errors.WeftError
        try:
            contracts.method(name)
            check_mode(context.invocation_metadata() or ())
            failure = not_durable(name)
        except errors.InvalidArgument as no_mode:
            failure = no_mode
        except errors.NotFound as unknown:
            # What gRPC answers for a method that a server does not have.
            failure = refusals.method_unknown(unknown.message, unknown.metadata["method"], called=True)
        await guard.abort(context, failure.status())

    return refuse
