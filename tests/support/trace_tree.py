"""One trace as a tree, and the variables with which processes export to a receiver at once."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Protocol

from tests.support.otlp_receiver import OtlpReceiver, ReceivedSpan, Value

Complete = Callable[[list[ReceivedSpan]], bool]


class Receiver(Protocol):
    """The published collector service, or the collector itself."""

    def wait(self, complete: Complete) -> list[ReceivedSpan]: ...


class Caller:
    """A caller with a span of its own, in a trace that no other test has: spans of earlier calls may come late."""

    def __init__(self) -> None:
        self.trace_id = secrets.token_hex(16)
        self.span_id = secrets.token_hex(8)
        # Its metadata, and that of a trace that is not recorded.
        self.trace = (("traceparent", f"00-{self.trace_id}-{self.span_id}-01"), ("tracestate", "vendor=x"))
        self.unsampled = (("traceparent", f"00-{self.trace_id}-{self.span_id}-00"),)

    def wait(self, receiver: Receiver, count: int) -> list[ReceivedSpan]:
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
    return [f"{'  ' * depth}{span.kind} {span.name}" for depth, span in _in_order(spans, root)]


def told(spans: Sequence[ReceivedSpan], root: str = "") -> list[tuple[str, dict[str, Value]]]:
    """As `drawn`, with all that each span says: its attributes, its error and its events' names."""
    found: list[tuple[str, dict[str, Value]]] = []
    for line, (_, span) in zip(drawn(spans, root), _in_order(spans, root), strict=True):
        more = {"error": span.status_message} if span.status == "ERROR" else {}
        events = {"events": " ".join(name for name, _ in span.events)} if span.events else {}
        found.append((line, span.attributes | more | events))
    return found


def _in_order(spans: Sequence[ReceivedSpan], root: str) -> list[tuple[int, ReceivedSpan]]:
    """Each with its depth."""
    ids = {span.span_id for span in spans}
    assert len(ids) == len(spans), "span ids repeat"
    lost = [span.name for span in spans if span.parent_id not in {root, *ids}]
    assert not lost, f"spans without their parents: {lost}"

    def below(parent_id: str, depth: int) -> list[tuple[int, ReceivedSpan]]:
        found: list[tuple[int, ReceivedSpan]] = []
        for span in sorted(spans, key=lambda each: (each.start_ns, each.end_ns)):
            if span.parent_id == parent_id:
                found += [(depth, span), *below(span.span_id, depth + 1)]
        return found

    return below(root, 0)


# -- what spans say, as docs/how-to/traces.md has it ------------------------------------------------------------------


def of_call(method: str, code: str = "OK", **more: Value) -> dict[str, Value]:
    """SERVER and CLIENT spans."""
    return {"rpc.system.name": "grpc", "rpc.method": method, "rpc.response.status_code": code} | _dotted(more)


def of_submit(method: str, task_id: str, **more: Value) -> dict[str, Value]:
    """PRODUCER spans."""
    operation: dict[str, Value] = {
        "messaging.operation.name": "submit",
        "messaging.operation.type": "send",
        "events": "weft.task.stored",
    }
    return (
        _of_task(method) | operation | ({"messaging.message.id": task_id} if task_id else {}) | _dotted(more)
    )


def of_wait(method: str, task_id: str, agent: str, attempt: int = 1, **more: Value) -> dict[str, Value]:
    """INTERNAL spans."""
    about: dict[str, Value] = {
        "messaging.message.id": task_id,
        "weft.task.attempt": attempt,
        "weft.agent.id": agent,
    }
    return _of_task(method) | about | _dotted(more)


def of_process(
    method: str, task_id: str, agent: str, attempt: int = 1, code: str = "OK", **more: Value
) -> dict[str, Value]:
    """CONSUMER spans."""
    operation: dict[str, Value] = {
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "rpc.response.status_code": code,
    }
    return of_wait(method, task_id, agent, attempt, **more) | operation


def of_rerun(cause: str, agent: str, code: str = "") -> dict[str, Value]:
    """What the spans of a further attempt say besides."""
    about: dict[str, Value] = {"weft.rerun.cause": cause, "weft.rerun.last_agent.id": agent}
    return about | ({"weft.rerun.last_status_code": code} if code else {})


def _of_task(method: str) -> dict[str, Value]:
    return {
        "rpc.system.name": "grpc",
        "rpc.method": method,
        "messaging.system": "weft",
        "messaging.destination.name": method,
    }


def _dotted(more: dict[str, Value]) -> dict[str, Value]:
    return {name.replace("__", "."): value for name, value in more.items()}
