"""Runs a graph: nodes whose needs are met run at the same time; a failure is handled as the graph says, and what has succeeded is undone.

    decide(needs, states) ─► ready nodes ─► step: a task ─────────────┐
             ▲                              map, condition, parallel: │ this again, below
             │                              approval: a signal        │
             └──────── state, value ◄─────────────────────────────────┘

Every attempt at the run does the same: whatever differs is answered from the run's records.
"""

from __future__ import annotations

import asyncio
from collections import ChainMap
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from google.protobuf import json_format
from google.rpc import code_pb2

from weft.services.planner.frames import Frame, FrameExpressions
from weft.services.planner.graph_checks import item_name
from weft.services.planner.graph_expressions import GraphExpressions
from weft.services.planner.graph_tree import NodeList, json_of, lists_within, parents_of, struct_value
from weft.services.planner.mesh_contracts import MeshContracts
from weft.services.planner.node_order import (
    SUCCEEDED,
    decide,
    needs_of,
    positions,
    undo_order,
    wanted_by,
)
from weft.services.planner.run_outcomes import RunOutcomes, status_of
from weft.services.planner.settings import PlannerSettings
from weft.services.planner.step_tasks import NodeFailed, StepTasks
from weft.services.planner.v1 import graph_pb2, planner_pb2

if TYPE_CHECKING:
    from weft.agent.handlers.current_call import RunningTask
    from weft.client import Task

_SUCCEEDED, _FAILED = planner_pb2.NODE_STATE_SUCCEEDED, planner_pb2.NODE_STATE_FAILED
_RECOVERED, _SKIPPED = planner_pb2.NODE_STATE_RECOVERED, planner_pb2.NODE_STATE_SKIPPED
_NOT_REACHED = planner_pb2.NODE_STATE_NOT_REACHED
MAX_ITEMS = 1000
DEFAULT_CONCURRENCY = 10
# In the order of outcomes, after all nodes.
_AT_END = 1 << 30


class _Undo(NamedTuple):
    node: graph_pb2.Node
    frame: Frame
    position: tuple[int, ...]


class GraphRun:
    """One attempt at a run of a graph.

    Args:
        prefix: of the names of its steps: empty, or that of a later plan.
    """

    def __init__(
        self,
        graph: graph_pb2.Graph,
        inputs: dict[str, Any],
        contracts: MeshContracts,
        run: RunningTask,
        settings: PlannerSettings,
        prefix: str = "",
    ) -> None:
        self._graph = graph
        self._expressions = GraphExpressions(graph, contracts)
        self._at = FrameExpressions(self._expressions)
        self._parents = parents_of(graph)
        self._run = run
        self._tasks = StepTasks(run, contracts, settings)
        self._frame = Frame(ChainMap(inputs), ChainMap(), prefix=prefix)
        self._undos: dict[str, _Undo] = {}
        self._failures: dict[str, NodeFailed] = {}
        self._outcomes = RunOutcomes()

    async def to_end(self) -> planner_pb2.RunGraphResponse:
        """Run the graph, and undo it if it fails."""
        response = planner_pb2.RunGraphResponse(state=planner_pb2.RUN_STATE_SUCCEEDED)
        failure = await self._list(NodeList(self._graph.nodes, "nodes"), self._frame)
        if failure is None:
            try:
                json_format.ParseDict(self._output(), response.output)
            except NodeFailed as failed:
                failure = NodeFailed(failed.code, f"the graph's output: {failed.message}")
        if failure is not None:
            response.state = planner_pb2.RUN_STATE_FAILED
            response.error.CopyFrom(status_of(failure))
            await self._undo()
        response.nodes.extend(self._outcomes.listed())
        return response

    # -- nodes ----------------------------------------------------------------------------------------------------

    async def _list(self, within: NodeList, frame: Frame) -> NodeFailed | None:
        """Run nodes. Returns the failure of the first one, in the graph's order, that has failed; None: none has."""
        nodes = {node.name: node for node in within.nodes}
        numbers = {name: number for number, name in enumerate(nodes)}
        order = positions(within, self._parents)
        needs = needs_of(within.nodes, self._parents)
        states: dict[str, int | None] = {}
        running: dict[asyncio.Task[int], str] = {}

        def inner(name: str) -> Frame:
            return frame.below(numbers[name], order[name])

        try:
            while True:
                found = decide(needs, states)
                for names, state in ((found.skipped, _SKIPPED), (found.not_reached, _NOT_REACHED)):
                    for name in names:
                        states[name] = state
                        self._left_out(nodes[name], inner(name), state)
                for name in found.ready:
                    states[name] = None
                    running[asyncio.create_task(self._node(nodes[name], inner(name)))] = name
                if not running:
                    break
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    states[running.pop(task)] = task.result()
        finally:
            await _end(running)
        failed = next((name for name in nodes if states[name] == _FAILED), None)
        if failed is None:
            return None
        why = self._failures[frame.path(failed)]
        return NodeFailed(why.code, f"{frame.path(failed)}: {why.message}")

    async def _node(self, node: graph_pb2.Node, frame: Frame) -> planner_pb2.NodeState:
        """Run a node. Returns its state."""
        path, task, failure = frame.path(node.name), None, None
        try:
            if not self._is_wanted(node, frame):
                self._left_out(node, frame, _SKIPPED)
                return _SKIPPED
            value, task = await self._value(node, frame)
            state = _SUCCEEDED
        except NodeFailed as failed:
            failure = failed
            value, task, recovered = await self._recovered(node, frame, failed)
            state = _RECOVERED if recovered else _FAILED
        if failure is None and node.on_failure.HasField("instead"):
            self._left_out(node.on_failure.instead, frame.below(1), _SKIPPED)
        method = node.step.method if node.WhichOneof("kind") == "step" else ""
        self._outcomes.add(path, frame.place, state, method=method, task=task, failure=failure)
        frame.states[node.name] = state
        if failure is not None:
            self._failures[path] = failure
        if state in SUCCEEDED:
            frame.values[f"steps.{node.name}"] = value
        if state == _SUCCEEDED and node.HasField("undo"):
            self._undos[path] = _Undo(node, frame, frame.position)
        return state

    def _is_wanted(self, node: graph_pb2.Node, frame: Frame) -> bool:
        if any(frame.states.get(each) == _SKIPPED for each in wanted_by(node)):
            return False
        return not node.when or self._at.condition(node.when, frame)

    async def _recovered(
        self, node: graph_pb2.Node, frame: Frame, failed: NodeFailed
    ) -> tuple[Any, Task | None, bool]:
        """What becomes of a failure: the node's value, its task, and whether the graph goes on."""
        instead = node.on_failure
        action = instead.WhichOneof("action")
        if action is None or (instead.codes and failed.code not in instead.codes):
            if action == "instead":
                self._left_out(instead.instead, frame.below(1), _SKIPPED)
            return None, failed.task, False
        if action == "output":
            try:
                return self._at.rendered(json_of(instead.output), frame), failed.task, True
            except NodeFailed:
                return None, failed.task, False
        inner = NodeList([instead.instead], "on_failure.instead")
        also_failed = await self._list(inner, frame.below(1))
        name = instead.instead.name
        if also_failed is not None or frame.states.get(name) == _SKIPPED:
            return None, failed.task, False
        return frame.values[f"steps.{name}"], failed.task, True

    def _left_out(self, node: graph_pb2.Node, frame: Frame, state: planner_pb2.NodeState) -> None:
        """Note that a node does not run, and neither do those within it."""
        self._outcomes.add(frame.path(node.name), frame.place, state)
        frame.states[node.name] = state
        for number, inner in enumerate(lists_within(node)):
            if inner.of_map is None:
                for index, each in enumerate(inner.nodes):
                    below = frame.below(number).below(index)
                    self._left_out(each, below, state)

    # -- kinds of nodes -------------------------------------------------------------------------------------------

    async def _value(self, node: graph_pb2.Node, frame: Frame) -> tuple[Any, Task | None]:
        """Run a node as its kind is.

        Raises:
            NodeFailed: it fails.
        """
        match node.WhichOneof("kind"):
            case "step":
                request = self._at.rendered(struct_value(node.step.request), frame)
                return await self._tasks.ended(frame.path(node.name), node.step, request)
            case "parallel":
                return await self._together(NodeList(node.parallel.nodes, ""), frame.below(0)), None
            case "map":
                return await self._map(node, frame), None
            case "condition":
                return await self._choice(node, frame), None
            case _:
                return await self._approval(node, frame), None

    async def _together(self, within: NodeList, frame: Frame) -> dict[str, Any]:
        """Run nodes; the object with their outputs."""
        if (failure := await self._list(within, frame)) is not None:
            raise failure
        return {
            node.name: self._expressions.json_of(frame.values[f"steps.{node.name}"])
            for node in within.nodes
            if frame.states.get(node.name) in SUCCEEDED
        }

    async def _map(self, node: graph_pb2.Node, frame: Frame) -> list[Any]:
        items = self._at.value(node.map.items, frame)
        if not isinstance(items, list):
            raise NodeFailed(
                code_pb2.INVALID_ARGUMENT, f"map.items gives {type(items).__name__}, and no list"
            )
        if len(items) > MAX_ITEMS:
            raise NodeFailed(
                code_pb2.RESOURCE_EXHAUSTED, f"map.items has {len(items)} items; the most are {MAX_ITEMS}"
            )
        turns = asyncio.Semaphore(node.map.concurrency or DEFAULT_CONCURRENCY)
        below = frame.below(0)

        async def one(index: int, item: Any) -> Any:
            async with turns:
                return await self._item(node.map, below.of_item(item_name(node), index, item))

        ended = await _all(
            [one(index, item) for index, item in enumerate(items)],
        )
        if failed := [each for each in ended if isinstance(each, NodeFailed)]:
            raise failed[0]
        return ended

    async def _item(self, of_map: graph_pb2.Map, frame: Frame) -> Any:
        try:
            outputs = await self._together(NodeList(of_map.nodes, "map.nodes", of_map), frame)
            if of_map.HasField("output"):
                return self._at.rendered(json_of(of_map.output), frame, lenient=True)
        except NodeFailed as failed:
            return failed
        return outputs.get(of_map.nodes[0].name) if len(of_map.nodes) == 1 else outputs

    async def _choice(self, node: graph_pb2.Node, frame: Frame) -> dict[str, Any]:
        choices, chosen = list(lists_within(node)), None
        for number, choice in enumerate(node.condition.choices):
            if chosen is None and self._at.condition(choice.when, frame):
                chosen = number
        if chosen is None:
            chosen = len(node.condition.choices)
        for number, each in enumerate(choices[: len(node.condition.choices) + 1]):
            if number != chosen:
                for index, inner in enumerate(each.nodes):
                    self._left_out(inner, frame.below(number).below(index), _SKIPPED)
        return await self._together(choices[chosen], frame.below(chosen))

    async def _approval(self, node: graph_pb2.Node, frame: Frame) -> Any:
        question = self._at.rendered(node.approval.question, frame)
        await self._run.step(f"ask/{frame.path(node.name)}", lambda: question)
        timeout_s = None
        if node.approval.HasField("timeout"):
            timeout_s = node.approval.timeout.ToTimedelta().total_seconds()
        try:
            answer = await self._run.wait_signal(frame.signal(node.name), timeout_s)
        except TimeoutError:
            late = f"nobody has answered {node.name} within {timeout_s:g} s"
            raise NodeFailed(code_pb2.DEADLINE_EXCEEDED, late) from None
        if isinstance(answer, dict) and answer.get("approved") is False:
            why = str(answer.get("reason") or "it was not approved")
            raise NodeFailed(code_pb2.PERMISSION_DENIED, why)
        return answer

    # -- undoing --------------------------------------------------------------------------------------------------

    async def _undo(self) -> None:
        """Undo what has succeeded, one after another."""
        if not self._undos:
            return
        # A run that is cancelled has cancelled its tasks, which look as if they had failed.
        cancelled: bool = await self._run.step(f"{self._frame.prefix}undo", self._tasks.is_cancelled)
        if cancelled:
            await asyncio.Event().wait()
        ordered = undo_order((path, each.position) for path, each in self._undos.items())
        for number, path in enumerate(ordered):
            node, frame, _ = self._undos[path]
            undo, task, failure = f"undo/{path}", None, None
            state = planner_pb2.NODE_STATE_UNDONE
            try:
                request = self._at.rendered(struct_value(node.undo.request), frame)
                _, task = await self._tasks.ended(undo, node.undo, request)
            except NodeFailed as failed:
                failure, state = failed, planner_pb2.NODE_STATE_UNDO_FAILED
            self._outcomes.change(path, state)
            own = _FAILED if failure else _SUCCEEDED
            self._outcomes.add(
                undo, (_AT_END, number), own, method=node.undo.method, task=task, failure=failure
            )

    def _output(self) -> Any:
        if self._graph.HasField("output"):
            return self._at.rendered(json_of(self._graph.output), self._frame, lenient=True)
        needs = needs_of(self._graph.nodes, self._parents)
        needed = frozenset().union(*needs.values())
        ends = [name for name in needs if name not in needed and self._frame.states[name] in SUCCEEDED]
        return {name: self._expressions.json_of(self._frame.values[f"steps.{name}"]) for name in ends}


async def _all(works: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """The results of all, in their order. What one raises ends the others."""
    tasks = [asyncio.create_task(each) for each in works]
    try:
        for each in asyncio.as_completed(tasks):
            await each
        return [each.result() for each in tasks]
    finally:
        await _end(tasks)


async def _end(tasks: Any) -> None:
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
