"""One trace as a tree, and the variables with which processes export to a receiver at once."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from tests.support.otlp_receiver import OtlpReceiver, ReceivedSpan


class Caller:
    """A caller with a span of its own, in a trace that no other test has: spans of earlier calls may come late."""

    def __init__(self) -> None:
        self.trace_id = secrets.token_hex(16)
        self.span_id = secrets.token_hex(8)
        # Its metadata, and that of a trace that is not recorded.
        self.trace = (("traceparent", f"00-{self.trace_id}-{self.span_id}-01"), ("tracestate", "vendor=x"))
        self.unsampled = (("traceparent", f"00-{self.trace_id}-{self.span_id}-00"),)

    def wait(self, receiver: OtlpReceiver, count: int) -> list[ReceivedSpan]:
        """The spans of its trace, once there are so many."""
        spans = receiver.wait(lambda spans: len(of_trace(spans, self.trace_id)) >= count)
        return of_trace(spans, self.trace_id)


def exporting(receiver: OtlpReceiver) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.grpc_endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "20",
        # The receiver takes traces alone.
        "OTEL_METRICS_EXPORTER": "none",
    }


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
