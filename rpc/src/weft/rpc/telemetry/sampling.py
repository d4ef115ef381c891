"""Which traces are recorded: the sampler that OTEL_TRACES_SAMPLER names, with short ways for the usual ones."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler

from weft.rpc.telemetry.span_records import SpanShape
from weft.rpc.telemetry.trace_context import TraceContext


class SampledBy:
    """Asks a sampler of the SDK."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        # A sampler of the environment's follows the parent both ways.
        self.follows_parent = isinstance(sampler, ParentBased)
        self._all_roots = sampler.get_description().startswith("ParentBased{root:AlwaysOnSampler")

    def __call__(self, parent: TraceContext | None, trace_id: str, shape: SpanShape) -> bool:
        if parent is None:
            if self._all_roots:
                return True
        elif self.follows_parent:
            return parent.sampled
        decision = self._sampler.should_sample(
            _as_context(parent),
            int(trace_id, 16),
            shape.name,
            kind=trace.SpanKind[shape.kind.name],
            attributes=dict(shape.attributes),
        )
        return decision.decision is Decision.RECORD_AND_SAMPLE


def _as_context(parent: TraceContext | None) -> Context | None:
    if parent is None:
        return None
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if parent.sampled else trace.TraceFlags.DEFAULT)
    span = trace.SpanContext(int(parent.trace_id, 16), int(parent.span_id, 16), True, flags)
    return trace.set_span_in_context(trace.NonRecordingSpan(span))
