"""JSON Schemas of messages, from their descriptors and their rules of `buf.validate`. Pure.

A JSON value that keeps to the schema is read by protobuf's JSON mapping. Names are those of the .proto, which the mapping takes, too. The schema is stricter than the
mapping where it helps a model: no null, no field that the message does not have.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FieldOptions, OneofOptions

# Its import has registered the rules' options, from whichever file of them this process has.
from weft.services.planner.v1 import graph_pb2

_PACKAGE = "google.protobuf."
assert graph_pb2.DESCRIPTOR is not None
_FIELD: Any = descriptor_pool.Default().FindExtensionByName("buf.validate.field")
_ONEOF: Any = descriptor_pool.Default().FindExtensionByName("buf.validate.oneof")
_FLOAT = {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}
_TEXT = {"type": "string"}
_SCALARS: dict[int, dict[str, Any]] = {
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_STRING: _TEXT,
    FieldDescriptor.TYPE_BYTES: {
        "type": "string",
        "contentEncoding": "base64",
        "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
    },
    FieldDescriptor.TYPE_FLOAT: _FLOAT,
    FieldDescriptor.TYPE_DOUBLE: _FLOAT,
}
_BOUNDS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_MOMENT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$"
_WELL_KNOWN: dict[str, dict[str, Any]] = {
    "Timestamp": {"type": "string", "format": "date-time", "pattern": _MOMENT},
    "Duration": {"type": "string", "pattern": r"^-?[0-9]{1,11}(\.[0-9]{1,9})?s$"},
    "FieldMask": {"type": "string", "pattern": r"^[a-zA-Z0-9.,]*$"},
    "Struct": {"type": "object"},
    "ListValue": {"type": "array"},
    "Value": {},
    "Empty": {"type": "object", "maxProperties": 0},
    "Any": {"type": "object", "required": ["@type"], "properties": {"@type": _TEXT}},
}
_NUMBER_RULES = {"gt": "exclusiveMinimum", "gte": "minimum", "lt": "exclusiveMaximum", "lte": "maximum"}


def message_schema(message_type: Descriptor) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a message type."""
    made = _Schemas()
    schema = made.of_message(message_type)
    return {**schema, "$defs": made.definitions} if made.definitions else schema


class _Schemas:
    """The schemas of a message and of those within it, each made once."""

    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}

    def of_message(self, message_type: Descriptor) -> dict[str, Any]:
        name = message_type.full_name
        if name.startswith(_PACKAGE):
            return self._well_known(message_type)
        if name not in self.definitions:
            # First: it may contain itself.
            self.definitions[name] = {}
            self.definitions[name] = self._object(message_type)
        return {"$ref": f"#/$defs/{name}"}

    def _well_known(self, message_type: Descriptor) -> dict[str, Any]:
        if message_type.file.name == "google/protobuf/wrappers.proto":
            return self._value(message_type.fields_by_name["value"], FieldOptions().Extensions[_FIELD])
        return dict(_WELL_KNOWN.get(message_type.name, {"type": "object"}))

    def _object(self, message_type: Descriptor) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": {}}
        required: list[str] = []
        for field in message_type.fields:
            rules = rules_of(field)
            schema["properties"][field.name] = self._field(field, rules)
            if rules.required:
                required.append(field.name)
        if required:
            schema["required"] = required
        choices = [_one_of(each) for each in message_type.oneofs if len(each.fields) > 1]
        if choices:
            schema["allOf"] = choices
        return schema

    def _field(self, field: FieldDescriptor, rules: Any) -> dict[str, Any]:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            value = field.message_type.fields_by_name["value"]
            schema = {"type": "object", "additionalProperties": self._value(value, rules.map.values)}
            key = field.message_type.fields_by_name["key"]
            if key.type != FieldDescriptor.TYPE_STRING:
                bool_key = key.type == FieldDescriptor.TYPE_BOOL
                schema["propertyNames"] = {"pattern": "^(true|false)$" if bool_key else "^-?[0-9]{1,9}$"}
            return _bounded(schema, rules.map, {"min_pairs": "minProperties", "max_pairs": "maxProperties"})
        if field.is_repeated:
            schema = {"type": "array", "items": self._value(field, rules.repeated.items)}
            return _bounded(schema, rules.repeated, {"min_items": "minItems", "max_items": "maxItems"})
        return self._value(field, rules)

    def _value(self, field: FieldDescriptor, rules: Any) -> dict[str, Any]:
        if field.message_type is not None:
            return self.of_message(field.message_type)
        if field.enum_type is not None:
            return {"enum": [each.name for each in field.enum_type.values]}
        kind = rules.WhichOneof("type")
        own = getattr(rules, kind) if kind else None
        if field.cpp_type in _BOUNDS:
            least, most = _BOUNDS[field.cpp_type]
            schema: dict[str, Any] = {"type": "integer", "minimum": least, "maximum": most}
        else:
            schema = dict(_SCALARS[field.type])
        if own is None:
            return schema
        if kind == "string":
            schema = _bounded(
                schema, own, {"min_len": "minLength", "max_len": "maxLength", "pattern": "pattern"}
            )
        elif field.cpp_type in _BOUNDS or "anyOf" in schema:
            schema = {"type": "number"} if "anyOf" in schema else schema
            schema = _bounded(schema, own, _NUMBER_RULES)
        chosen = getattr(own, "in", None)
        return {**schema, "enum": list(chosen)} if chosen and kind != "bytes" else schema


def rules_of(field: FieldDescriptor) -> Any:
    """The rules of a field, of any pool."""
    options = FieldOptions.FromString(field.GetOptions().SerializeToString())
    return options.Extensions[_FIELD]


def _one_of(oneof: Any) -> dict[str, Any]:
    """At most one field of a oneof; one, if the rules ask for it."""
    options = OneofOptions.FromString(oneof.GetOptions().SerializeToString())
    one = [{"required": [field.name]} for field in oneof.fields]
    if options.Extensions[_ONEOF].required:
        return {"oneOf": one}
    return {"oneOf": [*one, {"not": {"anyOf": one}}]}


def _bounded(schema: dict[str, Any], rules: Any, names: dict[str, str]) -> dict[str, Any]:
    found = dict(schema)
    for rule, word in names.items():
        try:
            there = rules.HasField(rule)
        except ValueError:
            continue
        if there:
            found[word] = getattr(rules, rule)
    return found
