"""The tasks of transparent calls: made from a call, stored, and cancelled if no caller waits for them any more."""

from __future__ import annotations

import asyncio

from grpc import aio

from weft.coordinator import guard
from weft.coordinator.caller_limits.submitter import submitter_of
from weft.coordinator.calls.call_options import CallOptions, from_metadata
from weft.coordinator.calls.deadlines import Deadline
from weft.coordinator.calls.submission import SubmissionService, accepted
from weft.coordinator.calls.task_subscriptions import TaskSubscriptions
from weft.coordinator.calls.waiting_calls import WaitingCalls
from weft.coordinator.contracts.method_info import MethodInfo
from weft.coordinator.fleet.queue_explainer import QueueExplainer
from weft.coordinator.store.base import Store
from weft.coordinator.store.records import Enqueued, Submission, TaskRecord
from weft.coordinator.store.remembered import parent_of
from weft.coordinator.store.rules import State
from weft.rpc import errors, refusals
from weft.rpc.calls import metadata
from weft.rpc.process.logs import get_logger
from weft.rpc.task_policy.option_checks import CALLERS_LIMITS
from weft.rpc.times import MAX_DURATION_S
from weft.v1 import task_pb2

log = get_logger(__name__)

Context = aio.ServicerContext[bytes, bytes]


class CallTasks:
    """Makes, stores and abandons the tasks of calls."""

    def __init__(
        self,
        store: Store,
        subscriptions: TaskSubscriptions,
        submission_service: SubmissionService,
        explainer: QueueExplainer,
        waiting: WaitingCalls,
        cancel_grace_s: float,
    ) -> None:
        self._store = store
        self._subscriptions = subscriptions
        self._submission_service = submission_service
        self._explainer = explainer
        self.waiting = waiting
        self._cancel_grace_s = cancel_grace_s
        # Cancellations of abandoned tasks that are under way.
        self._cancelling: set[asyncio.Task[None]] = set()

    def submission(
        self, info: MethodInfo, request: bytes, context: Context
    ) -> tuple[CallOptions, Submission, Deadline]:
        """A call's options, its task, and when it must be answered.

        Raises:
            WeftError: the request or its options are refused.
        """
        left_s = context.time_remaining()
        call = from_metadata(context.invocation_metadata() or ())
        # Most calls have no options.
        options = call.options if call.options.ListFields() else None
        submission = self._submission_service.check_call(info, request, call.request_id, options)
        call.request_id = submission.request_id
        if left_s is not None and left_s < MAX_DURATION_S:
            own_s = submission.schedule_to_close_s
            submission.schedule_to_close_s = max(0.0, left_s if own_s is None else min(own_s, left_s))
        # A call made by a handler has the rest of that handler's own time. Answered early, the handler could still fail
        # with that answer, and its caller would get the failure instead of its own deadline.
        answered_early = not call.options.context.parent_id
        return (
            call,
            submission,
            Deadline.of(left_s if answered_early else None, asyncio.get_running_loop().time()),
        )

    async def store_awaited(self, submission: Submission, left_s: float | None, context: Context) -> Enqueued:
        """Store a task whose caller waits here for so long, and tells `waiting` how that ends. The end is acknowledged, and one commit
        makes task and end durable.

        Raises:
            ResourceExhausted: it could not start in time.
        """
        if submission.session is not None:
            # It waits in the queue of its session's agent.
            await self._submission_service.place(submission)
        await self.waiting.join(submission, left_s)
        # A remembered one is durable at once: its caller would make it again, and it would run a second time.
        remembered = bool(parent_of(submission.request_id))
        results = await self._submission_service.store(
            [submission], acknowledged=remembered, submitter=submitter_of(context)
        )
        return accepted(results[0], submission.request_id)

    async def store_followed(
        self, submission: Submission, left_s: float | None, context: Context
    ) -> Enqueued:
        """Store the task of a streaming call, whose responses are read from the store: it is durable first. Otherwise as `store_awaited`."""
        if submission.session is not None:
            await self._submission_service.place(submission)
        await self.waiting.join(submission, left_s)
        return await self.store(submission, context)

    async def store(self, submission: Submission, context: Context) -> Enqueued:
        """Store a task durably."""
        results = await self._submission_service.store([submission], submitter=submitter_of(context))
        return accepted(results[0], submission.request_id)

    async def store_detached(self, submission: Submission, context: Context) -> None:
        """Store a task without a waiting caller; its id goes into the trailers."""
        stored = await self.store(submission, context)
        trailers: metadata.Pairs = (("weft-task-id", stored.task_id),)
        context.set_trailing_metadata((*trailers, metadata.CACHED_TRAILER) if stored.cached else trailers)

    async def late(
        self, task: Enqueued, deadline: Deadline, context: Context, *, shared: bool = False
    ) -> TaskRecord:
        """End a call whose deadline is about to pass: the error says what the call waited for.

        If this call's own task runs, its time limit ends it, so that the handler sees its deadline. Any other task is
        cancelled, as when the caller goes away.

        Args:
            shared: it is another caller's task, whose result this call would have had too (`cached_requests`).

        Returns: the task, if it has just ended.
        """
        # With its history, which says for what a handler waits that has given its slot back.
        record = (await self._store.get([task.task_id], payloads=False, history=True))[0]
        self.waiting.late(task.task_id)
        trailers: metadata.Pairs
        if record is None:
            # The store is busy, and shows no task before it is durable.
            why, trailers = "its task is being stored", (("weft-task-id", task.task_id),)
        elif record.state.terminal:
            return record
        else:
            waited_s = asyncio.get_running_loop().time() - deadline.came_at_s
            why, trailers = await self._explainer.at_deadline(record, waited_s), task_trailers(record)
        if not shared and (task.existed or record is None or record.state is not State.RUNNING):
            self.abandon(task.task_id, f"the caller's deadline passed: {why}")
        late = refusals.call_deadline(f"the call's deadline passed: {why}")
        await guard.abort(context, late.status(), trailers)
        raise AssertionError("abort raises")

    def abandon(
        self, task_id: str, why: str = "the caller cancelled or went away", *, request_id: str = ""
    ) -> None:
        """The caller is gone: cancel its task, unless another caller waits for it or this process is stopping.

        Args:
            request_id: of the task. A remembered one goes on while its parent does: another attempt of that may ask for it.
        """
        if self._submission_service.stopping:
            return

        async def cancel() -> None:
            # One turn of the loop later, the caller's own subscription is gone.
            await asyncio.sleep(0)
            if self._subscriptions.attached(task_id):
                return
            try:
                if (parent_id := parent_of(request_id)) and await self._goes_on(parent_id):
                    return
                await self._store.cancel([task_id], why, self._cancel_grace_s)
            except errors.WeftError as error:
                log.warning("call.cancel_failed", task_id=task_id, error=error.message)

        task = asyncio.get_running_loop().create_task(cancel())
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)

    async def _goes_on(self, task_id: str) -> bool:
        """Whether a task is unfinished, and is not to be cancelled."""
        record = (await self._store.get([task_id], payloads=False))[0]
        return record is not None and not record.state.terminal and not record.cancel_requested


def not_shared_after_all(record: TaskRecord | None, task: Enqueued) -> bool:
    """Whether a call that shares another one's task (`cached_requests`) has to run itself: the task was cancelled, or ended by a
    time limit that its own caller may have set, or its result was forgotten just now."""
    if record is None:
        return task.cached
    if record.state is State.CANCELLED or record.expired:
        return True
    info = errors.error_info(task_pb2.Outcome.FromString(record.outcome).status)
    return info is not None and info.metadata.get("limit") in CALLERS_LIMITS


def task_trailers(record: TaskRecord) -> metadata.Pairs:
    """The trailers that name a call's task."""
    trailers = (
        ("weft-task-id", record.task_id),
        ("weft-attempt", str(record.attempt)),
        (metadata.AGENT_KEY, record.agent_id),
    )
    if record.submission.alternative:
        return (*trailers, (metadata.FALLBACK_KEY, record.submission.method))
    return trailers
