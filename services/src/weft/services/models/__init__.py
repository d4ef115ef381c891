"""The models service: language models of several backends. `weft agent --with models`, or `weft agent weft.services.models:agent`."""

from weft.agent import Agent, ServicePackage
from weft.rpc.process.extras import require
from weft.services.models.settings import ModelsSettings

__all__ = ["ModelsSettings", "agent", "package"]


def _add_to(agent: Agent, settings: ModelsSettings) -> None:
    require("models", "weft.services.models")
    from weft.services.models.backends.made_backends import make_backends
    from weft.services.models.model_service import ModelService
    from weft.services.models.v1 import models_pb2_grpc

    servicer = ModelService(make_backends(settings), settings)
    agent.add_servicer(models_pb2_grpc.add_ModelServiceServicer_to_server, servicer)
    agent.on_stop(servicer.close)


package = ServicePackage("models", _add_to, ModelsSettings)
agent = package.agent
