"""The servicer of `ModelService`: the door. Whatever fails behind it becomes an error of the contract, without a word of a prompt or an answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, NoReturn

import grpc.aio

from weft.rpc.errors import STATUS_DETAILS_KEY
from weft.rpc.process.logs import get_logger
from weft.services.models.answers import Answers
from weft.services.models.backends.backend import Backend
from weft.services.models.catalog import Catalog
from weft.services.models.chain import ModelChain, ModelPlace
from weft.services.models.embeddings import Embedder
from weft.services.models.model_errors import ModelError, denied, failed, model_unknown, silent
from weft.services.models.pulls import pull_steps
from weft.services.models.settings import ModelsSettings
from weft.services.models.v1 import models_pb2, models_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]
_log = get_logger("weft.services.models")


class ModelService(models_pb2_grpc.ModelServiceServicer):
    """Answers by the models of its backends.

    Args:
        changed: called after the models in memory have changed.
    """

    def __init__(
        self,
        backends: Mapping[str, Backend],
        settings: ModelsSettings,
        catalog: Catalog,
        changed: Callable[[], Awaitable[None]],
    ) -> None:
        self._backends = backends
        self._settings = settings
        self._catalog = catalog
        self._changed = changed
        self._chain = ModelChain(backends, settings.models, catalog)
        self._answers = Answers(self._chain, catalog, settings)
        self._embedder = Embedder(settings, self._answers.breaker)

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

    async def Generate(
        self, request: models_pb2.GenerateRequest, context: Context
    ) -> AsyncIterator[models_pb2.GenerateResponse]:
        try:
            async with aclosing(self._answers.stream(request)) as responses:
                async for each in responses:
                    yield models_pb2.GenerateResponse(
                        content=each.content,
                        thinking=each.thinking,
                        source=each.source if each.HasField("source") else None,
                        finish_reason=each.finish_reason,
                        usage=each.usage if each.HasField("usage") else None,
                    )
        except Exception as error:
            await _abort(context, error)

    async def Embed(self, request: models_pb2.EmbedRequest, context: Context) -> models_pb2.EmbedResponse:
        try:
            place = await self._place(request.model or self._settings.embed_model)
            return await self._embedder.embed(place, request.texts)
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
        now = time.monotonic()
        for name, found in (await self._catalog.list(request.backend)).items():
            is_open = self._answers.breaker(name).is_open(now)
            backend = response.backends.add(name=name, kind=self._backends[name].kind, open=is_open)
            if isinstance(found, ModelError):
                backend.fault = found.message
            else:
                backend.models.extend(found)
        return response

    async def PullModel(
        self, request: models_pb2.PullModelRequest, context: Context
    ) -> AsyncIterator[models_pb2.PullModelResponse]:
        try:
            backend, model = self._puller(request.model)
            async with aclosing(pull_steps(backend, model, self._settings.first_token_timeout_s)) as steps:
                async for step in steps:
                    yield step
            await self._have_changed(backend.name)
        except Exception as error:
            await _abort(context, error)

    async def LoadModel(
        self, request: models_pb2.LoadModelRequest, context: Context
    ) -> models_pb2.LoadModelResponse:
        try:
            place = await self._place(request.model)
            keep_s = request.keep_for.ToTimedelta().total_seconds() if request.HasField("keep_for") else None
            await self._in_time(place, place.backend.load(place.model, keep_s))
            await self._have_changed(place.backend.name)
            return models_pb2.LoadModelResponse(source=_source(place))
        except Exception as error:
            await _abort(context, error)

    async def UnloadModel(
        self, request: models_pb2.UnloadModelRequest, context: Context
    ) -> models_pb2.UnloadModelResponse:
        try:
            place = await self._place(request.model)
            await self._in_time(place, place.backend.unload(place.model))
            await self._have_changed(place.backend.name)
            return models_pb2.UnloadModelResponse(source=_source(place))
        except Exception as error:
            await _abort(context, error)

    async def SwitchModel(
        self, request: models_pb2.SwitchModelRequest, context: Context
    ) -> models_pb2.SwitchModelResponse:
        try:
            place = await self._place(request.model)
            await self._in_time(place, place.backend.load(place.model, None))
            unloaded = [each for each in await self._in_memory(place) if each != place.model]
            for each in unloaded:
                await self._in_time(place, place.backend.unload(each))
            self._chain.put_first(place)
            await self._have_changed(place.backend.name)
            return models_pb2.SwitchModelResponse(source=_source(place), unloaded_models=unloaded)
        except Exception as error:
            await _abort(context, error)

    async def _place(self, model: str) -> ModelPlace:
        return (await self._chain.places(model, fallback=False))[0]

    def _puller(self, model: str) -> tuple[Backend, str]:
        """The backend that fetches a model: the named one, or the first that can."""
        name, slash, rest = model.partition("/")
        if slash and rest and name in self._backends:
            return self._backends[name], rest
        for backend in self._backends.values():
            if backend.kind == "ollama":
                return backend, model
        raise denied("this agent", "none of its backends fetches models")

    async def _in_memory(self, place: ModelPlace) -> list[str]:
        listed = (await self._catalog.list(place.backend.name))[place.backend.name]
        if isinstance(listed, ModelError):
            raise listed
        return [each.name for each in listed if each.state == models_pb2.MODEL_STATE_LOADED]

    async def _in_time(self, place: ModelPlace, work: Awaitable[None]) -> None:
        limit_s = self._settings.first_token_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                await work
        except TimeoutError:
            raise silent(place.backend.name, limit_s) from None

    async def _have_changed(self, backend: str) -> None:
        self._catalog.forget(backend)
        await self._changed()


def _source(place: ModelPlace) -> models_pb2.AnswerSource:
    return models_pb2.AnswerSource(backend=place.backend.name, model=place.model)


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
