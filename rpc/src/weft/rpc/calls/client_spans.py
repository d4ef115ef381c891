"""CLIENT spans of calls that a program makes, if it has set OpenTelemetry up.

Where OpenTelemetry's own instrumentation of gRPC is in use, that makes them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from weft.rpc.calls.at_once import at_once
from weft.rpc.calls.metadata import Pairs
from weft.rpc.network.channel import is_instrumented
from weft.rpc.telemetry import trace_headers

if TYPE_CHECKING:
    from weft.rpc.telemetry.program_spans import ProgramSpan


class ClientSpan:
    """The span of one call.

    Attributes:
        headers: name the span.
        metadata: the call's own, without the headers of the span's parent.
    """

    def __init__(self, span: ProgramSpan, metadata: Any) -> None:
        self._span = span
        self.headers = span.headers
        self.metadata = metadata

    def watch(self, call: Any) -> Any:
        """End the span when the call ends. Returns the call."""
        call.add_done_callback(self._ended)
        return call

    def _ended(self, call: Any) -> None:
        self._span.end(at_once(call.code()).value[0], at_once(call.details()) or "")


def begin(method: str, metadata: Any) -> ClientSpan | None:
    """The span of a call that is made here and now; None: there is none.

    A `traceparent` among the call's own metadata is its parent if it names the active span. Another one stays as it is, and no
    span is made.
    """
    if not trace_headers.is_traced() or is_instrumented():
        return None
    own = () if metadata is None else _pairs(metadata)
    given = [value for key, value in own if key == "traceparent"]
    if given and given != [trace_headers.current().get("traceparent")]:
        return None
    rest = tuple(pair for pair in own if pair[0] not in ("traceparent", "tracestate")) if given else metadata
    # OpenTelemetry is loaded: a provider is set up.
    from weft.rpc.telemetry.program_spans import ProgramSpan

    return ClientSpan(ProgramSpan(method), rest)


def _pairs(metadata: Iterable[tuple[str, str | bytes]]) -> Pairs:
    return tuple(metadata)
