"""Changes descriptors as no compiler would: a list of choices, which a fuzzer makes, decides what."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto

_TYPES = ["Request", "Response", "Kind", "Request.BynameEntry", "Request.MEntry", "Service", "Nope", ""]
_NUMBERS = [1, 2, 3, 4, 11, 0, -1, 18_999, 19_500, 536_870_911, 2**31 - 1]


class Choices:
    """Chooses by the bytes of an input; by zeros when they are used up."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, below: int) -> int:
        """
        Raises:
            IndexError: there is nothing to choose from.
        """
        byte = self._data[self._at] if self._at < len(self._data) else 0
        self._at += 1
        if not below:
            raise IndexError
        return byte % below

    def of(self, values: Any) -> Any:
        return values[self.number(len(values))]

    @property
    def ended(self) -> bool:
        return self._at >= len(self._data)


def change(file: FileDescriptorProto, choices: Choices, most: int = 6) -> None:
    """Make some changes. One that protobuf does not take is none."""
    for _ in range(most):
        if choices.ended:
            return
        messages = list(_messages(file.message_type))
        message = choices.of(messages)
        act = choices.of(_ACTS)
        with contextlib.suppress(ValueError, TypeError, IndexError):
            act(file, message, choices)


def _messages(outer: Iterable[Any]) -> Iterator[Any]:
    for message in outer:
        yield message
        yield from _messages(message.nested_type)


def _type(choices: Choices) -> str:
    name = choices.of(_TYPES)
    return f".t.v1.{name}" if name else ".google.protobuf.Any"


def _of_field(change: Callable[[Any, Choices], None]) -> Callable[[Any, Any, Choices], None]:
    def act(_file: Any, message: Any, choices: Choices) -> None:
        change(choices.of(message.field), choices)

    return act


def _new_field(_file: Any, message: Any, choices: Choices) -> None:
    made = message.field.add(name=f"n{choices.number(50)}", number=choices.number(30) + 1)
    made.label, made.type = choices.number(3) + 1, choices.number(18) + 1
    if made.type in (10, 11, 14):
        made.type_name = _type(choices)


def _extension(file: Any, message: Any, choices: Choices) -> None:
    made = choices.of([file, message]).extension.add(name=f"e{choices.number(50)}", extendee=_type(choices))
    made.number, made.label, made.type = (
        choices.of([1, 100, 150]),
        choices.number(3) + 1,
        choices.number(18) + 1,
    )
    if made.type in (10, 11, 14):
        made.type_name = _type(choices)


def _nested(file: Any, message: Any, choices: Choices) -> None:
    copied = choices.of(list(_messages(file.message_type))).SerializeToString()
    made = message.nested_type.add()
    made.ParseFromString(copied)
    made.name = f"X{choices.number(50)}"


def _enum(file: Any, _message: Any, choices: Choices) -> None:
    enum = file.enum_type[0]
    match choices.number(4):
        case 0:
            del enum.value[:]
        case 1:
            enum.value.add(name="A", number=choices.of([0, 1, -1, 2**31 - 1, -(2**31)]))
        case 2:
            enum.options.allow_alias = True
            enum.value.add(name="B", number=0)
        case _:
            enum.value[0].number = choices.of([1, -5])


def _features(file: Any, message: Any, choices: Choices) -> None:
    file.syntax, file.edition = "editions", choices.of([998, 999, 1000, 1001, 2**31 - 1])
    holder = choices.of([file, message, *message.field])
    name = choices.of(
        ["field_presence", "enum_type", "repeated_field_encoding", "utf8_validation", "message_encoding"]
    )
    setattr(holder.options.features, name, choices.number(4))


_ACTS: list[Callable[[Any, Any, Choices], None]] = [
    _of_field(lambda field, choices: setattr(field, "type", choices.number(18) + 1)),
    _of_field(lambda field, choices: setattr(field, "label", choices.number(3) + 1)),
    _of_field(lambda field, choices: setattr(field, "number", choices.of(_NUMBERS))),
    _of_field(lambda field, choices: setattr(field, "type_name", _type(choices))),
    _of_field(
        lambda field, choices: field.ClearField(choices.of(["type", "label", "number", "type_name", "name"]))
    ),
    _of_field(lambda field, choices: setattr(field, "name", choices.of(["name", "key", "value", "a.b", ""]))),
    _of_field(lambda field, choices: setattr(field, "oneof_index", choices.of([0, 1, -1, 99]))),
    _of_field(lambda field, choices: setattr(field, "proto3_optional", True)),
    _of_field(
        lambda field, choices: setattr(field, "default_value", choices.of(["", "1", "x", "nan", "9" * 20]))
    ),
    _of_field(lambda field, choices: setattr(field.options, choices.of(["packed", "lazy", "weak"]), True)),
    _of_field(lambda field, choices: setattr(field.options, "ctype", choices.number(3))),
    lambda file, message, choices: setattr(message.options, "map_entry", choices.number(2) == 0),
    lambda file, message, choices: setattr(message.options, "message_set_wire_format", True),
    lambda file, message, choices: message.oneof_decl.add(name=f"o{len(message.oneof_decl)}"),
    lambda file, message, choices: message.extension_range.add(
        start=choices.of([1, 100]), end=choices.of([1, 200, 2**29])
    ),
    lambda file, message, choices: message.field.pop(choices.number(len(message.field))),
    lambda file, message, choices: setattr(file, "syntax", choices.of(["proto2", "proto3", "x", ""])),
    lambda file, message, choices: setattr(file.service[0].method[0], "input_type", _type(choices)),
    _new_field,
    _extension,
    _nested,
    _enum,
    _features,
]
