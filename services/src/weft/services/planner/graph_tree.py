"""The nodes of a graph, at all depths: where each is, and what it says in expressions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from google.protobuf import json_format

from weft.services.planner.v1 import graph_pb2

# Levels of nodes within each other.
MAX_LEVELS = 6


class NodeList(NamedTuple):
    """Nodes that run together: those of a graph, or within a node."""

    nodes: Sequence[graph_pb2.Node]
    place: str
    # They run once for each item of this map.
    of_map: graph_pb2.Map | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PlacedNode:
    """A node and where it is.

    Args:
        place: its path, such as "nodes[2].map.nodes[0]".
        above: the nodes that it is within, the outermost first.
        maps: the maps among these.
    """

    node: graph_pb2.Node
    place: str
    above: tuple[str, ...]
    maps: tuple[graph_pb2.Node, ...]


class Text(NamedTuple):
    """Something of a node that has expressions.

    Args:
        kind: a template, a condition, or a list.
        inner: it is evaluated for an item of the node's own map.
        later: it is evaluated when the node has succeeded.
    """

    place: str
    kind: Literal["template", "condition", "list"]
    value: Any
    inner: bool = False
    later: bool = False


def lists_within(node: graph_pb2.Node) -> Iterator[NodeList]:
    """The lists of nodes within a node, by paths below it."""
    kind = node.WhichOneof("kind")
    if kind == "parallel":
        yield NodeList(node.parallel.nodes, "parallel.nodes")
    elif kind == "map":
        yield NodeList(node.map.nodes, "map.nodes", node.map)
    elif kind == "condition":
        for index, choice in enumerate(node.condition.choices):
            yield NodeList(choice.nodes, f"condition.choices[{index}].nodes")
        yield NodeList(node.condition.otherwise, "condition.otherwise")
    if node.on_failure.HasField("instead"):
        yield NodeList([node.on_failure.instead], "on_failure.instead")


def placed_nodes(graph: graph_pb2.Graph) -> Iterator[PlacedNode]:
    """All nodes, each before those within it. Deeper levels than the most are left out, but for the first of them."""
    yield from _placed(NodeList(graph.nodes, "nodes"), (), ())


def _placed(
    within: NodeList, above: tuple[str, ...], maps: tuple[graph_pb2.Node, ...]
) -> Iterator[PlacedNode]:
    single = within.place.endswith("instead")
    for index, node in enumerate(within.nodes):
        place = within.place if single else f"{within.place}[{index}]"
        yield PlacedNode(node, place, above, maps)
        if len(above) >= MAX_LEVELS:
            return
        for inner in lists_within(node):
            yield from _placed(
                inner._replace(place=f"{place}.{inner.place}"),
                (*above, node.name),
                maps if inner.of_map is None else (*maps, node),
            )


def texts_of(node: graph_pb2.Node) -> Iterator[Text]:
    """The expressions of a node itself, without those of nodes within it."""
    if node.when:
        yield Text("when", "condition", node.when)
    kind = node.WhichOneof("kind")
    if kind == "step":
        yield Text("step.request", "template", struct_value(node.step.request))
    elif kind == "map":
        yield Text("map.items", "list", node.map.items)
        if node.map.HasField("output"):
            yield Text("map.output", "template", json_of(node.map.output), inner=True)
    elif kind == "condition":
        for index, choice in enumerate(node.condition.choices):
            yield Text(f"condition.choices[{index}].when", "condition", choice.when)
    elif kind == "approval":
        yield Text("approval.question", "template", node.approval.question)
    if node.on_failure.HasField("output"):
        yield Text("on_failure.output", "template", json_of(node.on_failure.output))
    if node.HasField("undo"):
        yield Text("undo.request", "template", struct_value(node.undo.request), later=True)


def parents_of(graph: graph_pb2.Graph) -> Mapping[str, tuple[str, ...]]:
    """The nodes that each node is within, the outermost first."""
    return {each.node.name: each.above for each in placed_nodes(graph)}


def json_of(value: Any) -> Any:
    """A `google.protobuf.Value` as a JSON value."""
    if value.WhichOneof("kind") is None:
        return None
    return json_format.MessageToDict(value)


def struct_value(value: Any) -> dict[str, Any]:
    """A `google.protobuf.Struct` as a JSON value."""
    return {key: json_of(each) for key, each in value.fields.items()}
