"""The planner: graphs of tasks, checked against the contracts of the mesh, and run. `weft agent --with planner`, or `weft agent weft.services.planner:agent`."""

from weft.agent import Agent, ServicePackage
from weft.rpc.process.extras import require
from weft.services.planner.settings import PlannerSettings

__all__ = ["PlannerSettings", "agent", "package"]


def _add_to(agent: Agent, settings: PlannerSettings) -> None:
    require("planner", "weft.services.planner")
    from weft.services.planner.planner_service import PlannerService
    from weft.services.planner.v1 import planner_pb2_grpc

    agent.add_servicer(planner_pb2_grpc.add_PlannerServiceServicer_to_server, PlannerService(settings))


package = ServicePackage("planner", _add_to, PlannerSettings)
agent = package.agent
