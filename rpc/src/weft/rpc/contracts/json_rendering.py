"""Renders any message as a JSON value, by protobuf's JSON mapping, also where that mapping has no form.

protobuf's own printer raises for some messages that are valid on the wire. Here they have these forms:

- a number of a `Value` that JSON lacks: "NaN", "Infinity", "-Infinity", as in other fields
- a Timestamp or Duration out of range, and a FieldMask whose paths have no JSON names: their fields
- an Any whose type is not known, whose bytes do not parse, or that is nested too deeply: `{"@type": ..., "value": base64}`
- a number of a closed enum that has no name: the number

Secret fields (`secret_fields`) can be left out: "[redacted]" stands for their values, and the number of its bytes for an Any whose
type is not known, since nobody can tell what is secret in it.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf import descriptor_pool, json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.internal import type_checkers
from google.protobuf.message import DecodeError, Message

from weft.rpc.contracts import descriptors
from weft.rpc.contracts.secret_fields import SecretFields
from weft.rpc.process.redaction import REDACTED

# The most Anys within each other. Each is parsed by itself, so that protobuf's own bound of 100 does not count them.
MAX_NESTED_ANYS = 16
_PACKAGE = "google.protobuf."
_WRAPPERS = "google/protobuf/wrappers.proto"
_AS_TEXT = frozenset({f"{_PACKAGE}{name}" for name in ("Timestamp", "Duration", "FieldMask")})
_INT64 = frozenset({FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64})
_FLOATS = frozenset({FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE})


def json_value(
    message: Message, pool: DescriptorPool | None = None, secrets: SecretFields | None = None
) -> Any:
    """The message as a JSON value. Raises nothing.

    Args:
        pool: has the types of messages within an Any, besides those that this process has imported.
        secrets: the fields whose values are left out; None: all values are shown.
    """
    pools = [descriptor_pool.Default()] if pool is None else [pool, descriptor_pool.Default()]
    return _Renderer(pools, secrets).message(message)


def unread_bytes(payload: bytes, secrets: SecretFields | None) -> dict[str, str | int]:
    """Bytes without a known type; only how many they are, if secrets are left out."""
    return {"base64": _base64(payload)} if secrets is None else {"bytes": len(payload)}


class _Renderer:
    def __init__(self, pools: Sequence[DescriptorPool], secrets: SecretFields | None) -> None:
        self._pools = pools
        self._secrets = secrets
        self._depth = 0
        self._own_forms: dict[str, Callable[[Any], Any]] = {
            f"{_PACKAGE}Any": self._any,
            f"{_PACKAGE}Struct": self._struct,
            f"{_PACKAGE}ListValue": self._list_value,
            f"{_PACKAGE}Value": self._value,
        }

    def message(self, message: Message) -> Any:
        own = self._own_form(message.DESCRIPTOR)
        return self._fields(message) if own is None else own(message)

    def _own_form(self, descriptor: Any) -> Callable[[Any], Any] | None:
        """The renderer of a well-known type. None: the message is rendered field by field."""
        if descriptor.file.name == _WRAPPERS:
            return self._wrapper
        if descriptor.full_name in _AS_TEXT:
            return self._text
        return self._own_forms.get(descriptor.full_name)

    def _fields(self, message: Message) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for field, value in message.ListFields():
            name = f"[{field.full_name}]" if field.is_extension else field.json_name
            if self._secrets is not None and self._secrets.has(field):
                shown[name] = REDACTED
            elif _is_map(field):
                shown[name] = self._map(field, value)
            elif field.is_repeated:
                shown[name] = [self._item(field, item) for item in value]
            else:
                shown[name] = self._item(field, value)
        return shown

    def _map(self, field: Any, entries: Any) -> dict[str, Any]:
        of_value = field.message_type.fields_by_name["value"]
        try:
            return {_key(key): self._item(of_value, entries[key]) for key in entries}
        except UnicodeDecodeError:
            # Of proto2: Python reads no entry of a map with such a key.
            return {"": f"{len(entries)} entries, which cannot be shown: a key is not UTF-8"}

    def _item(self, field: Any, value: Any) -> Any:
        match field.cpp_type:
            case FieldDescriptor.CPPTYPE_MESSAGE:
                return self.message(value)
            case FieldDescriptor.CPPTYPE_ENUM:
                return _enum(field, value)
            case FieldDescriptor.CPPTYPE_STRING:
                # A string of proto2 that is not UTF-8 is bytes in Python.
                return value if isinstance(value, str) else _text_of(field, value)
            case kind if kind in _INT64:
                return str(value)
            case kind if kind in _FLOATS:
                return _number(field, value)
            case _:
                return value

    def _wrapper(self, message: Any) -> Any:
        return self._item(message.DESCRIPTOR.fields_by_name["value"], message.value)

    def _text(self, message: Any) -> Any:
        try:
            return message.ToJsonString()
        except (ValueError, OverflowError, json_format.Error):
            return self._fields(message)

    def _struct(self, message: Any) -> Any:
        return {key: self._value(message.fields[key]) for key in message.fields}

    def _list_value(self, message: Any) -> Any:
        return [self._value(item) for item in message.values]

    def _value(self, message: Any) -> Any:
        kind = message.WhichOneof("kind")
        if kind is None or kind == "null_value":
            return None
        return self._item(message.DESCRIPTOR.fields_by_name[kind], getattr(message, kind))

    def _any(self, message: Any) -> dict[str, Any]:
        if not message.ListFields():
            return {}
        shown: dict[str, Any] = {"@type": message.type_url}
        held = None if self._depth >= MAX_NESTED_ANYS else self._unpacked(message)
        if held is None:
            if self._secrets is not None:
                return shown | unread_bytes(message.value, self._secrets)
            return shown | {"value": _base64(message.value)}
        self._depth += 1
        try:
            if self._own_form(held.DESCRIPTOR) is not None:
                return shown | {"value": self.message(held)}
            return shown | self._fields(held)
        finally:
            self._depth -= 1

    def _unpacked(self, packed: AnyMessage) -> Message | None:
        """The message in an Any. None: its type is not known, or the bytes do not parse."""
        name = packed.type_url.rpartition("/")[2]
        for pool in self._pools:
            try:
                found = pool.FindMessageTypeByName(name)
            except KeyError:
                continue
            try:
                return descriptors.message_class(found).FromString(packed.value)
            except DecodeError:
                return None
        return None


def _is_map(field: Any) -> bool:
    return bool(
        field.type == FieldDescriptor.TYPE_MESSAGE
        and field.message_type.has_options
        and field.message_type.GetOptions().map_entry
    )


def _key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _enum(field: Any, number: int) -> Any:
    if field.enum_type.full_name == f"{_PACKAGE}NullValue":
        return None
    named = field.enum_type.values_by_number.get(number)
    return number if named is None else named.name


def _number(field: Any, value: float) -> Any:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT:
        return type_checkers.ToShortestFloat(value)
    return value


def _text_of(field: Any, value: bytes) -> str:
    return _base64(value) if field.type == FieldDescriptor.TYPE_BYTES else value.decode(errors="replace")


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()
