"""CLIENT spans and times of calls that a program makes, if it has set OpenTelemetry up.

Where OpenTelemetry's own instrumentation of gRPC is in use, that makes the spans.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from weft.rpc.calls.at_once import at_once
from weft.rpc.calls.metadata import Pairs
from weft.rpc.network.channel import is_instrumented
from weft.rpc.telemetry import trace_headers

if TYPE_CHECKING:
    from weft.rpc.telemetry.program_spans import ProgramSpan


class ClientSpan:
    """One call that is traced, timed, or both.

    Attributes:
        headers: name the span; None: it has none of its own.
        metadata: the call's own, without the headers of the span's parent.
    """

    def __init__(self, method: str, span: ProgramSpan | None, metadata: Any, *, timed: bool) -> None:
        self._method = method
        self._span = span
        self._began_s = time.perf_counter() if timed else None
        self.headers = None if span is None else span.headers
        self.metadata = metadata

    def watch(self, call: Any) -> Any:
        """End the span when the call ends, and count its time. Returns the call."""
        call.add_done_callback(self._ended)
        return call

    def _ended(self, call: Any) -> None:
        code: int = at_once(call.code()).value[0]
        if self._began_s is not None:
            # OpenTelemetry is loaded: a provider is set up.
            from weft.rpc.telemetry import program_times

            program_times.observe(self._method, code, time.perf_counter() - self._began_s)
        if self._span is not None:
            self._span.end(code, at_once(call.details()) or "")


def begin(method: str, metadata: Any) -> ClientSpan | None:
    """The span of a call that is made here and now; None: it is neither traced nor timed.

    A `traceparent` among the call's own metadata is its parent if it names the active span. Another one stays as it is, and no
    span is made.
    """
    metrics = sys.modules.get("opentelemetry.metrics._internal")
    timed = metrics is not None and getattr(metrics, "_METER_PROVIDER", None) is not None
    if not trace_headers.is_traced() or is_instrumented():
        return ClientSpan(method, None, metadata, timed=True) if timed else None
    own = () if metadata is None else _pairs(metadata)
    given = [value for key, value in own if key == "traceparent"]
    if given and given != [trace_headers.current().get("traceparent")]:
        return ClientSpan(method, None, metadata, timed=True) if timed else None
    rest = tuple(pair for pair in own if pair[0] not in ("traceparent", "tracestate")) if given else metadata
    # As above.
    from weft.rpc.telemetry.program_spans import ProgramSpan

    return ClientSpan(method, ProgramSpan(method), rest, timed=timed)


def _pairs(metadata: Iterable[tuple[str, str | bytes]]) -> Pairs:
    return tuple(metadata)
