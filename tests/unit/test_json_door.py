"""Every message that the wire allows can be shown as JSON, and every JSON is accepted or refused in one line: generated
cases."""

from __future__ import annotations

import contextlib
import json

import pytest
from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    duration_pb2,
    field_mask_pb2,
    json_format,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.v1 import probe_pb2
from tests.support.messages import classes_of, filled
from tests.support.schema import METHOD, contract
from weft.cli.rendering.documents import task_document
from weft.cli.terminal.failures import detail_lines
from weft.cli.terminal.output import json_text
from weft.cli.terminal.payload_view import PayloadView
from weft.client.agent_snapshot import AgentInfo
from weft.client.task_snapshot import Task, TaskState
from weft.rpc.contracts import descriptors, json_form
from weft.rpc.contracts.json_rendering import MAX_NESTED_ANYS, json_value
from weft.rpc.errors import InvalidArgument
from weft.v1 import coordinator_pb2, fleet_pb2, task_pb2

WELL_KNOWN = [any_pb2, struct_pb2, wrappers_pb2, duration_pb2, timestamp_pb2, field_mask_pb2]
FILES = [coordinator_pb2, fleet_pb2, task_pb2, probe_pb2, error_details_pb2, status_pb2, *WELL_KNOWN]
CLASSES = classes_of(*FILES)
POOL = descriptors.build_pool(
    descriptor_pb2.FileDescriptorSet.FromString(
        descriptors.file_descriptor_set(module.DESCRIPTOR for module in FILES)
    ).file
)
# proto2: closed enums, groups of labels, and strings that need not be UTF-8.
OLD = contract({"Request": "optional string text = 1; repeated enum Kind kinds = 2; map<bool, string> m = 3"})
OLD_REQUEST = OLD.methods[METHOD].request_class
ANY_MESSAGE = st.sampled_from([*CLASSES, OLD_REQUEST]).flatmap(filled)

MANY = settings(max_examples=200, deadline=None)


@MANY
@given(ANY_MESSAGE)
def test_every_message_is_shown_and_as_protobuf_does_where_that_can(message):
    shown = json_value(message, POOL)
    assert json.loads(json_text(shown)) == json.loads(json.dumps(shown))
    json.dumps(shown, allow_nan=False)
    try:
        wanted = json_format.MessageToDict(message, descriptor_pool=POOL)
    except (ValueError, TypeError, DecodeError, OverflowError, json_format.Error):
        return
    assert shown == wanted


@MANY
@given(st.sampled_from([*CLASSES, OLD_REQUEST]), st.binary(max_size=60))
def test_bytes_are_shown_or_refused(message_class, payload):
    with contextlib.suppress(InvalidArgument):
        json_text(json_form.render(payload, message_class, POOL))


@MANY
@given(filled(task_pb2.Task), filled(fleet_pb2.Agent), filled(status_pb2.Status))
def test_tasks_agents_and_statuses_are_shown(task, agent, status):
    document = task_document(Task(task), full=True)
    json.loads(json_text(document))
    AgentInfo.of(agent)
    json.loads(json_text(PayloadView().status(status)))
    for text in detail_lines(status):
        assert text.startswith("  ")


def test_states_of_a_newer_coordinator():
    assert TaskState(7).name == "UNKNOWN_7"
    assert TaskState(7) == 7
    assert TaskState(6) is TaskState.CANCELLED
    with pytest.raises(ValueError, match="no"):
        TaskState("no")


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (struct_pb2.Value(number_value=float("nan")), "NaN"),
        (struct_pb2.Value(number_value=float("-inf")), "-Infinity"),
        (timestamp_pb2.Timestamp(seconds=10**15), {"seconds": str(10**15)}),
        (duration_pb2.Duration(seconds=1, nanos=-5), {"seconds": "1", "nanos": -5}),
        (field_mask_pb2.FieldMask(paths=["A_b"]), {"paths": ["A_b"]}),
        (any_pb2.Any(type_url="x/no.Such", value=b"\0"), {"@type": "x/no.Such", "value": "AA=="}),
        (
            any_pb2.Any(type_url="x/google.rpc.BadRequest", value=b"\xff"),
            {"@type": "x/google.rpc.BadRequest", "value": "/w=="},
        ),
        (task_pb2.Task(state=99), {"state": 99}),
    ],
)
def test_what_protobuf_has_no_form_for(message, shown):
    assert json_value(message) == shown


def test_anys_in_anys_end():
    packed = any_pb2.Any(type_url="x/no.Such")
    for _ in range(2000):
        outer = any_pb2.Any()
        outer.Pack(packed)
        packed = outer
    shown = json_value(packed)
    for _ in range(MAX_NESTED_ANYS):
        shown = shown["value"]
    assert isinstance(shown["value"], str)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["@type", "value", "a", "text", "options", "\ud800", "seconds"]), inner
        )
    ),
    max_leaves=12,
)
FIELD_NAMES = sorted({field.json_name for cls in CLASSES for field in cls.DESCRIPTOR.fields})


@st.composite
def near_misses(draw: st.DrawFn) -> tuple[type, str]:
    """A message's JSON with some value replaced: by anything at all, or by a name that is not there."""
    cls = draw(st.sampled_from(CLASSES))
    value = json_value(draw(filled(cls)), POOL)
    if isinstance(value, dict) and value:
        key = draw(st.sampled_from([*value, *FIELD_NAMES[::9], "@type"]))
        value = value | {key: draw(JSON)}
    return cls, json.dumps(value)


@MANY
@given(
    near_misses()
    | st.tuples(st.sampled_from(CLASSES), JSON.map(json.dumps))
    | st.tuples(st.sampled_from(CLASSES), st.text(max_size=20))
)
def test_json_is_taken_or_refused_in_one_line(case):
    cls, text = case
    refusal = ""
    try:
        cls.FromString(json_form.parse(text, cls, POOL))
    except InvalidArgument as error:
        refusal = error.status().message
    assert len(refusal) < 1000
    for words in ("\n", "Failed to parse", "has no attribute", "object is not"):
        assert words not in refusal


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        '{"text": NaN}',
        '{"sleepS": Infinity}',
        '{"sleepS": 1e999}',
        '{"failCode": ' + "9" * 5000 + "}",
        '{"text": "a", "text": "b"}',
        '{"text": "\\ud800"}',
        '{"\\ud800": 1}',
        "[" * 100_000,
        '{"a":' * 100_000,
    ],
    ids=range(10),
)
def test_hostile_json(text):
    with pytest.raises(InvalidArgument) as raised:
        json_form.parse(text, probe_pb2.ProbeRequest, POOL)
    assert len(raised.value.message) < 1000
    assert "\n" not in raised.value.message
    assert raised.value.status().message


@pytest.mark.parametrize("depth", [60, 400, 5000])
def test_a_value_that_nobody_could_read_is_not_sent(depth):
    with pytest.raises(InvalidArgument, match="nested too deeply"):
        json_form.parse("[" * depth + "]" * depth, struct_pb2.Value, POOL)


def test_a_value_of_an_enum_is_told_what_it_may_be():
    with pytest.raises(InvalidArgument, match=r"has no value FAILD; did you mean TASK_STATE_FAILED\?"):
        json_form.parse('{"states": ["FAILD"]}', coordinator_pb2.TaskFilter, POOL)
