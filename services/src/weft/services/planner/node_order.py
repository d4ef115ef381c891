"""Which node can run next, and in which order nodes are undone. Pure functions over names.

node ─► what its expressions name, and `after` ─► needs: names of nodes beside it ─► ready, skipped, or not reached
"""

from __future__ import annotations

import graphlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from weft.services.planner import templates
from weft.services.planner.graph_tree import NodeList, lists_within, texts_of
from weft.services.planner.v1 import graph_pb2, planner_pb2

SUCCEEDED = frozenset([planner_pb2.NODE_STATE_SUCCEEDED, planner_pb2.NODE_STATE_RECOVERED])
_SKIPPED, _FAILED = planner_pb2.NODE_STATE_SKIPPED, planner_pb2.NODE_STATE_FAILED
_NOT_REACHED = planner_pb2.NODE_STATE_NOT_REACHED
# After all positions of nodes and indices of items.
_LAST = 1 << 60


class Next(NamedTuple):
    """What becomes of nodes that were not decided yet, in the graph's order."""

    ready: list[str]
    skipped: list[str]
    not_reached: list[str]


def wanted_by(node: graph_pb2.Node) -> set[str]:
    """The nodes that a node names in its own expressions, and in `after`."""
    found = set(node.after)
    for text in texts_of(node):
        if text.kind == "template":
            found.update(*(templates.named(each) for each in templates.expressions(text.value)))
        else:
            found |= templates.named(text.value)
    return found - {node.name}


def wanted_within(node: graph_pb2.Node) -> set[str]:
    """The nodes that a node and those within it name."""
    found = wanted_by(node)
    for inner in lists_within(node):
        found = found.union(*(wanted_within(each) for each in inner.nodes))
    return found


def needs_of(
    nodes: Sequence[graph_pb2.Node], parents: Mapping[str, tuple[str, ...]]
) -> dict[str, frozenset[str]]:
    """For each of these nodes, which run together, those beside it that must have ended first.

    Args:
        parents: the nodes that each node of the graph is within.
    """
    beside = {node.name for node in nodes}
    needs: dict[str, frozenset[str]] = {}
    for node in nodes:
        holders = ({wanted, *parents.get(wanted, ())} & beside for wanted in wanted_within(node))
        needs[node.name] = frozenset(each for holder in holders for each in holder if each != node.name)
    return needs


def decide(needs: Mapping[str, Collection[str]], states: Mapping[str, int | None]) -> Next:
    """What can run next.

    Args:
        needs: of `needs_of`.
        states: of nodes that have ended, by `NodeState`; None: it runs. Others were not decided yet.
    """
    found = Next([], [], [])
    known = dict(states)
    changed = True
    while changed:
        changed = False
        for name, needed in needs.items():
            if name in known:
                continue
            ended = [known.get(each) for each in needed]
            if any(state in (_FAILED, _NOT_REACHED) for state in ended):
                found.not_reached.append(name)
                known[name] = _NOT_REACHED
            elif any(state == _SKIPPED for state in ended):
                found.skipped.append(name)
                known[name] = _SKIPPED
            elif all(state in SUCCEEDED for state in ended):
                found.ready.append(name)
                known[name] = None
            else:
                continue
            changed = True
    return found


def circle_of(needs: Mapping[str, Collection[str]]) -> list[str]:
    """Nodes that need each other in a circle, the first also at the end; empty: there is no circle."""
    try:
        graphlib.TopologicalSorter(needs).prepare()
    except graphlib.CycleError as error:
        found: list[str] = error.args[1]
        return found[::-1]
    return []


def in_order(needs: Mapping[str, Collection[str]]) -> list[str]:
    """The names, each after those that it needs; else in the graph's order. Nodes of a circle come last."""
    left, done = list(needs), []
    while left:
        found = next((each for each in left if not set(needs[each]) & set(left)), left[0])
        left.remove(found)
        done.append(found)
    return done


def positions(within: NodeList, parents: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """The position of each node of a list in the order in which they run."""
    ordered = in_order(needs_of(within.nodes, parents))
    return {name: number for number, name in enumerate(ordered)}


def undo_order(done: Iterable[tuple[str, tuple[int, ...]]]) -> list[str]:
    """The order in which nodes are undone: each before those that it depends on, and a node before those within it.

    Args:
        done: names of nodes that have succeeded, and where each is: its position among the nodes beside it, after those of the nodes that it is
            within; after the position of a map stands the index of the item.
    """
    return [name for name, _ in sorted(done, key=lambda each: (*each[1], _LAST), reverse=True)]
