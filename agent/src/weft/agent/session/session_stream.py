"""One stream to a coordinator, from Hello until it breaks.

It lives on the event loop where handlers run: work goes from the socket to its handler and back without a change of
threads. One task reads, one writes, one sends heartbeats and watches for their echoes; they and the channel are gone when
`run` returns. While a handler blocks the loop, the watchdog sends the message that `out_of_band` makes.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import grpc
from grpc import aio

from weft.agent.handlers.handler_run import UNWANTED_GRACE_S
from weft.agent.session.attempt import HeldAttempt
from weft.agent.session.executor import CancelRequest
from weft.agent.session.log_answers import Answer
from weft.agent.session.outbox import Outbox
from weft.agent.session.session_replies import SessionReplies
from weft.rpc.calls.pacing import Pacer
from weft.rpc.network.channel import NO_TLS, Route, client_options, dial
from weft.rpc.process.logs import get_logger
from weft.rpc.times import duration, seconds
from weft.v1 import command_pb2, coordinator_pb2, coordinator_pb2_grpc, logs_pb2, session_pb2

_log = get_logger("weft.agent")

# From dialling to Welcome. A coordinator that has just come back reads its journal first.
WELCOME_TIMEOUT_S = 10.0
# After so many heartbeats in a row without an echo, the stream counts as dead.
MISSED_ECHOES = 3
DEFAULT_HEARTBEAT_S = 1.0
# Takes an answer to the session on which the command came.
CommandAnswer = Callable[[command_pb2.CommandReply], None]
# Most echoes that are awaited at a time. Beyond it, round trips are not measured.
_SENT_REMEMBERED = 64


class SessionOwner(Protocol):
    """The interface that a stream needs of its agent. Called on the event loop, except `report`."""

    def hello(self) -> session_pb2.Hello:
        """The present Hello, with the attempts that are held."""
        ...

    def contract(self, digest: str) -> bytes:
        """The FileDescriptorSet of the contract that a Hello named."""
        ...

    def report(self) -> session_pb2.AgentReport:
        """The present state, without the fields that the stream adds. From any thread, one at a time."""
        ...

    def welcomed(self, welcome: session_pb2.Welcome) -> None:
        """A session is open."""

    def disconnected(self, reason: str, message: str) -> None:
        """A session that was open has ended, and another one is dialled; `reason`: weft's, if there is one."""

    def desired(self, state: int) -> None:
        """The desired state has changed."""

    def tokens_changed(self) -> None:
        """Tokens of callers have changed."""

    def asked_for_logs(self, requests: Sequence[logs_pb2.LogRequest], answer: Answer) -> None:
        """The coordinator wants lines that attempts have logged."""

    def commanded(self, commands: Sequence[command_pb2.AgentCommand], answer: CommandAnswer) -> None:
        """An operator gives commands. From any thread."""

    def work(self, assigned: Sequence[HeldAttempt], cancellations: Sequence[CancelRequest]) -> None:
        """Attempts to run, and attempts to cancel."""


class SessionStream:
    """One stream. `run` may be called once; made and run on the event loop.

    Large because reading, writing, heartbeats and out-of-band reports share the state of the stream.
    """

    def __init__(self, target: str, agent: SessionOwner, outbox: Outbox, route: Route = NO_TLS) -> None:
        self.target = target
        self._route = route
        self._agent = agent
        self._outbox = outbox
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        # Set when something may be waiting to be sent.
        self._due = asyncio.Event()
        self._pacer = Pacer()
        self._welcomed = False
        # Set once it is welcomed or closed.
        self._settled = asyncio.Event()
        self._closed = False
        self.epoch = 0
        self.report_key = b""
        self.interval_s = DEFAULT_HEARTBEAT_S
        # When the loop last came to a heartbeat, by the monotonic clock.
        self._beaten_at_s = time.monotonic()
        # Further items to send, besides those of the outbox.
        self._contract: bytes | None = None
        self._contract_hash = ""
        self._beat_due = False
        self._goodbye = False
        self._replies = SessionReplies(self.wake)
        # The watchdog composes messages too.
        self._composing = threading.Lock()
        self._sequence = 0
        self._unechoed = 0
        self._sent_at: dict[int, float] = {}
        self._round_trip_s: float | None = None
        # The first heartbeat that told of the drain; 0: none yet.
        self._drain_sequence = 0
        self._drain_known = False
        self._call: Any = None
        # Leads to the coordinator, while the stream runs.
        self.channel: aio.Channel | None = None
        # The reason, if this side closed the stream.
        self.gave_up = ""

    @property
    def open(self) -> bool:
        """Whether the session is open now. From any thread."""
        return self._welcomed and not self._closed

    @property
    def welcomed(self) -> bool:
        """Whether the coordinator ever opened the session."""
        return self._welcomed

    @property
    def drain_known(self) -> bool:
        """Whether the coordinator knows of the drain, or the stream has ended. From any thread."""
        return self._drain_known or self._closed

    @property
    def loop_blocked(self) -> bool:
        """Whether something blocks the event loop: a heartbeat is late by half an interval. From any thread."""
        return time.monotonic() - self._beaten_at_s > 1.5 * self.interval_s

    async def run(self) -> None:
        """Dial, and serve the session until the stream ends.

        Raises:
            grpc.RpcError: why it ended; not raised when the coordinator closed it after a goodbye, or this end did.
        """
        tasks: list[asyncio.Task[None]] = []
        async with dial(self.target, client_options(own_connection=True), self._route) as channel:
            self.channel = channel
            try:
                call = self._call = coordinator_pb2_grpc.CoordinatorServiceStub(channel).Connect()
                tasks = [self._loop.create_task(job) for job in (self._send(call), self._beat())]
                while (message := await call.read()) is not aio.EOF:
                    self._handle(message)
            except asyncio.CancelledError:
                # The call was cancelled, by `close`; or this task, by the application.
                task = asyncio.current_task()
                if not self._closed or task is None or task.cancelling():
                    raise
            finally:
                self._outbox.detach(self.wake)
                # In this order: grpc.aio leaks a connection whose stream is cancelled before its tasks (grpc#42125).
                for each in tasks:
                    each.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                self.close()

    def close(self) -> None:
        """End the stream; harmless when it has ended."""
        self._closed = True
        self.channel = None
        self._settled.set()
        # A stopping agent need not wait for this coordinator's answer any more.
        self._outbox.notify()
        if self._call is not None:
            self._call.cancel()

    def beat(self) -> None:
        """Send the agent's state now: it has changed. From any thread."""
        self._beat_due = True
        self.wake()

    def goodbye(self) -> None:
        """Say goodbye once all that waits has been sent; the coordinator then ends the stream."""
        self._goodbye = True
        # What direct calls have used at last goes along.
        self.beat()

    def wake(self) -> None:
        """Send the waiting items. From any thread."""
        if threading.get_ident() == self._thread:
            self._due.set()
        else:
            self._post(self._due.set)

    def _post(self, call: Callable[..., None], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(call, *args)

    # -- receiving ----------------------------------------------------------------------------------------------

    def _handle(self, message: session_pb2.ConnectResponse) -> None:
        """Handle one message, its parts in the order of their field numbers, as the contract says."""
        cancellations: list[CancelRequest] = []
        if message.HasField("welcome"):
            cancellations.extend(self._open(message.welcome))
        assigned = self._outbox.hold(message.assignments, self.epoch) if message.assignments else ()
        for cancel in message.cancels:
            ref = (cancel.task_id, cancel.attempt)
            if cancel.lost:
                self._outbox.lose(ref)
            grace_s = seconds(cancel.grace) if cancel.HasField("grace") else UNWANTED_GRACE_S
            cancellations.append(CancelRequest(ref, cancel.reason, grace_s))
        if assigned or cancellations:
            self._agent.work(assigned, cancellations)
        if message.result_acks:
            refused = self._outbox.ack_results(message.result_acks)
            if refused:
                _log.info(
                    "results.refused",
                    count=refused,
                    effect="they came too late: their tasks were another agent's by then",
                )
        if message.progress_acks:
            self._outbox.ack_progress(message.progress_acks)
        if message.desired_state:
            self._agent.desired(message.desired_state)
        if message.direct_problem:
            _log.warning(
                "direct.unreachable",
                error=message.direct_problem,
                do="set WEFT_AGENT_ADVERTISED_ADDRESS to a HOST:PORT that leads here from elsewhere,"
                ' or WEFT_AGENT_LISTEN to "off" if it should get no direct calls',
            )
        if message.tokens_changed:
            self._agent.tokens_changed()
        if message.log_requests:
            self._agent.asked_for_logs(message.log_requests, self._replies.add_log)
        if message.commands:
            self._command(message.commands)
        if message.echo_sequence:
            self._echoed(message.echo_sequence)

    def _command(self, commands: Sequence[command_pb2.AgentCommand]) -> None:
        if new := self._replies.new(commands):
            self._agent.commanded(new, self._replies.add_command)

    def _open(self, welcome: session_pb2.Welcome) -> list[CancelRequest]:
        self.epoch, self.report_key = welcome.epoch, welcome.report_key
        if welcome.HasField("heartbeat_interval"):
            self.interval_s = max(0.01, seconds(welcome.heartbeat_interval))
        if welcome.contract_needed:
            self._contract = self._agent.contract(self._contract_hash)
        self._agent.welcomed(welcome)
        lost = self._outbox.attach(self.wake, welcome.epoch, welcome.adopted)
        self._beaten_at_s = time.monotonic()
        self._welcomed = True
        self._settled.set()
        self.beat()
        if welcome.desired_state:
            self._agent.desired(welcome.desired_state)
        return [
            CancelRequest(attempt.ref, "another agent has this task now", UNWANTED_GRACE_S)
            for attempt in lost
        ]

    def _echoed(self, sequence: int) -> None:
        self._unechoed = 0
        sent_at = self._sent_at.pop(sequence, None)
        if sent_at is not None:
            self._round_trip_s = time.monotonic() - sent_at
            # The same echo answers all earlier heartbeats.
            for older in [each for each in self._sent_at if each < sequence]:
                del self._sent_at[older]
        self._known(sequence)

    def _known(self, sequence: int) -> None:
        """Note that the coordinator has this state, and the rest of its message. From any thread."""
        if 0 < self._drain_sequence <= sequence:
            self._drain_known = True
        self._outbox.echoed(sequence)

    # -- heartbeats ---------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        try:
            async with asyncio.timeout(WELCOME_TIMEOUT_S):
                await self._settled.wait()
        except TimeoutError:
            self.give_up(f"no welcome within {WELCOME_TIMEOUT_S:g} s")
        while not self._closed:
            await asyncio.sleep(self.interval_s)
            self._beaten_at_s = time.monotonic()
            # By number, not by time: if this process was paused, the coordinator is not at fault.
            if self._unechoed >= MISSED_ECHOES:
                self.give_up(f"no echo of {MISSED_ECHOES} heartbeats")
                return
            self._unechoed += 1
            self.beat()

    def give_up(self, why: str) -> None:
        """As `close`, with a reason."""
        self.gave_up = why
        self.close()

    # -- sending ------------------------------------------------------------------------------------------------

    async def _send(self, call: Any) -> None:
        try:
            await self._write(call)
        except (grpc.RpcError, asyncio.InvalidStateError):
            # If a stream cannot be written, its reader gets the reason.
            pass
        except Exception:
            # A fault of weft. It must not leave a stream on which nothing is sent.
            _log.exception("session.failed")
            self.give_up("a message could not be made")

    async def _write(self, call: Any) -> None:
        hello = self._agent.hello()
        self._contract_hash = hello.contract_hash
        await call.write(session_pb2.ConnectRequest(hello=hello))
        while True:
            await self._due.wait()
            self._due.clear()
            if not self._welcomed:
                continue
            while (message := await self._next()) is not None:
                await call.write(message)
                self._pacer.sent(self._loop.time())
                if message.goodbye:
                    await call.done_writing()
                    return

    async def _next(self) -> session_pb2.ConnectRequest | None:
        """The next message, when it is time for it. None if nothing waits."""
        if (wait_s := self._pacer.wait_s(self._outbox.unreported, self._loop.time())) > 0.0:
            await asyncio.sleep(wait_s)
        return self._compose()

    def _compose(self) -> session_pb2.ConnectRequest | None:
        """The waiting items, up to the bounds of a batch. None if nothing waits."""
        message = session_pb2.ConnectRequest()
        contract, self._contract = self._contract, None
        if contract is not None:
            message.contract.file_descriptor_set = contract
        with self._composing:
            filled = self._outbox.fill(message, self.wake, self._sequence + 1)
            # The echo of this state shows that releases have arrived: they have no acknowledgement of their own.
            if self._beat_due or message.released:
                self._beat_due = False
                message.state.CopyFrom(self._state())
                filled = True
                if len(self._sent_at) < _SENT_REMEMBERED:
                    self._sent_at[self._sequence] = time.monotonic()
        filled = self._replies.fill(message) or filled
        if not filled and self._goodbye:
            message.goodbye = True
            filled = True
        return message if filled or contract is not None else None

    def _state(self) -> session_pb2.AgentReport:
        report = self._agent.report()
        self._sequence += 1
        report.sequence = self._sequence
        if report.draining and not self._drain_sequence:
            self._drain_sequence = self._sequence
        if self._round_trip_s is not None:
            report.round_trip.CopyFrom(duration(self._round_trip_s))
        return report

    # -- out-of-band, while the loop is blocked: from the watchdog's thread -----------------------------------------

    def out_of_band(self) -> session_pb2.ConnectRequest:
        """The state, and the waiting results and releases that may overtake messages on the stream."""
        message = session_pb2.ConnectRequest()
        with self._composing:
            self._outbox.fill(message, self.wake, self._sequence + 1, overtaking=True)
            message.state.CopyFrom(self._state())
        self._replies.fill_commands(message)
        return message

    def arrived(self, message: session_pb2.ConnectRequest, response: coordinator_pb2.ReportResponse) -> None:
        """Note that the coordinator has the message of `out_of_band`, and its answer."""
        self._known(message.state.sequence)
        self._command(response.commands)

    def failed(self, message: session_pb2.ConnectRequest) -> None:
        """Note that the message may not have arrived: another stream sends its content again."""
        self._replies.put_back(message)
        if message.results or message.released:
            self._post(self.give_up, "an out-of-band report did not arrive")
