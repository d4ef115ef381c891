"""The servicer of `weft.v1.CoordinatorService`: each RPC checks its request, calls one part, and converts the result."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from grpc import aio

from weft.coordinator import codec, guard
from weft.coordinator.audit.audited_calls import CONNECT, SUBMIT_TASKS, AuditedCalls
from weft.coordinator.caller_limits.submitter import submitter_of
from weft.coordinator.calls.bulk_stream import BulkStream
from weft.coordinator.calls.following import follow
from weft.coordinator.calls.submission import SubmissionService, accepted
from weft.coordinator.calls.submit_spans import submit_call, trace_of
from weft.coordinator.calls.task_filter import list_filter
from weft.coordinator.calls.task_subscriptions import TaskSubscriptions
from weft.coordinator.calls.wait_tasks import wait_tasks
from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.fleet.discovery_service import DiscoveryService
from weft.coordinator.fleet.fleet_view import FleetView
from weft.coordinator.fleet.queue_explainer import QueueExplainer
from weft.coordinator.fleet.queue_view import Queues
from weft.coordinator.fleet.resource_view import ResourceView
from weft.coordinator.identity.task_sight import check_seen
from weft.coordinator.request_checks import check_page_size, check_reason
from weft.coordinator.sessions.sessions import Sessions
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.base import Store
from weft.coordinator.store.records import ProgressRow, TaskRecord
from weft.rpc import refusals
from weft.rpc.identity.edge import Edge
from weft.rpc.telemetry.span_tracer import SpanTracer
from weft.rpc.times import checked_duration
from weft.v1 import coordinator_pb2, coordinator_pb2_grpc, session_pb2, task_pb2

MAX_WAIT_IDS = 100_000
MAX_AGENT_PAGE = 10_000

Context = aio.ServicerContext[Any, Any]


class TaskParts(NamedTuple):
    """The parts behind the task RPCs."""

    store: Store
    subscriptions: TaskSubscriptions
    submission_service: SubmissionService
    explainer: QueueExplainer
    settings: CoordinatorSettings
    audited: AuditedCalls
    # None: no traces are exported.
    tracer: SpanTracer | None = None


class FleetParts(NamedTuple):
    """The parts behind the RPCs about agents and queues."""

    fleet: FleetView
    discovery: DiscoveryService
    queues: Queues
    resources: ResourceView
    contracts: Contracts


class CoordinatorService(coordinator_pb2_grpc.CoordinatorServiceServicer):
    """Large because it has one method an RPC. Each RPC's errors and guarantee are in the contract's comments."""

    def __init__(self, tasks: TaskParts, fleet: FleetParts, sessions: Sessions, edge: Edge) -> None:
        self._edge = edge
        (
            self._store,
            self._subscriptions,
            self._submission_service,
            self._explainer,
            self._settings,
            self._audited,
            self._tracer,
        ) = tasks
        self._fleet, self._discovery, self._queues, self._resources, self._contracts = fleet
        self._sessions = sessions
        # For `guard.stream`.
        self.stalled_stream_s = self._settings.stalled_stream_s

    # -- tasks ----------------------------------------------------------------------------------------------------

    @guard.unary
    async def SubmitTask(
        self, request: coordinator_pb2.SubmitTaskRequest, context: Context
    ) -> coordinator_pb2.SubmitTaskResponse:
        self._edge.check_method(context, request.method)
        for topic in {event.topic for event in request.events}:
            self._edge.check_method(context, topic)
        with submit_call(self._tracer, request, context):
            submission = self._submission_service.check(request)
            results = await self._submission_service.store([submission], submitter=submitter_of(context))
            result = accepted(results[0], submission.request_id)
        record = await self._record(result.task_id)
        return coordinator_pb2.SubmitTaskResponse(
            task=codec.task(record, task_pb2.TASK_VIEW_BASIC), existed=result.existed, cached=result.cached
        )

    @guard.stream
    async def SubmitTasks(
        self, requests: AsyncIterator[coordinator_pb2.SubmitTasksRequest], context: Context
    ) -> AsyncIterator[coordinator_pb2.SubmitTasksResponse]:
        traceparent = "" if self._tracer is None else trace_of(context)
        stream = BulkStream(
            self._submission_service,
            self._store,
            self._subscriptions,
            self._settings,
            traceparent,
            self._edge.method_check(context),
            submitter_of(context),
            self._audited.submissions(SUBMIT_TASKS, context),
        )
        async for response in stream.run(guard.parsed(requests)):
            yield response

    @guard.unary
    async def GetTask(
        self, request: coordinator_pb2.GetTaskRequest, context: Context
    ) -> coordinator_pb2.GetTaskResponse:
        view = request.view or task_pb2.TASK_VIEW_FULL
        full = view == task_pb2.TASK_VIEW_FULL
        await self._check_seen(context, request.task_id)
        record = await self._record(request.task_id, payloads=full, history=True)
        task = codec.task(record, view, attempts=True)
        await self._explainer.explain(record, task)
        return coordinator_pb2.GetTaskResponse(task=task)

    @guard.stream
    async def WaitTasks(
        self, request: coordinator_pb2.WaitTasksRequest, context: Context
    ) -> AsyncIterator[coordinator_pb2.WaitTasksResponse]:
        if not 1 <= len(request.task_ids) <= MAX_WAIT_IDS:
            raise refusals.invalid_field(
                f"task_ids must hold 1 to {MAX_WAIT_IDS} ids; there are {len(request.task_ids)}",
                field="task_ids",
            )
        timeout_s = checked_duration(request.timeout, "timeout") if request.HasField("timeout") else None
        view = request.view or task_pb2.TASK_VIEW_FULL
        await self._check_seen(context, *request.task_ids)
        async for response in wait_tasks(self._store, self._subscriptions, request.task_ids, timeout_s, view):
            yield response

    @guard.unary
    async def ListTasks(
        self, request: coordinator_pb2.ListTasksRequest, context: Context
    ) -> coordinator_pb2.ListTasksResponse:
        check_page_size(request.page_size)
        caller = self._edge.caller(context)
        where = list_filter(request.filter)
        view = request.view or task_pb2.TASK_VIEW_BASIC
        page = await self._store.list_tasks(
            where,
            limit=request.page_size or 100,
            cursor=request.page_token,
            payloads=view == task_pb2.TASK_VIEW_FULL,
        )
        return coordinator_pb2.ListTasksResponse(
            tasks=[
                codec.task(record, view) for record in page.records if caller.sees(record.submission.method)
            ],
            next_page_token=page.cursor,
        )

    @guard.unary
    async def CancelTask(
        self, request: coordinator_pb2.CancelTaskRequest, context: Context
    ) -> coordinator_pb2.CancelTaskResponse:
        check_reason(request.reason)
        grace_s = self._settings.cancel_grace_s
        if request.HasField("grace"):
            grace_s = checked_duration(request.grace, "grace", most_s=3600.0)
        await self._check_seen(context, request.task_id)
        record = (await self._store.cancel([request.task_id], request.reason, grace_s))[0]
        if record is None:
            raise refusals.task_not_found(request.task_id)
        return coordinator_pb2.CancelTaskResponse(task=codec.task(record, task_pb2.TASK_VIEW_BASIC))

    @guard.unary
    async def RetryTask(
        self, request: coordinator_pb2.RetryTaskRequest, context: Context
    ) -> coordinator_pb2.RetryTaskResponse:
        await self._check_seen(context, request.task_id)
        record = await self._store.retry(request.task_id)
        if record is None:
            raise refusals.task_not_found(request.task_id)
        return coordinator_pb2.RetryTaskResponse(task=codec.task(record, task_pb2.TASK_VIEW_BASIC))

    @guard.stream
    async def WatchTask(
        self, request: coordinator_pb2.WatchTaskRequest, context: Context
    ) -> AsyncIterator[coordinator_pb2.WatchTaskResponse]:
        await self._check_seen(context, request.task_id)
        sequence = request.after_sequence
        async for item in follow(self._store, self._subscriptions, request.task_id, sequence):
            if isinstance(item, ProgressRow):
                sequence = item.sequence
                yield coordinator_pb2.WatchTaskResponse(
                    progress=codec.progress_event(item), sequence=sequence
                )
            else:
                yield coordinator_pb2.WatchTaskResponse(task=codec.task(item), sequence=sequence)

    async def _check_seen(self, context: Context, *task_ids: str) -> None:
        """
        Raises:
            NotFound: a task is not in the scope of the caller's token.
        """
        await check_seen(self._store, self._edge.caller(context), task_ids)

    async def _record(self, task_id: str, *, payloads: bool = False, history: bool = False) -> TaskRecord:
        record = (await self._store.get([task_id], payloads=payloads, history=history))[0]
        if record is None:
            raise refusals.task_not_found(task_id)
        return record

    # -- fleet ----------------------------------------------------------------------------------------------------

    @guard.unary
    async def ListAgents(
        self, request: coordinator_pb2.ListAgentsRequest, context: Context
    ) -> coordinator_pb2.ListAgentsResponse:
        check_page_size(request.page_size, MAX_AGENT_PAGE)
        agents, more = await self._fleet.page(request.method, request.page_token, request.page_size or 1000)
        return coordinator_pb2.ListAgentsResponse(
            agents=agents, next_page_token=agents[-1].id if more else ""
        )

    @guard.unary
    async def GetAgent(
        self, request: coordinator_pb2.GetAgentRequest, context: Context
    ) -> coordinator_pb2.GetAgentResponse:
        return coordinator_pb2.GetAgentResponse(agent=await self._fleet.agent(request.agent_id))

    @guard.stream
    async def WatchAgents(
        self, request: coordinator_pb2.WatchAgentsRequest, context: Context
    ) -> AsyncIterator[coordinator_pb2.WatchAgentsResponse]:
        async with contextlib.aclosing(self._discovery.watch(request.methods, request.cursor)) as responses:
            async for response in responses:
                yield response

    @guard.unary
    async def UpdateAgent(
        self, request: coordinator_pb2.UpdateAgentRequest, context: Context
    ) -> coordinator_pb2.UpdateAgentResponse:
        agent = await self._fleet.update(request.agent_id, request.desired_state)
        self._queues.wake()
        return coordinator_pb2.UpdateAgentResponse(agent=agent)

    @guard.unary
    async def ListQueues(
        self, request: coordinator_pb2.ListQueuesRequest, context: Context
    ) -> coordinator_pb2.ListQueuesResponse:
        return coordinator_pb2.ListQueuesResponse(queues=await self._queues.list(request.method))

    @guard.unary
    async def UpdateQueue(
        self, request: coordinator_pb2.UpdateQueueRequest, context: Context
    ) -> coordinator_pb2.UpdateQueueResponse:
        self._contracts.method(request.method)
        if request.HasField("limits") or request.clear_limits:
            limit = request.limits if request.HasField("limits") else None
            await self._queues.limit(request.method, limit, clear=request.clear_limits)
        if request.HasField("paused"):
            await self._queues.pause(request.method, paused=request.paused)
        return coordinator_pb2.UpdateQueueResponse(queues=await self._queues.list(request.method))

    @guard.unary
    async def ListResources(
        self, request: coordinator_pb2.ListResourcesRequest, context: Context
    ) -> coordinator_pb2.ListResourcesResponse:
        return await self._resources.list(request.method, request.lock)

    # -- sessions -------------------------------------------------------------------------------------------------

    @guard.unary
    async def Connect(
        self, request_iterator: AsyncIterator[session_pb2.ConnectRequest], context: Context
    ) -> None:
        opening = self._audited.session(CONNECT, context)
        await self._sessions.serve(request_iterator, context, self._edge.caller(context), opening)

    @guard.unary
    async def Report(
        self, request: coordinator_pb2.ReportRequest, context: Context
    ) -> coordinator_pb2.ReportResponse:
        commands = await self._sessions.report(request, self._edge.caller(context))
        return coordinator_pb2.ReportResponse(commands=commands)
