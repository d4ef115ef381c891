"""The messages of CloudEvents' protobuf format (`io.cloudevents.v1`), in a descriptor pool of their own.

A program that has generated code of them keeps it: the default pool takes each name once.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import any_pb2, timestamp_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

PACKAGE = "io.cloudevents.v1"
_EVENT = f".{PACKAGE}.CloudEvent"
_VALUE = f"{_EVENT}.CloudEventAttributeValue"
_ANY, _TIMESTAMP = ".google.protobuf.Any", ".google.protobuf.Timestamp"

# Names and types of fields, in the order of their numbers from 1; a type that begins with a dot is a message's.
_REQUIRED = [("id", "string"), ("source", "string"), ("spec_version", "string"), ("type", "string")]
_DATA = [("binary_data", "bytes"), ("text_data", "string"), ("proto_data", _ANY)]
_VALUES = [
    ("ce_boolean", "bool"),
    ("ce_integer", "int32"),
    ("ce_string", "string"),
    ("ce_bytes", "bytes"),
    ("ce_uri", "string"),
    ("ce_uri_ref", "string"),
    ("ce_timestamp", _TIMESTAMP),
]


@cache
def cloud_event_class() -> type[Any]:
    """The class of `io.cloudevents.v1.CloudEvent`."""
    return GetMessageClass(_pool().FindMessageTypeByName(f"{PACKAGE}.CloudEvent"))


@cache
def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    for imported in (any_pb2, timestamp_pb2):
        pool.AddSerializedFile(imported.DESCRIPTOR.serialized_pb)
    pool.Add(schema())
    return pool


def schema() -> FileDescriptorProto:
    """The file, without the options of languages."""
    file = FileDescriptorProto(name="cloudevents.proto", package=PACKAGE, syntax="proto3")
    file.dependency.extend([any_pb2.DESCRIPTOR.name, timestamp_pb2.DESCRIPTOR.name])
    event = file.message_type.add(name="CloudEvent")
    for name, kind in _REQUIRED:
        _add(event, name, kind)
    _add(event, "attributes", f"{_EVENT}.AttributesEntry", repeated=True)
    event.oneof_decl.add(name="data")
    for name, kind in _DATA:
        _add(event, name, kind, oneof=True)
    entry = event.nested_type.add(name="AttributesEntry")
    entry.options.map_entry = True
    _add(entry, "key", "string")
    _add(entry, "value", _VALUE)
    value = event.nested_type.add(name="CloudEventAttributeValue")
    value.oneof_decl.add(name="attr")
    for name, kind in _VALUES:
        _add(value, name, kind, oneof=True)
    _add(file.message_type.add(name="CloudEventBatch"), "events", _EVENT, repeated=True)
    return file


def _add(
    message: DescriptorProto, name: str, kind: str, *, repeated: bool = False, oneof: bool = False
) -> None:
    """Add a field with the next number."""
    field = message.field.add(name=name, number=len(message.field) + 1)
    field.label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
    if kind.startswith("."):
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, kind
    else:
        field.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
    if oneof:
        field.oneof_index = 0
