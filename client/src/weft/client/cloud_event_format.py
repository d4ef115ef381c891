"""CloudEvents' protobuf format for their SDK, which has JSON alone: `application/cloudevents+protobuf`.

to_structured_event(event, ProtobufFormat())     # of the SDK's bindings of HTTP, Kafka and others
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.message import DecodeError

# It says which extra is missing, so it is the first one.
from weft.client.cloud_events import PROTOBUF, TYPE_URL, attributes_of, is_json, is_protobuf  # isort: skip
from cloudevents.core.base import BaseCloudEvent, EventFactory
from cloudevents.core.v1.event import CloudEvent

from weft.client.cloud_event_schema import cloud_event_class
from weft.rpc import bounded_json, refusals
from weft.rpc.times import checked_time

_INT32 = 2**31


class ProtobufFormat:
    """A `Format` of the SDK. Data in protobuf whose `dataschema` is a type URL goes as a message (`proto_data`)."""

    CONTENT_TYPE: Final[str] = "application/cloudevents+protobuf"

    def read(self, event_factory: EventFactory | None, data: str | bytes) -> BaseCloudEvent:
        """A CloudEvent from its protobuf form.

        Raises:
            InvalidArgument: it is none.
        """
        if isinstance(data, str):
            raise refusals.payload_malformed("a CloudEvent in protobuf is bytes, and not text")
        try:
            found = cloud_event_class().FromString(data)
        except DecodeError as error:
            raise refusals.payload_malformed(f"it is no CloudEvent in protobuf: {error}") from None
        attributes = {name: _value(value) for name, value in found.attributes.items()}
        attributes |= {"id": found.id, "source": found.source, "type": found.type}
        attributes["specversion"] = found.spec_version
        body: Any = None
        match found.WhichOneof("data"):
            case "proto_data":
                body = found.proto_data.value
                attributes.setdefault("dataschema", found.proto_data.type_url)
                attributes.setdefault("datacontenttype", PROTOBUF)
            case None:
                pass
            case "text_data" if is_json(attributes.get("datacontenttype")):
                # As the SDK's reader of JSON has it.
                body = _json(found.text_data)
            case kind:
                body = getattr(found, kind)
        try:
            return (event_factory or CloudEvent)(attributes, body)
        except Exception as error:
            # The SDK's errors have no class in common with others, and a factory may be anybody's.
            raise refusals.payload_malformed(f"it is no valid CloudEvent: {error}") from None

    def write(self, event: BaseCloudEvent) -> bytes:
        """A CloudEvent in protobuf.

        Raises:
            InvalidArgument: a value does not fit the format.
        """
        made = cloud_event_class()(
            id=event.get_id(),
            source=event.get_source(),
            spec_version=event.get_specversion(),
            type=event.get_type(),
        )
        for name, value in attributes_of(event).items():
            _put(made.attributes[name], name, value)
        data, schema = event.get_data(), event.get_dataschema() or ""
        if (
            isinstance(data, bytes)
            and is_protobuf(event.get_datacontenttype())
            and schema.startswith(TYPE_URL)
        ):
            made.proto_data.type_url, made.proto_data.value = schema, data
        elif isinstance(data, bytes):
            made.binary_data = data
        elif data is not None:
            text = isinstance(data, str) and not is_json(event.get_datacontenttype())
            made.text_data = data if text else json.dumps(data)
        serialized: bytes = made.SerializeToString()
        return serialized

    def write_data(
        self,
        data: dict[str, Any] | str | bytes | None,
        datacontenttype: str | None,  # noqa: ARG002  # of the SDK
    ) -> bytes:
        """Data alone, for the binary mode of bindings."""
        if data is None or isinstance(data, bytes):
            return data or b""
        return (data if isinstance(data, str) else json.dumps(data)).encode()

    def read_data(
        self,
        body: bytes,
        datacontenttype: str | None,  # noqa: ARG002  # of the SDK
    ) -> dict[str, Any] | str | bytes | None:
        """Data alone, for the binary mode of bindings."""
        return body or None

    def get_content_type(self) -> str:
        return self.CONTENT_TYPE


def _json(text: str) -> Any:
    try:
        return bounded_json.loads(text)
    except ValueError as error:
        raise refusals.payload_malformed(f"its data is not JSON: {error}", field="data") from None


def _put(into: Any, name: str, value: object) -> None:
    match value:
        case bool():
            into.ce_boolean = value
        case int() if -_INT32 <= value < _INT32:
            into.ce_integer = value
        case bytes():
            into.ce_bytes = value
        case datetime():
            into.ce_timestamp.FromDatetime(value)
        case str() if name == "dataschema":
            into.ce_uri = value
        case str():
            into.ce_string = value
        case _:
            raise refusals.invalid_field(
                f"the attribute {name} is {value!r}, which is no value of a CloudEvent", field=name
            )


def _value(value: Any) -> Any:
    kind = value.WhichOneof("attr")
    if kind == "ce_timestamp":
        checked_time(value.ce_timestamp, "time")
        return value.ce_timestamp.ToDatetime(UTC)
    return "" if kind is None else getattr(value, kind)
