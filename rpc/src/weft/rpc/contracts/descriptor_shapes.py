"""Checks the shapes of descriptors that protobuf's compiler guarantees and its Python library does not check.

Python's protobuf takes descriptors as it gets them. Some that no compiler writes end the process when a message of theirs is read,
written or made: a map whose values do not have the number 2, for example. Contracts come from strangers, so they are checked here
before a message class is made of them. The rules are those of protobuf's compiler.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto

# The serialized option `weak = true` of a field.
_WEAK_TAG = b"\x50\x01"
_KEY_TYPES = frozenset(
    {
        FieldDescriptor.TYPE_INT32,
        FieldDescriptor.TYPE_INT64,
        FieldDescriptor.TYPE_UINT32,
        FieldDescriptor.TYPE_UINT64,
        FieldDescriptor.TYPE_SINT32,
        FieldDescriptor.TYPE_SINT64,
        FieldDescriptor.TYPE_FIXED32,
        FieldDescriptor.TYPE_FIXED64,
        FieldDescriptor.TYPE_SFIXED32,
        FieldDescriptor.TYPE_SFIXED64,
        FieldDescriptor.TYPE_BOOL,
        FieldDescriptor.TYPE_STRING,
    }
)


def shape_fault(file: FileDescriptor) -> str:
    """What is wrong in a file; empty: nothing."""
    for message in _messages(file.message_types_by_name.values()):
        if fault := _message_fault(message):
            return f"{message.full_name}: {fault}"
        for extension in message.extensions:
            if fault := _field_fault(extension):
                return f"{extension.full_name}: {fault}"
    for extension in file.extensions_by_name.values():
        if fault := _field_fault(extension):
            return f"{extension.full_name}: {fault}"
    for service in file.services_by_name.values():
        for method in service.methods:
            if _is_entry(method.input_type) or _is_entry(method.output_type):
                return f"{method.full_name}: the entry of a map is no request or response"
    return ""


def weak_field(file: FileDescriptorProto) -> str:
    """The full name of a field with the option weak; empty: there is none. Libraries in C++, which rules and filters are compiled by,
    end the process at one."""
    if _WEAK_TAG not in file.SerializeToString():
        return ""
    found = [f"{file.package}.{each.name}" for each in file.extension if each.options.weak]
    waiting = [(file.package, each) for each in file.message_type]
    for outer, message in waiting:  # it grows during the loop
        name = f"{outer}.{message.name}".lstrip(".")
        found += [f"{name}.{each.name}" for each in (*message.field, *message.extension) if each.options.weak]
        waiting += [(name, each) for each in message.nested_type]
    return found[0] if found else ""


def _messages(outer: Iterable[Descriptor]) -> Iterator[Descriptor]:
    waiting = list(outer)
    while waiting:
        message = waiting.pop()
        yield message
        waiting += message.nested_types


def _message_fault(message: Descriptor) -> str:
    if _is_entry(message) and (fault := _entry_fault(message)):
        return fault
    for field in message.fields:
        if fault := _field_fault(field):
            return f"field {field.name}: {fault}"
    return ""


def _is_entry(message: Descriptor | None) -> bool:
    return message is not None and message.has_options and message.GetOptions().map_entry


def _entry_fault(entry: Descriptor) -> str:
    """What is wrong with the entry of a map."""
    if entry.containing_type is None:
        return "the entry of a map must be within the message that has the map"
    fields = {field.number: field for field in entry.fields}
    if (
        len(entry.fields) != 2
        or fields.keys() != {1, 2}
        or fields[1].name != "key"
        or fields[2].name != "value"
    ):
        return "the entry of a map must have the fields key = 1 and value = 2 alone"
    if any(
        field.is_repeated or field.is_required or field.containing_oneof is not None for field in entry.fields
    ):
        return "the fields of a map's entry must be optional ones"
    if fields[1].type not in _KEY_TYPES or fields[2].type == FieldDescriptor.TYPE_GROUP:
        return "a map's key must be a whole number, a bool or a string, and its value no group"
    if entry.is_extendable or entry.extensions or entry.nested_types or entry.enum_types or entry.oneofs:
        return "the entry of a map must have nothing but its fields"
    return ""


def _field_fault(field: FieldDescriptor) -> str:
    entry = field.message_type
    if entry is None or not _is_entry(entry):
        return ""
    of_message = field.containing_type
    if (
        field.is_extension
        or not field.is_repeated
        or field.type != FieldDescriptor.TYPE_MESSAGE
        or of_message is None
        or entry.containing_type is None
        or entry.containing_type.full_name != of_message.full_name
    ):
        return "a map must be a repeated field of the message that has the map's entry"
    return ""
