"""Answers of models: asked along the chain, with bounds on silence.

request ─► ModelChain ─► candidate ─► Backend.chat ─► timed ─► ChatResponse
             ▲          │ fails before its first piece
             └──────────┘
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import cast

from weft.services.models.answer_usage import AnswerMeter
from weft.services.models.backends.backend import Piece
from weft.services.models.chain import ModelChain, ModelPlace
from weft.services.models.model_errors import Effect, ModelError, silent
from weft.services.models.settings import ModelsSettings
from weft.services.models.v1 import models_pb2

Answer = AsyncGenerator[models_pb2.ChatResponse, None]


class Answers:
    """Asks models."""

    def __init__(self, chain: ModelChain, settings: ModelsSettings) -> None:
        self._chain = chain
        self._settings = settings

    async def stream(self, request: models_pb2.ChatRequest) -> Answer:
        """An answer piece by piece.

        Raises:
            ModelError: no model of the chain answers, or one has failed after its first piece.
        """
        async for response in self._along_chain(request, whole=False):
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

    async def _along_chain(self, request: models_pb2.ChatRequest, *, whole: bool) -> Answer:
        candidates = await self._chain.candidates(request.model, fallback=not request.no_fallback)
        for number, candidate in enumerate(candidates, 1):
            begun = False
            try:
                async with aclosing(self._ask(candidate, request, fallback=number > 1)) as responses:
                    async for response in responses:
                        begun = True
                        yield response
            except ModelError as error:
                if (begun and not whole) or error.effect is Effect.FINAL or number == len(candidates):
                    raise
            else:
                return

    async def _ask(self, candidate: ModelPlace, request: models_pb2.ChatRequest, *, fallback: bool) -> Answer:
        source = models_pb2.AnswerSource(
            backend=candidate.backend.name, model=candidate.model, fallback=fallback
        )
        meter = AnswerMeter(request)
        told: models_pb2.AnswerSource | None = source
        try:
            async for piece in self._timed(candidate, request):
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

    async def _timed(self, candidate: ModelPlace, request: models_pb2.ChatRequest) -> AsyncIterator[Piece]:
        limit_s = self._settings.first_token_timeout_s
        # Each backend's is a generator; closing it ends the request.
        made = cast("AsyncGenerator[Piece, None]", candidate.backend.chat(candidate.model, request))
        async with aclosing(made) as pieces:
            while True:
                try:
                    async with asyncio.timeout(limit_s):
                        piece = await anext(pieces)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    raise silent(candidate.backend.name, limit_s) from None
                yield piece
                limit_s = self._settings.next_token_timeout_s
