"""The hardware service: how the machine of an agent is doing. `weft agent --with hardware`, or `weft agent weft.services.hardware:agent`."""

from weft.agent import Agent, ServicePackage
from weft.rpc.process.extras import require
from weft.services.hardware.settings import HardwareSettings

__all__ = ["HardwareSettings", "agent", "package"]


def _add_to(agent: Agent, settings: HardwareSettings) -> None:
    require("hardware", "weft.services.hardware")
    from weft.services.hardware.hardware_service import HardwareService
    from weft.services.hardware.machine_facts import label_with_facts
    from weft.services.hardware.v1 import hardware_pb2_grpc

    servicer = HardwareService(agent, settings)
    agent.add_servicer(hardware_pb2_grpc.add_HardwareServiceServicer_to_server, servicer)
    agent.background(servicer.sample_in_background)
    if settings.label_facts:

        @agent.on_start
        def label_machine() -> None:
            # At the start: options of the command may come after this.
            label_with_facts(agent)


package = ServicePackage("hardware", _add_to, HardwareSettings)
agent = package.agent
