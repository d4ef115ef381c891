"""Wrong settings in weft's own words: the setting's name, its value, and the allowed values.

It reads the error items and the fields of a settings model, and needs no import of the models' library.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from weft.rpc.similar_names import similar_names
from weft.rpc.visible import one_line

# Longer values, and reasons with them, are cut.
_SHOWN_CHARACTERS = 80
_REASON_CHARACTERS = 400

_WORDS: dict[Any, str] = {
    str: "text",
    bool: "true or false",
    Path: "a path",
    int: "a whole number",
    float: "a number",
    tuple[str, ...]: "a list of texts",
    dict[str, str]: "keys with texts, such as zone=eu",
    dict[str, float]: "keys with numbers, such as gpu=1",
}


@dataclass(frozen=True, slots=True)
class SettingFault:
    """One wrong setting."""

    # Empty if several settings do not fit together.
    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}" if self.name else self.reason


def setting_faults(errors: Iterable[Mapping[str, Any]], fields: Mapping[str, Any]) -> list[SettingFault]:
    """Describe every wrong setting, each in one line.

    Args:
        errors: the items of the model's validation error.
        fields: the model's fields. The value of a field with `repr=False` is secret, and is not shown.
    """
    return [_fault(item, fields) for item in errors]


def _fault(item: Mapping[str, Any], fields: Mapping[str, Any]) -> SettingFault:
    place = [str(part) for part in item["loc"]]
    name = _field_of(place[0], fields) if place else ""
    if item["type"] == "value_error":
        return SettingFault(name, _shortened(one_line(item["msg"].removeprefix("Value error, "))))
    field = fields.get(name)
    if field is None:
        near = similar_names(name, fields)
        hint = f"; the nearest is {near[0]}" if near else ""
        return SettingFault(name, f"there is no such setting{hint}")
    kind = _kind(field.annotation)
    if item["type"] == "too_long" and get_origin(kind) is dict:
        return SettingFault(name, f"has more than {item['ctx']['max_length']} entries")
    key = place[1] if len(place) > 1 and get_origin(kind) is dict else ""
    expected = _WORDS.get(get_args(kind)[1], "allowed") if key else _expected(kind, field.metadata)
    value = _shown(item["input"]) if field.repr else "the value"
    return SettingFault(name, f"{key}: {value} is not {expected}" if key else f"{value} is not {expected}")


def _field_of(name: str, fields: Mapping[str, Any]) -> str:
    """The field that has this name, or this alias."""
    for field_name, field in fields.items():
        if name in getattr(field.validation_alias, "choices", ()):
            return field_name
    return name


def allowed_values(annotation: Any, rules: Sequence[Any]) -> str:
    """The allowed values of a field, such as "a number from 0.1 to 60"."""
    return _expected(_kind(annotation), rules)


def _kind(annotation: Any) -> Any:
    """The type of a field that may also be None."""
    if get_origin(annotation) in {Union, types.UnionType}:
        return next(part for part in get_args(annotation) if part is not type(None))
    return annotation


def _expected(kind: Any, rules: Sequence[Any]) -> str:
    """The allowed values, as the end of a sentence."""
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    words = _WORDS.get(kind, "allowed")
    low, high = _rule(rules, "ge"), _rule(rules, "le")
    shortest, longest = _rule(rules, "min_length"), _rule(rules, "max_length")
    pattern = _rule(rules, "pattern")
    if kind is str:
        bounds = f" of {shortest} to {longest} characters" if shortest and longest else ""
        return words + bounds + (f" that matches {pattern}" if pattern else "")
    if low is not None and high is not None:
        return f"{words} from {_number(low)} to {_number(high)}"
    return f"{words} of at least {_number(low)}" if low is not None else words


def _rule(rules: Sequence[Any], name: str) -> Any:
    return next((value for rule in rules if (value := getattr(rule, name, None)) is not None), None)


def _number(value: float) -> str:
    """The number without the `.0` of a float."""
    return str(int(value)) if float(value).is_integer() else str(value)


def _shortened(reason: str) -> str:
    """The reason without the middle of a long value in it."""
    half = _REASON_CHARACTERS // 2
    return reason if len(reason) <= _REASON_CHARACTERS else f"{reason[:half]}…{reason[-half:]}"


def _shown(value: Any) -> str:
    text = one_line(repr(value))
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
