"""Keys of task policies: `tenant_id`, `order.customer.id`, `metadata["x-tenant"]`. Compiled once a contract, evaluated once a call.

A value is text. Equal values of a field give equal text, so that keys can be compared, and different ones give different text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from weft.rpc import refusals
from weft.rpc.calls import metadata
from weft.rpc.contracts.secret_fields import SecretFields
from weft.rpc.errors import InvalidArgument
from weft.rpc.similar_names import similar_names
from weft.v1 import task_pb2

# Characters of an expression, and of a value. A longer value is replaced by its digest.
MAX_EXPRESSION = 256
MAX_VALUE = 256
# Field names that a message lists.
_LISTED = 10

_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_METADATA = re.compile(r'metadata\["([^"]*)"\]')
_METADATA_KEY = re.compile(r"[0-9a-z_.-]+")

Metadata = Iterable[task_pb2.Metadatum]


class DeepMessage(Protocol):
    """A request that nests too deep for the parser."""

    def read(self, path: Sequence[FieldDescriptor]) -> Any:
        """The value of the field at the end of a path through singular message fields."""


class Key(NamedTuple):
    """A compiled key. It has either fields or a metadata key."""

    expression: str
    fields: tuple[FieldDescriptor, ...] = ()
    metadata_key: str = ""

    def value(self, request: Message | DeepMessage, entries: Metadata) -> str:
        """The key's value for one call. An unset field gives its default value; a missing metadata entry gives "".

        Args:
            entries: the caller's metadata. The first entry of the key counts.
        """
        if self.metadata_key:
            raw = next((entry.value for entry in entries if entry.key == self.metadata_key), b"")
            return _bounded(raw.hex() if self.metadata_key.endswith("-bin") else raw.decode("latin-1"))
        if isinstance(request, Message):
            found: Any = request
            for field in self.fields:
                found = getattr(found, field.name)
        else:
            found = request.read(self.fields)
        return _bounded(_text(found, self.fields[-1].enum_type))


def compile_key(expression: str, request: Descriptor, option: str) -> Key:
    """A key, checked against the method's request.

    Args:
        option: the option that holds the expression, for the refusal.

    Raises:
        InvalidArgument: the expression names nothing that can be a key; `field` is the option.
    """
    if len(expression) > MAX_EXPRESSION:
        raise _refused(
            f"a key is at most {MAX_EXPRESSION} characters, and this one has {len(expression)}", option
        )
    if (match := _METADATA.fullmatch(expression)) is not None:
        return Key(expression, metadata_key=_metadata_key(match[1], option))
    if not _PATH.fullmatch(expression):
        raise _refused(
            f"{expression!r} is not a key: write a path of field names such as order.customer_id,"
            ' or metadata["x-tenant"]',
            option,
        )
    return Key(expression, tuple(_fields(expression, request, option)))


def _metadata_key(key: str, option: str) -> str:
    if not _METADATA_KEY.fullmatch(key):
        raise _refused(
            f"{key!r} is not a metadata key: those have a to z, 0 to 9, '_', '.' and '-' only", option
        )
    if not metadata.belongs_to_caller(key):
        raise _refused(f"the metadata key {key!r} is gRPC's or weft's own: it is not passed on", option)
    return key


def _fields(expression: str, request: Descriptor, option: str) -> Iterable[FieldDescriptor]:
    secrets = SecretFields()
    message: Descriptor | None = request
    path = request.name
    *through, last = expression.split(".")
    for name in (*through, last):
        if message is None:
            raise _refused(f"{expression!r}: {path} is no message and has no field {name}", option)
        field = message.fields_by_name.get(name)
        if field is None:
            raise _refused(f"{expression!r}: {_unknown(name, path, message)}", option)
        path = f"{path}.{name}"
        if secrets.has(field):
            raise _refused(
                f"{expression!r}: {path} is a secret field, and values of keys are shown: name another field",
                option,
            )
        if field.is_repeated:
            kind = "a map" if _is_map(field) else "repeated"
            raise _refused(f"{expression!r}: {path} is {kind}, and a key is a single value", option)
        message = field.message_type
        yield field
    if message is not None:
        raise _refused(
            f"{expression!r}: {path} is a message; a key ends in a number, string, bool, enum or bytes field."
            f" {_has(message)}",
            option,
        )


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _unknown(name: str, path: str, message: Descriptor) -> str:
    close = similar_names(name, message.fields_by_name)
    # By its JSON name.
    close = [field.name for field in message.fields if field.camelcase_name == name] or close
    hint = f"Did you mean {close[0]}?" if close else _has(message)
    return f"{path} has no field {name}. {hint}"


def _has(message: Descriptor) -> str:
    names = [field.name for field in message.fields]
    if not names:
        return f"{message.name} has no fields"
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{message.name} has {', '.join(names[:_LISTED])}{more}"


def _text(value: Any, enum: EnumDescriptor | None) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, bool):
        return "true" if value else "false"
    if enum is not None:
        named = enum.values_by_number.get(value)
        return named.name if named is not None else str(value)
    # 0.0 and -0.0 are one value.
    return repr(value + 0.0) if isinstance(value, float) else str(value)


def _bounded(value: str) -> str:
    if len(value) <= MAX_VALUE:
        return value
    return f"sha256:{hashlib.sha256(value.encode(errors='surrogatepass')).hexdigest()}"


def _refused(message: str, option: str) -> InvalidArgument:
    return refusals.invalid_field(f"{option}: {message}", field=option)
