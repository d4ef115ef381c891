"""Messages as JSON text and back, with errors that say which field is wrong and what would fit.

protobuf's own parser knows the mapping; it words its errors as a chain of "Failed to parse x field: Failed to parse
...". Here they become one path and one reason.
"""

from __future__ import annotations

import difflib
import json
import re
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, EncodeError, Message

from weft.rpc.errors import InvalidArgument
from weft.v1 import errors_pb2

_LINK = re.compile(r"Failed to parse (\S+) field: ")
_PLACE = re.compile(r'\s+at "?(?P<path>[\w.\[\]]+?)"?\.*$')
_UNKNOWN_FIELD = re.compile(r'Message type "(?P<type>[^"]+)" has no field named "(?P<name>[^"]*)"')
# What protobuf lets through from Python where a message wants an object.
_NOT_AN_OBJECT = re.compile(r"'\w+' object is not iterable")


def parse(text: str, message_class: type[Message], pool: DescriptorPool) -> bytes:
    """The serialized message that JSON text describes; blank text is an empty message.

    Raises:
        InvalidArgument: it is not JSON or does not fit; `field` is the path of the offending field.
    """
    type_name = message_class.DESCRIPTOR.full_name
    message = message_class()
    if text.strip():
        _check_shape(text, type_name)
        try:
            json_format.Parse(text, message, descriptor_pool=pool)
        except json_format.ParseError as error:
            raise _explained(str(error), type_name, pool) from None
    try:
        return message.SerializeToString()
    except EncodeError as error:  # proto2 required fields
        raise _unfit(type_name, "", str(error)) from None


def render(payload: bytes, message_class: type[Message], pool: DescriptorPool) -> Any:
    """A serialized message as a JSON value.

    Raises:
        InvalidArgument: the bytes are not such a message, or hold an Any of a type that the contract lacks.
    """
    try:
        return json_format.MessageToDict(message_class.FromString(payload), descriptor_pool=pool)
    except (DecodeError, json_format.Error, TypeError) as error:
        raise InvalidArgument(
            f"{len(payload)} bytes cannot be shown as {message_class.DESCRIPTOR.full_name}: {error}",
            reason=errors_pb2.ERROR_REASON_PAYLOAD_MALFORMED,
        ) from None


def _check_shape(text: str, type_name: str) -> None:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise _unfit(type_name, "", f"it is not JSON: {error.msg} at {place}") from None
    except RecursionError:
        raise _unfit(type_name, "", "it is nested too deeply") from None
    # Well-known types have JSON forms of their own.
    if not isinstance(value, dict) and not type_name.startswith("google.protobuf."):
        raise _unfit(type_name, "", f"it must be a JSON object, not {_json_type(value)}")


def _explained(message: str, type_name: str, pool: DescriptorPool) -> InvalidArgument:
    why, _, _ = message.partition("\n")
    path: list[str] = []
    while link := _LINK.match(why):
        path.append(link[1])
        why = why[link.end() :]
    if place := _PLACE.search(why):
        why = why[: place.start()]
        # The place tells indices too; its first part is the message's own name.
        path = place["path"].split(".")[1:] or path
    if _NOT_AN_OBJECT.fullmatch(why.rstrip(".")):
        why = "it must be a JSON object"
    if unknown := _UNKNOWN_FIELD.match(why):
        path.append(unknown["name"])
        why = _no_such_field(unknown["name"], unknown["type"], pool)
    return _unfit(type_name, ".".join(path), why.rstrip(". "))


def _no_such_field(name: str, type_name: str, pool: DescriptorPool) -> str:
    try:
        fields = [field.json_name for field in pool.FindMessageTypeByName(type_name).fields]
    except KeyError:
        fields = []
    why = f"{type_name} has no such field"
    if close := difflib.get_close_matches(name, fields, n=1):
        return f"{why}; did you mean {close[0]}?"
    return f"{why}; it has {', '.join(fields)}" if fields else why


def _unfit(type_name: str, field: str, why: str) -> InvalidArgument:
    where = f"field {field}: " if field else ""
    return InvalidArgument(
        f"the JSON does not fit {type_name}: {where}{why}",
        reason=errors_pb2.ERROR_REASON_PAYLOAD_MALFORMED,
        field=field or None,
    )


def _json_type(value: Any) -> str:
    match value:
        case list():
            return "an array"
        case str():
            return "a string"
        case None:
            return "null"
        case _:
            return f"{json.dumps(value)}"
