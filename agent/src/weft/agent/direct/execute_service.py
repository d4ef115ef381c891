"""`AgentService`: many direct calls on one stream, and the agent's description of itself.

What waits to be sent goes out in one message. A call that is cancelled or out of time is answered at once; its handler is
told, and its slot stays taken until it ends. Bounds: a running call has a slot, a message has so many calls, and the
stream is read on only while what it holds is below a limit.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from google.protobuf.message import DecodeError

from weft.agent.direct.direct_endings import Endings, no_slot_in_time, not_hosted
from weft.agent.direct.direct_task import draw_id
from weft.agent.direct.load_trailers import LoadReports
from weft.agent.direct.threaded_calls import ThreadedCalls
from weft.agent.handler_context import AsyncContext, SyncContext
from weft.agent.handlers import outcomes
from weft.agent.handlers.executor import UNWANTED_GRACE_S
from weft.agent.handlers.invoke import invoke_async
from weft.agent.handlers.slots import Slots
from weft.agent.hosted_methods import HostedMethod
from weft.rpc.calls.pacing import Pacer
from weft.rpc.errors import InvalidArgument, ResourceExhausted, Unimplemented, WeftError
from weft.rpc.network.channel import BATCH_BYTES, MAX_PAYLOAD_BYTES
from weft.rpc.network.gone import to_caller
from weft.rpc.times import MAX_DURATION_S, timestamp
from weft.v1 import agent_pb2, agent_pb2_grpc, errors_pb2, fleet_pb2, session_pb2, task_pb2

# Calls in one message.
MAX_CALLS = 4096
# Payloads of running calls and results that are not sent yet, on one stream.
MAX_HELD_BYTES = 4 * MAX_PAYLOAD_BYTES
# Of a response's initial metadata, and of its trailers with its status: both are in one message with it.
_BESIDE_BYTES = 256 * 1024
# A load that has changed is told after this at the latest.
LOAD_INTERVAL_S = 1.0
# A caller that does not read for so long is dropped.
STALLED_S = 30.0
# What is being written when a stream is refused may take so long to go out.
LAST_WRITE_S = 2.0


class AgentService(agent_pb2_grpc.AgentServiceServicer):
    """Served beside the hosted methods."""

    def __init__(
        self,
        methods: Mapping[str, HostedMethod],
        slots: Slots,
        load: LoadReports,
        calls: ThreadedCalls,
        endings: Endings,
        agent_id: str,
        describe: Callable[[], fleet_pb2.Agent],
        max_message_bytes: int,
    ) -> None:
        self.methods = methods
        self.slots = slots
        self.load = load
        self.calls = calls
        self.agent_id = agent_id
        self.max_response_bytes = max_message_bytes - 2 * _BESIDE_BYTES
        self._endings = endings
        self._describe = describe

    async def DescribeAgent(
        self,
        request: agent_pb2.DescribeAgentRequest,
        context: Any,
    ) -> agent_pb2.DescribeAgentResponse:
        return agent_pb2.DescribeAgentResponse(agent=self._describe())

    async def Execute(self, request_iterator: AsyncIterator[agent_pb2.ExecuteRequest], context: Any) -> None:
        stream = _ExecuteStream(self)
        reader = asyncio.ensure_future(stream.read(request_iterator))
        writer = asyncio.ensure_future(stream.write(context))
        try:
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_EXCEPTION)
            for each in (reader, writer):
                if each.done():
                    each.result()
        except WeftError as error:
            # gRPC takes no status while a message is being written.
            stream.write_no_more()
            await asyncio.wait({writer}, timeout=LAST_WRITE_S)
            await self._endings.refuse(error, context)
        finally:
            reader.cancel()
            writer.cancel()
            stream.end()


class _ExecuteCall:
    """A call that runs."""

    __slots__ = ("answered", "context", "hosted", "id", "size_bytes", "task", "timer")

    def __init__(self, call_id: int, hosted: HostedMethod, context: AsyncContext | SyncContext) -> None:
        self.id = call_id
        self.hosted = hosted
        self.context = context
        self.size_bytes = len(context.assignment.payload)
        self.answered = False
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None


class _ExecuteStream:
    """One Execute stream: what runs for it, and what waits to be sent."""

    def __init__(self, service: AgentService) -> None:
        self._service = service
        self._loop = service.calls.loop
        # By the caller's id, until it is answered.
        self._calls: dict[int, _ExecuteCall] = {}
        self._tasks: set[_ExecuteCall] = set()
        self._results: deque[agent_pb2.DirectResult] = deque()
        self._held_bytes = 0
        self._half_closed = False
        self._refused = False
        self._ended = False
        self._due = asyncio.Event()
        self._room = asyncio.Event()
        self._told_load: tuple[int, fleet_pb2.HostLoad] | None = None

    # -- requests -----------------------------------------------------------------------------------------------

    async def read(self, requests: AsyncIterator[agent_pb2.ExecuteRequest]) -> None:
        """Take requests until the caller half-closes.

        Raises:
            InvalidArgument: one breaks the rules of the stream.
        """
        try:
            async for message in requests:
                if len(message.calls) > MAX_CALLS:
                    raise InvalidArgument(
                        f"the message has {len(message.calls)} calls; at most {MAX_CALLS} can be",
                        field="calls",
                    )
                for call in message.calls:
                    self._start(call)
                for call_id in message.cancels:
                    self._stop(self._calls.get(call_id), outcomes.cancelled("by the caller"), "by the caller")
                while self._held_bytes > MAX_HELD_BYTES:
                    self._room.clear()
                    await self._room.wait()
        except DecodeError as error:
            raise InvalidArgument(f"the request does not parse: {error}") from None
        self._half_closed = True
        self._due.set()

    def _start(self, call: agent_pb2.DirectCall) -> None:
        if call.id in self._calls:
            raise InvalidArgument(f"call id {call.id} is in use on this stream", field="calls.id")
        hosted = self._service.methods.get(call.method)
        refusal = self._refusal(call.method, hosted)
        if refusal is not None or hosted is None:
            self._send(call.id, outcomes.of_error(refusal or not_hosted(call.method)))
            return
        left_s = call.time_left_ms / 1000 or None
        deadline_at = None if left_s is None else time.monotonic() + left_s
        on_loop = hosted.is_async and hosted.isolated is None
        context_type = AsyncContext if on_loop else SyncContext
        context = context_type(_assignment(call, left_s), self._service.agent_id, deadline_at)
        running = self._calls[call.id] = _ExecuteCall(call.id, hosted, context)
        self._held_bytes += running.size_bytes
        self._tasks.add(running)
        running.task = self._loop.create_task(self._run(running))
        if left_s is not None:
            expire = (running, outcomes.time_limit(), "the deadline has passed")
            running.timer = self._loop.call_later(left_s, self._stop, *expire)

    def _refusal(self, method: str, hosted: HostedMethod | None) -> WeftError | None:
        """Why a call cannot be made."""
        if hosted is None:
            return not_hosted(method)
        if hosted.request_streaming or hosted.response_streaming:
            return Unimplemented(
                f"{method} has a stream of messages: call it by its own name",
                reason=errors_pb2.ERROR_REASON_METHOD_NOT_HOSTED,
            )
        return None

    async def _run(self, call: _ExecuteCall) -> None:
        context, hosted, slots = call.context, call.hosted, self._service.slots
        try:
            left_s, agent_id = context.time_left_s(), self._service.agent_id
            if why := await no_slot_in_time(slots, hosted.slot_cost, left_s, agent_id):
                self._answer(call, outcomes.of_error(why))
                return
            if isinstance(context, AsyncContext):
                try:
                    outcome = await invoke_async(hosted, context, _no_stream)
                finally:
                    slots.give_direct(hosted.slot_cost)
            else:
                outcome = await self._service.calls.run(hosted, context, _no_stream)
                slots.give_direct(hosted.slot_cost)
            self._answer(call, outcomes.bounded(outcome, self._service.max_response_bytes, _BESIDE_BYTES))
        finally:
            self._tasks.discard(call)
            self._service.slots.overruns.remove(call)

    def _stop(self, call: _ExecuteCall | None, outcome: task_pb2.Outcome, reason: str) -> None:
        """Answer a call whose handler has not ended, and tell that."""
        if call is None or call.answered:
            return
        self._answer(call, outcome)
        call.context.signal_cancel(reason)
        if isinstance(call.context, AsyncContext):
            call.context.run_callbacks()
        if call.task is not None:
            # Not before its first step, which may still be due: its slots would never be given back.
            self._loop.call_soon(call.task.cancel)
            if isinstance(call.context, AsyncContext):
                self._loop.call_later(UNWANTED_GRACE_S, self._look, call, call.task)

    def _look(self, call: _ExecuteCall, task: asyncio.Task[None]) -> None:
        """A call that nobody wants any more has had its grace."""
        if call in self._tasks:
            task_id, hosted = call.context.assignment.task_id, call.hosted
            self._service.slots.overruns.add(
                call, hosted.name, hosted.slot_cost, task, task_id=task_id, direct=True
            )

    # -- responses ----------------------------------------------------------------------------------------------

    def _answer(self, call: _ExecuteCall, outcome: task_pb2.Outcome) -> None:
        if call.answered:
            return
        call.answered = True
        del self._calls[call.id]
        if call.timer is not None:
            call.timer.cancel()
        self._held_bytes -= call.size_bytes
        self._send(call.id, outcome)

    def _send(self, call_id: int, outcome: task_pb2.Outcome) -> None:
        if self._ended:
            return
        # Not for callers.
        outcome.ClearField("error")
        result = agent_pb2.DirectResult(id=call_id, outcome=outcome)
        self._held_bytes += result.ByteSize()
        self._results.append(result)
        self._due.set()

    async def write(self, context: Any) -> None:
        """Send until the caller has half-closed and all calls are answered.

        Raises:
            ResourceExhausted: the caller does not read.
        """
        pacer = Pacer()
        while not self._refused:
            under_way = len(self._calls) + len(self._results)
            if self._results and (wait_s := pacer.wait_s(under_way, self._loop.time())) > 0.0:
                await asyncio.sleep(wait_s)
            message = self._compose()
            if message is not None:
                await _write(context, message)
                pacer.sent(self._loop.time())
                continue
            if self._half_closed and not self._calls:
                return
            self._due.clear()
            timer = self._loop.call_later(LOAD_INTERVAL_S, self._due.set)
            await self._due.wait()
            timer.cancel()

    def _compose(self) -> agent_pb2.ExecuteResponse | None:
        """All that waits, up to the bounds of a batch; None: nothing does."""
        message = agent_pb2.ExecuteResponse()
        size_bytes = 0
        while self._results:
            next_bytes = self._results[0].ByteSize()
            if message.results and size_bytes + next_bytes > BATCH_BYTES:
                break
            message.results.append(self._results.popleft())
            size_bytes += next_bytes
        self._held_bytes -= size_bytes
        if self._held_bytes <= MAX_HELD_BYTES:
            self._room.set()
        told = (self._service.slots.used, self._service.load.host)
        if told != self._told_load:
            self._told_load = told
            message.load.CopyFrom(self._service.load.report())
        return message if message.results or message.HasField("load") else None

    def write_no_more(self) -> None:
        """Let `write` end with what it is writing."""
        self._refused = True
        self._due.set()

    def end(self) -> None:
        """The stream is over: nobody waits for what runs."""
        self._ended = True
        for call in list(self._tasks):
            self._stop(call, outcomes.cancelled("the stream has ended"), "the stream has ended")
        self._results.clear()


async def _write(context: Any, message: agent_pb2.ExecuteResponse) -> None:
    try:
        async with asyncio.timeout(STALLED_S):
            await to_caller(context.write(message))
    except TimeoutError:
        raise ResourceExhausted(
            f"the stream was not read for {STALLED_S:g} s; what ran for it is cancelled"
        ) from None


def _assignment(call: agent_pb2.DirectCall, left_s: float | None) -> session_pb2.Assignment:
    made = session_pb2.Assignment(
        task_id=draw_id(), attempt=1, method=call.method, payload=call.payload, context=call.context
    )
    if left_s is not None and left_s < MAX_DURATION_S:
        made.deadline.CopyFrom(timestamp(time.time() + left_s))
    return made


def _no_stream(_payload: bytes) -> Any:
    raise AssertionError("a unary handler has no stream")
