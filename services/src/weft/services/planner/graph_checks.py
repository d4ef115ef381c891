"""What is wrong with a graph: everything at once, each with its place. Pure: contracts are passed in.

names, levels, circles ─► what nodes name ─► expressions ─► requests against contracts ─► problems
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from weft.rpc.contracts.cel_expressions import ExpressionFault, is_condition
from weft.rpc.contracts.names import unknown_method
from weft.rpc.similar_names import similar_names
from weft.services.planner import templates
from weft.services.planner.graph_expressions import RESERVED, GraphExpressions
from weft.services.planner.graph_tree import (
    MAX_LEVELS,
    NodeList,
    PlacedNode,
    Text,
    json_of,
    lists_within,
    parents_of,
    placed_nodes,
    struct_value,
    texts_of,
)
from weft.services.planner.input_values import type_problem
from weft.services.planner.mesh_contracts import MeshContracts, is_stream
from weft.services.planner.node_order import circle_of, needs_of
from weft.services.planner.step_requests import request_problems
from weft.services.planner.v1 import graph_pb2

MAX_BYTES = 256 * 1024
MAX_NODES = 200
MAX_PROBLEMS = 100


class Fault(NamedTuple):
    """A problem: where, and what."""

    place: str
    message: str


def faults_of(
    graph: graph_pb2.Graph, contracts: MeshContracts, allowed: Collection[str] | None = None
) -> list[Fault]:
    """The problems of a graph, at most 100 of them; empty: it can be run.

    Args:
        allowed: the methods that its steps may call; None: any.

    Raises:
        ImportError: the library of expressions is not installed.
    """
    found = list(_shape_faults(graph))
    if not found:
        # Names and places can be relied on.
        check = _Check(graph, contracts)
        found = [*_reference_faults(graph), *_circles(graph), *check.faults()]
        if allowed is not None:
            found += _forbidden(graph, allowed)
    return list(dict.fromkeys(found))[:MAX_PROBLEMS]


def methods_of(graph: graph_pb2.Graph) -> set[str]:
    """The methods of all steps."""
    steps = [
        step
        for each in placed_nodes(graph)
        for step, is_there in (
            (each.node.step, each.node.WhichOneof("kind") == "step"),
            (each.node.undo, each.node.HasField("undo")),
        )
        if is_there
    ]
    return {step.method for step in steps}


def _forbidden(graph: graph_pb2.Graph, allowed: Collection[str]) -> Iterator[Fault]:
    for each in placed_nodes(graph):
        for name, step in (("step", each.node.step), ("undo", each.node.undo)):
            if step.method and step.method not in allowed:
                yield Fault(f"{each.place}.{name}.method", f"{step.method} is none of the tools")


# -- names ------------------------------------------------------------------------------------------------------------


def _shape_faults(graph: graph_pb2.Graph) -> Iterator[Fault]:
    if graph.ByteSize() > MAX_BYTES:
        yield Fault("", f"the graph has {graph.ByteSize()} bytes; the most are {MAX_BYTES}")
        return
    placed = list(placed_nodes(graph))
    if len(placed) > MAX_NODES:
        yield Fault("nodes", f"the graph has {len(placed)} nodes; the most are {MAX_NODES}")
    counts = Counter(each.node.name for each in placed)
    for each in placed:
        if len(each.above) >= MAX_LEVELS:
            yield Fault(each.place, f"it is deeper than {MAX_LEVELS} levels of nodes")
        if counts[each.node.name] > 1:
            yield Fault(f"{each.place}.name", f"there are {counts[each.node.name]} nodes {each.node.name!r}")
        if each.node.name in RESERVED:
            yield Fault(f"{each.place}.name", f"{each.node.name!r} is a word of expressions: choose another")
        if each.node.WhichOneof("kind") == "map":
            yield from _item_faults(each)
    names = Counter(each.name for each in graph.inputs)
    for index, given in enumerate(graph.inputs):
        place = f"inputs[{index}]"
        if names[given.name] > 1:
            yield Fault(f"{place}.name", f"there are {names[given.name]} inputs {given.name!r}")
        if given.name in RESERVED:
            yield Fault(f"{place}.name", f"{given.name!r} is a word of expressions: choose another")
        if given.HasField("default") and (why := type_problem(json_of(given.default), given.type)):
            yield Fault(f"{place}.default", why)


def _item_faults(placed: PlacedNode) -> Iterator[Fault]:
    name = item_name(placed.node)
    if name in RESERVED:
        yield Fault(f"{placed.place}.map.as", f"{name!r} is a word of expressions: choose another")
    if any(item_name(outer) == name for outer in placed.maps):
        yield Fault(f"{placed.place}.map.as", f"a map around it has items {name!r} already: choose another")


def item_name(of_map: graph_pb2.Node) -> str:
    """The name of a map's item in expressions."""
    return getattr(of_map.map, "as") or "item"


def item_names(maps: Iterable[graph_pb2.Node]) -> list[str]:
    """The names of the items of maps."""
    return [item_name(each) for each in maps]


# -- what nodes name --------------------------------------------------------------------------------------------------


def _reference_faults(graph: graph_pb2.Graph) -> Iterator[Fault]:
    placed = {each.node.name: each for each in placed_nodes(graph)}
    inputs = {each.name for each in graph.inputs}
    for each in placed.values():
        for index, name in enumerate(each.node.after):
            place = f"{each.place}.after[{index}]"
            yield from _named_faults([name], each.node, each, placed, place)
        for text in texts_of(each.node):
            place = f"{each.place}.{text.place}"
            for expression in _expressions(text):
                names = templates.named(expression)
                names -= {each.node.name} if text.later else set()
                maps = (*each.maps, each.node) if text.inner else each.maps
                yield from _named_faults(sorted(names), each.node, each, placed, place, maps)
                yield from _unknown_inputs(expression, inputs, place)
    if graph.HasField("output"):
        for expression in templates.expressions(json_of(graph.output)):
            yield from _named_faults(sorted(templates.named(expression)), None, None, placed, "output")
            yield from _unknown_inputs(expression, inputs, "output")


def _expressions(text: Text) -> list[str]:
    return list(templates.expressions(text.value)) if text.kind == "template" else [text.value]


def _named_faults(
    names: Sequence[str],
    node: graph_pb2.Node | None,
    at: PlacedNode | None,
    placed: dict[str, PlacedNode],
    place: str,
    maps: Sequence[graph_pb2.Node] | None = None,
) -> Iterator[Fault]:
    around = () if at is None else at.maps
    within = {each.name for each in (around if maps is None else maps)}
    for name in names:
        if name not in placed:
            near = similar_names(name, placed)
            yield Fault(place, f"there is no node {name!r}{f': did you mean {near[0]}?' if near else ''}")
        elif node is not None and name == node.name:
            yield Fault(place, f"{name} names itself")
        elif at is not None and name in at.above:
            yield Fault(place, f"it is within {name}, and cannot depend on it")
        elif outside := [each.name for each in placed[name].maps if each.name not in within]:
            yield Fault(
                place,
                f"{name} runs once for each item of {outside[-1]}: outside of that, name steps.{outside[-1]}",
            )


def _unknown_inputs(expression: str, inputs: Collection[str], place: str) -> Iterator[Fault]:
    for name in sorted(templates.named(expression, "inputs") - set(inputs)):
        near = similar_names(name, inputs)
        yield Fault(place, f"there is no input {name!r}{f': did you mean {near[0]}?' if near else ''}")


def _circles(graph: graph_pb2.Graph) -> Iterator[Fault]:
    parents = parents_of(graph)
    lists = [NodeList(graph.nodes, "nodes")]
    for each in placed_nodes(graph):
        lists += [inner._replace(place=f"{each.place}.{inner.place}") for inner in lists_within(each.node)]
    for within in lists:
        if circle := circle_of(needs_of(within.nodes, parents)):
            yield Fault(within.place, f"nodes need each other in a circle: {' → '.join(circle)}")


# -- expressions and requests -----------------------------------------------------------------------------------------


class _Check:
    """The checks that need the contracts."""

    def __init__(self, graph: graph_pb2.Graph, contracts: MeshContracts) -> None:
        self._graph = graph
        self._contracts = contracts
        self._expressions = GraphExpressions(graph, contracts)

    def faults(self) -> Iterator[Fault]:
        for each in placed_nodes(self._graph):
            node, outer = each.node, item_names(each.maps)
            for text in texts_of(node):
                items = [*outer, item_name(node)] if text.inner else outer
                yield from self._text(text, f"{each.place}.{text.place}", items)
            if node.WhichOneof("kind") == "step":
                yield from self._step(node.step, f"{each.place}.step", outer)
            if node.HasField("undo"):
                yield from self._step(node.undo, f"{each.place}.undo", outer)
        if self._graph.HasField("output"):
            yield from self._text(Text("output", "template", json_of(self._graph.output)), "output", [])

    def _text(self, text: Text, place: str, items: Sequence[str]) -> Iterator[Fault]:
        if text.kind != "template":
            yield from self._expression(text.value, place, items, text.kind)
            return
        try:
            leaves = list(templates.leaves(text.value))
        except templates.TemplateFault as fault:
            yield Fault(place, str(fault))
            return
        for path, leaf in leaves:
            at = f"{place}.{path}" if path and not path.startswith("[") else place + path
            try:
                found = templates.parts(leaf)
            except templates.TemplateFault as fault:
                yield Fault(at, str(fault))
                continue
            for part in found:
                if isinstance(part, templates.Expression):
                    yield from self._expression(part.text, at, items, "template")

    def _expression(self, text: str, place: str, items: Sequence[str], kind: str) -> Iterator[Fault]:
        known = {f"steps.{each.node.name}" for each in placed_nodes(self._graph)}
        known |= {f"inputs.{each.name}" for each in self._graph.inputs}
        if not {f"steps.{each}" for each in templates.named(text)} <= known:
            # Said already, with more sense.
            return
        if not {f"inputs.{each}" for each in templates.named(text, "inputs")} <= known:
            return
        try:
            result = self._expressions.compiled(text, items).result
        except ExpressionFault as fault:
            yield Fault(place, f"{_quoted(text)}: {fault}")
            return
        if kind == "condition" and not is_condition(result):
            yield Fault(place, f"{_quoted(text)} gives {result.name()}, and must be a condition")
        if kind == "list" and result.name() != "DYN" and not result.name().startswith("LIST"):
            yield Fault(place, f"{_quoted(text)} gives {result.name()}, and must be a list")

    def _step(self, step: graph_pb2.Step, place: str, items: Sequence[str]) -> Iterator[Fault]:
        service = step.method.rpartition("/")[0]
        if service in self._contracts.conflicts:
            yield Fault(
                f"{place}.method",
                f"the contract of {service} has another {self._contracts.conflicts[service]} than that of another"
                " service of this graph: they cannot be used together",
            )
            return
        method = self._contracts.find(step.method)
        if method is None:
            yield Fault(f"{place}.method", unknown_method(step.method, self._contracts.method_names()))
            return
        if is_stream(method):
            yield Fault(
                f"{place}.method", f"{step.method} has a stream: a step has one request and one response"
            )
            return
        try:
            for path, why in request_problems(
                struct_value(step.request),
                method.input_type,
                self._result_type(items),
                self._contracts.pool,
                self._contracts.rules,
            ):
                yield Fault(f"{place}.request.{path}" if path else f"{place}.request", why)
        except templates.TemplateFault as fault:
            yield Fault(f"{place}.request", str(fault))

    def _result_type(self, items: Sequence[str]) -> Callable[[str], str | None]:
        def result_type(text: str) -> str | None:
            try:
                name: Any = self._expressions.compiled(text, items).result.name()
            except ExpressionFault:
                return None
            return str(name)

        return result_type


def _quoted(text: str) -> str:
    return f"`{text if len(text) <= 60 else text[:57] + '…'}`"
