"""Fits a request to the window of the model that is asked: looks its window up, counts, and cuts.

surely fits? ─► as it is
counts (by the backend, else estimated) ─► fits? ─► as it is
leaves out as few of the oldest turns as it must, by halves: each try is counted
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping

from weft.services.models.catalog import Catalog
from weft.services.models.chain import ModelPlace
from weft.services.models.context_fitting import (
    droppable_turns,
    estimated_tokens,
    room_tokens,
    summary_request,
    surely_fits,
    without,
)
from weft.services.models.model_errors import ModelError, context_too_long
from weft.services.models.v1 import models_pb2

Ask = Callable[[ModelPlace, models_pb2.ChatRequest], Awaitable[str]]


@dataclasses.dataclass(frozen=True, slots=True)
class Fitted:
    """A request that fits, and how many messages it lacks."""

    request: models_pb2.ChatRequest
    left_out: int = 0


class ContextFitter:
    """
    Args:
        windows: windows of models in tokens, by the settings; they come before what backends tell.
        ask: gives the whole answer of a model.
    """

    def __init__(self, catalog: Catalog, windows: Mapping[str, float], ask: Ask) -> None:
        self._catalog = catalog
        self._windows = windows
        self._ask = ask

    async def fit(self, place: ModelPlace, request: models_pb2.ChatRequest) -> Fitted:
        """
        Raises:
            ModelError: it cannot be made to fit, or the backend fails.
        """
        window = await self._window(place)
        room = room_tokens(window, request.sampling)
        if not window or surely_fits(request, room) or await self._fits(place, request, room):
            return Fitted(request)
        if request.context_fit == models_pb2.CONTEXT_FIT_REFUSE:
            raise _too_long(place, window)
        turns = droppable_turns(request.messages)

        def cut(count: int) -> list[int]:
            return [index for turn in turns[:count] for index in turn]

        # The least number of turns to leave out; all of them may be too few.
        low, high = 1, len(turns)
        while low < high:
            middle = (low + high) // 2
            if await self._fits(place, without(request, cut(middle)), room):
                high = middle
            else:
                low = middle + 1
        if not turns or not await self._fits(place, without(request, cut(high)), room):
            raise _too_long(place, window)
        if request.context_fit == models_pb2.CONTEXT_FIT_SUMMARIZE:
            return await self._summarized(place, request, turns, high, window)
        return Fitted(without(request, cut(high)), len(cut(high)))

    async def _summarized(
        self,
        place: ModelPlace,
        request: models_pb2.ChatRequest,
        turns: list[list[int]],
        count: int,
        window: int,
    ) -> Fitted:
        gone = [index for turn in turns[:count] for index in turn]
        summary = await self._ask(place, summary_request(request, gone, window))
        room = room_tokens(window, request.sampling)
        # The summary takes room, too.
        while True:
            made = without(request, gone, summary)
            if await self._fits(place, made, room):
                return Fitted(made, len(gone))
            if count == len(turns):
                return Fitted(without(request, gone), len(gone))
            gone += turns[count]
            count += 1

    async def _window(self, place: ModelPlace) -> int:
        for name in (f"{place.backend.name}/{place.model}", place.model):
            if name in self._windows:
                return int(self._windows[name])
        listed = (await self._catalog.list(place.backend.name, kept=True))[place.backend.name]
        if isinstance(listed, ModelError):
            return 0
        found = {model.name: model.context_tokens for model in listed}
        # A server of one model answers to any name.
        return found.get(place.model, max(found.values(), default=0) if len(found) == 1 else 0)

    async def _fits(self, place: ModelPlace, request: models_pb2.ChatRequest, room: int) -> bool:
        counted = await place.backend.count_tokens(place.model, request)
        return (estimated_tokens(request) if counted is None else counted) <= room


def _too_long(place: ModelPlace, window: int) -> ModelError:
    return context_too_long(
        f"the conversation does not fit into the {window} tokens of {place.model} at {place.backend.name}, with room for the answer"
    )
