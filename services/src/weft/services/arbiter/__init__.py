"""The arbiter: who may have how much of a resource, from when to when. `weft agent --with arbiter`, or `weft agent weft.services.arbiter:agent`."""

from weft.agent import Agent, ServicePackage
from weft.services.arbiter.settings import ArbiterSettings

__all__ = ["ArbiterSettings", "agent", "package"]


def _add_to(agent: Agent, settings: ArbiterSettings) -> None:
    from weft.services.arbiter.arbiter_service import ArbiterService
    from weft.services.arbiter.v1 import arbiter_pb2_grpc

    agent.add_servicer(arbiter_pb2_grpc.add_ArbiterServiceServicer_to_server, ArbiterService(settings))


package = ServicePackage("arbiter", _add_to, ArbiterSettings)
agent = package.agent
