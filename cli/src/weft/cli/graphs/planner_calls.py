"""The planner of a mesh, called by its contract, which the mesh tells: the command knows no service."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from weft.cli.terminal.failure import Failure
from weft.rpc.contracts.contract_reader import ContractReader, ResolvedMethod
from weft.rpc.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from weft.cli.graphs.graph_file import GraphFile
    from weft.client import Mesh

SERVICE = "weft.services.planner.v1.PlannerService"
TIMEOUT_S = 60.0
# Models think.
PLAN_TIMEOUT_S = 900.0
_MOST_TOLD = 20
_GRAPH = re.compile(r"^graph\.?")


class Planner:
    """The planner of a mesh, and the graph that it is asked about."""

    def __init__(self, mesh: Mesh, graph: GraphFile | None) -> None:
        self._mesh = mesh
        self._graph = graph

    async def problems(self) -> list[dict[str, Any]]:
        """What is wrong with the graph."""
        found = await self._called("Validate", {})
        listed: list[dict[str, Any]] = found.get("problems", [])
        return listed

    async def planned(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The graph of a goal, and how it came about."""
        method = await self._method("Plan")
        payload = method.request_from_json(json.dumps(asked))
        made: dict[str, Any] = method.response_to_json(
            await self._mesh.tasks.call(method.name, payload, timeout_s=PLAN_TIMEOUT_S)
        )
        return made

    async def drawing(self, form: str) -> str:
        """The graph, drawn."""
        return str((await self._called("Draw", {"format": form})).get("drawing", ""))

    async def submit(self, inputs: dict[str, Any], request_id: str | None) -> str:
        """Submit a run. Returns the id of its task."""
        method, request = await self._request("RunGraph", {"inputs": inputs})
        handle = await self._mesh.tasks.submit(method.name, request, request_id=request_id)
        return handle.id

    async def end(self, run_id: str) -> dict[str, Any]:
        """Wait for a run. Returns its response.

        Raises:
            Failure: it is no run, or it was refused; each problem is told with its line.
            WeftError: it has failed as a task.
        """
        method = await self._method("RunGraph")
        task = await self._mesh.tasks.ended(run_id)
        if task.method != method.name:
            raise Failure(f"task {run_id} is one of {task.method}, and no run of a graph", status=2)
        error = task.error()
        if error is not None and self._graph is not None and isinstance(error, InvalidArgument):
            found = await self.problems()
            told = [
                f"{self._graph.place(each.get('place', ''))}: {each.get('message', '')}" for each in found
            ]
            if told:
                more = [f"and {len(told) - _MOST_TOLD} more"] if len(told) > _MOST_TOLD else []
                raise Failure("the graph cannot be run:", *told[:_MOST_TOLD], *more)
        if error is not None:
            raise error
        response: dict[str, Any] = method.response_to_json(task.response)
        return response

    async def _called(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        method, request = await self._request(name, given)
        payload = await self._mesh.tasks.call(method.name, request, timeout_s=TIMEOUT_S)
        answer: dict[str, Any] = method.response_to_json(payload)
        return answer

    async def _request(self, name: str, given: dict[str, Any]) -> tuple[ResolvedMethod, bytes]:
        method, graph = await self._method(name), self._graph
        if graph is None:
            raise Failure("there is no graph", status=2)
        try:
            return method, method.request_from_json(json.dumps({"graph": graph.value} | given))
        except InvalidArgument as error:
            path = _GRAPH.sub("", error.field or "")
            raise Failure(f"{graph.place(path)}: {error.message}", status=2) from None
        except (ValueError, RecursionError):
            raise Failure(f"{graph.name}: it is nested too deeply", status=2) from None

    async def _method(self, name: str) -> ResolvedMethod:
        try:
            return await ContractReader(self._mesh.channel()).resolve(f"{SERVICE}/{name}")
        except NotFound:
            raise Failure(
                "no agent of this mesh hosts the planner", "`weft agent --with planner` starts one."
            ) from None
