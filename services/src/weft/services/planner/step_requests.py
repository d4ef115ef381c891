"""Whether a step's request, a template, fits its method's contract: all that can be told before there are values."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

from weft.rpc.contracts import descriptors, json_form
from weft.rpc.contracts.payload_rules import PayloadRules
from weft.rpc.errors import InvalidArgument
from weft.rpc.similar_names import similar_names
from weft.services.planner import templates
from weft.services.planner.templates import Expression

# The result's type of an expression, by the library's name; None: it does not compile, which is said elsewhere.
ResultType = Callable[[str], str | None]

_NUMBERS = frozenset(["INT", "UINT", "DOUBLE"])
_FIT: dict[int, frozenset[str]] = {
    FieldDescriptor.CPPTYPE_BOOL: frozenset(["BOOL"]),
    FieldDescriptor.CPPTYPE_STRING: frozenset(["STRING"]),
    FieldDescriptor.CPPTYPE_ENUM: frozenset(["STRING", "INT"]),
    **dict.fromkeys(
        (
            FieldDescriptor.CPPTYPE_INT32,
            FieldDescriptor.CPPTYPE_INT64,
            FieldDescriptor.CPPTYPE_UINT32,
            FieldDescriptor.CPPTYPE_UINT64,
            FieldDescriptor.CPPTYPE_FLOAT,
            FieldDescriptor.CPPTYPE_DOUBLE,
        ),
        _NUMBERS,
    ),
}
# Well-known types, which are no objects in JSON, or of which CEL has types of its own.
_WELL_KNOWN = {
    "google.protobuf.Timestamp": frozenset(["TIMESTAMP", "STRING"]),
    "google.protobuf.Duration": frozenset(["DURATION", "STRING"]),
    "google.protobuf.FieldMask": frozenset(["STRING"]),
    "google.protobuf.BoolValue": frozenset(["BOOL"]),
    "google.protobuf.StringValue": frozenset(["STRING"]),
    "google.protobuf.BytesValue": frozenset(["BYTES", "STRING"]),
    **dict.fromkeys(
        (
            f"google.protobuf.{each}Value"
            for each in ("Int32", "Int64", "UInt32", "UInt64", "Float", "Double")
        ),
        _NUMBERS,
    ),
}
_ANYTHING = frozenset(["google.protobuf.Value", "google.protobuf.Any"])


def request_problems(
    request: Any,
    message_type: Descriptor,
    result_type: ResultType,
    pool: DescriptorPool,
    rules: PayloadRules | None = None,
) -> Iterator[tuple[str, str]]:
    """What is wrong with a request: paths below it, and why.

    Args:
        rules: those of the contract, for a request without expressions.
    """
    found = list(_message(request, message_type, "", result_type))
    yield from found
    literal = _without_expressions(request)
    if not isinstance(literal, dict):
        return
    misplaced = {path for path, _ in found}
    sound = not found
    # Field by field, so that each that is wrong is told.
    for key, value in literal.items():
        if any(path == key or path.startswith((f"{key}.", f"{key}[")) for path in misplaced):
            continue
        try:
            json_form.parse(json.dumps({key: value}), descriptors.message_class(message_type), pool)
        except InvalidArgument as error:
            sound = False
            yield error.field or key, error.message
    if sound and rules is not None and not any(templates.expressions(request)):
        yield from _broken_rules(literal, message_type, pool, rules)


def _broken_rules(
    request: dict[str, Any], message_type: Descriptor, pool: DescriptorPool, rules: PayloadRules
) -> Iterator[tuple[str, str]]:
    compiled = rules.of(message_type)
    if compiled is None:
        return
    message_class = descriptors.message_class(message_type)
    payload = json_form.parse(json.dumps(request), message_class, pool)
    broken = compiled.broken(message_class.FromString(payload), len(payload))
    for each in () if broken is None else broken.listed:
        yield each.field, f"it breaks a rule of the contract: {each.description}"


def _message(
    value: Any, message_type: Descriptor, path: str, results: ResultType
) -> Iterator[tuple[str, str]]:
    if message_type.full_name.startswith("google.protobuf.") or not isinstance(value, dict):
        return
    fields = {name: field for field in message_type.fields for name in (field.json_name, field.name)}
    for key, item in value.items():
        place = f"{path}.{key}" if path else key
        field = fields.get(key)
        if field is None:
            near = similar_names(key, {each.name for each in message_type.fields})
            hint = f": did you mean {near[0]}?" if near else ""
            yield place, f"{message_type.full_name} has no field {key!r}{hint}"
        else:
            yield from _field(item, field, place, results)


def _field(value: Any, field: FieldDescriptor, path: str, results: ResultType) -> Iterator[tuple[str, str]]:
    of_map = field.message_type is not None and field.message_type.GetOptions().map_entry
    if isinstance(value, str) and templates.is_template(value):
        wanted = "MAP" if of_map else "LIST" if field.is_repeated else None
        yield from _text(value, field, path, results, wanted)
    elif of_map and field.message_type is not None:
        of_value = field.message_type.fields_by_name["value"]
        for key, each in value.items() if isinstance(value, dict) else ():
            yield from _single(each, of_value, f"{path}.{key}", results)
    elif field.is_repeated:
        for index, each in enumerate(value if isinstance(value, list) else ()):
            yield from _single(each, field, f"{path}[{index}]", results)
    else:
        yield from _single(value, field, path, results)


def _single(value: Any, field: FieldDescriptor, path: str, results: ResultType) -> Iterator[tuple[str, str]]:
    if isinstance(value, str) and templates.is_template(value):
        yield from _text(value, field, path, results, None)
    elif field.message_type is not None:
        yield from _message(value, field.message_type, path, results)


def _text(
    text: str, field: FieldDescriptor, path: str, results: ResultType, wanted: str | None
) -> Iterator[tuple[str, str]]:
    """A text with expressions in the place of a field's value; `wanted`: of all of its values, a list or a map."""
    try:
        parts = templates.parts(text)
    except templates.TemplateFault:
        return
    whole = len(parts) == 1 and isinstance(parts[0], Expression)
    result = results(parts[0].text) if whole and isinstance(parts[0], Expression) else "STRING"
    if result is None or result in ("DYN", "NULL"):
        return
    fits = result.startswith(wanted) if wanted else _fits(result, field)
    if not fits:
        kind = wanted or (field.message_type.full_name if field.message_type else _name_of(field))
        hint = ": write ${string(…)}" if kind == "string" else ""
        yield path, f"it gives {result}, and the field is a {kind}{hint}"


def _fits(result: str, field: FieldDescriptor) -> bool:
    if field.message_type is None:
        allowed = _FIT[field.cpp_type]
        if field.type == FieldDescriptor.TYPE_BYTES:
            allowed |= {"BYTES"}
        return result in allowed
    name = field.message_type.full_name
    if name in _ANYTHING:
        return True
    if name in _WELL_KNOWN:
        return result in _WELL_KNOWN[name]
    if name == "google.protobuf.ListValue":
        return result.startswith("LIST")
    return result == name or result.startswith("MAP")


def _name_of(field: FieldDescriptor) -> str:
    names = {
        FieldDescriptor.CPPTYPE_BOOL: "bool",
        FieldDescriptor.CPPTYPE_STRING: "bytes" if field.type == FieldDescriptor.TYPE_BYTES else "string",
        FieldDescriptor.CPPTYPE_ENUM: "enum",
    }
    return names.get(field.cpp_type, "number")


def _without_expressions(value: Any) -> Any:
    """The request without the values that expressions will give. Of lists, items are left out."""
    if isinstance(value, dict):
        return {key: _without_expressions(each) for key, each in value.items() if not _is_open(each)}
    if isinstance(value, list):
        return [_without_expressions(each) for each in value if not _is_open(each)]
    return value


def _is_open(value: Any) -> bool:
    return isinstance(value, str) and templates.is_template(value)
