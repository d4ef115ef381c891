"""CloudEvents of files and of other programs."""

from __future__ import annotations

from google.protobuf.struct_pb2 import Struct

from tests.fuzz.target import target, text_of
from weft.cli.events import cloud_event_files
from weft.client.cloud_event_format import ProtobufFormat
from weft.client.cloud_events import cloudevent_of, from_cloudevent
from weft.client.event_snapshot import Event
from weft.v1 import event_pb2

_JSON = (
    b'{"specversion": "1.0", "id": "1", "source": "/a", "type": "t", "time": "2030-01-31T12:00:00Z", '
    b'"n": 5, "partitionkey": "k", "data": {"a": 1}}'
)


@target(
    "weft/cli/events/cloud_event_files",
    "weft/client/cloud_events",
    seeds=lambda: [
        _JSON,
        b"[" + _JSON + b"]",
        _JSON.replace(b'"data"', b'"data_base64"').replace(b'{"a": 1}', b'"e30="'),
        b"[" * 2000,
    ],
    raises=(ValueError,),
)
def cloudevent_json(data: bytes) -> None:
    for event in cloud_event_files.of_json(text_of(data)):
        new = from_cloudevent(event, Struct)
        sent = event_pb2.Event(topic="t", id=new.id, key=new.key, attributes=new.attributes)
        # What was taken can be shown.
        cloudevent_of(Event(sent, None), {}, "application/json")


@target(
    "weft/client/cloud_event_format",
    seeds=lambda: [ProtobufFormat().write(event) for event in cloud_event_files.of_json(_JSON.decode())],
)
def cloudevent_protobuf(data: bytes) -> None:
    form = ProtobufFormat()
    event = form.read(None, data)
    assert form.read(None, form.write(event)).get_attributes() == event.get_attributes()
    from_cloudevent(event, Struct)
