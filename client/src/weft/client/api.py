"""The coordinator's API as typed calls, with the one layer of retries.

A call that fails with `RetryLater` is repeated within its deadline. Every call here may be repeated: a submission carries its
request id. The reader of a stream opens it again after a loss, because only the reader knows where to go on; `Patience` says
how long and how often.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import grpc.aio

from weft.client import generated_ids
from weft.client.bulk_source import BulkSource
from weft.client.methods import Method
from weft.client.task_snapshot import Task
from weft.rpc import refusals
from weft.rpc.errors import RetryLater, Unavailable, WeftError, from_status, status_of_call
from weft.rpc.process.home_loop import HomeLoop
from weft.rpc.telemetry import trace_headers
from weft.v1 import command_pb2, errors_pb2, logs_pb2, sticky_pb2, task_pb2
from weft.v1 import coordinator_pb2 as pb

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from weft.client.event_snapshot import NewEvent
    from weft.rpc.payloads.payload_coder import PayloadCoder
    from weft.rpc.security.channel_credentials import ChannelSecurity
    from weft.v1 import event_pb2

Req = TypeVar("Req")
Resp = TypeVar("Resp")

_SERVICE = "weft.v1.CoordinatorService"
SUBMIT_TASK = Method.of(f"{_SERVICE}/SubmitTask", pb.SubmitTaskRequest, pb.SubmitTaskResponse)
SUBMIT_TASKS = Method.of(f"{_SERVICE}/SubmitTasks", pb.SubmitTasksRequest, pb.SubmitTasksResponse)
GET_TASK = Method.of(f"{_SERVICE}/GetTask", pb.GetTaskRequest, pb.GetTaskResponse)
WAIT_TASKS = Method.of(f"{_SERVICE}/WaitTasks", pb.WaitTasksRequest, pb.WaitTasksResponse)
LIST_TASKS = Method.of(f"{_SERVICE}/ListTasks", pb.ListTasksRequest, pb.ListTasksResponse)
CANCEL_TASK = Method.of(f"{_SERVICE}/CancelTask", pb.CancelTaskRequest, pb.CancelTaskResponse)
RETRY_TASK = Method.of(f"{_SERVICE}/RetryTask", pb.RetryTaskRequest, pb.RetryTaskResponse)
WATCH_TASK = Method.of(f"{_SERVICE}/WatchTask", pb.WatchTaskRequest, pb.WatchTaskResponse)
GET_TASK_LOGS = Method.of(
    "weft.v1.LogService/GetTaskLogs", logs_pb2.GetTaskLogsRequest, logs_pb2.GetTaskLogsResponse
)
LIST_AGENTS = Method.of(f"{_SERVICE}/ListAgents", pb.ListAgentsRequest, pb.ListAgentsResponse)
GET_AGENT = Method.of(f"{_SERVICE}/GetAgent", pb.GetAgentRequest, pb.GetAgentResponse)
UPDATE_AGENT = Method.of(f"{_SERVICE}/UpdateAgent", pb.UpdateAgentRequest, pb.UpdateAgentResponse)
COMMAND_AGENTS = Method.of(
    "weft.v1.CommandService/CommandAgents",
    command_pb2.CommandAgentsRequest,
    command_pb2.CommandAgentsResponse,
)
TELL_AGENTS = Method.of(
    "weft.v1.CommandService/TellAgents", command_pb2.TellAgentsRequest, command_pb2.TellAgentsResponse
)
LIST_QUEUES = Method.of(f"{_SERVICE}/ListQueues", pb.ListQueuesRequest, pb.ListQueuesResponse)
LIST_RESOURCES = Method.of(f"{_SERVICE}/ListResources", pb.ListResourcesRequest, pb.ListResourcesResponse)
_STICKY = "weft.v1.StickySessionService"
FIND_SESSION = Method.of(
    f"{_STICKY}/FindStickySession", sticky_pb2.FindStickySessionRequest, sticky_pb2.FindStickySessionResponse
)
LIST_SESSIONS = Method.of(
    f"{_STICKY}/ListStickySessions",
    sticky_pb2.ListStickySessionsRequest,
    sticky_pb2.ListStickySessionsResponse,
)
END_SESSION = Method.of(
    f"{_STICKY}/EndStickySession", sticky_pb2.EndStickySessionRequest, sticky_pb2.EndStickySessionResponse
)
UPDATE_QUEUE = Method.of(f"{_SERVICE}/UpdateQueue", pb.UpdateQueueRequest, pb.UpdateQueueResponse)

DEFAULT_TIMEOUT_S = 30.0
# The message of grpc.aio, with code INTERNAL, when a stream breaks during a write: it does not know the real status.
_BROKEN_WRITE = "Internal error from Core"
_LEAST_WAIT_S = 0.05
_MOST_WAIT_S = 2.0


class Unreachable(Unavailable):
    """No coordinator answers at the target."""

    def __init__(self, target: str, last_words: str) -> None:
        super().__init__(
            f"no coordinator answers at {target} ({last_words})", reason=errors_pb2.ERROR_REASON_UNREACHABLE
        )
        self.target = target


class Api:
    """Calls of one coordinator over one channel."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        target: str,
        *,
        timeout_s: float,
        home: HomeLoop,
        security: ChannelSecurity | None = None,
        coder: PayloadCoder | None = None,
    ) -> None:
        self.channel = channel
        # Codes the payloads of tasks; None: they are as they are.
        self.coder = coder
        self.home = home
        self.security = security
        self.target = target
        self.timeout_s = timeout_s
        self._callables: dict[str, Any] = {}

    async def call(
        self,
        method: Method[Req, Resp],
        request: Req,
        *,
        timeout_s: float | None = None,
        repeatable: bool = True,
        repeated_s: float | None = None,
    ) -> Resp:
        """Make a unary call. Repeat it while it fails with `RetryLater` and there is time.

        Args:
            repeated_s: repeat for this long at most. Counts the time in which the machine slept.

        Raises:
            WeftError: the coordinator's answer; `Unreachable` without one.
        """
        call = self._callables.get(method.name)
        if call is None:
            call = self._callables[method.name] = self.channel.unary_unary(
                f"/{method.name}", method.serialize, method.parse
            )
        patience = Patience(self, self.timeout_s if timeout_s is None else timeout_s)
        began_s = generated_ids.clock_s()
        while True:
            self.home.check()
            try:
                response: Resp = await call(request, timeout=patience.left_s)
                return response
            except asyncio.CancelledError:
                self.home.check_cut_off()
                raise
            except grpc.aio.AioRpcError as error:
                if not repeatable:
                    raise self.error(error) from None
                await patience.wait(error)
                if repeated_s is not None and generated_ids.clock_s() - began_s > repeated_s:
                    raise generated_ids.too_late() from None

    async def payload(self, method: Method[Req, Any], request: Req, *, store: bool = True) -> bytes:
        """The payload of a request.

        Args:
            store: a large coded one may go into the store of payloads.
        """
        if self.coder is None:
            return method.serialize(request)
        from weft.client.coded_tasks import coded_request

        return await coded_request(self.coder, method, request, store=store)

    def bulk_source(
        self,
        method: Method[Any, Any],
        requests: Iterable[Any] | AsyncIterable[Any],
        request_id: Callable[[Any], str] | None,
    ) -> BulkSource[Any]:
        """The payloads of requests, as a bulk takes them."""
        if self.coder is None:
            return BulkSource(method, requests, request_id)
        from weft.client.coded_tasks import coded_source

        return coded_source(self.coder, method, requests, request_id)

    async def new_events(self, given: Sequence[NewEvent | Message]) -> Sequence[event_pb2.NewEvent]:
        """Events as they are published."""
        if self.coder is None:
            # Few programs publish.
            from weft.client.event_snapshot import new_events

            return new_events(given)
        from weft.client.coded_events import coded_events

        return await coded_events(self.coder, given)

    async def event_fault(self, event: event_pb2.Event) -> WeftError | None:
        """Decode an event that was read, in place. Returns why it cannot be decoded; None: it can, or is not coded."""
        if self.coder is None:
            return None
        from weft.client.coded_events import decode_event

        return await decode_event(self.coder, event)

    async def task(self, message: task_pb2.Task, method: str = "") -> Task:
        """A task that was read, decoded.

        Args:
            method: its method, if the message does not say it.
        """
        if self.coder is not None:
            from weft.client.coded_tasks import decode_task

            await decode_task(self.coder, message, method)
        return Task(message)

    def open(
        self, method: Method[Req, Resp], request: Req, *, timeout_s: float | None = None
    ) -> grpc.aio.UnaryStreamCall[Req, Resp]:
        """Start a server-streaming call. The caller must cancel it in the end."""
        self.home.check()
        return self.channel.unary_stream(f"/{method.name}", method.serialize, method.parse)(
            request, timeout=timeout_s
        )

    def open_bidi(self, method: Method[Req, Resp]) -> grpc.aio.StreamStreamCall[Req, Resp]:
        """Start a bidirectional call. The caller must cancel it in the end."""
        self.home.check()
        metadata = tuple(trace_headers.current().items())
        return self.channel.stream_stream(f"/{method.name}", method.serialize, method.parse)(
            metadata=metadata
        )

    def error(self, error: grpc.aio.AioRpcError) -> WeftError:
        """The error of a failed call of this API. gRPC's own failures get messages that name the coordinator."""
        status = status_of_call(error)
        if not status.details:
            if status.message == _BROKEN_WRITE:
                return Unreachable(self.target, "the connection broke")
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                from weft.rpc.network.connection_faults import explained

                return Unreachable(self.target, explained(status.message, self.security))
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                return refusals.call_deadline(f"the coordinator at {self.target} did not answer in time")
        return from_status(status)


class Patience:
    """Decides how long to retry: a time span, which `renew` starts again, with growing waits in it."""

    def __init__(self, api: Api, span_s: float) -> None:
        self._api = api
        self._span_s = span_s
        self.renew()

    def renew(self) -> None:
        """Note a success: the next failure is the first one again."""
        self._ends_at = time.monotonic() + self._span_s
        self._failures = 0
        self._refusal: WeftError | None = None

    @property
    def left_s(self) -> float:
        return max(0.0, self._ends_at - time.monotonic())

    async def wait(self, error: grpc.aio.AioRpcError) -> None:
        """Wait before the next try.

        Raises:
            WeftError: the error itself, if a retry cannot help or the time is up.
        """
        await self.wait_after(self._api.error(error))

    async def wait_after(self, error: WeftError) -> None:
        """The same for an error that was converted already."""
        if not isinstance(error, RetryLater):
            # If the deadline cut off the last try, the error of an earlier try says more.
            cut_off = error.reason == errors_pb2.ERROR_REASON_CALL_DEADLINE
            raise (self._refusal if cut_off and self._refusal else error) from None
        self._refusal = error
        self._failures += 1
        wait_s = backoff_s(self._failures, random.random(), error.retry_after_s)  # noqa: S311
        if wait_s >= self.left_s:
            raise error from None
        await asyncio.sleep(wait_s)


def backoff_s(failures: int, sample: float, least_s: float | None) -> float:
    """The wait after the `failures`-th failure in a row (from 1), jittered by `sample` in [0, 1)."""
    most_s = min(_MOST_WAIT_S, _LEAST_WAIT_S * 2.0 ** min(failures, 16))
    return max(_LEAST_WAIT_S + sample * (most_s - _LEAST_WAIT_S), least_s or 0.0)
