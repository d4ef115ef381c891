"""Answers of the models service over servers that are ill."""

from __future__ import annotations

from contextlib import aclosing

from tests.support.ill_models import IllServer
from weft.services.models.answers import Answers
from weft.services.models.backends.backend import Backend
from weft.services.models.backends.made_backends import make_backends
from weft.services.models.catalog import Catalog
from weft.services.models.chain import ModelChain
from weft.services.models.settings import ModelsSettings
from weft.services.models.v1 import models_pb2

SECRET = "the-secret-of-the-prompt"


class Asking:
    """Answers over one ill server."""

    def __init__(self, server: IllServer, models: list[str], **given: object) -> None:
        settings = ModelsSettings(
            backends=dict.fromkeys(("ill", "well"), f"{server.kind}+{server.url}"),
            models=tuple(f"{'well' if model == 'well' else 'ill'}/{model}" for model in models),
            **{"breaker_failures": 1000, **given},  # type: ignore[arg-type]
        )
        self.backends: dict[str, Backend] = dict(make_backends(settings))
        catalog = Catalog(self.backends)
        self.answers = Answers(ModelChain(self.backends, settings.models, catalog), catalog, settings)

    async def stream(self, model: str = "") -> list[models_pb2.ChatResponse]:
        async with aclosing(self.answers.stream(self.request(model))) as responses:
            return [response async for response in responses]

    async def whole(self, model: str = "") -> models_pb2.ChatOnceResponse:
        return await self.answers.whole(self.request(model))

    @staticmethod
    def request(model: str) -> models_pb2.ChatRequest:
        message = models_pb2.ChatMessage(role=models_pb2.ROLE_USER, content=SECRET)
        return models_pb2.ChatRequest(model=model, messages=[message])
