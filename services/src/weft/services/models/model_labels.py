"""Models as labels of the agent, so that a call can ask for an agent that has a model, or has it in memory: `weft-require: model.llama3=loaded`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from weft.agent import Agent, WeftError
from weft.rpc.process.logs import get_logger
from weft.services.models.catalog import Catalog, Listed
from weft.services.models.model_errors import ModelError
from weft.services.models.v1 import models_pb2

PREFIX = "model."
MAX_MODELS = 40
LOOK_EVERY_S = 30.0
# A backend that does not answer must not keep the agent from its start.
START_TIMEOUT_S = 2.0
_MAX_KEY = 128
_VALUES = {
    models_pb2.MODEL_STATE_UNSPECIFIED: "ready",
    models_pb2.MODEL_STATE_STORED: "stored",
    models_pb2.MODEL_STATE_LOADED: "loaded",
}
_BEST = ("stored", "ready", "loaded")
_log = get_logger("weft.services.models")


def labels_of(listed: Mapping[str, Listed]) -> dict[str, str]:
    """The labels for what the backends have: of a model at several, the best state. Those in memory come first if there are many."""
    found: dict[str, str] = {}
    for models in listed.values():
        for model in () if isinstance(models, ModelError) else models:
            key, value = PREFIX + model.name, _VALUES.get(model.state, "ready")
            # A label is at most so long; and a comma would end a requirement.
            if len(key) <= _MAX_KEY and "," not in key and "=" not in key:
                found[key] = max(found.get(key, value), value, key=_BEST.index)
    first = sorted(found, key=lambda key: (-_BEST.index(found[key]), key))[:MAX_MODELS]
    return {key: found[key] for key in first}


class ModelLabels:
    """Keeps the labels of one agent true: set at its start, and changed as an operator would, when its models change."""

    def __init__(self, agent: Agent, catalog: Catalog) -> None:
        self._agent = agent
        self._catalog = catalog
        self._told: dict[str, str] = {}

    async def at_start(self) -> None:
        """Before the agent says hello. A backend that is away then is looked at again later."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_TIMEOUT_S):
                self._told = labels_of(await self._catalog.list(kept=True))
        self._agent.settings.labels.update(self._told)

    async def keep(self) -> None:
        """Look again and again, until the agent stops."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.refresh()

    async def refresh(self) -> None:
        """Tell the coordinator what has changed. Without its permission, the labels stay those of the start."""
        found = labels_of(await self._catalog.list())
        changed = {key: value for key, value in found.items() if self._told.get(key) != value}
        removed = sorted(self._told.keys() - found.keys())
        if not changed and not removed:
            return
        try:
            selected = self._agent.mesh.fleet.select(self._agent.id)
            async for outcome in selected.set_labels(changed, remove=removed):
                outcome.result()
        except WeftError as error:
            _log.warning(
                "labels.not_changed", error_type=type(error).__name__, effect="they stay as they were"
            )
        else:
            self._told = found
