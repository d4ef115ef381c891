"""The servicer of `ModelService`: the door. Whatever fails behind it becomes an error of the contract, without a word of a prompt or an answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, NoReturn

import grpc.aio

from weft.rpc.errors import STATUS_DETAILS_KEY
from weft.rpc.process.logs import get_logger
from weft.services.models.answers import Answers
from weft.services.models.backends.backend import Backend
from weft.services.models.catalog import Catalog
from weft.services.models.chain import ModelChain
from weft.services.models.model_errors import ModelError, failed, model_unknown
from weft.services.models.settings import ModelsSettings
from weft.services.models.v1 import models_pb2, models_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]
_log = get_logger("weft.services.models")


class ModelService(models_pb2_grpc.ModelServiceServicer):
    """Answers by the models of its backends."""

    def __init__(self, backends: Mapping[str, Backend], settings: ModelsSettings) -> None:
        self._backends = backends
        self._catalog = Catalog(backends)
        self._answers = Answers(ModelChain(backends, settings.models, self._catalog), settings)

    async def close(self) -> None:
        """End all connections."""
        for backend in self._backends.values():
            await backend.close()

    async def Chat(
        self, request: models_pb2.ChatRequest, context: Context
    ) -> AsyncIterator[models_pb2.ChatResponse]:
        try:
            async with aclosing(self._answers.stream(request)) as responses:
                async for response in responses:
                    yield response
        except Exception as error:
            await _abort(context, error)

    async def ChatOnce(
        self, request: models_pb2.ChatOnceRequest, context: Context
    ) -> models_pb2.ChatOnceResponse:
        try:
            return await self._answers.whole(request.chat)
        except Exception as error:
            await _abort(context, error)

    async def ListModels(
        self, request: models_pb2.ListModelsRequest, context: Context
    ) -> models_pb2.ListModelsResponse:
        if request.backend and request.backend not in self._backends:
            await _abort(
                context, model_unknown(f"there is no such backend; there are {', '.join(self._backends)}")
            )
        response = models_pb2.ListModelsResponse()
        for name, found in (await self._catalog.list(request.backend)).items():
            backend = response.backends.add(name=name, kind=self._backends[name].kind)
            if isinstance(found, ModelError):
                backend.fault = found.message
            else:
                backend.models.extend(found)
        return response


async def _abort(context: Context, error: Exception) -> NoReturn:
    """End a call with an error of the contract."""
    if not isinstance(error, ModelError):
        # Its text may have a prompt in it: its place must do.
        _log.error("models.failed", error_type=type(error).__name__, place=_place_of(error))
        error = failed(type(error).__name__)
    context.set_trailing_metadata(((STATUS_DETAILS_KEY, error.status().SerializeToString()),))
    await context.abort(error.code, error.message)
    raise AssertionError("abort raises")


def _place_of(error: Exception) -> str:
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return "" if frame is None else f"{frame.tb_frame.f_code.co_qualname}:{frame.tb_lineno}"
