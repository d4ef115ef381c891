"""Templates: a message as JSON with placeholders for values of a request. Pure.

A template is parsed once a hook, and filled for each request. What is filled in is a value, never a part of the JSON's text: a request
cannot change the form of a message.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor

from weft.rpc import bounded_json, refusals

MAX_TEMPLATE_BYTES = 16 * 1024
MAX_PLACEHOLDERS = 256
_LITERAL = "$${"
_PLACEHOLDER = re.compile(r"\$\$\{|\$\{(?:([^{}]*)\})?")
_PATH = re.compile(r"(body|headers|query)((?:\.[^.{}$]{1,128}){0,32})|delivery")
# What a message may have within it: any fields.
_OPEN = (
    "google.protobuf.Struct",
    "google.protobuf.Value",
    "google.protobuf.ListValue",
    "google.protobuf.Any",
)

# Values by their roots: "body", "headers", "query" and "delivery".
Values = Mapping[str, Any]
_Filler = Callable[[Values], Any]


class _Missing:
    """The request has no such value."""


_MISSING = _Missing()


class Template:
    """A parsed template, for JSON.

    Raises:
        InvalidArgument: INVALID_FIELD.
    """

    def __init__(self, text: str, field: str) -> None:
        if len(text.encode()) > MAX_TEMPLATE_BYTES:
            raise refusals.invalid_field(f"{field} has more than {MAX_TEMPLATE_BYTES} bytes", field=field)
        try:
            self.form = bounded_json.loads(text)
        except ValueError as error:
            raise refusals.invalid_field(f"{field} is not JSON: {error}", field=field) from None
        if not isinstance(self.form, dict):
            raise refusals.invalid_field(f"{field} must be a JSON object", field=field)
        if text.count("${") > MAX_PLACEHOLDERS:
            raise refusals.invalid_field(
                f"{field} has more than {MAX_PLACEHOLDERS} placeholders", field=field
            )
        self._fill = _value(self.form, field)

    def filled(self, values: Values) -> Any:
        """The template with the values of a request."""
        return self._fill(values)

    def check_names(self, descriptor: Descriptor, field: str) -> None:
        """Refuse fields that the message does not have.

        Raises:
            InvalidArgument: INVALID_FIELD.
        """
        _check_names(self.form, descriptor, field)


class TextTemplate:
    """A parsed template of one text, such as an event's key.

    Raises:
        InvalidArgument: INVALID_FIELD.
    """

    def __init__(self, text: str, field: str) -> None:
        self._fill = _text(text, field, whole=False)

    def filled(self, values: Values) -> str:
        return str(self._fill(values))


def _value(form: Any, field: str) -> _Filler:
    if isinstance(form, str):
        return _text(form, field, whole=True)
    if isinstance(form, dict):
        parts = {name: _value(inner, field) for name, inner in form.items()}

        def filled_object(values: Values) -> Any:
            found = {name: fill(values) for name, fill in parts.items()}
            return {name: value for name, value in found.items() if value is not _MISSING}

        return filled_object
    if isinstance(form, list):
        items = [_value(inner, field) for inner in form]
        return lambda values: [value for fill in items if (value := fill(values)) is not _MISSING]
    return lambda _values: form


def _text(text: str, field: str, *, whole: bool) -> _Filler:
    """
    Args:
        whole: a text that is one placeholder is the value itself.
    """
    parts: list[str | _Filler] = []
    at = 0
    for found in _PLACEHOLDER.finditer(text):
        parts.append(text[at : found.start()])
        at = found.end()
        if found[0] == _LITERAL:
            parts.append("${")
        elif found[1] is None:
            raise refusals.invalid_field(
                f"{field} has '${{' without its '}}' in {text[:64]!r}; write '$${{' for the text itself",
                field=field,
            )
        else:
            parts.append(_looked_up(found[1], field))
    parts.append(text[at:])
    parts = [part for part in parts if part != ""]
    if whole and len(parts) == 1 and not isinstance(parts[0], str):
        return parts[0]
    return lambda values: "".join(part if isinstance(part, str) else _as_text(part(values)) for part in parts)


def _looked_up(path: str, field: str) -> _Filler:
    if not _PATH.fullmatch(path):
        raise refusals.invalid_field(
            f"{field} has the placeholder ${{{path[:64]}}}; it must be ${{body.…}}, ${{headers.NAME}}, ${{query.NAME}} or"
            " ${delivery}",
            field=field,
        )
    root, *names = path.split(".")
    if root == "headers":
        names = [".".join(names).lower()] if names else []

    def found(values: Values) -> Any:
        value = values.get(root, _MISSING)
        for name in names:
            if isinstance(value, Mapping):
                value = value.get(name, _MISSING)
            elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
                value = value[int(name)]
            else:
                return _MISSING
        return dict(value) if root in ("headers", "query") and isinstance(value, Mapping) else value

    return found


def _as_text(value: Any) -> str:
    if value is _MISSING or value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _check_names(form: Any, descriptor: Descriptor, field: str) -> None:
    if descriptor.full_name in _OPEN or not isinstance(form, dict):
        return
    fields = {each.json_name: each for each in descriptor.fields} | dict(descriptor.fields_by_name)
    for name, inner in form.items():
        found = fields.get(name)
        if found is None:
            if name.startswith(("[", "@")):
                continue
            raise refusals.invalid_field(
                f"{field} has the field {name[:64]!r}, which {descriptor.full_name} does not have; it has"
                f" {', '.join(each.json_name for each in descriptor.fields[:16]) or 'no fields'}",
                field=field,
            )
        if found.message_type is None or found.message_type.GetOptions().map_entry:
            continue
        for each in inner if isinstance(inner, list) else [inner]:
            _check_names(each, found.message_type, field)
