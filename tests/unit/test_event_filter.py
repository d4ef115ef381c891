"""Filters of events: what matches, what is refused, and with which words."""

from __future__ import annotations

import pytest

from probe.v1.probe_pb2 import ProbeRequest
from weft.coordinator.events.event_filter import EventFilter, filter_of
from weft.coordinator.events.event_types import EventType
from weft.rpc.contracts import descriptors
from weft.rpc.errors import InvalidArgument
from weft.v1 import errors_pb2, event_pb2

FILES = descriptors.file_descriptor_set([ProbeRequest.DESCRIPTOR.file])
POOL = descriptors.build_pool(descriptors.PlainFileSet.FromString(FILES).file)
KIND = EventType(POOL.FindMessageTypeByName("probe.v1.ProbeRequest"))


def body(message: ProbeRequest, key: str = "", **attributes: str) -> bytes:
    event = event_pb2.Event(id="1", key=key, payload=message.SerializeToString(), attributes=attributes)
    return event.SerializeToString()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("event.text == 'a'", True),
        ("event.text == 'b' || event.stream_count > 2u", True),
        ("event.stream_count > 5u", False),
        ("event.text.matches('^[a-c]$') && !event.ignore_cancel", True),
        ("key == 'k' && attributes['source'] == '/s'", True),
        # A map has no such key: the filter cannot be evaluated.
        ("attributes['none'] == ''", False),
        ("1 / int(event.stream_count - 3u) > 0", False),
        ("'none' in attributes", False),
        ("'.all(x)' != event.text", True),
        ("true", True),
    ],
)
def test_what_matches(text: str, expected: bool) -> None:
    made = EventFilter(text, KIND)
    assert made.matches(body(ProbeRequest(text="a", stream_count=3), "k", source="/s")) is expected


def test_no_filter_is_none_and_foreign_payloads_do_not_match() -> None:
    assert filter_of("", KIND) is None
    assert not EventFilter("true", KIND).matches(event_pb2.Event(payload=b"\xff\xff").SerializeToString())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("event.none == 1", "undefined field 'none'"),
        ("event.text == 1", "no matching overload"),
        ("event.text ==", "Syntax error"),
        ("order.text == ''", "undeclared reference"),
        ("event.text", "it gives STRING"),
        ("event", "it gives probe.v1.ProbeRequest"),
        ("x" * 1025, "more than 1024 characters"),
        ("(" * 300 + "true" + ")" * 300, "recursion limit"),
        ("[1, 2].all(x, x > 0)", "goes through a list"),
        ("key == '' || !(size([1].filter(x, [x].exists(y, y > 0))) > 0)", "goes through a list"),
        ("{'a': [1].map(x, x)}.size() == 1", "goes through a list"),
        ("[[1].exists_one(x, x == 1)] [0]", "goes through a list"),
        ("\x00", "Syntax error"),
    ],
)
def test_what_is_refused(text: str, why: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        EventFilter(text, KIND, "spec.filter")
    assert refused.value.reason == errors_pb2.ERROR_REASON_FILTER_INVALID
    assert refused.value.field == "spec.filter"
    assert why in refused.value.message
    assert len(refused.value.message) < 600
