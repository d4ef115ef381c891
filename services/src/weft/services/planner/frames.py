"""Where the nodes of a run are: what is known there, and the values of expressions there."""

from __future__ import annotations

from collections import ChainMap
from dataclasses import dataclass, replace
from typing import Any

from google.rpc import code_pb2

from weft.rpc.contracts.cel_expressions import ExpressionFault
from weft.services.planner import templates
from weft.services.planner.graph_expressions import INDEX, GraphExpressions
from weft.services.planner.step_tasks import NodeFailed


@dataclass(frozen=True, slots=True)
class Frame:
    """Where nodes run.

    Args:
        values: of variables of expressions.
        states: how nodes ended.
        items: names of the items of the maps around; `indices`: their numbers.
        place: in the graph's order; `position`: in the order in which nodes run.
        prefix: of paths: empty, or that of a later plan.
    """

    values: ChainMap[str, Any]
    states: ChainMap[str, int]
    items: tuple[str, ...] = ()
    indices: tuple[int, ...] = ()
    place: tuple[int, ...] = ()
    position: tuple[int, ...] = ()
    prefix: str = ""

    def path(self, name: str) -> str:
        """A node's name, with the items."""
        items = f"[{','.join(map(str, self.indices))}]" if self.indices else ""
        return f"{self.prefix}{name}{items}"

    def signal(self, name: str) -> str:
        """The name of the signal for which a node waits."""
        return "/".join([f"{self.prefix}{name}", *map(str, self.indices)])

    def below(self, place: int, position: int | None = None) -> Frame:
        """The frame of something within."""
        position = place if position is None else position
        return replace(self, place=(*self.place, place), position=(*self.position, position))

    def of_item(self, name: str, index: int, item: Any) -> Frame:
        """The frame of an item of a map."""
        return replace(
            self.below(index),
            values=self.values.new_child({name: item, INDEX: index}),
            states=self.states.new_child(),
            items=(*self.items, name),
            indices=(*self.indices, index),
        )


@dataclass(frozen=True, slots=True)
class FrameExpressions:
    """Expressions and templates with the values of a frame. Each method raises `NodeFailed` if there is no value."""

    expressions: GraphExpressions

    def value(self, text: str, frame: Frame, *, lenient: bool = False) -> Any:
        """The value of an expression; `lenient`: None if it needs a node that was skipped."""
        if lenient and any(f"steps.{each}" not in frame.values for each in templates.named(text)):
            return None
        try:
            return self.expressions.evaluate(text, frame.values, frame.items)
        except ExpressionFault as fault:
            raise NodeFailed(code_pb2.INVALID_ARGUMENT, f"`{text}`: {fault}") from None

    def rendered(self, template: Any, frame: Frame, *, lenient: bool = False) -> Any:
        """A template with its values."""
        try:
            return templates.render(template, lambda text: self.value(text, frame, lenient=lenient))
        except templates.TemplateFault as fault:
            raise NodeFailed(code_pb2.INVALID_ARGUMENT, str(fault)) from None

    def condition(self, text: str, frame: Frame) -> bool:
        """Whether a condition holds."""
        found = self.value(text, frame)
        if not isinstance(found, bool):
            raise NodeFailed(
                code_pb2.INVALID_ARGUMENT, f"`{text}` gives {str(found)[:100]}, and no condition"
            )
        return found
