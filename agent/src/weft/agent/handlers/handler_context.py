"""The `context` of a handler: the interface of grpc's servicer contexts, over an attempt instead of an RPC.

It has everything that a handler written for `grpc.server` or `grpc.aio.server` uses. It collects the values that the
handler sets, and makes the attempt's outcome of them. Cancellation and the deadline come in through `signal_cancel`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from weft.agent.handlers.call_steps import steps_of
from weft.agent.handlers.current_call import CancelSignal, call_context_of
from weft.agent.process.failure_log import log_raised
from weft.rpc.calls import call_context
from weft.rpc.calls import metadata as weft_metadata
from weft.rpc.errors import STATUS_DETAILS_KEY, status_code
from weft.rpc.process.logs import get_logger
from weft.rpc.raised import text_of
from weft.v1 import session_pb2, task_pb2

if TYPE_CHECKING:
    from weft.agent.handlers.keyed_state import HeldState, StateLeft
    from weft.agent.hosting.hosted_methods import HostedMethod
    from weft.agent.steps.attempt_steps import AttemptSteps

_log = get_logger("weft.agent")

Metadata = Iterable[tuple[str, str | bytes]]
_NO_FAILURE = (None, grpc.StatusCode.OK)


class Metadatum(NamedTuple):
    """One entry of the caller's metadata."""

    key: str
    value: str | bytes


class HandlerContext:
    """The common part of both flavours. Handlers may call it from several threads; each setting is one assignment.

    Large because it has the methods of grpc's interface, and those of this library.
    """

    cancel_reason = ""
    aborted = False
    # The handler cancelled its own call.
    given_up = False
    # The app behind a sidecar died while it ran the handler.
    crashed = False
    _code: grpc.StatusCode | None = None
    _details = ""
    _trailers: weft_metadata.Pairs = ()
    _headers: weft_metadata.Pairs = ()
    # Initial metadata has been sent, by the handler or with its first response.
    headers_gone = False
    # Called with initial metadata when the handler sends it.
    on_headers: Callable[[weft_metadata.Pairs], None] | None = None
    # Decodes and parses one request of a stream; None: gRPC has parsed them.
    decode: Any = None
    # What the handler says that it has used, by unit; None: nothing so far.
    used_units: dict[str, float] | None = None
    # The state that its lock keeps, once the handler has asked for it; and the bytes that it may have, 0: not known.
    keyed_state: HeldState | StateLeft | None = None
    state_limit_bytes = 0
    # Whether a later attempt can go on from its steps.
    durable = True
    # Its handler runs in a thread.
    blocking = False
    # Its steps; None: none so far.
    steps: AttemptSteps | None = None
    # Its handler only waits: until when, and for what.
    suspension: task_pb2.Suspension | None = None
    waits_for = ""
    _callbacks: list[Callable[[], object]] | None = None
    _done = False

    def __init__(self, assignment: session_pb2.Assignment, agent_id: str, deadline_at: float | None) -> None:
        self.assignment = assignment
        self.agent_id = agent_id
        self.cancel_signal = CancelSignal()
        self._deadline_at = deadline_at

    # -- for handlers -------------------------------------------------------------------------------------------

    def invocation_metadata(self) -> Any:
        """The caller's metadata: a tuple of `Metadatum`."""
        return tuple(Metadatum(*pair) for pair in weft_metadata.from_proto(self.assignment.context.metadata))

    def peer(self) -> str:
        return "weft:coordinator"

    def peer_identities(self) -> None:
        return None

    def peer_identity_key(self) -> None:
        return None

    def auth_context(self) -> Mapping[str, Any]:
        return {}

    def set_code(self, code: grpc.StatusCode | int) -> None:
        self._code = _code_of(code)

    def set_details(self, details: str) -> None:
        self._details = _text_of(details)

    def code(self) -> Any:
        return self._code

    def details(self) -> Any:
        return self._details

    def set_trailing_metadata(self, trailing_metadata: Metadata) -> None:
        self._trailers = checked(trailing_metadata)

    def trailing_metadata(self) -> Any:
        return self._trailers

    def set_compression(self, compression: grpc.Compression) -> None:
        """Nothing to do: the stream to the coordinator has its own."""

    def disable_next_message_compression(self) -> None:
        """Nothing to do: the stream to the coordinator has its own."""

    def time_remaining(self) -> Any:
        """Seconds until the deadline; None: no limit."""
        return self.time_left_s()

    def is_active(self) -> bool:
        """Whether the outcome is still needed."""
        return not self.cancel_signal and not self._done

    # -- for the library ----------------------------------------------------------------------------------------

    @property
    def failed(self) -> bool:
        """The handler asked for a status other than OK."""
        return self.aborted or self._code not in _NO_FAILURE

    def time_left_s(self) -> float | None:
        """Seconds until the deadline, by this process' monotonic clock; None: no limit."""
        return None if self._deadline_at is None else max(0.0, self._deadline_at - time.monotonic())

    def child_context(self) -> call_context.CallContext:
        """The call context that the handler's own calls inherit."""
        return call_context_of(self.assignment, self._deadline_at)

    def call_steps(self, *, asked: bool = False) -> call_context.CallSteps | None:
        """Its steps, if it has any, or they are asked for, or its handler's calls are remembered."""
        if self.steps is None and self.durable and (asked or self.assignment.durable_children):
            return steps_of(self)
        return self.steps

    def log_fields(self) -> Mapping[str, str | int]:
        """The fields of lines about the call."""
        assignment = self.assignment
        return {
            "task_id": assignment.task_id,
            "attempt": assignment.attempt,
            "method": assignment.method,
            "agent_id": self.agent_id,
        }

    def request(self, hosted: HostedMethod) -> Any:
        """The handler's first argument.

        Raises:
            DecodeError, ValueError: the payload does not parse.
        """
        return hosted.deserialize(self.assignment.payload)

    @property
    def request_bytes(self) -> bytes:
        """The serialized request, of a method with one."""
        return self.assignment.payload

    @request_bytes.setter
    def request_bytes(self, payload: bytes) -> None:
        self.assignment.payload = payload

    @property
    def rich_status(self) -> bytes | None:
        """The `google.rpc.Status` that the handler gave with its own failure, as it gave it."""
        for key, value in self._trailers if self.failed else ():
            if key == STATUS_DETAILS_KEY:
                return value if isinstance(value, bytes) else value.encode()
        return None

    def forget_rich_status(self) -> None:
        """Let the outcome's status be all that is told of a failure."""
        self._trailers = tuple(pair for pair in self._trailers if pair[0] != STATUS_DETAILS_KEY)

    def was_cancelled(self, raised: type[BaseException]) -> bool:  # noqa: ARG002 - a direct call's looks at it
        """Whether the handler was told to end, when it has raised an exception of this class."""
        return bool(self.cancel_signal)

    def signal_cancel(self, reason: str) -> None:
        """Let the handler see that it is cancelled. Its callbacks are run by `run_callbacks`."""
        if not self.cancel_signal:
            self.cancel_reason = reason
            self.cancel_signal.set()

    def run_callbacks(self) -> None:
        """Run the handler's termination callbacks, each once; their exceptions are logged."""
        callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            try:
                callback()
            except BaseException as error:
                log_raised("handler.callback_failed", error, **self.log_fields())

    def finish(self) -> None:
        """The handler has ended."""
        self._done = True
        if self._callbacks:
            self.run_callbacks()

    def outcome(self, response: bytes) -> task_pb2.Outcome:
        """The outcome, from the response and the values that the handler has set."""
        outcome = task_pb2.Outcome()
        if self._headers:
            outcome.headers.extend(weft_metadata.to_proto(self._headers))
        if self._trailers:
            outcome.trailers.extend(weft_metadata.to_proto(self._trailers))
        if self.failed:
            # An abort stays a failure, even if the handler sets OK after it.
            code = grpc.StatusCode.UNKNOWN if self._code in _NO_FAILURE else self._code
            outcome.status.code = code.value[0]
            outcome.status.message = self._details
            self._add_details(outcome.status)
        else:
            outcome.response = response
        return outcome

    def _add_details(self, status: status_pb2.Status) -> None:
        given = self.rich_status
        if given is not None:
            try:
                status.details.extend(status_pb2.Status.FromString(given).details)
            except DecodeError:
                _log.warning("handler.status_details_dropped", error="they are not a google.rpc.Status")

    def sent_headers(self) -> list[task_pb2.Metadatum]:
        """The initial metadata that the handler has sent so far."""
        return weft_metadata.to_proto(self._headers)

    def _send_headers(self, pairs: Metadata) -> None:
        self._headers = checked(pairs)
        self.headers_gone = True
        if self.on_headers is not None:
            self.on_headers(self._headers)

    def _add_callback(self, callback: Callable[[], object]) -> bool:
        if not self.is_active():
            return False
        if self._callbacks is None:
            self._callbacks = []
        self._callbacks.append(callback)
        return True

    def _set_abort(
        self, code: grpc.StatusCode | int, details: str, trailing_metadata: Metadata | None = None
    ) -> grpc.aio.AbortError:
        # The status first: it is kept even if another given value is refused.
        self.aborted = True
        self.set_code(code)
        self._details = ""
        if self._code in _NO_FAILURE:
            # As grpc does: an abort is a failure, even with code OK.
            self._code = grpc.StatusCode.UNKNOWN
        else:
            self._details = _text_of(details)
        if trailing_metadata and (given := checked(trailing_metadata)):
            self._trailers = given
        return grpc.aio.AbortError("Locally aborted.")


class SyncContext(HandlerContext, grpc.ServicerContext):
    """`grpc.ServicerContext` for handlers that run in a thread or an isolated process."""

    blocking = True

    def cancel(self) -> bool:
        """The handler gives up: the outcome is CANCELLED."""
        self.given_up = True
        self.signal_cancel("by the handler")
        return True

    def add_callback(self, callback: Callable[[], object]) -> bool:
        """Call `callback` when the attempt ends or is cancelled. False: it has ended, and nothing is called."""
        return self._add_callback(callback)

    def send_initial_metadata(self, initial_metadata: Metadata) -> None:
        # In grpc.server's words.
        if self.headers_gone:
            raise ValueError("Initial metadata no longer allowed!")
        self._send_headers(initial_metadata)

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        raise self._set_abort(code, details)

    def abort_with_status(self, status: Any) -> NoReturn:
        raise self._set_abort(status.code, status.details, status.trailing_metadata)


class AsyncContext(HandlerContext, grpc.aio.ServicerContext[Any, Any]):
    """`grpc.aio.ServicerContext` for handlers that run on the event loop."""

    # Sends a response of a streaming handler; set when it starts.
    send: Callable[[Any], Awaitable[None]]

    async def read(self) -> Any:
        raise grpc.aio.UsageError("the request is the handler's argument: there is nothing to read")

    async def write(self, message: Any) -> None:
        await self.send(message)

    async def send_initial_metadata(self, initial_metadata: Metadata) -> None:
        # In grpc.aio's.
        if self.headers_gone:
            raise grpc.aio.UsageError("Send initial metadata failed: already sent")
        self._send_headers(initial_metadata)

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()
    ) -> NoReturn:
        raise self._set_abort(code, details, trailing_metadata)

    async def abort_with_status(self, status: Any) -> NoReturn:
        await self.abort(status.code, status.details, status.trailing_metadata or ())

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Call `callback(context)` when the attempt ends or is cancelled."""
        self._add_callback(lambda: callback(self))

    def cancelled(self) -> bool:
        return self.cancel_signal.is_set()

    def done(self) -> bool:
        return self._done or self.cancel_signal.is_set()


def checked(pairs: Metadata) -> weft_metadata.Pairs:
    """Metadata in the form that gRPC sends. A mistake is raised in the handler that made it."""
    # Text under a "-bin" key becomes bytes: a grpc server takes the text, but grpc.aio would never end the call.
    given = tuple(
        [
            (key, value.encode() if isinstance(value, str) and str(key).endswith("-bin") else value)
            for key, value in pairs
        ]
    )
    if not given:
        # An app behind a sidecar mostly has none.
        return given
    why = weft_metadata.unfit(given)
    if why:
        raise ValueError(f"metadata cannot be sent: {why}")
    for key, value in given:
        if isinstance(value, bytes) and not key.endswith("-bin"):
            raise TypeError(f"metadata value of {key!r} must be str: only keys that end in '-bin' have bytes")
    return given


def _code_of(code: object) -> grpc.StatusCode | None:
    """A status code as handlers give it. Anything else counts as UNKNOWN, as in grpc.aio."""
    if code is None or isinstance(code, grpc.StatusCode):
        return code
    if isinstance(code, int):
        return status_code(code)
    _log.warning("handler.status_invalid", code=text_of(code)[:64], effect="UNKNOWN is used instead")
    return grpc.StatusCode.UNKNOWN


def _text_of(details: object) -> str:
    """Details as text: a handler may give an exception, for example."""
    if details is None:
        return ""
    return details.decode(errors="replace") if isinstance(details, bytes) else text_of(details)
