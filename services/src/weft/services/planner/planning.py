"""Makes plans: by a model of the mesh if there is one, else by rules."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import grpc.aio
from google.protobuf import descriptor_pool, json_format

from weft.client import call_options
from weft.rpc.contracts.descriptors import method_name
from weft.rpc.contracts.payload_rules import PayloadRules
from weft.rpc.errors import from_call
from weft.services.models.v1 import models_pb2, models_pb2_grpc
from weft.services.planner.graph_checks import Fault, faults_of
from weft.services.planner.model_plan import ModelTurn, graph_schema, plan_by_model
from weft.services.planner.rule_plan import NoPlan, RulePlan
from weft.services.planner.settings import PlannerSettings
from weft.services.planner.tool_list import step_methods
from weft.services.planner.v1 import graph_pb2, planner_pb2

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor

    from weft.client import Mesh
    from weft.services.planner.mesh_contracts import MeshContracts

_MODELS = "weft.services.models.v1.ModelService/ChatOnce"
_ROLES = {
    "system": models_pb2.ROLE_SYSTEM,
    "user": models_pb2.ROLE_USER,
    "assistant": models_pb2.ROLE_ASSISTANT,
}


async def make_plan(
    mesh: Mesh,
    contracts: MeshContracts,
    request: planner_pb2.PlanRequest,
    settings: PlannerSettings,
    without: Collection[str] = (),
) -> planner_pb2.PlanResponse:
    """A sound graph of a goal.

    Args:
        contracts: of the whole mesh.
        without: methods that are not to be used.

    Raises:
        NoPlan: no method fits.
    """
    methods = [each for each in step_methods(contracts, request.methods) if method_name(each) not in without]
    if not methods:
        raise NoPlan("the mesh hosts no method that could be a step")
    response = planner_pb2.PlanResponse()
    if request.rules_only:
        response.reasons.append("No model was asked, as the request says.")
    elif _MODELS not in contracts.method_names():
        response.reasons.append("No agent hosts the models service, so rules made the graph.")
    else:
        graph = await _by_model(mesh, contracts, request, methods, settings, response)
        if graph is not None:
            response.graph.CopyFrom(graph)
            response.source = planner_pb2.PLAN_SOURCE_MODEL
            return response
    plan = RulePlan(methods)
    try:
        json_format.ParseDict(plan.graph_of(request.goal), response.graph)
    except json_format.ParseError as error:
        raise NoPlan(f"a value in the goal cannot be in a graph: {error}") from None
    if found := faults_of(response.graph, contracts):
        raise NoPlan(_unsound(found))
    response.source = planner_pb2.PLAN_SOURCE_RULES
    response.reasons.extend(plan.reasons)
    return response


async def _by_model(
    mesh: Mesh,
    contracts: MeshContracts,
    request: planner_pb2.PlanRequest,
    methods: Sequence[MethodDescriptor],
    settings: PlannerSettings,
    response: planner_pb2.PlanResponse,
) -> graph_pb2.Graph | None:
    stub = models_pb2_grpc.ModelServiceStub(mesh.channel())
    allowed = {method_name(each) for each in methods}

    async def ask(turns: Sequence[ModelTurn]) -> str:
        chat = models_pb2.ChatRequest(
            model=request.model,
            messages=[models_pb2.ChatMessage(role=_ROLES[each.role], content=each.text) for each in turns],
            response_schema_json=graph_schema(),
        )
        answer = await stub.ChatOnce(
            models_pb2.ChatOnceRequest(chat=chat),
            timeout=settings.model_timeout_s,
            metadata=call_options(no_wait=True),
        )
        return str(answer.message.content)

    def check(graph: graph_pb2.Graph) -> list[Fault]:
        return rule_faults(graph) or faults_of(graph, contracts, allowed)

    try:
        graph, reasons = await plan_by_model(ask, request.goal, methods, check, settings.max_model_answers)
    except grpc.aio.AioRpcError as error:
        why = from_call(error)
        response.reasons.append(
            f"The model could not be asked, so rules made the graph: {why.message}"[:1000]
        )
        return None
    response.reasons.extend(reasons)
    if graph is None:
        response.reasons.append("The model made no sound graph, so rules made it.")
    return graph


def rule_faults(graph: graph_pb2.Graph) -> list[Fault]:
    """The rules of the contract of graphs that a graph breaks: nobody else has checked a model's."""
    own: Any = graph_pb2.Graph.DESCRIPTOR
    rules = PayloadRules(descriptor_pool.Default()).of(own)
    broken = None if rules is None else rules.broken(graph, graph.ByteSize())
    return [] if broken is None else [Fault(each.field, each.description) for each in broken.listed]


def _unsound(found: Sequence[Fault]) -> str:
    told = "; ".join(f"{each.place}: {each.message}" for each in found[:3])
    return f"the graph that the rules make has problems: {told}. Give what is wrong or missing as name=value"
