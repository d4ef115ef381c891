"""Converts messages from and to JSON. Its errors name the wrong field and the allowed values.

protobuf's own parser has two faults. Its errors are a chain of "Failed to parse x field: Failed to parse ...", and it accepts
messages that cannot be sent. Here each error has one path and one reason of bounded length, and each accepted message can be
read by the other side.
"""

from __future__ import annotations

import json
import math
import os
import re
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, EncodeError, Message

from weft.rpc import bounded_json, refusals
from weft.rpc.contracts.json_rendering import json_value
from weft.rpc.contracts.secret_fields import SecretFields
from weft.rpc.errors import InvalidArgument
from weft.rpc.similar_names import similar_names

_LINK = re.compile(r"Failed to parse (.+?) field: ")
_PLACE = re.compile(r'\s+at "?(?P<path>[\w.\[\]]+?)"?\.*$')
_UNKNOWN_FIELD = re.compile(r'Message type "(?P<type>[^"]+)" has no field named "(?P<name>[^"]*)"')
_UNKNOWN_VALUE = re.compile(r"Invalid enum value (?P<name>.*) for enum type (?P<type>[\w.]+)", re.DOTALL)
# Python's errors when a message needs an object and the JSON has another value; and the prefixes that protobuf puts before reasons.
_NOT_AN_OBJECT = re.compile(
    r"'\w+' object is not (iterable|subscriptable)|(list|string) indices must be integers.*|Struct must be in a dict .*"
)
_PASSED_ON = re.compile(r"Fail(ed)? to parse (JSON: )?\w+: ")
_TOO_DEEP = "it is nested too deeply: protobuf reads at most 100 messages within each other"
# protobuf's parser reads these keys without a check, and raises unclear errors.
_BAD_ANY = 'an Any has its type as a text in "@type", and a well-known type within it has its JSON in "value"'
# The most characters of a reason: it may quote the whole input.
_MOST_WHY = 300
# Well-known types whose JSON is an object. Other well-known types have other forms.
_OBJECTS = ("google.protobuf.Any", "google.protobuf.Struct", "google.protobuf.Empty")


class _NoObject(Exception):
    """The JSON has another value where a message needs an object; the text is its path."""


class _Refused(Exception):
    """JSON that Python accepts and protobuf's mapping does not."""


def parse(
    text: str, message_class: type[Message], pool: DescriptorPool, *, ignore_unknown: bool = False
) -> bytes:
    """The serialized message of a JSON text. Blank text is an empty message.

    Args:
        ignore_unknown: leave out fields that the message does not have.

    Raises:
        InvalidArgument: the text is not JSON, or does not fit the message; `field` is the path of the wrong field.
    """
    type_name = message_class.DESCRIPTOR.full_name
    message = message_class()
    if text.strip():
        value = _loaded(text, type_name)
        try:
            _check_objects(value, message_class.DESCRIPTOR, "")
            json_format.ParseDict(value, message, ignore_unknown_fields=ignore_unknown, descriptor_pool=pool)
        except RecursionError:
            raise _unfit(type_name, "", _TOO_DEEP) from None
        except _NoObject as error:
            raise _unfit(type_name, str(error), "it must be a JSON object") from None
        except (KeyError, AttributeError):
            raise _unfit(type_name, "", _BAD_ANY) from None
        except Exception as error:  # of any class: protobuf's parser does not check its input first
            raise _explained(str(error), type_name, pool) from None
    try:
        serialized = message.SerializeToString()
        message_class.FromString(serialized)
    except EncodeError as error:  # a required field of proto2 is missing
        raise _unfit(type_name, "", str(error)) from None
    except DecodeError:
        raise _unfit(type_name, "", _TOO_DEEP) from None
    return serialized


def render(
    payload: bytes, message_class: type[Message], pool: DescriptorPool, secrets: SecretFields | None = None
) -> Any:
    """A serialized message as a JSON value, in the form of `weft.rpc.contracts.json_rendering`.

    Args:
        secrets: the fields whose values are left out; None: all values are shown.

    Raises:
        InvalidArgument: the bytes do not parse as the message, or are nested more deeply than protobuf reads.
    """
    try:
        message = message_class.FromString(payload)
    except DecodeError:
        raise refusals.payload_malformed(
            f"{len(payload)} bytes cannot be shown as {message_class.DESCRIPTOR.full_name}:"
            " they do not parse, or have more than 100 messages within each other"
        ) from None
    return json_value(message, pool, secrets)


def _loaded(text: str, type_name: str) -> Any:
    """The JSON value of a text."""
    try:
        value = bounded_json.loads(
            text, object_pairs_hook=_without_duplicates, parse_constant=_no_constant, parse_float=_finite
        )
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise _unfit(type_name, "", f"it is not JSON: {error.msg} at {place}") from None
    except _Refused as error:
        raise _unfit(type_name, "", str(error)) from None
    except bounded_json.TooDeep:
        raise _unfit(type_name, "", _TOO_DEEP) from None
    except ValueError:
        raise _unfit(type_name, "", "a number in it has too many digits") from None
    # Some well-known types have a JSON form that is not an object.
    if not isinstance(value, dict) and (
        not type_name.startswith("google.protobuf.") or type_name in _OBJECTS
    ):
        raise _unfit(type_name, "", f"it must be a JSON object, not {_json_type(value)}")
    return value


def _check_objects(value: Any, descriptor: Any, path: str) -> None:
    """Refuse any other value where a message needs an object: protobuf's parser would take lists and texts for field names."""
    if descriptor.full_name.startswith("google.protobuf."):
        return
    if not isinstance(value, dict):
        raise _NoObject(path)
    fields = {field.json_name: field for field in descriptor.fields}
    for name, item in value.items():
        field = fields.get(name) or descriptor.fields_by_name.get(name)
        if field is None or field.message_type is None or item is None:
            continue
        place = f"{path}.{name}" if path else name
        if field.message_type.GetOptions().map_entry:
            of_value = field.message_type.fields_by_name["value"]
            if of_value.message_type is not None and isinstance(item, dict):
                for key, each in item.items():
                    _check_objects(each, of_value.message_type, f"{place}[{key}]")
        elif field.is_repeated and isinstance(item, list):
            for index, each in enumerate(item):
                if each is not None:
                    _check_objects(each, field.message_type, f"{place}[{index}]")
        elif not field.is_repeated:
            _check_objects(item, field.message_type, place)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _Refused(f"duplicate key {key}")
        found[key] = value
    return found


def _no_constant(name: str) -> Any:
    raise _Refused(f'JSON has no {name}; where a number is wanted, write it in quotes: "{name}"')


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise _Refused(f"the number {digits[:40]} is too large")
    return number


def _explained(message: str, type_name: str, pool: DescriptorPool) -> InvalidArgument:
    why, _, _ = message.partition("\n")
    path: list[str] = []
    while link := _LINK.match(why):
        path.append(link[1])
        why = why[link.end() :]
    if place := _PLACE.search(why):
        why = why[: place.start()]
        # This path has indices too; its first part is the message's own name.
        path = place["path"].split(".")[1:] or path
    why = _PASSED_ON.sub("", why)
    if _NOT_AN_OBJECT.fullmatch(why.rstrip(".")):
        why = "it must be a JSON object"
    if unknown := _UNKNOWN_VALUE.search(why):
        why = _no_such_value(unknown["name"], unknown["type"], pool)
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
    if close := similar_names(name, fields):
        return f"{why}; did you mean {close[0]}?"
    return f"{why}; it has {', '.join(fields)}" if fields else why


def _no_such_value(name: str, type_name: str, pool: DescriptorPool) -> str:
    try:
        values = [*pool.FindEnumTypeByName(type_name).values_by_name]
    except KeyError:
        values = []
    why = f"{type_name} has no value {name}"
    # The values of an enum have a common prefix, and people leave it out.
    prefix = os.path.commonprefix(values)  # noqa: RUF071 - of names, not of paths
    short = {value.removeprefix(prefix): value for value in values}
    if close := similar_names(name.upper().removeprefix(prefix), short):
        return f"{why}; did you mean {short[close[0]]}?"
    return f"{why}; it has {', '.join(values)}" if values else why


def _unfit(type_name: str, field: str, why: str) -> InvalidArgument:
    # Both quote the input, which may have any characters and any length.
    field, why = (_sendable(text) for text in (field, why))
    where = f"field {field}: " if field else ""
    return refusals.payload_malformed(f"the JSON does not fit {type_name}: {where}{why}", field=field or None)


def _sendable(text: str) -> str:
    short = text if len(text) <= _MOST_WHY else f"{text[:_MOST_WHY]}..."
    return short.encode(errors="backslashreplace").decode()


def _json_type(value: Any) -> str:
    match value:
        case list():
            return "an array"
        case str():
            return "a string"
        case None:
            return "null"
        case _:
            return json.dumps(value)[:_MOST_WHY]
