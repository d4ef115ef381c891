"""The inputs of a run: whether they fit what the graph declares, and as values of expressions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weft.rpc.similar_names import similar_names
from weft.services.planner.graph_tree import json_of
from weft.services.planner.v1 import graph_pb2

_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": (int, float),
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
}


def type_problem(value: Any, type_name: str) -> str:
    """Why a JSON value is not of a type; empty: it is."""
    kinds = _KINDS.get(type_name)
    if kinds is None:
        return ""
    fits = isinstance(value, kinds) and (type_name == "boolean" or not isinstance(value, bool))
    if fits and type_name == "integer":
        fits = float(value).is_integer() and abs(value) < 2**63
    return "" if fits else f"it must be of type {type_name}, not {_named(value)}"


def input_problems(graph: graph_pb2.Graph, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with the inputs of a run: places and reasons."""
    known = {each.name: each for each in graph.inputs}
    for name in given:
        if name not in known:
            near = similar_names(name, known)
            hint = f": did you mean {near[0]}?" if near else ""
            yield f"inputs.{name}", f"the graph has no input {name!r}{hint}"
    for name, declared in known.items():
        if name in given:
            if why := type_problem(given[name], declared.type):
                yield f"inputs.{name}", why
        elif not declared.HasField("default"):
            yield f"inputs.{name}", "it is not given, and has no default"


def input_variables(graph: graph_pb2.Graph, given: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs as variables of expressions."""
    found = {}
    for each in graph.inputs:
        value = given[each.name] if each.name in given else json_of(each.default)
        if each.type == "integer":
            value = int(value)
        elif each.type == "number":
            value = float(value)
        found[f"inputs.{each.name}"] = value
    return found


def _named(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case list():
            return "array"
        case dict():
            return "object"
        case float() if value.is_integer():
            return "integer"
        case _:
            return "number"
