"""The sandbox service: small machines for code that nobody has read. `weft agent --with sandboxes`, or `weft agent weft.services.sandboxes:agent`."""

from weft.agent import Agent, ServicePackage
from weft.rpc.process.extras import require
from weft.services.sandboxes.settings import SandboxesSettings

__all__ = ["SandboxesSettings", "agent", "package"]


def _add_to(agent: Agent, settings: SandboxesSettings) -> None:
    require("sandboxes", "weft.services.sandboxes")
    from weft.services.sandboxes.sandbox_service import SandboxService
    from weft.services.sandboxes.sandbox_table import SandboxTable
    from weft.services.sandboxes.v1 import sandboxes_pb2_grpc

    table = SandboxTable(settings)
    agent.add_servicer(
        sandboxes_pb2_grpc.add_SandboxServiceServicer_to_server, SandboxService(agent, settings, table)
    )
    agent.background(table.look_after_in_background)
    agent.on_stop(table.close)


package = ServicePackage("sandboxes", _add_to, SandboxesSettings)
agent = package.agent
