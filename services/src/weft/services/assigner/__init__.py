"""The assigner: when tasks would start, and where they should. `weft agent --with assigner`, or `weft agent weft.services.assigner:agent`."""

from weft.agent import Agent, ServicePackage
from weft.services.assigner.settings import AssignerSettings

__all__ = ["AssignerSettings", "agent", "package"]


def _add_to(agent: Agent, settings: AssignerSettings) -> None:
    from weft.services.assigner.assigner_service import AssignerService
    from weft.services.assigner.v1 import assigner_pb2_grpc

    agent.add_servicer(assigner_pb2_grpc.add_AssignerServiceServicer_to_server, AssignerService(settings))


package = ServicePackage("assigner", _add_to, AssignerSettings)
agent = package.agent
