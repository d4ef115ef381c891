"""Draws graphs: as lines of text, and for Mermaid. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator

from weft.services.planner.graph_tree import NodeList, lists_within, parents_of
from weft.services.planner.node_order import in_order, needs_of
from weft.services.planner.v1 import graph_pb2

_INDENT = "  "


def as_text(graph: graph_pb2.Graph) -> str:
    """The graph as lines of text: each node below those that it needs."""
    head = [graph.name or "graph"]
    if graph.description:
        head.append(f"{_INDENT}{_short(graph.description, 200)}")
    for each in graph.inputs:
        default = "" if each.HasField("default") else ", must be given"
        head.append(f"{_INDENT}input {each.name}: {each.type or 'any'}{default}")
    lines = _list_lines(graph, NodeList(graph.nodes, "nodes"), 1)
    return "\n".join([*head, *lines])


def _list_lines(graph: graph_pb2.Graph, within: NodeList, depth: int) -> Iterator[str]:
    needs = needs_of(within.nodes, parents_of(graph))
    by_name = {node.name: node for node in within.nodes}
    for name in in_order(needs):
        node = by_name[name]
        needed = [each for each in needs if each in needs[name]]
        after = f"  after {', '.join(needed)}" if needed else ""
        yield f"{_INDENT * depth}{name}  {told(node)}{after}"
        notes = [f"when {node.when}"] if node.when else []
        notes += [_short(node.reason, 160)] if node.reason else []
        if node.on_failure.WhichOneof("action") == "output":
            notes.append("if it fails: go on")
        if node.HasField("undo"):
            notes.append(f"undone by {node.undo.method}")
        for note in notes:
            yield f"{_INDENT * (depth + 2)}{note}"
        for inner, title in _titled(node):
            if title:
                yield f"{_INDENT * (depth + 1)}{title}"
            yield from _list_lines(graph, inner, depth + (2 if title else 1))


def _titled(node: graph_pb2.Node) -> Iterator[tuple[NodeList, str]]:
    """The lists within a node, with what stands over each."""
    for inner in lists_within(node):
        if inner.place.startswith("condition.choices"):
            index = int(inner.place.partition("[")[2].partition("]")[0])
            yield inner, f"if {node.condition.choices[index].when}"
        elif inner.place == "condition.otherwise":
            if inner.nodes:
                yield inner, "otherwise"
        elif inner.place == "on_failure.instead":
            yield inner, "if it fails"
        else:
            yield inner, ""


def told(node: graph_pb2.Node) -> str:
    """What a node does, in some words."""
    match node.WhichOneof("kind"):
        case "step":
            return node.step.method
        case "parallel":
            return "together"
        case "map":
            return f"for each {getattr(node.map, 'as') or 'item'} of {_short(node.map.items, 60)}"
        case "condition":
            return "the first that applies"
        case "approval":
            return f"waits for a person: {_short(node.approval.question or 'approve?', 80)}"
        case _:
            return ""


def as_mermaid(graph: graph_pb2.Graph) -> str:
    """The graph as a flowchart of Mermaid."""
    return "\n".join(["flowchart TD", *_mermaid(graph, NodeList(graph.nodes, "nodes"), 1)])


def _mermaid(graph: graph_pb2.Graph, within: NodeList, depth: int) -> Iterator[str]:
    needs = needs_of(within.nodes, parents_of(graph))
    pad = _INDENT * depth
    for node in within.nodes:
        inner = [each for each in _titled(node) if each[0].nodes]
        label = _label(f"{node.name}: {told(node)}")
        if not inner:
            opened, closed = ("{{", "}}") if node.WhichOneof("kind") == "approval" else ("[", "]")
            yield f'{pad}n_{node.name}{opened}"{label}"{closed}'
        else:
            yield f'{pad}subgraph n_{node.name}["{label}"]'
            for number, (nodes, title) in enumerate(inner):
                if title:
                    yield f'{pad}{_INDENT}subgraph n_{node.name}_{number}["{_label(title)}"]'
                yield from _mermaid(graph, nodes, depth + (2 if title else 1))
                if title:
                    yield f"{pad}{_INDENT}end"
            yield f"{pad}end"
    for name, needed in needs.items():
        condition = next(node.when for node in within.nodes if node.name == name)
        arrow = f'-->|"{_label(condition)}"|' if condition else "-->"
        for each in sorted(needed):
            yield f"{pad}n_{each} {arrow} n_{name}"


def _label(text: str) -> str:
    """A text within quotes of Mermaid, where `#` begins an entity."""
    text = _short(text, 100)
    for sign, entity in (("#", "#35;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;"), ("&", "#amp;")):
        text = text.replace(sign, entity)
    return text


def _short(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"
