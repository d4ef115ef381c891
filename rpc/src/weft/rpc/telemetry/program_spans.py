"""CLIENT spans of calls that a program makes, by the tracer provider that it has set up."""

from __future__ import annotations

from opentelemetry import trace

from weft.rpc.telemetry import attributes, span_shapes, trace_headers
from weft.rpc.telemetry.status_codes import code_name

_TRACER = "weft.client"


class ProgramSpan:
    """The span of one call. `headers` name it."""

    def __init__(self, method: str) -> None:
        shape = span_shapes.passed_on(method)
        self._span = trace.get_tracer(_TRACER).start_span(
            shape.name, kind=trace.SpanKind.CLIENT, attributes=shape.attributes
        )
        with trace.use_span(self._span, end_on_exit=False):
            self.headers = trace_headers.current()

    def end(self, code: int, message: str) -> None:
        """The call has ended with this status."""
        self._span.set_attribute(attributes.RPC_RESPONSE_STATUS_CODE, code_name(code))
        if code:
            self._span.set_attribute(attributes.ERROR_TYPE, code_name(code))
            self._span.set_status(trace.StatusCode.ERROR, message or None)
        self._span.end()
