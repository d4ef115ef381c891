"""The bytes of spans are those that the SDK's own encoder makes of the same spans."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource

from weft.coordinator.dispatch.wait_spans import WaitFacts, WaitsOver, WaitSpans
from weft.coordinator.store.records import Claimed, Owner
from weft.coordinator.store.reruns import Rerun
from weft.rpc.telemetry import otlp_encoding
from weft.rpc.telemetry.span_records import Kind, Recorded, SpanEvent, SpanLink, SpanRecord, SpanShape
from weft.rpc.telemetry.span_sinks import readable
from weft.v1 import session_pb2, task_pb2

ABOUT = Resource({"service.name": "weft-agent"})
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
NUMBERS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False)
VALUES = st.one_of(
    TEXTS,
    st.booleans(),
    NUMBERS,
    FLOATS,
    st.lists(TEXTS, max_size=3).map(tuple),
    st.lists(NUMBERS, max_size=3).map(tuple),
)
ATTRIBUTES = st.dictionaries(TEXTS.filter(bool), VALUES, max_size=4)
TRACES = st.integers(1, 2**128 - 1).map(lambda number: f"{number:032x}")
SPANS = st.integers(1, 2**64 - 1).map(lambda number: f"{number:016x}")
TIMES = st.integers(0, 2**63 - 1)
RECORDS = st.builds(
    SpanRecord,
    shape=st.builds(SpanShape, TEXTS, st.sampled_from(Kind), ATTRIBUTES),
    trace_id=TRACES,
    span_id=SPANS,
    parent_id=SPANS | st.just(""),
    start_ns=TIMES,
    end_ns=TIMES,
    attributes=ATTRIBUTES,
    error=TEXTS,
    failed=st.booleans(),
    events=st.lists(st.builds(SpanEvent, TEXTS, TIMES, ATTRIBUTES), max_size=3),
    links=st.lists(st.builds(SpanLink, TRACES, SPANS), max_size=3),
    trace_state=st.sampled_from(["", "vendor=x", "a=1,b=2"]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(RECORDS, min_size=1, max_size=3))
def test_they_are_the_sdks(records: list[SpanRecord]) -> None:
    # Attributes of a span win over those of its shape; the bytes would have both.
    for record in records:
        record.attributes = {
            key: value for key, value in record.attributes.items() if key not in record.shape.attributes
        }
    theirs = encode_spans([readable(record, ABOUT) for record in records])
    resource = theirs.resource_spans[0].resource.SerializeToString()
    scope = theirs.resource_spans[0].scope_spans[0].scope.SerializeToString()
    ours = ExportTraceServiceRequest.FromString(
        otlp_encoding.request(resource, scope, map(otlp_encoding.span, records))
    )
    for span in theirs.resource_spans[0].scope_spans[0].spans:
        # Theirs is there, and empty, where there is no error.
        if not span.status.code:
            span.ClearField("status")
    assert ours == theirs
    # A second time, with the shape's kept bytes.
    assert list(map(otlp_encoding.span, records)) == list(map(otlp_encoding.span, records))


def test_spans_that_are_alike_are_encoded_once() -> None:
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    own = task_pb2.CallContext(traceparent=parent, batch_traceparent=f"00-{'c' * 32}-{'d' * 16}-01")
    together = task_pb2.CallContext(traceparent=parent, tracestate="vendor=x").SerializeToString()
    rerun = Rerun(session_pb2.RERUN_CAUSE_LOST, "a2", 14, 3.0)
    first = WaitFacts("m", together, 1, None)
    waits = [
        *[(f"t{number:020}", number / 2, first) for number in range(3)],
        ("t-longer" * 30, 9.0, first),
        ("t-again", 1.0, WaitFacts("m", together, 2, rerun)),
        ("t-own", 1.5, WaitFacts("n", own.SerializeToString(), 1, None)),
    ]
    over = WaitsOver(waits, "a1", 4.0)
    assert over.count == len(waits)
    resource, scope = b"", b""
    quick = ExportTraceServiceRequest.FromString(otlp_encoding.request(resource, scope, [over.encoded()]))
    each = [otlp_encoding.span(record) for record in over.records()]
    slow = ExportTraceServiceRequest.FromString(otlp_encoding.request(resource, scope, each))
    spans = [request.resource_spans[0].scope_spans[0].spans for request in (quick, slow)]
    for span in (*spans[0], *spans[1]):
        span.attributes.sort(key=lambda attribute: attribute.key)
    assert spans[0] == spans[1]
    assert len({span.span_id for span in spans[0]}) == len(waits)


def test_waits_of_traces_that_are_not_recorded_are_not_kept() -> None:
    kept: list[Recorded] = []
    contexts = [b""] + [
        task_pb2.CallContext(traceparent=f"00-{'a' * 32}-{'b' * 16}-{flags}").SerializeToString()
        for flags in ("00", "01", "xx")
    ]
    batch = [
        Claimed(f"t{at}", 1, Owner("a1", 1), "m", b"", context, "", 5, 1, None)
        for at, context in enumerate([context for context in contexts for _ in range(300)])
    ]
    WaitSpans(kept.append).claimed("a1", batch, 4.0)
    assert [entry.count for entry in kept] == [256, 44]
    assert [record.span_id for record in kept[1].records()] == [
        record.span_id for record in kept[1].records()
    ]
