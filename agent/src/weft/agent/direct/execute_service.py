"""`AgentService`: many direct calls on one stream, and the agent's description of itself.

All waiting results go out in one message. A call that is cancelled or out of time is answered at once; its handler is
told, and its slot stays taken until it ends. Bounds: a running call has a slot, a message has so many calls, and the
stream is read only while its payloads and results are below a limit.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from google.protobuf.message import DecodeError

from weft.agent.direct.direct_contexts import generate_id
from weft.agent.direct.direct_endings import Endings, no_slot_in_time, not_hosted
from weft.agent.direct.direct_handlers import DirectParts
from weft.agent.direct.direct_use import tree_of
from weft.agent.handlers import outcomes
from weft.agent.handlers.handler_run import HandlerRun, Runner
from weft.agent.hosting.hosted_methods import HostedMethod
from weft.rpc import refusals
from weft.rpc.calls.pacing import Pacer
from weft.rpc.errors import WeftError
from weft.rpc.identity.edge import Edge
from weft.rpc.network.channel import BATCH_BYTES, MAX_PAYLOAD_BYTES
from weft.rpc.network.gone import to_caller
from weft.rpc.telemetry import traces
from weft.rpc.times import MAX_DURATION_S, timestamp
from weft.v1 import agent_pb2, agent_pb2_grpc, fleet_pb2, session_pb2, task_pb2

# Calls in one message.
MAX_CALLS = 4096
# Payloads of running calls and results that are not sent yet, on one stream.
MAX_HELD_BYTES = 4 * MAX_PAYLOAD_BYTES
# Of a response's initial metadata, and of its trailers with its status: both are in one message with it.
_BESIDE_BYTES = 256 * 1024
# A changed load is sent after this time at the latest.
LOAD_INTERVAL_S = 1.0
# A caller that does not read for so long is dropped.
STALLED_S = 30.0
# When a stream is refused, a message that is being written gets this long to go out.
LAST_WRITE_S = 2.0


class AgentService(agent_pb2_grpc.AgentServiceServicer):
    """Served on the same port as the hosted methods."""

    def __init__(
        self,
        methods: Mapping[str, HostedMethod],
        parts: DirectParts,
        endings: Endings,
        describe: Callable[[], fleet_pb2.Agent],
        edge: Edge,
    ) -> None:
        self._edge = edge
        self.methods = methods
        self.runners, self.slots, self.load, self.agent_id, max_message_bytes, self.calls, self.use = parts
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
        stream = _ExecuteStream(self, self._edge.method_check(context))
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


class _ExecuteCall(HandlerRun):
    """A call's run: its outcome goes out on the stream, once the handler is gone."""

    outcome: task_pb2.Outcome
    answered = False

    def __init__(
        self, stream: _ExecuteStream, call_id: int, hosted: HostedMethod, context: Any, runner: Runner
    ) -> None:
        self.stream = stream
        self.id = call_id
        self.hosted = hosted
        self.context = context
        self.runner = runner
        assignment = context.assignment
        self.span = traces.serving(assignment, context.agent_id) if traces.tracing() else None
        self.size_bytes = len(assignment.payload)
        self.began_s = time.perf_counter()

    @property
    def limit_bytes(self) -> int:
        return self.stream.max_response_bytes

    def report(self, outcome: task_pb2.Outcome, *, crashed: bool = False) -> None:
        self.outcome = outcome

    def answer(self, outcome: task_pb2.Outcome) -> None:
        self.stream.answer(self, outcome)

    def gone(self) -> None:
        self.stream.gone(self)

    def withdraw(self) -> None:
        self.stream.withdraw(self)

    def stop(self, outcome: task_pb2.Outcome, reason: str) -> None:
        """Answer the caller at once. The handler ends by itself."""
        if not self.answered:
            self.answer(outcome)
            self.drop(reason)


class _ExecuteStream:
    """One Execute stream: its running calls, and its results that wait to be sent."""

    def __init__(self, service: AgentService, check_method: Callable[[str], None]) -> None:
        """
        Args:
            check_method: raises if a method is not for the stream's caller.
        """
        self._service = service
        self._check_method = check_method
        self._slots = service.slots
        self._loop = service.runners.loop
        self.max_response_bytes = service.max_response_bytes
        # By the caller's id, until it is answered.
        self._calls: dict[int, _ExecuteCall] = {}
        # Until the handler is gone.
        self._runs: set[_ExecuteCall] = set()
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
                    raise refusals.invalid_field(
                        f"the message has {len(message.calls)} calls; at most {MAX_CALLS} can be",
                        field="calls",
                    )
                for call in message.calls:
                    self._start(call)
                for call_id in message.cancels:
                    if run := self._calls.get(call_id):
                        run.stop(outcomes.cancelled("by the caller"), "by the caller")
                while self._held_bytes > MAX_HELD_BYTES:
                    self._room.clear()
                    await self._room.wait()
        except DecodeError as error:
            raise refusals.payload_malformed(f"the request does not parse: {error}") from None
        self._half_closed = True
        self._due.set()

    def _start(self, call: agent_pb2.DirectCall) -> None:
        if call.id in self._calls:
            raise refusals.invalid_field(f"call id {call.id} is in use on this stream", field="calls.id")
        try:
            # Before anything is said of what is hosted.
            self._check_method(call.method)
        except WeftError as error:
            self._send(call.id, outcomes.of_error(error))
            return
        hosted = self._service.methods.get(call.method)
        refusal = self._refusal(call.method, hosted)
        if refusal is not None or hosted is None:
            self._send(call.id, outcomes.of_error(refusal or not_hosted(call.method)))
            return
        left_s = call.time_left_ms / 1000 or None
        deadline_at = None if left_s is None else time.monotonic() + left_s
        runner = self._service.runners.of(hosted)
        context = runner.context_type(_assignment(call, left_s), self._service.agent_id, deadline_at)
        run = self._calls[call.id] = _ExecuteCall(self, call.id, hosted, context, runner)
        self._held_bytes += run.size_bytes
        self._runs.add(run)
        if deadline_at is not None:
            run.limit(deadline_at)
        if self._slots.take_direct(hosted.slot_cost):
            run.start()
        else:
            run.task = self._loop.create_task(self._wait(run))

    async def _wait(self, run: _ExecuteCall) -> None:
        """Start a call when its turn for slots comes."""
        left_s, agent_id = run.context.time_left_s(), self._service.agent_id
        why = await no_slot_in_time(self._slots, run.hosted.slot_cost, left_s, agent_id)
        if why is None:
            run.start()
        else:
            run.stop(outcomes.of_error(why), why.message)

    def _refusal(self, method: str, hosted: HostedMethod | None) -> WeftError | None:
        """Why a call cannot be made."""
        if hosted is None:
            return not_hosted(method)
        if hosted.request_streaming or hosted.response_streaming:
            return refusals.method_not_hosted(f"{method} has a stream of messages: call it by its own name")
        return None

    def withdraw(self, run: _ExecuteCall) -> None:
        """Drop a call that waited for slots."""
        run.over = True
        self._runs.discard(run)
        if run.timer is not None:
            run.timer.cancel()
        if run.task is not None and run.task is not asyncio.current_task():
            run.task.cancel()

    def gone(self, run: _ExecuteCall) -> None:
        """A handler is gone: its slots are free."""
        self._slots.give_direct(run.hosted.slot_cost)
        assignment = run.context.assignment
        self._service.use.count(run, tree_of(assignment.context), run.began_s, assignment.payload)
        self._runs.discard(run)
        if not run.answered:
            self.answer(run, outcomes.bounded(run.outcome, self.max_response_bytes, _BESIDE_BYTES))

    # -- responses ----------------------------------------------------------------------------------------------

    def answer(self, run: _ExecuteCall, outcome: task_pb2.Outcome) -> None:
        """Answer a call, unless it was answered."""
        if run.answered:
            return
        run.answered = True
        took_s = time.perf_counter() - run.began_s
        self._service.calls.observe(run.hosted.name, outcome.status.code, took_s)
        del self._calls[run.id]
        self._held_bytes -= run.size_bytes
        self._send(run.id, outcome)

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
        """The waiting items, up to the bounds of a batch. None if nothing waits."""
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
        """End `write` after its current message."""
        self._refused = True
        self._due.set()

    def end(self) -> None:
        """The stream has ended: its running calls are not needed any more."""
        self._ended = True
        for run in list(self._runs):
            run.stop(outcomes.cancelled("the stream has ended"), "the stream has ended")
        self._results.clear()


async def _write(context: Any, message: agent_pb2.ExecuteResponse) -> None:
    try:
        async with asyncio.timeout(STALLED_S):
            await to_caller(context.write(message))
    except TimeoutError:
        raise refusals.overloaded(
            f"the stream was not read for {STALLED_S:g} s; its running calls are cancelled"
        ) from None


def _assignment(call: agent_pb2.DirectCall, left_s: float | None) -> session_pb2.Assignment:
    made = session_pb2.Assignment(
        task_id=generate_id(), attempt=1, method=call.method, payload=call.payload, context=call.context
    )
    if left_s is not None and left_s < MAX_DURATION_S:
        made.deadline.CopyFrom(timestamp(time.time() + left_s))
    return made
