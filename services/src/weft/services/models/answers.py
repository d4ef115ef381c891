"""Answers of models: asked along the chain, with bounds on silence, and a breaker for each backend.

request ─► ModelChain ─► place ─► breaker ─► fitted ─► Backend ─► timed ─► ChatResponse
▲           │ fails before its first piece
└───────────┘
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import cast

from weft.services.models.answer_usage import AnswerMeter, Prices
from weft.services.models.asked_backend import asked
from weft.services.models.backends.backend import Piece
from weft.services.models.breaker import Breaker
from weft.services.models.catalog import Catalog
from weft.services.models.chain import ModelChain, ModelPlace
from weft.services.models.fitted_requests import ContextFitter
from weft.services.models.model_errors import Effect, ModelError, silent
from weft.services.models.settings import ModelsSettings
from weft.services.models.v1 import models_pb2

Answer = AsyncGenerator[models_pb2.ChatResponse, None]
Asked = models_pb2.ChatRequest | models_pb2.GenerateRequest


class Answers:
    """Asks models."""

    def __init__(self, chain: ModelChain, catalog: Catalog, settings: ModelsSettings) -> None:
        self._chain = chain
        self._settings = settings
        self._prices = Prices(settings.prompt_prices, settings.completion_prices)
        self._fitter = ContextFitter(catalog, settings.context_tokens, self._text_of)
        self._breakers: dict[str, Breaker] = {}

    def breaker(self, backend: str) -> Breaker:
        """The breaker of a backend."""
        if backend not in self._breakers:
            self._breakers[backend] = Breaker(self._settings.breaker_failures, self._settings.breaker_open_s)
        return self._breakers[backend]

    async def stream(self, request: Asked) -> Answer:
        """An answer piece by piece.

        Raises:
            ModelError: no model of the chain answers, or one has failed after its first piece.
        """
        async with aclosing(self._along_chain(request, whole=False)) as responses:
            async for response in responses:
                yield response

    async def whole(self, request: models_pb2.ChatRequest) -> models_pb2.ChatOnceResponse:
        """An answer as one message.

        Raises:
            ModelError: no model of the chain answers.
        """
        parts: list[models_pb2.ChatResponse] = []
        async with aclosing(self._along_chain(request, whole=True)) as responses:
            async for response in responses:
                if response.HasField("source"):
                    # Another model begins anew.
                    parts.clear()
                parts.append(response)
        return models_pb2.ChatOnceResponse(
            message=models_pb2.ChatMessage(
                role=models_pb2.ROLE_ASSISTANT,
                content="".join(part.content for part in parts),
                tool_calls=[call for part in parts for call in part.tool_calls],
            ),
            thinking="".join(part.thinking for part in parts),
            finish_reason=parts[-1].finish_reason,
            source=parts[0].source,
            usage=parts[-1].usage,
        )

    async def _text_of(self, place: ModelPlace, request: models_pb2.ChatRequest) -> str:
        """The text of one model's answer, for the service itself."""
        async with aclosing(self._ask(place, request, models_pb2.AnswerSource())) as responses:
            return "".join([response.content async for response in responses])

    async def _along_chain(self, request: Asked, *, whole: bool) -> Answer:
        places = await self._chain.places(request.model, fallback=not request.no_fallback)
        for number, place in enumerate(places, 1):
            begun = False
            try:
                async with aclosing(self._guarded(place, request, fallback=number > 1)) as responses:
                    async for response in responses:
                        begun = True
                        yield response
            except ModelError as error:
                if (begun and not whole) or error.effect is Effect.FINAL or number == len(places):
                    raise
            else:
                return

    async def _guarded(self, place: ModelPlace, request: Asked, *, fallback: bool) -> Answer:
        """An answer of one model, if its backend's breaker lets it through."""
        source = models_pb2.AnswerSource(backend=place.backend.name, model=place.model, fallback=fallback)
        with asked(place.backend.name, self.breaker(place.backend.name)):
            if isinstance(request, models_pb2.ChatRequest):
                fitted = await self._fitter.fit(place, request)
                request, source.left_out_messages = fitted.request, fitted.left_out
            async with aclosing(self._ask(place, request, source)) as responses:
                async for response in responses:
                    yield response

    async def _ask(self, place: ModelPlace, request: Asked, source: models_pb2.AnswerSource) -> Answer:
        meter = AnswerMeter(request, self._prices.of(place.backend.name, place.model))
        told: models_pb2.AnswerSource | None = source
        try:
            async for piece in self._timed(place, request):
                meter.add(piece)
                yield models_pb2.ChatResponse(
                    content=piece.content,
                    thinking=piece.thinking,
                    tool_calls=piece.tool_calls,
                    source=told,
                    finish_reason=piece.finish_reason,
                    usage=meter.usage() if piece.finish_reason else None,
                )
                told = None
        finally:
            # Also what a broken answer has used.
            meter.count()

    async def _timed(self, place: ModelPlace, request: Asked) -> AsyncIterator[Piece]:
        limit_s = self._settings.first_token_timeout_s
        backend = place.backend
        made = (
            backend.chat(place.model, request)
            if isinstance(request, models_pb2.ChatRequest)
            else backend.generate(place.model, request)
        )
        # Each backend's is a generator; closing it ends the request.
        async with aclosing(cast("AsyncGenerator[Piece, None]", made)) as pieces:
            while True:
                try:
                    async with asyncio.timeout(limit_s):
                        piece = await anext(pieces)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    raise silent(backend.name, limit_s) from None
                yield piece
                limit_s = self._settings.next_token_timeout_s
