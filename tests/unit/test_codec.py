"""Requests are checked on the way in: each refusal names its field."""

import pytest
from google.protobuf.duration_pb2 import Duration

from probe.v1 import probe_pb2
from weft.coordinator import codec
from weft.coordinator.contracts.contract_catalogue import Contract
from weft.coordinator.store.records import TaskRecord
from weft.coordinator.store.rules import DEFAULT_RETRY, Requirements, State
from weft.rpc.contracts import descriptors
from weft.rpc.errors import InvalidArgument, ResourceExhausted, Unimplemented
from weft.v1 import options_pb2, task_pb2

DEFAULTS = codec.Defaults(
    result_ttl_s=60.0, failure_ttl_s=600.0, max_payload_bytes=1000, max_metadata_bytes=16_000
)
CALL = "probe.v1.ProbeService/Call"
CONTRACT = Contract.load(
    descriptors.file_descriptor_set([probe_pb2.DESCRIPTOR]), [CALL, "probe.v1.ProbeService/Chat"]
)


def submit(payload=b"", request_id="", options=None, method=CALL):
    return codec.submission(CONTRACT.methods[method], payload, request_id, options, None, DEFAULTS, "t1")


def test_defaults():
    given = submit(probe_pb2.ProbeRequest(text="x").SerializeToString())
    assert (given.priority, given.retry, given.result_ttl_s, given.failure_ttl_s) == (
        5,
        DEFAULT_RETRY,
        60,
        600,
    )
    assert (given.task_id, given.method) == ("t1", CALL)


def test_options_round_trip_to_the_record():
    options = task_pb2.TaskOptions(
        priority=0,
        delay=Duration(seconds=2),
        limits=options_pb2.TimeLimits(start_to_close=Duration(seconds=3)),
        retry=options_pb2.RetryPolicy(max_attempts=7, retryable_codes=[14, 8], max_crashes=0),
        requirements=options_pb2.Requirements(labels={"zone": "eu"}, resources={"gpu": 1}),
        context=task_pb2.CallContext(traceparent="00-x"),
        result_ttl=Duration(seconds=5),
    )
    given = submit(options=options, request_id="r")
    assert given.requirements == Requirements.of({"zone": "eu"}, {"gpu": 1.0})
    assert (given.delay_s, given.start_to_close_s, given.priority, given.retry.max_crashes) == (2, 3, 0, 0)
    shown = codec.task(TaskRecord("t1", State.QUEUED, given))
    assert shown.options.priority == 0
    assert shown.options.HasField("priority")
    assert shown.options.limits.start_to_close.seconds == 3
    assert sorted(shown.options.retry.retryable_codes) == [8, 14]
    assert shown.options.context.traceparent == "00-x"
    assert not codec.task(TaskRecord("t1", State.QUEUED, given), task_pb2.TASK_VIEW_BASIC).options.HasField(
        "context"
    )


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"priority": 10}, "options.priority"),
        ({"delay": Duration(seconds=-1)}, "options.delay"),
        ({"delay": Duration(seconds=400 * 86400)}, "options.delay"),
        ({"delay": Duration(seconds=1, nanos=-5)}, "options.delay"),
        ({"delay": Duration(seconds=315_576_000_001)}, "options.delay"),
        ({"limits": {"schedule_to_start": Duration(nanos=-1)}}, "options.limits.schedule_to_start"),
        ({"limits": {"start_to_close": Duration(seconds=-3)}}, "options.limits.start_to_close"),
        ({"limits": {"schedule_to_close": Duration(seconds=10**12)}}, "options.limits.schedule_to_close"),
        ({"retry": {"max_attempts": 1001}}, "options.retry.max_attempts"),
        ({"retry": {"max_crashes": 5000}}, "options.retry.max_crashes"),
        ({"retry": {"backoff_multiplier": 0.5}}, "options.retry.backoff_multiplier"),
        ({"retry": {"backoff_multiplier": float("nan")}}, "options.retry.backoff_multiplier"),
        ({"retry": {"retryable_codes": [0]}}, "options.retry.retryable_codes"),
        ({"retry": {"retryable_codes": [99]}}, "options.retry.retryable_codes"),
        ({"retry": {"initial_backoff": Duration(seconds=-1)}}, "options.retry.initial_backoff"),
        ({"requirements": {"labels": {"": "x"}}}, "options.requirements.labels"),
        ({"requirements": {"resources": {"gpu": -1}}}, "options.requirements.resources"),
        ({"requirements": {"resources": {"gpu": float("inf")}}}, "options.requirements.resources"),
        ({"result_ttl": Duration(nanos=1)}, "options.result_ttl"),
        ({"fairness_key": "x" * 257}, "options.fairness_key"),
        ({"fairness_weight": -1}, "options.fairness_weight"),
        ({"fairness_weight": float("nan")}, "options.fairness_weight"),
    ],
)
def test_absurd_options_name_their_field(options, field):
    with pytest.raises(InvalidArgument) as caught:
        submit(options=task_pb2.TaskOptions(**options))
    assert caught.value.field == field


def test_payloads():
    with pytest.raises(InvalidArgument) as malformed:
        submit(b"\xff\xff\xff")
    assert malformed.value.reason_name == "PAYLOAD_MALFORMED"
    with pytest.raises(ResourceExhausted) as large:
        submit(b"x" * 1001)
    assert large.value.reason_name == "PAYLOAD_TOO_LARGE"
    assert large.value.metadata == {"size_bytes": "1001", "limit_bytes": "1000"}


def test_metadata_has_a_bound():
    submit(options=task_pb2.TaskOptions(context={"traceparent": "x" * 15_000}))
    with pytest.raises(ResourceExhausted) as large:
        submit(options=task_pb2.TaskOptions(context={"traceparent": "x" * 16_000}))
    assert (large.value.reason_name, large.value.field) == ("PAYLOAD_TOO_LARGE", "options.context")
    assert large.value.metadata["limit_bytes"] == "16000"


def test_shapes():
    with pytest.raises(Unimplemented) as shape:
        submit(method="probe.v1.ProbeService/Chat")
    assert shape.value.reason_name == "METHOD_NOT_DURABLE"
