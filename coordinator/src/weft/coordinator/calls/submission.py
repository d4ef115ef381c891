"""Submissions: the task API, bulk streams and transparent calls are checked and stored in one way."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from weft.coordinator import codec
from weft.coordinator.caller_limits.submitter import Submitter
from weft.coordinator.caller_limits.use_meter import UseMeter
from weft.coordinator.calls.submit_spans import SubmitSpans
from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.contracts.method_info import MethodInfo
from weft.coordinator.fleet.matching import Matching
from weft.coordinator.request_checks import bad_request_id, is_callers_id
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.sticky.sticky_sessions import StickySessions
from weft.coordinator.store.base import Store
from weft.coordinator.store.event_store import NewEventRow
from weft.coordinator.store.records import (
    AtLimit,
    Enqueued,
    EnqueueResult,
    RequestIdReused,
    Submission,
    TooManyQueues,
    TooManyTasks,
)
from weft.coordinator.store.remembered import parent_of
from weft.coordinator.store.rules import REQUEST_ID_TTL_S
from weft.coordinator.store.store_refusals import refusal_of
from weft.coordinator.usage.budget_book import BudgetBook
from weft.coordinator.usage.tree_use import TreeUses
from weft.rpc import refusals
from weft.rpc.calls.tree_budgets import check_inherited
from weft.rpc.errors import WeftError
from weft.rpc.times import checked_duration
from weft.v1 import coordinator_pb2, event_pb2, task_pb2


class SubmissionService:
    """Checks and stores submissions.

    Args:
        namespace_meter: has the limits of all callers of the namespace together; None: there are none.
    """

    def __init__(
        self,
        store: Store,
        contracts: Contracts,
        matching: Matching,
        settings: CoordinatorSettings,
        spans: SubmitSpans | None = None,
        namespace_meter: Callable[[], UseMeter | None] = lambda: None,
    ) -> None:
        self._namespace_meter = namespace_meter
        self._store = store
        self._matching = matching
        # None: no traces are exported.
        self._spans = spans
        self._contracts = contracts
        self._policies = contracts.policies
        self._max_queued = settings.max_queued_tasks
        self._defaults = codec.Defaults(
            result_ttl_s=settings.result_ttl_s,
            failure_ttl_s=settings.failure_ttl_s,
            max_payload_bytes=settings.max_payload_bytes,
            max_metadata_bytes=settings.max_metadata_bytes,
            no_wait=settings.no_wait,
        )
        self.stopping = False
        # Checks events that are published with a task; set where there are events.
        self.event_rows: Callable[[Sequence[event_pb2.NewEvent]], Sequence[NewEventRow]] | None = None
        # Why a task is refused because of a spent budget, by its method and its root; falsy: no budget is spent.
        self.budgets: BudgetBook | None = None
        # What trees of tasks with budgets have used; set where usage is counted.
        self.trees: TreeUses | None = None
        # Finds the agents of sticky sessions; set where there are such.
        self.sticky: StickySessions | None = None
        # Tasks refused at a limit so far, by limit.
        self.limits_hit = {"run_limit": 0, "queued_tasks": 0, "queues_per_method": 0, "budget": 0}

    def check(self, request: coordinator_pb2.SubmitTaskRequest, *, own_id: bool = False) -> Submission:
        """A request as a checked submission with a new task id.

        Args:
            own_id: the coordinator made the request id, for a tick or a callback.

        Raises:
            WeftError: as `SubmitTask` says.
        """
        info = self._contracts.method(request.method)
        if request.request_id and not own_id and not is_callers_id(request.request_id):
            raise bad_request_id()
        options = request.options if request.HasField("options") else None
        # The library generates such an id for its own repeats.
        generated_id = request.HasField("request_id_ttl")
        given = self.check_call(info, request.payload, request.request_id, options, generated_id=generated_id)
        if generated_id:
            ttl_s = checked_duration(
                request.request_id_ttl, "request_id_ttl", least_s=1.0, most_s=REQUEST_ID_TTL_S
            )
            if given.request_id == request.request_id:
                given.request_id_ttl_s = ttl_s
        if request.events and self.event_rows is not None:
            given.events = tuple(self.event_rows(request.events))
        return given

    def check_call(
        self,
        info: MethodInfo,
        payload: bytes,
        request_id: str,
        options: task_pb2.TaskOptions | None,
        *,
        generated_id: bool = False,
    ) -> Submission:
        """A call of a known method as a checked submission with a new task id, its request id checked already. Arguments as `codec.submission`.

        Raises:
            WeftError: as `SubmitTask` says.
        """
        name = info.name
        if self.budgets is not None and self.budgets.refusing:
            root_id = "" if options is None else options.context.root_id
            if (refused := self.budgets.refusal(name, root_id)) is not None:
                self.limits_hit["budget"] += 1
                raise refused
        if options is not None and options.context.budgets and self.trees is not None:
            check_inherited(options.context.budgets, "options.context.budgets")
            if (refused := self.trees.refusal(options.context.budgets)) is not None:
                self.limits_hit["budget"] += 1
                raise refused
        policy = self._policies.find(name)
        return codec.submission(
            info,
            payload,
            request_id,
            options,
            policy,
            self._defaults,
            self._store.new_task_id(name),
            generated_id=generated_id,
            fallbacks=self._policies.fallbacks(policy) if policy is not None and policy.fallback else (),
        )

    async def store(
        self,
        submissions: Sequence[Submission],
        *,
        acknowledged: bool = True,
        traceparent: str = "",
        submitter: Submitter | None = None,
    ) -> Sequence[EnqueueResult | WeftError]:
        """Store submissions. An error is the result of one that is not to wait, and that no agent can run.

        Args:
            acknowledged: they are durable when this returns.
            traceparent: the span that submits them together; that of a single one is in its context.
            submitter: whose limits hold for them. None: nobody's.

        Raises:
            Unavailable: the coordinator is stopping, or the store cannot be written.
            ResourceExhausted: too many unfinished tasks.
        """
        spans = self._spans
        span = None if spans is None or not submissions else spans.begin(submissions, traceparent)
        try:
            if self.stopping or self._store.unfinished() + len(submissions) > self._max_queued:
                raise self._no_room(len(submissions))
            counted = None if submitter is None else submitter.counted
            if counted is not None:
                for each in submissions:
                    each.submitter = counted.name
                    each.most_unfinished = int(counted.limits.queued_tasks)
            common = self._namespace_meter()
            if common is None:
                results = await self._store_checked(submissions, acknowledged=acknowledged)
            else:
                results = await self._store_within(common, submissions, acknowledged=acknowledged)
            if counted is not None:
                results = _told(counted, results)
        except WeftError as error:
            if spans is not None and span is not None:
                spans.fail(span, error)
            raise
        if spans is not None and span is not None:
            spans.end(span, results)
        return results

    def _no_room(self, count: int) -> WeftError:
        """Why so many tasks are not taken."""
        if self.stopping:
            return refusals.stopping(
                "the coordinator is stopping; try again with the same request id", retry_after_s=1.0
            )
        self.limits_hit["queued_tasks"] += count
        return refusals.overloaded(
            f"{self._max_queued} tasks are unfinished, the most that are allowed", retry_after_s=5.0
        )

    def _counted(self, results: Sequence[EnqueueResult]) -> Sequence[EnqueueResult]:
        for result in results:
            if type(result) is Enqueued:
                continue
            if isinstance(result, AtLimit):
                self.limits_hit["run_limit"] += 1
            elif isinstance(result, TooManyQueues):
                self.limits_hit["queues_per_method"] += 1
        return results

    async def _store_within(
        self, meter: UseMeter, submissions: Sequence[Submission], *, acknowledged: bool
    ) -> Sequence[EnqueueResult | WeftError]:
        """Store as many of them as the namespace has room for."""
        room = len(submissions)
        if most := int(meter.limits.queued_tasks):
            room = min(room, max(0, most - self._store.unfinished()))
        taken, rest = submissions[:room], submissions[room:]
        results = await self._store_checked(taken, acknowledged=acknowledged) if taken else ()
        if not rest:
            return results
        return [*results, *[meter.task_refusal(time.monotonic(), len(rest))] * len(rest)]

    async def _store_checked(
        self, submissions: Sequence[Submission], *, acknowledged: bool
    ) -> Sequence[EnqueueResult | WeftError]:
        for each in submissions:
            if each.no_wait or each.agent_id or each.alternatives or each.session is not None:
                return await self._store_matching(submissions, acknowledged=acknowledged)
        return self._counted(await self._store.enqueue(submissions, acknowledged=acknowledged))

    async def place(self, submission: Submission) -> None:
        """Let a submission that belongs to a sticky session require the agent that has it, before it is stored.

        Raises:
            WeftError: a hard session is lost, or cannot begin.
        """
        if submission.alternatives:
            await self._matching.choose([submission])
        if refused := await self._placed([submission]):
            raise refused[submission.task_id]

    async def _placed(self, submissions: Sequence[Submission]) -> dict[str, WeftError]:
        """The errors of those whose sticky sessions are lost; the others require the agents of theirs."""
        sticky = [each for each in submissions if each.session is not None]
        if not sticky or self.sticky is None:
            return {}
        for each in sticky:
            if each.alternative:
                # A fallback runs it: only the submitted method's service has the session.
                each.session = None
        return await self.sticky.place([each for each in sticky if each.session is not None])

    async def _store_matching(
        self, submissions: Sequence[Submission], *, acknowledged: bool
    ) -> Sequence[EnqueueResult | WeftError]:
        demanding = [each for each in submissions if each.no_wait or each.agent_id or each.alternatives]
        await self._matching.choose(demanding)
        refused = await self._placed(submissions)
        refused |= await self._matching.refused([each for each in demanding if each.task_id not in refused])
        rest = [each for each in submissions if each.task_id not in refused]
        stored = iter(
            self._counted(await self._store.enqueue(rest, acknowledged=acknowledged)) if rest else ()
        )
        return [refused.get(each.task_id) or next(stored) for each in submissions]


def _told(
    meter: UseMeter, results: Sequence[EnqueueResult | WeftError]
) -> Sequence[EnqueueResult | WeftError]:
    """The results, and the submitter's meter told of the tasks that it may not have."""
    return [
        meter.task_refusal(time.monotonic()) if isinstance(each, TooManyTasks) else each for each in results
    ]


def accepted(result: EnqueueResult | WeftError, request_id: str) -> Enqueued:
    """The result of storing one submission.

    Raises:
        FailedPrecondition: NO_AGENT_MATCHES.
        NotFound: AGENT_NOT_FOUND.
        Unimplemented: METHOD_NOT_HOSTED, by the agent that it is for.
        AlreadyExists: REQUEST_ID_REUSED.
        Aborted: STICKY_SESSION_LOST.
        FailedPrecondition: STEP_CHANGED.
        ResourceExhausted: its method has too many queues, a run limit refuses it, its group has too many tasks, or its submitter or
            namespace has.
        FailedPrecondition: GROUP_CLOSED.
    """
    if isinstance(result, WeftError):
        raise result
    if isinstance(result, Enqueued):
        return result
    if isinstance(result, RequestIdReused):
        if parent_of(request_id):
            name = request_id.partition("/")[2]
            raise refusals.step_changed(
                name, f"was a call of another method, or with another request (task {result.task_id})"
            )
        raise refusals.request_id_reused(request_id, result.task_id)
    raise refusal_of(result)
