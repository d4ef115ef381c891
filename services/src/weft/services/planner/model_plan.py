"""Plans by a model: it is told the goal, the tools and the form of graphs; its answer is checked, and what is wrong is told to it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor

from weft.rpc.contracts import json_form
from weft.rpc.errors import InvalidArgument
from weft.services.planner.graph_checks import Fault
from weft.services.planner.message_schemas import message_schema
from weft.services.planner.plan_words import clauses_of, fit
from weft.services.planner.tool_list import comment_of, tool_of
from weft.services.planner.v1 import graph_pb2

# Tools that a model is told, those first that fit the goal's words; and their bytes: models have windows.
_MOST_TOOLS = 40
_MOST_BYTES = 64 * 1024
_MOST_FAULTS = 20
_TASK = """You plan tasks. Answer with one JSON object: a graph that reaches the goal with the tools, and nothing else.
Each node has a name (lower case letters, digits, _), a reason, and one kind: mostly step {method, request}. A request is JSON for the tool's request schema. A text in it may be an
expression: "${steps.NAME.field}" is a field of the response of the node NAME, "${inputs.NAME}" an input of the graph. A node waits for the nodes that it names; `after` names others.
Use the tools' names as they are. Use no other tools."""


class ModelTurn(NamedTuple):
    """A message of the conversation: of "system", "user" or "assistant"."""

    role: str
    text: str


def graph_schema() -> str:
    """The JSON Schema of graphs, as text."""
    graph: Any = graph_pb2.Graph.DESCRIPTOR
    return json.dumps(message_schema(graph))


def first_turns(goal: str, methods: Sequence[MethodDescriptor]) -> list[ModelTurn]:
    """What a model is told at the beginning."""
    tools: list[str] = []
    size_bytes = 0
    for method in _ranked(goal, methods)[:_MOST_TOOLS]:
        tool = tool_of(method)
        told = f"{tool.method} {tool.description}\n  request: {tool.request_schema_json}\n  response: {tool.response_schema_json}"
        size_bytes += len(told)
        if tools and size_bytes > _MOST_BYTES:
            break
        tools.append(told)
    return [ModelTurn("system", _TASK), ModelTurn("user", f"Goal: {goal}\n\nTools:\n" + "\n".join(tools))]


def _ranked(goal: str, methods: Sequence[MethodDescriptor]) -> list[MethodDescriptor]:
    clauses = clauses_of(goal)

    def best(method: MethodDescriptor) -> int:
        comment = comment_of(method)
        return max((fit(each, method, comment) for each in clauses), default=0)

    return sorted(methods, key=best, reverse=True)


async def plan_by_model(
    ask: Callable[[Sequence[ModelTurn]], Awaitable[str]],
    goal: str,
    methods: Sequence[MethodDescriptor],
    check: Callable[[graph_pb2.Graph], list[Fault]],
    max_rounds: int,
) -> tuple[graph_pb2.Graph | None, list[str]]:
    """A sound graph of a model, or None; and how it came about.

    Args:
        ask: asks the model; raises what its service answers.
        check: gives the problems of a graph.
    """
    turns = first_turns(goal, methods)
    reasons: list[str] = []
    for number in range(1, max_rounds + 1):
        answer = await ask(turns)
        graph, faults = read_answer(answer)
        if graph is not None:
            faults = check(graph)
            if not faults:
                reasons.append(f"A model made the graph, in {number} of at most {max_rounds} answers.")
                return graph, reasons
        told = "\n".join(f"{each.place}: {each.message}" for each in faults[:_MOST_FAULTS])
        reasons.append(
            f"Answer {number} of the model has {len(faults)} problems; the first: {told.splitlines()[0][:300]}"
        )
        turns += [
            ModelTurn("assistant", answer[:_MOST_BYTES]),
            ModelTurn("user", f"The graph has problems. Answer with the whole graph again.\n{told}"),
        ]
    return None, reasons


def read_answer(answer: str) -> tuple[graph_pb2.Graph | None, list[Fault]]:
    """The graph that a model answers with, and why there is none."""
    # Models like to say something around it.
    begin, end = answer.find("{"), answer.rfind("}")
    if begin < 0 or end < begin:
        return None, [Fault("", "the answer has no JSON object")]
    try:
        payload = json_form.parse(answer[begin : end + 1], graph_pb2.Graph, descriptor_pool.Default())
    except InvalidArgument as error:
        return None, [Fault(error.field or "", error.message)]
    return graph_pb2.Graph.FromString(payload), []
