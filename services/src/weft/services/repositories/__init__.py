"""The repositories service: working copies, commits, pushes and pull requests. `weft agent --with repositories`, or `weft agent weft.services.repositories:agent`."""

import os

from weft.agent import Agent, ServicePackage
from weft.agent.errors import HostingError
from weft.rpc.process.extras import require
from weft.services.repositories.settings import RepositoriesSettings

__all__ = ["RepositoriesSettings", "agent", "package"]


def _add_to(agent: Agent, settings: RepositoriesSettings) -> None:
    require("repositories", "weft.services.repositories")
    if not hasattr(os, "O_NOFOLLOW"):
        raise HostingError(
            "the service repositories needs Linux or macOS: on Windows it could not keep links from leading out of a workspace"
        )
    from weft.services.repositories.pull_request_service import PullRequestService
    from weft.services.repositories.repository_service import RepositoryService
    from weft.services.repositories.v1 import pull_requests_pb2_grpc, repositories_pb2_grpc

    servicer = RepositoryService(agent, settings)
    agent.add_servicer(repositories_pb2_grpc.add_RepositoryServiceServicer_to_server, servicer)
    agent.add_servicer(
        pull_requests_pb2_grpc.add_PullRequestServiceServicer_to_server, PullRequestService(settings)
    )
    agent.background(servicer.sweep_in_background)


package = ServicePackage("repositories", _add_to, RepositoriesSettings)
agent = package.agent
