"""Which models are asked, one after another: the named one, then its fallbacks of the settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from weft.services.models.backends.backend import Backend
from weft.services.models.catalog import Catalog
from weft.services.models.model_errors import ModelError, model_unknown
from weft.services.models.v1 import models_pb2


@dataclasses.dataclass(frozen=True, slots=True)
class ModelPlace:
    """A model at a backend."""

    backend: Backend
    model: str


class ModelChain:
    """The models of the settings, best first, and what else the backends have.

    Args:
        models: BACKEND/MODEL each.
    """

    def __init__(self, backends: Mapping[str, Backend], models: Sequence[str], catalog: Catalog) -> None:
        self._backends = backends
        self._catalog = catalog
        self._entries = [self._entry(each) for each in models]
        # What a call without a model asks; empty: the first of the chain, or of the backends.
        self._first = ""

    async def places(self, model: str, *, fallback: bool) -> list[ModelPlace]:
        """The models to ask, in order; at least one.

        Args:
            model: MODEL, or BACKEND/MODEL; empty: the first one.

        Raises:
            ModelError: there is no such model.
        """
        model = model or self._first
        found = self._of_chain(model) or [await self._beside(model)]
        return found if fallback else found[:1]

    def put_first(self, place: ModelPlace) -> None:
        """Let calls without a model ask this one from now on."""
        self._first = f"{place.backend.name}/{place.model}"

    def _entry(self, text: str) -> ModelPlace:
        backend, _, model = text.partition("/")
        return ModelPlace(self._backends[backend], model)

    def _of_chain(self, model: str) -> list[ModelPlace]:
        for index, entry in enumerate(self._entries):
            if model in {"", entry.model, f"{entry.backend.name}/{entry.model}"}:
                return self._entries[index:]
        return []

    async def _beside(self, model: str) -> ModelPlace:
        """A model that the settings do not name."""
        backend, slash, rest = model.partition("/")
        if slash and rest and backend in self._backends:
            return ModelPlace(self._backends[backend], rest)
        listed = await self._catalog.list(kept=True)
        for name, models in listed.items():
            if isinstance(models, ModelError):
                continue
            # A loaded one first: it answers sooner.
            in_order = sorted(models, key=lambda each: each.state != models_pb2.MODEL_STATE_LOADED)
            for each in in_order:
                if model in {"", each.name}:
                    return ModelPlace(self._backends[name], each.name)
        if faults := [each for each in listed.values() if isinstance(each, ModelError)]:
            # It may be there.
            raise faults[0]
        raise model_unknown("no backend of this agent has the model; ListModels says which there are")
