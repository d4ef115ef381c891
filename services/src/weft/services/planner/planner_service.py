"""The servicer of `PlannerService`.

goal ─► tools of the mesh ─► a model, or rules ─► graph ─► Plan
graph ─► contracts of the mesh ─► faults ─► Validate
                                          └ none ─► GraphRun: an attempt at the run, which goes on where the last one was ─► RunGraph
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn

import grpc.aio
from google.rpc import code_pb2, error_details_pb2, status_pb2

from weft.agent import current_task
from weft.rpc.errors import STATUS_DETAILS_KEY, FailedPrecondition
from weft.services.planner.graph_checks import Fault, faults_of, methods_of
from weft.services.planner.graph_drawing import as_mermaid, as_text
from weft.services.planner.graph_run import GraphRun
from weft.services.planner.graph_tree import struct_value
from weft.services.planner.input_values import input_problems, input_variables
from weft.services.planner.mesh_contracts import read_contracts
from weft.services.planner.planning import make_plan
from weft.services.planner.replanning import run_again
from weft.services.planner.rule_plan import NoPlan
from weft.services.planner.settings import PlannerSettings
from weft.services.planner.step_tasks import answered
from weft.services.planner.tool_list import listed_tools
from weft.services.planner.v1 import planner_pb2, planner_pb2_grpc
from weft.v1 import errors_pb2

if TYPE_CHECKING:
    from weft.client import Mesh
    from weft.services.planner.mesh_contracts import MeshContracts
    from weft.services.planner.v1 import graph_pb2

Context = grpc.aio.ServicerContext[Any, Any]
DOMAIN = "weft.services.planner"
# Problems that an error carries: it travels in headers.
_MOST_TOLD = 8
_MOST_CHARS = 200


class PlannerService(planner_pb2_grpc.PlannerServiceServicer):
    """Checks, draws and runs graphs of the mesh of its agent."""

    def __init__(self, settings: PlannerSettings) -> None:
        self._settings = settings

    async def ListTools(
        self, request: planner_pb2.ListToolsRequest, context: Context
    ) -> planner_pb2.ListToolsResponse:
        return listed_tools(await read_contracts(current_task().mesh), request.match)

    async def Plan(self, request: planner_pb2.PlanRequest, context: Context) -> planner_pb2.PlanResponse:
        mesh = current_task().mesh
        try:
            return await make_plan(mesh, await read_contracts(mesh), request, self._settings)
        except NoPlan as why:
            await _refuse_plan(context, str(why))

    async def Validate(
        self, request: planner_pb2.ValidateRequest, context: Context
    ) -> planner_pb2.ValidateResponse:
        contracts = await _contracts_for(current_task().mesh, request.graph)
        return planner_pb2.ValidateResponse(
            problems=[
                planner_pb2.Problem(place=each.place, message=each.message)
                for each in faults_of(request.graph, contracts)
            ]
        )

    async def Draw(self, request: planner_pb2.DrawRequest, context: Context) -> planner_pb2.DrawResponse:
        draw = as_mermaid if request.format == planner_pb2.DRAW_FORMAT_MERMAID else as_text
        return planner_pb2.DrawResponse(drawing=draw(request.graph))

    async def RunGraph(
        self, request: planner_pb2.RunGraphRequest, context: Context
    ) -> planner_pb2.RunGraphResponse:
        run = current_task()
        contracts = await answered(lambda: _contracts_for(run.mesh, request.graph))
        inputs = struct_value(request.inputs)

        def faults() -> list[list[str]]:
            found = faults_of(request.graph, contracts)
            found += [Fault(*each) for each in input_problems(request.graph, inputs)]
            return [list(each) for each in found]

        try:
            # A later attempt goes on, also if the contracts have changed since.
            found = await run.step("check", faults)
        except FailedPrecondition as error:
            if error.reason != errors_pb2.ERROR_REASON_STEP_NOT_DURABLE:
                raise
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"a run is durable: {error.message}")
        if found:
            await _refuse(context, [Fault(*each) for each in found])
        variables = input_variables(request.graph, inputs)
        response = await GraphRun(request.graph, variables, contracts, run, self._settings).to_end()
        if response.state == planner_pb2.RUN_STATE_FAILED and request.HasField("replan"):
            return await run_again(run, request.replan, inputs, response, self._settings)
        return response


async def _contracts_for(mesh: Mesh, graph: graph_pb2.Graph) -> MeshContracts:
    return await read_contracts(mesh, methods_of(graph))


async def _refuse_plan(context: Context, text: str) -> NoReturn:
    """Refuse a goal."""
    status = status_pb2.Status(code=code_pb2.FAILED_PRECONDITION, message=text)
    status.details.add().Pack(error_details_pb2.ErrorInfo(domain=DOMAIN, reason="NO_PLAN"))
    trailers = ((STATUS_DETAILS_KEY, status.SerializeToString()),)
    await context.abort(grpc.StatusCode.FAILED_PRECONDITION, text, trailers)
    raise AssertionError("abort raises")


async def _refuse(context: Context, faults: Iterable[Fault]) -> NoReturn:
    """Refuse a graph, with its problems."""
    listed = list(faults)
    told = [f"{each.place}: {each.message}" if each.place else each.message for each in listed]
    more = f" (and {len(told) - 3} more: Validate tells all)" if len(told) > 3 else ""
    text = f"the graph cannot be run: {'; '.join(told[:3])}{more}"
    status = status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message=text)
    detail = error_details_pb2.ErrorInfo(
        domain=DOMAIN, reason="GRAPH_INVALID", metadata={"problems": str(len(told))}
    )
    status.details.add().Pack(detail)
    violations = error_details_pb2.BadRequest()
    for each in listed[:_MOST_TOLD]:
        place = each.place if each.place.startswith("inputs.") else f"graph.{each.place}"
        violations.field_violations.add(
            field=place[:_MOST_CHARS], description=each.message[:_MOST_CHARS], reason="GRAPH_INVALID"
        )
    status.details.add().Pack(violations)
    trailers = ((STATUS_DETAILS_KEY, status.SerializeToString()),)
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text, trailers)
    raise AssertionError("abort raises")
