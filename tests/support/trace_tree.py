"""One trace as a tree, and the variables with which processes export to a receiver at once."""

from __future__ import annotations

from collections.abc import Sequence

from tests.support.otlp_receiver import OtlpReceiver, ReceivedSpan

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
# What a caller with a recorded span sends.
TRACE = (("traceparent", f"00-{TRACE_ID}-{CALLER}-01"), ("tracestate", "vendor=x"))
UNSAMPLED = (("traceparent", f"00-{TRACE_ID}-{CALLER}-00"),)


def exporting(receiver: OtlpReceiver) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.grpc_endpoint, "OTEL_BSP_SCHEDULE_DELAY": "20"}


def of_trace(spans: Sequence[ReceivedSpan], trace_id: str) -> list[ReceivedSpan]:
    return [span for span in spans if span.trace_id == trace_id]


def drawn(spans: Sequence[ReceivedSpan], root: str = "") -> list[str]:
    """The spans as lines, "  KIND name": children under their parents, in the order of their starts.

    Args:
        root: the id of the parent of all.
    """
    ids = {span.span_id for span in spans}
    assert len(ids) == len(spans), "span ids repeat"
    lost = [span.name for span in spans if span.parent_id not in {root, *ids}]
    assert not lost, f"spans without their parents: {lost}"

    def lines(parent_id: str, depth: int) -> list[str]:
        found: list[str] = []
        for span in sorted(spans, key=lambda each: (each.start_ns, each.end_ns)):
            if span.parent_id == parent_id:
                found.append(f"{'  ' * depth}{span.kind} {span.name}")
                found += lines(span.span_id, depth + 1)
        return found

    return lines(root, 0)
