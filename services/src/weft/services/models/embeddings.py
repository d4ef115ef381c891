"""Vectors: calls that come close together are one request to their backend.

Embed ─► BatchQueue ─► texts of one model together ─► Backend.embed ─► each call its vectors, and its share of the usage
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence

from weft.agent import Batch, BatchQueue
from weft.services.models.answer_usage import Price, Prices, count_usage, estimate_tokens, usage_of
from weft.services.models.asked_backend import asked
from weft.services.models.backends.backend import Used, Vectors
from weft.services.models.backends.vectors import checked_vector
from weft.services.models.breaker import Breaker
from weft.services.models.chain import ModelPlace
from weft.services.models.model_errors import Effect, ModelError, silent
from weft.services.models.settings import ModelsSettings
from weft.services.models.v1 import models_pb2


@dataclasses.dataclass(frozen=True, slots=True)
class TextsOfCall:
    """What one call asks for."""

    place: ModelPlace
    texts: Sequence[str]


class Embedder:
    """Makes vectors."""

    def __init__(self, settings: ModelsSettings, breaker: Callable[[str], Breaker]) -> None:
        self._settings = settings
        self._breaker = breaker
        self._prices = Prices(settings.prompt_prices, settings.completion_prices)
        batch = Batch(max_size=settings.embed_batch_size, wait_s=settings.embed_batch_wait_s)
        self._queue: BatchQueue[TextsOfCall, models_pb2.EmbedResponse] = BatchQueue(self._run, batch)

    async def embed(self, place: ModelPlace, texts: Sequence[str]) -> models_pb2.EmbedResponse:
        """The vectors of one call.

        Raises:
            ModelError: the backend fails.
        """
        response = await self._queue.call(TextsOfCall(place, texts))
        count_usage(response.usage)
        return response

    async def _run(self, calls: list[TextsOfCall]) -> list[models_pb2.EmbedResponse | Exception]:
        of_places: dict[ModelPlace, list[int]] = {}
        for number, call in enumerate(calls):
            of_places.setdefault(call.place, []).append(number)
        groups = list(of_places.values())
        answers = await asyncio.gather(*(self._of_place([calls[each] for each in group]) for group in groups))
        answered = {
            number: one
            for group, found in zip(groups, answers, strict=True)
            for number, one in zip(group, found, strict=True)
        }
        return [answered[number] for number in range(len(calls))]

    async def _of_place(self, calls: list[TextsOfCall]) -> Sequence[models_pb2.EmbedResponse | Exception]:
        """The answers for calls of one model. One request: if it is refused, each call is asked by itself, since one text may be at fault."""
        try:
            found = await self._asked(calls[0].place, [text for call in calls for text in call.texts])
        except ModelError as error:
            if error.effect is Effect.ILL or len(calls) == 1:
                return [error] * len(calls)
            alone = await asyncio.gather(*(self._of_place([call]) for call in calls))
            return [one for (one,) in alone]
        return self._shared(calls, found)

    async def _asked(self, place: ModelPlace, texts: list[str]) -> Vectors:
        limit_s = self._settings.first_token_timeout_s
        with asked(place.backend.name, self._breaker(place.backend.name)):
            try:
                async with asyncio.timeout(limit_s):
                    return await place.backend.embed(place.model, texts)
            except TimeoutError:
                raise silent(place.backend.name, limit_s) from None

    def _shared(self, calls: list[TextsOfCall], found: Vectors) -> list[models_pb2.EmbedResponse | Exception]:
        sizes = [sum(len(text.encode()) for text in call.texts) for call in calls]
        price = self._prices.of(calls[0].place.backend.name, calls[0].place.model)
        vectors = iter(found.vectors)
        answers: list[models_pb2.EmbedResponse | Exception] = []
        for call, size in zip(calls, sizes, strict=True):
            name = call.place.backend.name
            response = models_pb2.EmbedResponse(
                source=models_pb2.AnswerSource(backend=name, model=call.place.model)
            )
            try:
                for _ in call.texts:
                    response.embeddings.add(values=checked_vector(name, next(vectors)))
            except ModelError as error:
                answers.append(error)
                continue
            response.usage.CopyFrom(_share(found.used, size, sum(sizes), price))
            answers.append(response)
        return answers


def _share(used: Used | None, size: int, of: int, price: Price) -> models_pb2.Usage:
    """The usage of one call."""
    if used is None:
        usage = usage_of(Used(estimate_tokens(size), 0), price)
    else:
        usage = usage_of(Used(round(used.prompt_tokens * size / max(1, of)), 0), price)
    usage.estimated = used is None
    return usage
