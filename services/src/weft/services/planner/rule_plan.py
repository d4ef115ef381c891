"""Plans by rules: each clause of a goal becomes a step of the method that fits it best. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor

from weft.rpc import bounded_json
from weft.rpc.contracts.descriptors import method_name
from weft.services.planner.graph_expressions import RESERVED
from weft.services.planner.message_schemas import rules_of
from weft.services.planner.plan_words import LEAST_SCORE, Clause, clauses_of, fit, is_struct, words_of
from weft.services.planner.tool_list import comment_of

_MOST_NEAR = 3
_MOST_NAME_CHARS = 30
_TYPES = {
    FieldDescriptor.CPPTYPE_STRING: "string",
    FieldDescriptor.CPPTYPE_BOOL: "boolean",
    FieldDescriptor.CPPTYPE_DOUBLE: "number",
    FieldDescriptor.CPPTYPE_FLOAT: "number",
    FieldDescriptor.CPPTYPE_MESSAGE: "object",
    FieldDescriptor.CPPTYPE_ENUM: "string",
}


class NoPlan(Exception):
    """No method fits a clause; the message says which."""


class RulePlan:
    """A graph that is being made of clauses.

    Args:
        methods: those that may be steps.
    """

    def __init__(self, methods: Sequence[MethodDescriptor]) -> None:
        self._methods = [(method, comment_of(method)) for method in methods]
        self._nodes: list[dict[str, Any]] = []
        self._inputs: dict[str, dict[str, Any]] = {}
        # The steps so far, with their methods, the newest last; and the names of each stage.
        self._done: list[tuple[str, MethodDescriptor]] = []
        self._stages: dict[int, list[str]] = {}
        self.reasons: list[str] = []

    def graph_of(self, goal: str) -> dict[str, Any]:
        """The graph of a goal, as a JSON value.

        Raises:
            NoPlan
        """
        clauses = clauses_of(goal)
        if not clauses:
            raise NoPlan("the goal has no words that say what is to be done")
        for clause in clauses:
            self._add(clause)
        graph: dict[str, Any] = {
            "name": _short(goal, 100),
            "description": "Made by rules.",
            "nodes": self._nodes,
        }
        if self._inputs:
            graph["inputs"] = list(self._inputs.values())
        return graph

    def _add(self, clause: Clause) -> None:
        ranked = sorted(
            (
                (fit(clause, method, comment), method_name(method), method)
                for method, comment in self._methods
            ),
            key=lambda each: (-each[0], each[1]),
        )
        if not ranked or ranked[0][0] < LEAST_SCORE:
            near = ", ".join(name for score, name, _ in ranked[:_MOST_NEAR] if score > 0)
            raise NoPlan(f"no method fits “{clause.text}”{f'; near are {near}' if near else ''}")
        score, full, method = ranked[0]
        name = self._name(full)
        request, notes = self._request(clause, method)
        before = [
            each for stage, names in self._stages.items() if stage == clause.stage - 1 for each in names
        ]
        node: dict[str, Any] = {
            "name": name,
            "step": {"method": full, "request": request},
            "reason": "; ".join([f"“{clause.text}”", *notes])[:2000],
        }
        if before:
            node["after"] = before
        self._nodes.append(node)
        # What is done at the same time gives nothing to each other.
        self._stages.setdefault(clause.stage, []).append(name)
        self._done.append((name, method))
        equal = [other for points, other, _ in ranked[1:] if points == score]
        also = f"; {', '.join(equal[:_MOST_NEAR])} would fit as well" if equal else ""
        self.reasons.append(f"{name}: “{clause.text}” is {full} ({score} points{also}).")

    def _name(self, method: str) -> str:
        own = "_".join(words_of(method.rpartition("/")[2]))[:_MOST_NAME_CHARS] or "step"
        own = own if own[0].isalpha() else f"step_{own}"
        taken = {each["name"] for each in self._nodes} | RESERVED
        if own not in taken:
            return own
        number = next(n for n in range(2, 1000) if f"{own}_{n}" not in taken)
        return f"{own}_{number}"

    def _request(self, clause: Clause, method: MethodDescriptor) -> tuple[dict[str, Any], list[str]]:
        if is_struct(method.input_type):
            return {name: _any_value(text) for name, text in clause.arguments.items()}, []
        request: dict[str, Any] = {}
        notes: list[str] = []
        fields = method.input_type.fields_by_name
        for name, text in clause.arguments.items():
            if name in fields:
                request[name] = _value(text, fields[name])
            else:
                notes.append(f"{name}={text} is no field of {method.input_type.name}, and left out")
        for name, field in fields.items():
            if name in request:
                continue
            if (source := self._source(field, clause.stage)) is not None:
                request[name] = f"${{steps.{source}.{name}}}"
                notes.append(f"{name} is that of {source}")
            elif rules_of(field).required or rules_of(field).string.min_len:
                request[name] = f"${{inputs.{self._input(field)}}}"
                notes.append(f"{name} is an input")
        return request, notes

    def _source(self, field: FieldDescriptor, stage: int) -> str | None:
        """The newest earlier step whose response has a field of this name and type."""
        beside = self._stages.get(stage, [])
        for name, method in reversed(self._done):
            found = method.output_type.fields_by_name.get(field.name)
            if found is not None and name not in beside and _same_type(found, field):
                return name
        return None

    def _input(self, field: FieldDescriptor) -> str:
        name = re.sub(r"[^a-z0-9_]", "_", field.name.lower())[:40].strip("_") or "value"
        name = f"{name}_" if name in RESERVED else name
        kind = "array" if field.is_repeated else _TYPES.get(field.cpp_type, "integer")
        self._inputs.setdefault(name, {"name": name, "type": kind})
        return name


def _same_type(one: FieldDescriptor, other: FieldDescriptor) -> bool:
    same = one.type == other.type and one.is_repeated == other.is_repeated
    return same and (
        one.message_type is None
        or other.message_type is None
        or one.message_type.full_name == other.message_type.full_name
    )


def _value(text: str, field: FieldDescriptor) -> Any:
    """An argument as the value of a field; what does not fit is told by the check of the graph."""
    if field.is_repeated:
        value = _any_value(text)
        return value if isinstance(value, list) or "${" in text else [value]
    if field.cpp_type in (FieldDescriptor.CPPTYPE_STRING, FieldDescriptor.CPPTYPE_ENUM):
        return _unquoted(text)
    return _any_value(text)


def _any_value(text: str) -> Any:
    if text[:1] in "\"'":
        return _unquoted(text)
    try:
        return bounded_json.loads(text)
    except ValueError:
        return text


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _short(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"
