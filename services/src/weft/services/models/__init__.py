"""The models service: language models of several backends. `weft agent --with models`, or `weft agent weft.services.models:agent`."""

from weft.agent import Agent, ServicePackage
from weft.rpc.process.extras import require
from weft.services.models.settings import ModelsSettings

__all__ = ["ModelsSettings", "agent", "package"]


def _add_to(agent: Agent, settings: ModelsSettings) -> None:
    require("models", "weft.services.models")
    from weft.services.models.backends.made_backends import make_backends
    from weft.services.models.catalog import Catalog
    from weft.services.models.model_labels import ModelLabels
    from weft.services.models.model_service import ModelService
    from weft.services.models.v1 import models_pb2_grpc

    backends = make_backends(settings)
    catalog = Catalog(backends)
    labels = ModelLabels(agent, catalog)

    async def changed() -> None:
        if settings.model_labels:
            await labels.refresh()

    servicer = ModelService(backends, settings, catalog, changed)
    agent.add_servicer(models_pb2_grpc.add_ModelServiceServicer_to_server, servicer)
    agent.on_stop(servicer.close)
    if settings.model_labels:
        agent.on_start(labels.at_start)
        agent.background(labels.keep)


package = ServicePackage("models", _add_to, ModelsSettings)
agent = package.agent
