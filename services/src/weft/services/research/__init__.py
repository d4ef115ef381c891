"""The research service: answers to questions over a corpus, with citations. `weft agent --with research`, or `weft agent weft.services.research:agent`."""

import os

from weft.agent import Agent, ServicePackage
from weft.agent.errors import HostingError
from weft.services.research.settings import ResearchSettings

__all__ = ["ResearchSettings", "agent", "package"]


def _add_to(agent: Agent, settings: ResearchSettings) -> None:
    if not hasattr(os, "O_NOFOLLOW"):
        raise HostingError(
            "the service research needs Linux or macOS: on Windows it could not keep links from leading out of a corpus"
        )
    from weft.services.research.research_service import ResearchService
    from weft.services.research.v1 import research_pb2_grpc

    servicer = ResearchService(settings)
    agent.add_servicer(research_pb2_grpc.add_ResearchServiceServicer_to_server, servicer)
    agent.on_stop(servicer.close)


package = ServicePackage("research", _add_to, ResearchSettings)
agent = package.agent
