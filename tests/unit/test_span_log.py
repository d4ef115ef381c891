"""The queue of spans: bounded, emptied in time, and never in the way of a call; ids, sampling and the handler's view of its span."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    ParentBasedTraceIdRatio,
    Sampler,
)

from weft.rpc.telemetry import otlp_encoding, span_log, trace_context
from weft.rpc.telemetry.handler_spans import HandlerSpan
from weft.rpc.telemetry.sampling import SampledBy
from weft.rpc.telemetry.span_log import SpanLog
from weft.rpc.telemetry.span_records import Kind, Recorded, SpanRecord, SpanShape, new_span_id, new_trace_id
from weft.rpc.telemetry.span_tracer import SpanTracer
from weft.rpc.telemetry.trace_context import TraceContext

SHAPE = SpanShape("a.v1.A/B", Kind.SERVER, {"rpc.method": "a.v1.A/B"})
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Kept:
    """A sink that keeps what it gets; while `shut`, it blocks."""

    takes_encoded = False

    def __init__(self) -> None:
        self.records: list[SpanRecord] = []
        self.batches: list[int] = []
        self.open = threading.Event()
        self.open.set()
        self.blocked = threading.Event()
        self.ended = False
        self.takes = True

    def export(self, recorded: Sequence[Recorded | bytes], count: int, spans: Sequence[Any]) -> bool:
        self.blocked.set()
        self.open.wait(20)
        records = [record for each in recorded if not isinstance(each, bytes) for record in each.records()]
        assert len(records) == count
        self.batches.append(count + len(spans))
        self.records += records
        return self.takes

    def shutdown(self) -> None:
        self.ended = True
        self.open.set()


class Some:
    """Some spans that came together."""

    def __init__(self, count: int) -> None:
        self.count = count

    def records(self) -> list[SpanRecord]:
        return [SpanRecord(SHAPE, new_trace_id(), new_span_id(), "", 1, 2, {}) for _ in range(self.count)]

    def encoded(self) -> bytes:
        return b"".join(map(otlp_encoding.span, self.records()))


def record() -> Some:
    return Some(1)


def tracer(sink: Kept, sampler: Sampler = DEFAULT_ON) -> SpanTracer:
    return SpanTracer(SpanLog([sink], {"OTEL_BSP_SCHEDULE_DELAY": "60000"}), SampledBy(sampler))


def test_a_flush_exports_what_waits() -> None:
    sink = Kept()
    log = SpanLog([sink], {"OTEL_BSP_SCHEDULE_DELAY": "60000", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4"})
    for _ in range(10):
        log.record(record())
    assert log.flush(20)
    assert len(sink.records) == 10
    assert max(sink.batches) <= 4
    assert log.close(20)
    assert sink.ended


def test_spans_that_come_together_are_counted_one_by_one() -> None:
    sink = Kept()
    log = SpanLog(
        [sink],
        {
            "OTEL_BSP_SCHEDULE_DELAY": "60000",
            "OTEL_BSP_MAX_QUEUE_SIZE": "20",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "8",
        },
    )
    sink.open.clear()
    for count in (5, 5, 1, 9, 1):
        log.record_many(Some(count))
    log.record(record())
    # The batch of 8 that was full before: some of the first ones may be on their way.
    sink.open.set()
    assert log.close(20)
    assert sum(sink.batches) + log.dropped == 22
    assert log.dropped <= 2
    assert max(sink.batches) <= 9
    assert log.failed == 0


def test_a_full_queue_drops_counts_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        span_log._log.__class__, "warning", lambda _self, event, **about: said.append(f"{event} {about}")
    )
    sink = Kept()
    sink.open.clear()
    log = SpanLog([sink], {"OTEL_BSP_MAX_QUEUE_SIZE": "8", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1"})
    log.record(record())
    assert sink.blocked.wait(20)
    for _ in range(10):
        log.record(record())
    assert log.dropped == 2
    sink.open.set()
    assert log.close(20)
    assert len(sink.records) == 9
    assert said[0].startswith("telemetry.spans_dropped {'spans': 2,")


def test_a_sink_that_raises_or_hangs_is_survived() -> None:
    class Raising(Kept):
        def export(self, recorded: Sequence[Recorded | bytes], count: int, spans: Sequence[Any]) -> bool:
            raise RuntimeError("no")

    kept, hanging = Kept(), Kept()
    log = SpanLog([Raising(), kept], {})
    log.record(record())
    assert log.close(20)
    assert len(kept.records) == 1
    assert log.failed == 1
    hanging.open.clear()
    log = SpanLog([hanging], {})
    log.record(record())
    assert not log.close(0.05)
    assert hanging.ended


def test_spans_that_a_receiver_does_not_take_are_counted() -> None:
    before = span_log.dropped_spans()
    sink = Kept()
    sink.takes = False
    log = SpanLog([sink], {})
    log.record(record())
    assert log.close(20)
    assert span_log.dropped_spans()["failed"] == before["failed"] + 1


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (PARENT, True),
        (PARENT[:-2] + "00", False),
        (PARENT[:-2] + "03", True),
        ("cc" + PARENT[2:] + "-more", True),
        (PARENT + "-more", None),
        ("ff" + PARENT[2:], None),
        (PARENT.upper(), None),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", None),
        (f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01", None),
        ("nonsense", None),
        ("", None),
    ],
)
def test_traceparents_are_read_as_the_api_reads_them(text: str, sampled: bool | None) -> None:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    found = trace_context.parse(text)
    assert (None if found is None else found.sampled) is sampled
    extracted = TraceContextTextMapPropagator().extract({"traceparent": text})
    theirs = trace.get_current_span(extracted).get_span_context()
    assert theirs.is_valid is (found is not None)
    if found is not None:
        assert (f"{theirs.trace_id:032x}", f"{theirs.span_id:016x}") == found[:2]
        assert trace_context.parse(found.traceparent) == found
        assert len(found.traceparent) == trace_context.LENGTH


@pytest.mark.parametrize(
    ("sampler", "root", "of_sampled", "of_unsampled"),
    [
        (DEFAULT_ON, True, True, False),
        (DEFAULT_OFF, False, True, False),
        (ParentBasedTraceIdRatio(0.0), False, True, False),
        (ALWAYS_ON, True, True, True),
    ],
)
def test_the_sampler_decides(sampler: Sampler, root: bool, of_sampled: bool, of_unsampled: bool) -> None:
    decide = SampledBy(sampler)
    parents = [None, TraceContext("1" * 32, "1" * 16, True), TraceContext("1" * 32, "1" * 16, False)]
    assert [decide(parent, "1" * 32, SHAPE) for parent in parents] == [root, of_sampled, of_unsampled]


def test_an_unsampled_span_has_ids_and_is_not_recorded() -> None:
    sink = Kept()
    made = tracer(sink)
    span = made.begin(SHAPE, PARENT[:-2] + "00")
    assert span.traceparent.startswith(PARENT[:36])
    assert span.traceparent.endswith("-00")
    span.finish()
    assert made.close(20)
    assert not sink.records


def test_a_handler_sees_a_span_of_the_api() -> None:
    sink = Kept()
    made = tracer(sink)
    span = made.begin_as(HandlerSpan, SHAPE, PARENT, "vendor=x", None)
    with trace.use_span(span, end_on_exit=True):
        current = trace.get_current_span()
        context = current.get_span_context()
        assert f"{context.trace_id:032x}" == PARENT[3:35]
        assert context.trace_state.to_header() == "vendor=x"
        assert current.is_recording()
        current.set_attributes({"n": 1, "names": ["a", "b"], "odd": object()})
        current.add_event("happened", {"x": 1.5})
        current.add_link(trace.SpanContext(1, 2, is_remote=True))
        current.update_name("better")
        try:
            raise LookupError("nothing")
        except LookupError as error:
            current.record_exception(error)
        current.set_status(trace.Status(trace.StatusCode.ERROR, "bad"))
    span.finish(0)
    assert not span.is_recording()
    span.set_attribute("late", 1)
    assert made.close(20)
    (found,) = sink.records
    assert (found.shape.name, found.shape.kind, found.parent_id) == ("better", Kind.SERVER, PARENT[36:52])
    assert found.attributes == {"n": 1, "names": ("a", "b"), "rpc.response.status_code": "OK"}
    assert [event.name for event in found.events] == ["happened", "exception"]
    assert found.events[1].attributes["exception.type"] == "LookupError"
    assert found.links == [(f"{1:032x}", f"{2:016x}")]
    assert (found.failed, found.error) == (True, "bad")


def test_what_a_handler_adds_to_its_span_is_bounded() -> None:
    sink = Kept()
    made = tracer(sink)
    span = made.begin_as(HandlerSpan, SHAPE, PARENT, "", {"own": 1})
    for number in range(1000):
        span.set_attribute(f"n{number}", number)
        span.set_attribute("n0", number)
        span.add_event("again")
        span.add_link(trace.SpanContext(1, number + 1, is_remote=True))
    span.finish()
    assert made.close(20)
    (found,) = sink.records
    assert (len(found.attributes), len(found.events), len(found.links)) == (128, 128, 128)
    assert found.attributes["n0"] == 999
