"""JSON in and out: valid values pass, and an error names the wrong field."""

from __future__ import annotations

import json
import re

import pytest
from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    duration_pb2,
    field_mask_pb2,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)

from probe.v1 import probe_pb2
from tests.support.schema import METHOD, contract
from weft.rpc.contracts import descriptors, json_form
from weft.rpc.errors import InvalidArgument
from weft.v1 import coordinator_pb2

FILES = [
    coordinator_pb2,
    probe_pb2,
    any_pb2,
    struct_pb2,
    wrappers_pb2,
    duration_pb2,
    field_mask_pb2,
    timestamp_pb2,
]
POOL = descriptors.build_pool(
    descriptor_pb2.FileDescriptorSet.FromString(
        descriptors.file_descriptor_set(module.DESCRIPTOR for module in FILES)
    ).file
)
SUBMIT = coordinator_pb2.SubmitTaskRequest
PROBE = probe_pb2.ProbeRequest


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", PROBE()),
        ("  \n", PROBE()),
        ("{}", PROBE()),
        (
            '{"text": "é", "sleepS": 0.5, "replySizeBytes": "5", "blob": "AAE="}',
            PROBE(text="é", sleep_s=0.5, reply_size_bytes=5, blob=b"\0\1"),
        ),
        ('{"text": null, "stream_count": 3}', PROBE(stream_count=3)),
    ],
)
def test_json_becomes_a_message(text, wanted):
    assert PROBE.FromString(json_form.parse(text, PROBE, POOL)) == wanted


@pytest.mark.parametrize(
    ("message_class", "text", "wanted"),
    [
        (struct_pb2.Value, "[1, 2]", [1.0, 2.0]),
        (struct_pb2.Struct, '{"a": {"b": null}}', {"a": {"b": None}}),
        (wrappers_pb2.StringValue, '"x"', "x"),
        (duration_pb2.Duration, '"1.5s"', "1.500s"),
        (any_pb2.Any, '{"@type": "type.googleapis.com/probe.v1.Payload", "data": "AA=="}', None),
    ],
)
def test_well_known_types_keep_their_own_forms(message_class, text, wanted):
    payload = json_form.parse(text, message_class, POOL)
    assert json_form.render(payload, message_class, POOL) == (json.loads(text) if wanted is None else wanted)


@pytest.mark.parametrize(
    ("message_class", "text", "field", "words"),
    [
        (PROBE, '{"txet": "a"}', "txet", "has no such field; did you mean text?"),
        (PROBE, '{"quite": "a"}', "quite", "has no such field; it has text, sleepS, burnS"),
        (PROBE, '{"text": 5}', "text", "expected string"),
        (PROBE, '{"sleepS": "x"}', "sleepS", "Couldn't parse float: x"),
        (PROBE, '{"failCode": 1.5}', "failCode", "Couldn't parse integer: 1.5"),
        (PROBE, '{"replySizeBytes": -1}', "replySizeBytes", "out of range: -1"),
        (PROBE, '{"text": "\\ud800"}', "text", "surrogate"),
        (PROBE, "[1]", None, "must be a JSON object, not an array"),
        (PROBE, '"x"', None, "must be a JSON object, not a string"),
        (PROBE, "null", None, "must be a JSON object, not null"),
        (PROBE, "17", None, "must be a JSON object, not 17"),
        (PROBE, "true", None, "must be a JSON object, not true"),
        (PROBE, '{"text":\n "a",}', None, "it is not JSON: .* line 2, column"),
        (PROBE, "{text: 1}", None, "it is not JSON"),
        (PROBE, '{"text": "a", "text": "b"}', None, "duplicate key text"),
        (PROBE, '{"text":' + "[" * 100_000, None, "nested too deeply"),
        (SUBMIT, '{"options": {"delay": "5"}}', "options.delay", 'must end with letter "s"'),
        (SUBMIT, '{"options": {"retry": {"maxAttempts": -1}}}', "options.retry.maxAttempts", "out of range"),
        (
            SUBMIT,
            '{"options": {"retry": {"foo": -1}}}',
            "options.retry.foo",
            "weft.v1.RetryPolicy has no such field",
        ),
        (SUBMIT, '{"options": 5}', "options", "it must be a JSON object"),
        (
            coordinator_pb2.ListTasksRequest,
            '{"filter": {"states": ["QUEUED"]}}',
            r"filter.states[0]",
            "QUEUED",
        ),
        (any_pb2.Any, '{"@type": "x/no.Such"}', None, "no.Such"),
        (timestamp_pb2.Timestamp, '""', None, ": missing valid timezone offset"),
        (
            timestamp_pb2.Timestamp,
            '"9999-12-31T23:59:59.1234567890Z"',
            None,
            ": nanos 1234567890 more than 9",
        ),
        (field_mask_pb2.FieldMask, '"a_b"', None, ": Path name a_b must not"),
    ],
    ids=range(25),
)
def test_what_does_not_fit_is_told_by_field(message_class, text, field, words):
    with pytest.raises(InvalidArgument, match=words) as raised:
        json_form.parse(text, message_class, POOL)
    assert raised.value.field == field
    assert raised.value.reason_name == "PAYLOAD_MALFORMED"
    message = str(raised.value)
    assert not re.search("Fail(ed)? to parse", message)
    assert "\n" not in message


def test_required_fields_are_asked_for():
    info = contract({"Request": "required int32 n = 1"}).methods[METHOD]
    with pytest.raises(InvalidArgument, match="missing required fields: n"):
        json_form.parse("{}", info.request_class, POOL)


def test_bytes_that_cannot_be_shown():
    with pytest.raises(InvalidArgument, match="cannot be shown as"):
        json_form.render(b"\xff", PROBE, POOL)
