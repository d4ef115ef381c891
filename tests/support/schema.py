"""Descriptors in a few lines, for tests that compare or break them.

    schema = file("a.proto", {"Request": "string text = 1; repeated Sub subs = 2", "Sub": "map<string, int32> m = 1"})

Types are scalars, or messages of the same package ("Sub"), or full names with a leading dot.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

from weft.coordinator.contracts.contract_catalogue import Contract

PACKAGE = "t.v1"
METHOD = f"{PACKAGE}.Service/Call"

_FIELD = re.compile(
    r"(?:(repeated|required|optional) )?(map<(\w+), (\.?[\w.]+)>|(?:(group|enum) )?\.?[\w.]+) (\w+) = (\d+)"
)
_LABELS = {
    None: FieldDescriptorProto.LABEL_OPTIONAL,
    "optional": FieldDescriptorProto.LABEL_OPTIONAL,
    "repeated": FieldDescriptorProto.LABEL_REPEATED,
    "required": FieldDescriptorProto.LABEL_REQUIRED,
}


def file(
    name: str = "t.proto",
    messages: Mapping[str, str] | None = None,
    *,
    package: str = PACKAGE,
    imports: Sequence[str] = (),
    methods: Sequence[str] = ("Call Request Response",),
    service: str = "Service",
) -> FileDescriptorProto:
    """A proto2 file with one service. A method is "Name Request Response", where a type may follow "stream ".

    Messages "Request" and "Response" are there when not given.
    """
    result = FileDescriptorProto(name=name, package=package, dependency=imports)
    kinds = result.enum_type.add(name="Kind")
    kinds.value.add(name="KIND_UNSPECIFIED", number=0)
    for message, fields in {"Request": "", "Response": "", **(messages or {})}.items():
        _fill(result.message_type.add(name=message), fields, package, f".{package}.{message}")
    if methods:
        hosted = result.service.add(name=service)
        for method in methods:
            words = re.fullmatch(r"(\w+) (stream )?(\S+) (stream )?(\S+)", method)
            assert words, method
            hosted.method.add(
                name=words[1],
                input_type=_full(words[3], package),
                output_type=_full(words[5], package),
                client_streaming=bool(words[2]),
                server_streaming=bool(words[4]),
            )
    return result


def file_set(*files: FileDescriptorProto) -> bytes:
    return FileDescriptorSet(file=files).SerializeToString(deterministic=True)


def contract(
    messages: Mapping[str, str] | None = None, *, methods: Sequence[str] = ("Call Request Response",)
) -> Contract:
    """A contract of one file that hosts all its methods."""
    names = [f"{PACKAGE}.Service/{method.split()[0]}" for method in methods]
    return Contract.load(file_set(file(messages=messages, methods=methods)), names)


def many_files(package: str, marker: str, *, size_bytes: int) -> Contract:
    """A contract whose imports share their names with those of another and are too large for one answer."""
    # Long names: thousands of short ones would take seconds to load.
    parts = [
        file(
            f"part{i}.proto",
            {f"{marker}{i}_{j}{'x' * 400 if j else ''}": "int32 n = 1" for j in range(size_bytes // 400)},
            package=f"{package}.part{i}",
            methods=(),
        )
        for i in range(3)
    ]
    main = file(f"{package}.proto", imports=[part.name for part in parts], package=package)
    return Contract.load(file_set(*parts, main), [f"{package}.Service/Call"])


def _full(type_name: str, package: str) -> str:
    return type_name if type_name.startswith(".") else f".{package}.{type_name}"


def _fill(message: DescriptorProto, fields: str, package: str, full_name: str) -> None:
    for text in filter(None, (part.strip() for part in fields.split(";"))):
        parts = _FIELD.fullmatch(text)
        assert parts, text
        label, type_text, key, value, form, name, number = parts.groups()
        field = message.field.add(name=name, number=int(number), label=_LABELS[label])
        if key:
            entry = message.nested_type.add(name=f"{name.title()}Entry")
            entry.options.map_entry = True
            _fill(entry, f"{key} key = 1; {value} value = 2", package, f"{full_name}.{entry.name}")
            field.label = FieldDescriptorProto.LABEL_REPEATED
            _set_type(field, f"{full_name}.{entry.name}", package)
        else:
            _set_type(field, type_text.removeprefix(f"{form} "), package, form)


def _set_type(field: FieldDescriptorProto, type_text: str, package: str, form: str | None = None) -> None:
    scalar = f"TYPE_{type_text.upper()}"
    if form is None and scalar in FieldDescriptorProto.Type.keys():
        field.type = FieldDescriptorProto.Type.Value(scalar)
        return
    field.type = FieldDescriptorProto.Type.Value(f"TYPE_{(form or 'message').upper()}")
    field.type_name = _full(type_text, package)
