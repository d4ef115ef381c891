"""CloudEvents to publish, and published events as CloudEvents, with the classes of their Python SDK: the extra `cloudevents`.

    published = to_cloudevent(event)                       # or with its data as JSON: to_cloudevent(event, as_json=True)
    await mesh.events.publish_all([from_cloudevent(received, OrderPlaced)])

| CloudEvent | event |
|---|---|
| `type` | the topic. Another type is kept in the attribute `cetype` |
| `source` and `id` | the attributes `source` and `ceid`; both together make the id. Without them: `urn:weft:TOPIC`, and the id |
| `partitionkey` | the key |
| `time` | the attribute `time`; without it, the time of publication |
| `data` | the message, in protobuf (`application/protobuf`) or JSON |
| `dataschema` | the attribute; without it, of data in protobuf: `type.googleapis.com/TOPIC` |
| `weftsequence` | the sequence, on the way out |
| all others | attributes of the same name, as text |
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import DecodeError, Message

from weft.client.event_snapshot import Event, NewEvent
from weft.rpc import refusals
from weft.rpc.contracts import json_form
from weft.rpc.process.extras import require

require("cloudevents")

from cloudevents.core.base import BaseCloudEvent  # noqa: E402 - says what to install before
from cloudevents.core.v1.event import CloudEvent  # noqa: E402 - says what to install before

__all__ = ["cloudevent_of", "from_cloudevent", "message_type_of", "to_cloudevent"]

JSON, PROTOBUF = "application/json", "application/protobuf"
# Other names of protobuf in the field.
_PROTOBUF = frozenset(
    {PROTOBUF, "application/x-protobuf", "application/vnd.google.protobuf", "application/protobuf; proto"}
)
TYPE_URL = "type.googleapis.com/"
TYPE, ID, SEQUENCE, KEY = "cetype", "ceid", "weftsequence", "partitionkey"
# What is not kept as an attribute of an event: it follows from the rest.
_DERIVED = frozenset({"id", "type", "specversion", "datacontenttype", SEQUENCE, KEY})


def to_cloudevent(event: Event[Any], *, as_json: bool = False) -> CloudEvent:
    """A published event as a CloudEvent.

    Args:
        as_json: its data is JSON, a dict; else the serialized message. The event must have its message, not bytes.

    Raises:
        InvalidArgument: its message is bytes, or does not parse.
    """
    payload = event.proto.payload
    if not as_json:
        return cloudevent_of(event, payload, PROTOBUF)
    message = event.message
    if not isinstance(message, Message):
        raise refusals.invalid_field(
            "the message is bytes: subscribe with the message class for data in JSON", field="message"
        )
    return cloudevent_of(event, json_form.render(payload, type(message), _pool(type(message)), None), JSON)


def cloudevent_of(event: Event[Any], data: Any, content_type: str) -> CloudEvent:
    """A published event as a CloudEvent with this data."""
    given = dict(event.attributes)
    topic = event.topic
    attributes: dict[str, Any] = {name: text for name, text in given.items() if text}
    attributes |= {
        "specversion": "1.0",
        "type": attributes.pop(TYPE, topic),
        "id": attributes.pop(ID, event.id),
        "source": given.get("source") or default_source(topic),
        "time": _time(given.get("time", "")) or event.published_at or datetime.now(UTC),
        "datacontenttype": content_type,
        SEQUENCE: str(event.sequence),
    }
    if event.key:
        attributes[KEY] = event.key
    if content_type == PROTOBUF or TYPE in given:
        attributes.setdefault("dataschema", f"{TYPE_URL}{topic}")
    return CloudEvent(attributes, data)


def from_cloudevent(event: BaseCloudEvent, kind: type[Message]) -> NewEvent:
    """A CloudEvent as an event to publish. The same CloudEvent again is the same event, for two minutes.

    Args:
        kind: the class of its data, whose name is the topic. `message_type_of` says which one it is.

    Raises:
        InvalidArgument: its data is not of this class, or neither protobuf nor JSON.
    """
    topic = kind.DESCRIPTOR.full_name
    given = event.get_attributes()
    attributes = {
        name: attribute_text(value)
        for name, value in given.items()
        if name not in _DERIVED and value is not None
    }
    event_id, source, schema = event.get_id(), event.get_source(), event.get_dataschema()
    if source == default_source(topic):
        del attributes["source"]
    else:
        # Ids are unique in their source.
        attributes[ID] = event_id
        event_id = hashlib.blake2b(f"{source}\n{event_id}".encode(), digest_size=16).hexdigest()
    if event.get_type() != topic:
        attributes[TYPE] = event.get_type()
    if schema == f"{TYPE_URL}{topic}":
        del attributes["dataschema"]
    return NewEvent(_message(event, kind), attribute_text(given.get(KEY) or ""), event_id, attributes)


def message_type_of(event: BaseCloudEvent) -> str:
    """The full name of the message type of its data: the end of `dataschema`, if that is a type URL; else its `type`."""
    schema = event.get_dataschema() or ""
    return schema.removeprefix(TYPE_URL) if schema.startswith(TYPE_URL) else event.get_type()


def default_source(topic: str) -> str:
    """The source of events whose publisher has named none."""
    return f"urn:weft:{topic}"


def is_protobuf(content_type: str | None) -> bool:
    return (content_type or "").split(";")[0].strip().lower() in _PROTOBUF


def attribute_text(value: object) -> str:
    """A value of an attribute as text, by the rules of CloudEvents."""
    match value:
        case bool():
            return "true" if value else "false"
        case bytes():
            return base64.b64encode(value).decode()
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case _:
            return str(value)


def _message(event: BaseCloudEvent, kind: type[Message]) -> Message:
    data, content_type, name = event.get_data(), event.get_datacontenttype(), kind.DESCRIPTOR.full_name
    if is_protobuf(content_type):
        if data is not None and not isinstance(data, bytes):
            raise refusals.payload_malformed(f"data is {content_type}, and not bytes", field="data")
        try:
            return kind.FromString(data or b"")
        except DecodeError as error:
            raise refusals.payload_malformed(
                f"data does not parse as {name}: {error}", field="data"
            ) from None
    if not is_json(content_type):
        raise refusals.payload_malformed(
            f"datacontenttype is {content_type!r}; data of an event is {PROTOBUF} or {JSON}",
            field="datacontenttype",
        )
    if data is None:
        return kind()
    try:
        # A text of JSON comes as bytes, or from some readers as a string; what was read comes as a value.
        text = data.decode() if isinstance(data, bytes) else json.dumps(data)
    except (ValueError, TypeError, RecursionError) as error:
        raise refusals.payload_malformed(f"data is not JSON: {error}", field="data") from None
    return kind.FromString(json_form.parse(text, kind, _pool(kind)))


def is_json(content_type: str | None) -> bool:
    """Whether data of this type is JSON. Without a type, it is."""
    name = (content_type or JSON).split(";")[0].strip().lower()
    return name.endswith(("/json", "+json"))


def _pool(kind: type[Message]) -> Any:
    return kind.DESCRIPTOR.file.pool


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def attributes_of(event: BaseCloudEvent) -> Mapping[str, Any]:
    """Optional attributes and extensions."""
    required = {"id", "source", "type", "specversion"}
    return {name: value for name, value in event.get_attributes().items() if name not in required}
