"""One stream to a coordinator, from Hello until it breaks.

Three threads, so that nothing can hold up a heartbeat and sending never blocks receiving: the caller of `run` reads,
grpc's own thread draws messages from `_messages`, and a third one sends heartbeats and watches for their echoes. The
grpc channel and all of them are gone when `run` returns.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from typing import Any, Protocol

import grpc
import structlog

from weft.agent.attempt import Attempt
from weft.agent.executor import UNWANTED_GRACE_S, Cancellation
from weft.agent.outbox import Outbox
from weft.rpc.channel import client_options
from weft.rpc.times import duration, seconds
from weft.v1 import coordinator_pb2_grpc, session_pb2

_log = structlog.get_logger("weft.agent")

# From dialling to Welcome; a coordinator that has just come back has a journal to read first.
WELCOME_TIMEOUT_S = 10.0
# Heartbeats in a row without an echo, after which the stream is taken for dead.
MISSED_ECHOES = 3
DEFAULT_HEARTBEAT_S = 1.0
# Echoes that are awaited at a time, at most; more only means that round trips are not measured.
_SENT_REMEMBERED = 64


class Agent(Protocol):
    """What a stream needs to know and tells. Called from the stream's threads."""

    def hello(self) -> session_pb2.Hello:
        """The present Hello, with the attempts that are held."""
        ...

    def contract(self, digest: str) -> bytes:
        """The FileDescriptorSet of the contract that a Hello named."""
        ...

    def report(self) -> session_pb2.AgentReport:
        """The present state, but for what the stream adds."""
        ...

    def welcomed(self, welcome: session_pb2.Welcome) -> None:
        """A session is open."""

    def desired(self, state: int) -> None:
        """An operator wants this of the agent."""

    def work(self, assigned: Sequence[Attempt], cancellations: Sequence[Cancellation]) -> None:
        """Attempts to make, and to end."""


class Stream:
    """One stream. `run` may be called once."""

    def __init__(self, target: str, agent: Agent, outbox: Outbox) -> None:
        self._agent = agent
        self._outbox = outbox
        self._channel = grpc.insecure_channel(target, options=client_options(own_connection=True))
        # A token says: look what there is to send.
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._welcomed = False
        # Set once it is welcomed or closed.
        self._settled = threading.Event()
        self._closed = threading.Event()
        self._epoch = 0
        self._interval_s = DEFAULT_HEARTBEAT_S
        # What to send beside the outbox; written by one thread, taken by the sender.
        self._contract: bytes | None = None
        self._contract_hash = ""
        self._beat_due = False
        self._goodbye = False
        self._sequence = 0
        self._unechoed = 0
        self._sent_at: dict[int, float] = {}
        self._round_trip_s: float | None = None
        # The first heartbeat that told of the drain; 0: none yet.
        self._drain_sequence = 0
        self._drain_known = False
        self._call: Any = None
        # Why this end closed it, when it did so of its own accord.
        self.gave_up = ""

    @property
    def open(self) -> bool:
        """Whether the session is open now."""
        return self._welcomed and not self._closed.is_set()

    @property
    def welcomed(self) -> bool:
        """Whether the coordinator ever opened the session."""
        return self._welcomed

    @property
    def drain_known(self) -> bool:
        """Whether the coordinator has echoed a state that told it of the drain, or the stream has ended."""
        return self._drain_known or self._closed.is_set()

    def run(self) -> None:
        """Dial, and serve the session until the stream ends.

        Raises:
            grpc.RpcError: why it ended; not raised when the coordinator closed it after a goodbye.
        """
        pulse = threading.Thread(target=self._beat, name="weft-heartbeat", daemon=True)
        pulse.start()
        try:
            stub = coordinator_pb2_grpc.CoordinatorServiceStub(self._channel)
            call = self._call = stub.Connect(self._messages())
            if self._closed.is_set():
                # Closed from outside before there was a call to cancel.
                call.cancel()
            for message in call:
                self._handle(message)
        finally:
            self.close()
            self._outbox.detach(self._wake)
            self._channel.close()
            pulse.join()

    def close(self) -> None:
        """End the stream, from any thread; harmless when it has ended."""
        self._closed.set()
        self._settled.set()
        self._wake.put(None)
        if self._call is not None:
            self._call.cancel()

    def beat(self) -> None:
        """Send the agent's state now: it has changed."""
        self._beat_due = True
        self._wake.put(None)

    def goodbye(self) -> None:
        """Say goodbye once all that waits has been sent; the coordinator then ends the stream."""
        self._goodbye = True
        self._wake.put(None)

    # -- receiving ----------------------------------------------------------------------------------------------

    def _handle(self, message: session_pb2.ConnectResponse) -> None:
        """One message, its parts in the order of their field numbers, as the contract says."""
        cancellations: list[Cancellation] = []
        if message.HasField("welcome"):
            cancellations.extend(self._open(message.welcome))
        assigned = self._outbox.hold(message.assignments, self._epoch) if message.assignments else ()
        for cancel in message.cancels:
            ref = (cancel.task_id, cancel.attempt)
            if cancel.lost:
                self._outbox.lose(ref)
            grace_s = seconds(cancel.grace) if cancel.HasField("grace") else UNWANTED_GRACE_S
            cancellations.append(Cancellation(ref, cancel.reason, grace_s))
        if assigned or cancellations:
            self._agent.work(assigned, cancellations)
        if message.result_acks:
            refused = self._outbox.ack_results(message.result_acks)
            if refused:
                _log.warning("results came too late: another agent had these tasks by then", results=refused)
        if message.progress_acks:
            self._outbox.ack_progress(message.progress_acks)
        if message.desired_state:
            self._agent.desired(message.desired_state)
        if message.direct_problem:
            _log.warning(
                "direct calls cannot reach this agent: the coordinator dialled its advertised address in vain",
                says=message.direct_problem,
                do="set WEFT_AGENT_ADVERTISED_ADDRESS to a HOST:PORT that leads here from elsewhere,"
                ' or WEFT_AGENT_LISTEN to "off" when nobody is to call it directly',
            )
        if message.echo_sequence:
            self._echoed(message.echo_sequence)

    def _open(self, welcome: session_pb2.Welcome) -> list[Cancellation]:
        self._epoch = welcome.epoch
        if welcome.HasField("heartbeat_interval"):
            self._interval_s = max(0.01, seconds(welcome.heartbeat_interval))
        if welcome.contract_needed:
            self._contract = self._agent.contract(self._contract_hash)
        self._agent.welcomed(welcome)
        lost = self._outbox.attach(self._wake, welcome.epoch, welcome.adopted)
        self._beat_due = True
        self._welcomed = True
        self._settled.set()
        self._wake.put(None)
        if welcome.desired_state:
            self._agent.desired(welcome.desired_state)
        return [
            Cancellation(attempt.ref, "another agent has this task now", UNWANTED_GRACE_S) for attempt in lost
        ]

    def _echoed(self, sequence: int) -> None:
        self._unechoed = 0
        if 0 < self._drain_sequence <= sequence:
            self._drain_known = True
        sent_at = self._sent_at.pop(sequence, None)
        if sent_at is not None:
            self._round_trip_s = time.monotonic() - sent_at
            # Those before it were answered by the same echo.
            for older in [each for each in self._sent_at if each < sequence]:
                del self._sent_at[older]
        self._outbox.echoed(sequence)

    # -- heartbeats ---------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        if not self._settled.wait(WELCOME_TIMEOUT_S):
            self.give_up(f"no welcome within {WELCOME_TIMEOUT_S:g} s")
        while not self._closed.wait(self._interval_s):
            # Counted, not timed: a process that was stopped for a while must not blame the coordinator.
            if self._unechoed >= MISSED_ECHOES:
                self.give_up(f"no echo of {MISSED_ECHOES} heartbeats")
                return
            self._unechoed += 1
            self.beat()

    def give_up(self, why: str) -> None:
        """As `close`, and say why."""
        self.gave_up = why
        self.close()

    # -- sending ------------------------------------------------------------------------------------------------

    def _messages(self) -> Iterator[session_pb2.ConnectRequest]:
        """What grpc sends, drawn by its own thread: the next message when the last one has been written."""
        hello = self._agent.hello()
        self._contract_hash = hello.contract_hash
        yield session_pb2.ConnectRequest(hello=hello)
        while not self._closed.is_set():
            self._wake.get()
            if not self._welcomed:
                continue
            while not self._closed.is_set():
                message = self._compose()
                if message is None:
                    break
                yield message
                if message.goodbye:
                    return

    def _compose(self) -> session_pb2.ConnectRequest | None:
        """All that waits, up to the bounds of a batch; None: nothing waits."""
        message = session_pb2.ConnectRequest()
        contract, self._contract = self._contract, None
        if contract is not None:
            message.contract.file_descriptor_set = contract
        filled = self._outbox.fill(message, self._wake, self._sequence + 1)
        # The echo of this state tells that hand-backs have arrived: they have no acknowledgement of their own.
        if self._beat_due or message.released:
            self._beat_due = False
            message.state.CopyFrom(self._state())
            filled = True
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
        if len(self._sent_at) < _SENT_REMEMBERED:
            self._sent_at[self._sequence] = time.monotonic()
        return report
