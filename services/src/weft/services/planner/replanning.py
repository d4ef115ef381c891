"""Plans again when a graph has failed and was undone: another graph for the same goal, without the methods that have failed.

Each plan is recorded with the run: another attempt at the run has the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from weft.services.planner.graph_run import GraphRun
from weft.services.planner.input_values import input_problems, input_variables
from weft.services.planner.mesh_contracts import read_contracts
from weft.services.planner.planning import make_plan
from weft.services.planner.rule_plan import NoPlan
from weft.services.planner.settings import PlannerSettings
from weft.services.planner.step_tasks import answered
from weft.services.planner.v1 import graph_pb2, planner_pb2

if TYPE_CHECKING:
    from weft.agent.handlers.current_call import RunningTask


async def run_again(
    run: RunningTask,
    replan: planner_pb2.Replan,
    inputs: dict[str, Any],
    failed: planner_pb2.RunGraphResponse,
    settings: PlannerSettings,
) -> planner_pb2.RunGraphResponse:
    """Run other graphs for a goal, until one succeeds or there are no more plans. Returns the last response, with the outcomes of all."""
    without: set[str] = set()
    response = failed
    for number in range(2, replan.max_plans + 2):
        without |= {
            each.method
            for each in response.nodes
            if each.method and each.state == planner_pb2.NODE_STATE_FAILED
        }
        contracts = await answered(lambda: read_contracts(run.mesh))

        async def plan() -> dict[str, Any]:
            request = planner_pb2.PlanRequest(goal=replan.goal, methods=replan.methods)
            try:
                made = await make_plan(run.mesh, contracts, request, settings, without)  # noqa: B023 - called at once
            except NoPlan as why:
                return {"why": str(why)}
            return {"graph": json_format.MessageToDict(made.graph)}

        recorded: dict[str, Any] = await run.step(f"plan{number}", plan)
        if "graph" not in recorded:
            response.error.message = f"{response.error.message} (no other plan: {recorded['why']})"
            break
        graph = json_format.ParseDict(recorded["graph"], graph_pb2.Graph())
        given = {each.name: inputs[each.name] for each in graph.inputs if each.name in inputs}
        if missing := [place for place, _ in input_problems(graph, given)]:
            response.error.message = f"{response.error.message} (another plan needs {', '.join(missing)})"
            break
        outcomes = list(response.nodes)
        response = await GraphRun(
            graph, input_variables(graph, given), contracts, run, settings, f"plan{number}/"
        ).to_end()
        ended = list(response.nodes)
        del response.nodes[:]
        response.nodes.extend([*outcomes, *ended])
        if response.state == planner_pb2.RUN_STATE_SUCCEEDED:
            break
    return response
