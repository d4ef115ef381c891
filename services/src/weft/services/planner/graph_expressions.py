"""The expressions of a graph: compiled against the inputs that it declares and the contracts of its methods, and evaluated to JSON values."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from weft.rpc.contracts.cel_expressions import CompiledExpression, ExpressionFault, ExpressionTypes
from weft.rpc.contracts.json_rendering import json_value
from weft.services.planner import templates
from weft.services.planner.graph_tree import placed_nodes
from weft.services.planner.mesh_contracts import MeshContracts, is_stream
from weft.services.planner.v1 import graph_pb2

# Names that stand for something else in expressions: CEL's own words among them.
RESERVED = frozenset(
    [
        "inputs",
        "steps",
        "index",
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)
INDEX = "index"


class GraphExpressions:
    """The expressions of one graph.

    Raises:
        ImportError: the library of expressions is not installed.
    """

    def __init__(self, graph: graph_pb2.Graph, contracts: MeshContracts) -> None:
        self._graph = graph
        self._contracts = contracts
        # The response's type of each step whose value is its response.
        self._types = {
            each.node.name: type_name
            for each in placed_nodes(graph)
            if (type_name := value_type(each.node, contracts))
        }
        self._names = [each.node.name for each in placed_nodes(graph)]
        self._environments: dict[tuple[str, ...], ExpressionTypes] = {}
        self._compiled: dict[tuple[str, tuple[str, ...]], CompiledExpression] = {}
        self._of_maps(())

    def compiled(self, text: str, items: Sequence[str] = ()) -> CompiledExpression:
        """An expression.

        Args:
            items: the names of the items of the maps that it is within.

        Raises:
            ExpressionFault: it does not compile, or is not for graphs.
        """
        key = text, tuple(items)
        if key not in self._compiled:
            if why := templates.unread(text):
                raise ExpressionFault(why)
            found = self._of_maps(key[1]).compiled(text)
            if found.has_loop:
                raise ExpressionFault(
                    "it goes through a list (all, exists, exists_one, map, filter): let a map do so"
                )
            self._compiled[key] = found
        return self._compiled[key]

    def evaluate(self, text: str, values: Mapping[str, Any], items: Sequence[str] = ()) -> Any:
        """The value of an expression, as a JSON value.

        Args:
            values: of variables, by their names.
            items: as for `compiled`.

        Raises:
            ExpressionFault: it does not compile, or has no value.
        """
        given = {
            name: values[name]
            for name in (*names_in(text), *dict.fromkeys(items), *((INDEX,) if items else ()))
            if name in values
        }
        try:
            found = self.compiled(text, items).evaluate(data=given)
            if found.type().name() == "ERROR":
                raise ExpressionFault(_reason(str(found.value())))
            return self.json_of(found)
        except RuntimeError as error:
            raise ExpressionFault(_reason(str(error))) from None

    def _of_maps(self, items: tuple[str, ...]) -> ExpressionTypes:
        if items not in self._environments:

            def variables(cel: Any) -> dict[str, Any]:
                found = {f"inputs.{each.name}": _input_type(cel, each.type) for each in self._graph.inputs}
                for name in self._names:
                    known = self._types.get(name)
                    found[f"steps.{name}"] = cel.Type.DYN if known is None else cel.Type(known)
                if items:
                    found |= dict.fromkeys(items, cel.Type.DYN) | {INDEX: cel.Type.INT}
                return found

            self._environments[items] = ExpressionTypes(variables, self._contracts.pool)
        return self._environments[items]

    def json_of(self, value: Any) -> Any:
        """A value of the library as a JSON value, in protobuf's forms."""
        if isinstance(value, Message):
            return json_value(value, self._contracts.pool)
        if isinstance(value, bytes | bytearray):
            return base64.b64encode(value).decode()
        if isinstance(value, dict):
            return {str(key): self.json_of(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.json_of(each) for each in value]
        if isinstance(value, datetime):
            moment = Timestamp()
            moment.FromDatetime(value)
            return moment.ToJsonString()
        if isinstance(value, timedelta):
            span = Duration()
            span.FromTimedelta(value)
            return span.ToJsonString()
        if isinstance(value, float) and not math.isfinite(value):
            return {"inf": "Infinity", "-inf": "-Infinity"}.get(str(value), "NaN")
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if hasattr(value, "value"):
            return self.json_of(value.value())
        return str(value)


def names_in(text: str) -> Iterable[str]:
    """The variables of `steps` and `inputs` that an expression names."""
    yield from (f"steps.{name}" for name in templates.named(text))
    yield from (f"inputs.{name}" for name in templates.named(text, "inputs"))


def value_type(node: graph_pb2.Node, contracts: MeshContracts) -> str:
    """The message type of a node's value; empty: it is a JSON value of any type."""
    if node.WhichOneof("kind") != "step" or node.on_failure.WhichOneof("action") == "output":
        return ""
    method = contracts.find(node.step.method)
    if method is None or is_stream(method):
        return ""
    name: str = method.output_type.full_name
    if node.on_failure.HasField("instead") and value_type(node.on_failure.instead, contracts) != name:
        return ""
    return name


def _input_type(cel: Any, name: str) -> Any:
    known = {
        "string": cel.Type.STRING,
        "integer": cel.Type.INT,
        "number": cel.Type.DOUBLE,
        "boolean": cel.Type.BOOL,
        "array": cel.Type.List(cel.Type.DYN),
        "object": cel.Type.Map(cel.Type.STRING, cel.Type.DYN),
    }
    return known.get(name, cel.Type.DYN)


def _reason(text: str) -> str:
    code, _, rest = text.partition(": ")
    return rest if code.isupper() and rest else text
