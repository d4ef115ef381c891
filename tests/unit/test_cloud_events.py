"""CloudEvents in and out: a round trip keeps everything, in both forms, by their own SDK."""

from __future__ import annotations

import contextlib
import json
import string
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from cloudevents.core.bindings.http import from_http_event, to_structured_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from google.protobuf import any_pb2, descriptor_pool, wrappers_pb2
from hypothesis import given
from hypothesis import strategies as st

from probe.v1.probe_pb2 import ProbeReply, ProbeRequest
from weft.client import Event, InvalidArgument
from weft.client.cloud_event_format import ProtobufFormat
from weft.client.cloud_event_schema import PACKAGE
from weft.client.cloud_events import from_cloudevent, message_type_of, to_cloudevent
from weft.rpc.times import timestamp
from weft.v1 import event_pb2

TOPIC = "probe.v1.ProbeRequest"
PUBLISHED = datetime(2030, 1, 31, 12, 0, 0, 250, UTC)
FORMATS = [JSONFormat(), ProtobufFormat()]

text = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=20)
names = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=20).map(lambda name: f"x{name}")
times = st.datetimes(
    # Their zone comes from the strategy.
    datetime(1970, 1, 2),  # noqa: DTZ001
    datetime(9999, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=1))]),
)
optional = st.fixed_dictionaries(
    {"time": times}, optional={"subject": text, "dataschema": text, "partitionkey": text, "traceparent": text}
)
messages = st.builds(ProbeRequest, text=text, sleep_s=st.floats(allow_nan=False, allow_infinity=False))


def stored(event: Any, sequence: int = 7) -> Event[ProbeRequest]:
    """A new event as subscribers get it."""
    sent = event.proto()
    proto = event_pb2.Event(
        topic=sent.topic,
        sequence=sequence,
        id=sent.id,
        key=sent.key,
        publish_time=timestamp(PUBLISHED.timestamp()),
        payload=sent.payload,
        attributes=sent.attributes,
    )
    return Event(proto, ProbeRequest)


@pytest.mark.parametrize("as_json", [False, True], ids=["protobuf", "json"])
@pytest.mark.parametrize("form", FORMATS, ids=["json form", "protobuf form"])
@given(
    message=messages,
    required=st.fixed_dictionaries({"id": text, "source": text, "type": st.just(TOPIC) | text}),
    more=optional,
    extensions=st.dictionaries(names, text, max_size=4),
)
def test_nothing_of_a_cloudevent_is_lost(
    form: Any, as_json: bool, message: ProbeRequest, required: Any, more: Any, extensions: Any
) -> None:
    data = to_cloudevent(stored_of(message), as_json=as_json).get_data()
    kind = "application/json" if as_json else "application/protobuf"
    given_ = CloudEvent(
        {"specversion": "1.0", "datacontenttype": kind, **extensions, **more, **required}, data
    )
    received = form.read(None, form.write(given_))
    out = to_cloudevent(stored(from_cloudevent(received, ProbeRequest)), as_json=as_json)
    attributes = dict(out.get_attributes())
    assert attributes.pop("weftsequence") == "7"
    if "dataschema" not in more and (not as_json or required["type"] != TOPIC):
        assert attributes.pop("dataschema") == f"type.googleapis.com/{TOPIC}"
    assert attributes == given_.get_attributes()
    assert out.get_data() == data


def stored_of(message: ProbeRequest, **fields: Any) -> Event[ProbeRequest]:
    proto = event_pb2.Event(topic=TOPIC, sequence=3, id="e1", payload=message.SerializeToString(), **fields)
    proto.publish_time.CopyFrom(timestamp(PUBLISHED.timestamp()))
    return Event(proto, ProbeRequest)


@pytest.mark.parametrize("as_json", [False, True], ids=["protobuf", "json"])
@pytest.mark.parametrize("form", FORMATS, ids=["json form", "protobuf form"])
@given(message=messages, key=st.just("") | text, attributes=st.dictionaries(names, text, max_size=4))
def test_nothing_of_an_event_is_lost(
    form: Any, as_json: bool, message: ProbeRequest, key: str, attributes: dict[str, str]
) -> None:
    event = stored_of(message, key=key, attributes=attributes)
    made = form.read(None, form.write(to_cloudevent(event, as_json=as_json)))
    back = from_cloudevent(made, ProbeRequest)
    assert (back.message, back.key, back.id) == (message, key, "e1")
    # When it happened is not when another mesh publishes it.
    assert back.attributes == {**attributes, "time": "2030-01-31T12:00:00.000250Z"}


def test_an_event_as_a_document() -> None:
    event = stored_of(ProbeRequest(text="a"), key="k", attributes={"subject": "s", "empty": ""})
    assert json.loads(JSONFormat().write(to_cloudevent(event, as_json=True))) == {
        "specversion": "1.0",
        "type": TOPIC,
        "source": f"urn:weft:{TOPIC}",
        "id": "e1",
        "time": "2030-01-31T12:00:00.000250Z",
        "datacontenttype": "application/json",
        "subject": "s",
        "partitionkey": "k",
        "weftsequence": "3",
        "data": {"text": "a"},
    }
    # By a binding of the SDK, and back.
    sent = to_structured_event(to_cloudevent(event), ProtobufFormat())
    assert sent.headers["content-type"] == "application/cloudevents+protobuf"
    assert from_http_event(sent, ProtobufFormat()).get_data() == ProbeRequest(text="a").SerializeToString()


def test_the_protobuf_form_is_that_of_the_specification() -> None:
    """Its fields by their numbers, as bytes: another reader must find them."""
    sent = any_pb2.Any(
        type_url=f"type.googleapis.com/{TOPIC}", value=ProbeRequest(text="a").SerializeToString()
    )
    body = sent.SerializeToString()
    flag, count = b"\x0a\x01f\x12\x02\x08\x01", b"\x0a\x01n\x12\x02\x10\x05"
    word, when = b"\x0a\x01w\x12\x03\x1a\x01x", b"\x0a\x04time\x12\x04\x3a\x02\x08\x05"
    entries = b"".join(bytes([0x2A, len(each)]) + each for each in (flag, count, word, when))
    raw = b"\x0a\x01i\x12\x01s\x1a\x031.0\x22\x01t" + entries + bytes([0x42, len(body)]) + body
    event = ProtobufFormat().read(None, raw)
    assert event.get_attributes() == {
        "id": "i",
        "source": "s",
        "specversion": "1.0",
        "type": "t",
        "f": True,
        "n": 5,
        "w": "x",
        "time": datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC),
        "datacontenttype": "application/protobuf",
        "dataschema": sent.type_url,
    }
    assert message_type_of(event) == TOPIC
    new = from_cloudevent(event, ProbeRequest)
    assert (new.message.text, new.attributes["cetype"], new.attributes["f"], new.attributes["n"]) == (
        "a",
        "t",
        "true",
        "5",
    )
    # The process' own pool is left alone: a program may have generated code of these messages.
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName(f"{PACKAGE}.CloudEvent")


def test_ids_are_those_of_their_sources() -> None:
    def made(source: str, event_id: str = "1") -> str:
        attributes = {"id": event_id, "source": source, "type": TOPIC, "datacontenttype": "application/json"}
        return from_cloudevent(CloudEvent(attributes, {}), ProbeRequest).id

    assert made("a") == made("a")
    assert len({made("a"), made("b"), made("a", "2"), made(f"urn:weft:{TOPIC}")}) == 4
    assert made(f"urn:weft:{TOPIC}") == "1"


@pytest.mark.parametrize(
    ("kind", "data", "what"),
    [
        ("application/protobuf", b"\xff", "does not parse as probe.v1.ProbeRequest"),
        ("application/protobuf", {"text": "a"}, "not bytes"),
        ("application/json", {"no": 1}, "no"),
        ("application/json", b"{", "JSON"),
        ("application/json", b"\xff", "JSON"),
        ("text/xml", "<a/>", "datacontenttype is 'text/xml'"),
    ],
)
def test_wrong_data_is_refused(kind: str, data: Any, what: str) -> None:
    event = CloudEvent({"id": "1", "source": "s", "type": TOPIC, "datacontenttype": kind}, data)
    with pytest.raises(InvalidArgument, match=what):
        from_cloudevent(event, ProbeRequest)


def test_data_of_each_form() -> None:
    def read(kind: Any, data: Any, content_type: str | None) -> Any:
        attributes = {"id": "1", "source": "s", "type": "t"}
        if content_type:
            attributes["datacontenttype"] = content_type
        return from_cloudevent(CloudEvent(attributes, data), kind).message

    assert read(ProbeReply, b'{"text": "a"}', "application/vnd.acme+json; charset=utf-8") == ProbeReply(
        text="a"
    )
    assert read(ProbeReply, {"text": "a"}, None) == ProbeReply(text="a")
    assert read(ProbeReply, None, None) == ProbeReply()
    assert read(wrappers_pb2.StringValue, "a", None) == wrappers_pb2.StringValue(value="a")
    with pytest.raises(InvalidArgument, match="the message is bytes"):
        to_cloudevent(Event(event_pb2.Event(topic=TOPIC), None), as_json=True)


@given(st.binary(max_size=60))
def test_garbage_in_protobuf_is_refused(raw: bytes) -> None:
    with contextlib.suppress(InvalidArgument):
        assert ProtobufFormat().read(None, raw).get_id()
    with pytest.raises(InvalidArgument):
        ProtobufFormat().read(None, raw[:3])
