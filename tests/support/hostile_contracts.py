"""Contracts that are made to harm who loads them: huge ones, deep ones, those whose rules are costly, and those that end a library.

Each is a FileDescriptorSet that hosts `schema.METHOD`. `HOSTILE` has them by name.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from buf.validate import validate_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FieldOptions, FileDescriptorProto

from tests.support import schema
from tests.support.schema import METHOD, PACKAGE

Make = Callable[[], bytes]
HOSTILE: dict[str, Make] = {}

_INT32, _STRING, _MESSAGE = (
    FieldDescriptorProto.TYPE_INT32,
    FieldDescriptorProto.TYPE_STRING,
    FieldDescriptorProto.TYPE_MESSAGE,
)
_OPTIONAL, _REPEATED = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.LABEL_REPEATED


def hostile(make: Make) -> Make:
    made = functools.cache(make)
    HOSTILE[make.__name__] = made
    return made


def ruled(rules: validate_pb2.FieldRules | None, *, fields: int = 1, weak: bool = False) -> bytes:
    """A contract whose request has string fields with these rules."""
    file = schema.file()
    options = FieldOptions(weak=weak)
    if rules is not None:
        options.Extensions[validate_pb2.field].CopyFrom(rules)
    for number in range(1, fields + 1):
        _field(file, number, _STRING).options.CopyFrom(options)
    return schema.file_set(file)


def _field(file: FileDescriptorProto, number: int, kind: int, **more: object) -> FieldDescriptorProto:
    # These numbers are protobuf's own.
    number += 1000 if number >= 19_000 else 0
    name, request = f"f{number}", file.message_type[0]
    return request.field.add(name=name, number=number, type=kind, **{"label": _OPTIONAL, **more})  # type: ignore[arg-type]


@hostile
def very_many_fields() -> bytes:
    file = schema.file()
    for number in range(1, 100_001):
        _field(file, number, _INT32)
    return schema.file_set(file)


@hostile
def very_many_messages() -> bytes:
    """In a circle, each in reach of the request."""
    file, count = schema.file(), 60_000
    for number in range(count):
        following = f".{PACKAGE}.M{(number + 1) % count}"
        made = file.message_type.add(name=f"M{number}")
        made.field.add(name="a", number=1, label=_OPTIONAL, type=_MESSAGE, type_name=following)
    _field(file, 1, _MESSAGE, type_name=f".{PACKAGE}.M0")
    return schema.file_set(file)


@hostile
def very_many_files() -> bytes:
    names = [f"p{number}.proto" for number in range(10_000)]
    return schema.file_set(schema.file(imports=names), *(FileDescriptorProto(name=each) for each in names))


@hostile
def files_that_import_all_others() -> bytes:
    names = [f"p{number}.proto" for number in range(700)]
    files = [
        FileDescriptorProto(name=name, dependency=names[:at], public_dependency=range(at))
        for at, name in enumerate(names)
    ]
    return schema.file_set(schema.file(imports=names[-1:]), *files)


@hostile
def files_in_a_circle() -> bytes:
    files = [
        FileDescriptorProto(name=f"p{at}.proto", dependency=[f"p{(at + 1) % 300}.proto"]) for at in range(300)
    ]
    return schema.file_set(schema.file(imports=["p0.proto"]), *files)


@hostile
def very_many_extensions() -> bytes:
    """protobuf takes seconds for these: its time grows with the square of their number."""
    file = schema.file()
    file.message_type[0].extension_range.add(start=100_000, end=536_870_912)
    for number in range(60_000):
        file.extension.add(
            name=f"x{number}",
            number=100_000 + number,
            label=_OPTIONAL,
            type=_INT32,
            extendee=f".{PACKAGE}.Request",
        )
    return schema.file_set(file)


@hostile
def very_many_enum_values() -> bytes:
    file = schema.file()
    enum = file.enum_type.add(name="E")
    for number in range(200_000):
        enum.value.add(name=f"E{number}", number=number)
    return schema.file_set(file)


@hostile
def maps_by_hand() -> bytes:
    """Entries of maps that no compiler writes: without a key, of a wrong type, of each other."""
    file = schema.file()
    request = file.message_type[0]
    for number in range(1, 4000):
        entry = request.nested_type.add(name=f"F{number}Entry")
        entry.options.map_entry = True
        if number % 2:
            entry.field.add(name="key", number=1, label=_OPTIONAL, type=_STRING)
        entry.field.add(
            name="value", number=2, label=_OPTIONAL, type=_MESSAGE, type_name=f".{PACKAGE}.Request.F1Entry"
        )
        name = f".{PACKAGE}.Request.{entry.name}"
        _field(file, number, _MESSAGE, label=_REPEATED, type_name=name)
    return schema.file_set(file)


@hostile
def messages_a_hundred_deep() -> bytes:
    file = schema.file()
    inner = file.message_type[0]
    for _ in range(90):
        inner = inner.nested_type.add(name="N")
    return schema.file_set(file)


@hostile
def costly_expressions() -> bytes:
    """A few hundred kilobytes that take seconds to compile."""
    rules = validate_pb2.FieldRules()
    rules.cel.add(id="x", message="m", expression=" && ".join(["true"] * 400))
    return ruled(rules, fields=1000)


@hostile
def costly_patterns() -> bytes:
    """A few kilobytes that take minutes to refuse."""
    pattern = "\\pL{1,600}"
    return ruled(
        validate_pb2.FieldRules(string=validate_pb2.StringRules(pattern=pattern, min_len=1)), fields=2000
    )


@hostile
def deep_expression() -> bytes:
    depth = 20_000
    rules = validate_pb2.FieldRules()
    rules.cel.add(id="x", message="m", expression="(" * depth + "true" + ")" * depth)
    return ruled(rules)


@hostile
def weak_field() -> bytes:
    """The library of rules ends the process at it."""
    return ruled(validate_pb2.FieldRules(required=True), weak=True)


@hostile
def names_of_weft() -> bytes:
    file = schema.file(package="weft.v1", service="CoordinatorService")
    return schema.file_set(file)


@hostile
def names_that_occur_twice() -> bytes:
    file = schema.file()
    file.message_type.add(name="Request")
    file.message_type.add(name="Service")
    return schema.file_set(file)


def renamed(contract: bytes, number: int) -> bytes:
    """The same contract under another digest: a refused one is remembered by it."""
    return contract + schema.file_set(FileDescriptorProto(name=f"other{number}.proto"))


__all__ = ["HOSTILE", "METHOD", "renamed", "ruled"]
