"""What a handler gets as `context`: the interface of grpc's servicer contexts, over an attempt instead of an RPC.

A handler that was written for `grpc.server` or `grpc.aio.server` finds everything that it uses here. What the handler
sets is collected and becomes the attempt's outcome. Cancellation and the deadline come in through `signal_cancel`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from weft.agent.running import CancelSignal, budget_of
from weft.rpc import budget
from weft.rpc import metadata as weft_metadata
from weft.rpc.errors import STATUS_DETAILS_KEY, status_code
from weft.rpc.logs import get_logger
from weft.v1 import session_pb2, task_pb2

if TYPE_CHECKING:
    from weft.agent.hosting import Hosted

_log = get_logger("weft.agent")

Metadata = Iterable[tuple[str, str | bytes]]


class Metadatum(NamedTuple):
    """One entry of the caller's metadata."""

    key: str
    value: str | bytes


class HandlerContext:
    """What both flavours share. Handlers may call it from several threads; each setting is one assignment."""

    def __init__(self, assignment: session_pb2.Assignment, agent_id: str, deadline_at: float | None) -> None:
        self.assignment = assignment
        self.agent_id = agent_id
        self.cancel_signal = CancelSignal()
        self.cancel_reason = ""
        self.aborted = False
        # The handler cancelled its own call.
        self.given_up = False
        # What ran the handler died with it: an app, behind a sidecar.
        self.crashed = False
        self._deadline_at = deadline_at
        self._code: grpc.StatusCode | None = None
        self._details: str | None = None
        self._trailers: tuple[tuple[str, str | bytes], ...] = ()
        self._headers: tuple[tuple[str, str | bytes], ...] = ()
        self._callbacks: list[Callable[[], object]] | None = None
        self._done = False

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
        self._code = status_code(code) if isinstance(code, int) else code

    def set_details(self, details: str) -> None:
        self._details = details

    def code(self) -> Any:
        return self._code

    def details(self) -> Any:
        return self._details or ""

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
        """Whether anybody still wants the outcome."""
        return not self.cancel_signal and not self._done

    # -- for the library ----------------------------------------------------------------------------------------

    @property
    def failed(self) -> bool:
        """The handler asked for a status other than OK."""
        return self.aborted or (self._code is not None and self._code is not grpc.StatusCode.OK)

    def time_left_s(self) -> float | None:
        """Seconds until the deadline, by this process' monotonic clock; None: no limit."""
        return None if self._deadline_at is None else max(0.0, self._deadline_at - time.monotonic())

    def budget(self) -> budget.Budget:
        """What calls inherit that the handler makes."""
        return budget_of(self.assignment, self._deadline_at)

    def request(self, hosted: Hosted) -> Any:
        """What the handler gets first.

        Raises:
            DecodeError, ValueError: the payload does not parse.
        """
        return hosted.deserialize(self.assignment.payload)

    def signal_cancel(self, reason: str) -> None:
        """Let the handler see that it is cancelled. Its callbacks are run by `run_callbacks`."""
        if not self.cancel_signal:
            self.cancel_reason = reason
            self.cancel_signal.set()

    def run_callbacks(self) -> None:
        """Run the handler's termination callbacks, each once, whatever they raise."""
        callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            try:
                callback()
            except Exception:
                _log.exception("a termination callback raised", task_id=self.assignment.task_id)

    def finish(self) -> None:
        """The handler has ended."""
        self._done = True
        if self._callbacks:
            self.run_callbacks()

    def outcome(self, response: bytes) -> task_pb2.Outcome:
        """What the handler made of it."""
        outcome = task_pb2.Outcome()
        if self._headers:
            outcome.headers.extend(weft_metadata.to_proto(self._headers))
        if self._trailers:
            outcome.trailers.extend(weft_metadata.to_proto(self._trailers))
        if self.failed:
            code = cast("grpc.StatusCode", self._code)
            outcome.status.code = code.value[0]
            outcome.status.message = self._details or ""
            self._add_details(outcome.status)
        else:
            outcome.response = response
        return outcome

    def _add_details(self, status: status_pb2.Status) -> None:
        for key, value in self._trailers:
            if key == STATUS_DETAILS_KEY:
                try:
                    rich = status_pb2.Status.FromString(value if isinstance(value, bytes) else value.encode())
                except DecodeError:
                    _log.warning("status details are not a google.rpc.Status: dropped", key=key)
                else:
                    status.details.extend(rich.details)

    def _add_callback(self, callback: Callable[[], object]) -> bool:
        if not self.is_active():
            return False
        if self._callbacks is None:
            self._callbacks = []
        self._callbacks.append(callback)
        return True

    def _set_abort(self, code: grpc.StatusCode | int, details: str) -> grpc.aio.AbortError:
        self.set_code(code)
        if self._code is grpc.StatusCode.OK:
            # As grpc does: an abort is a failure, whatever it is called.
            self._code, details = grpc.StatusCode.UNKNOWN, ""
        self._details = details
        self.aborted = True
        return grpc.aio.AbortError("Locally aborted.")


class SyncContext(HandlerContext, grpc.ServicerContext):
    """`grpc.ServicerContext` for handlers that run in a thread or an isolated process."""

    def cancel(self) -> bool:
        """The handler gives up: the outcome is CANCELLED."""
        self.given_up = True
        self.signal_cancel("by the handler")
        return True

    def add_callback(self, callback: Callable[[], object]) -> bool:
        """Call `callback` when the attempt ends or is cancelled. False: it has ended, and nothing is called."""
        return self._add_callback(callback)

    def send_initial_metadata(self, initial_metadata: Metadata) -> None:
        self._headers = checked(initial_metadata)

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        raise self._set_abort(code, details)

    def abort_with_status(self, status: Any) -> NoReturn:
        self._trailers = checked(status.trailing_metadata or ())
        raise self._set_abort(status.code, status.details)


class AsyncContext(HandlerContext, grpc.aio.ServicerContext[Any, Any]):
    """`grpc.aio.ServicerContext` for handlers that run on the event loop."""

    # How a response of a streaming handler is sent; set by whoever runs it.
    send: Callable[[Any], Awaitable[None]]

    async def read(self) -> NoReturn:
        raise grpc.aio.UsageError("the request is the handler's argument: there is nothing to read")

    async def write(self, message: Any) -> None:
        await self.send(message)

    async def send_initial_metadata(self, initial_metadata: Metadata) -> None:
        self._headers = checked(initial_metadata)

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()
    ) -> NoReturn:
        given = checked(trailing_metadata)
        if given:
            self._trailers = given
        raise self._set_abort(code, details)

    async def abort_with_status(self, status: Any) -> NoReturn:
        await self.abort(status.code, status.details, status.trailing_metadata or ())

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Call `callback(context)` when the attempt ends or is cancelled."""
        self._add_callback(lambda: callback(self))

    def cancelled(self) -> bool:
        return self.cancel_signal.is_set()

    def done(self) -> bool:
        return self._done or self.cancel_signal.is_set()


def checked(pairs: Metadata) -> tuple[tuple[str, str | bytes], ...]:
    """Metadata as it may be sent; a mistake is the handler's, and is raised in the handler."""
    checked = tuple((key, value) for key, value in pairs)
    for key, value in checked:
        if not isinstance(key, str) or not key or key != key.lower():
            raise ValueError(f"metadata key {key!r} is not a lower-case string")
        if not isinstance(value, str | bytes) or (isinstance(value, bytes) and not key.endswith("-bin")):
            raise TypeError(f"metadata value of {key!r} must be str, or bytes when the key ends in '-bin'")
    return checked
