"""Which backend has which model: asked of the backends, and kept for some seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from weft.services.models.backends.backend import Backend
from weft.services.models.model_errors import ModelError, silent
from weft.services.models.v1 import models_pb2

KEPT_S = 30.0
# How long a backend may take to list its models.
LIST_TIMEOUT_S = 10.0
Listed = Sequence[models_pb2.Model] | ModelError


class Catalog:
    """The models of all backends."""

    def __init__(self, backends: Mapping[str, Backend], timeout_s: float = LIST_TIMEOUT_S) -> None:
        self._backends = backends
        self._timeout_s = timeout_s
        self._kept: dict[str, tuple[float, Listed]] = {}

    async def list(self, backend: str = "", *, kept: bool = False) -> dict[str, Listed]:
        """The models by backend, in the order of the settings; of a backend that does not answer, its error.

        Args:
            backend: this one alone; empty: all.
            kept: an answer of the last seconds will do.
        """
        names = [name for name in self._backends if backend in {"", name}]
        found = await asyncio.gather(*(self._of(name, kept=kept) for name in names))
        return dict(zip(names, found, strict=True))

    def forget(self, backend: str) -> None:
        """The models of a backend have changed."""
        self._kept.pop(backend, None)

    async def _of(self, name: str, *, kept: bool) -> Listed:
        at, listed = self._kept.get(name, (-KEPT_S, ()))
        if kept and time.monotonic() - at < KEPT_S:
            return listed
        try:
            async with asyncio.timeout(self._timeout_s):
                listed = await self._backends[name].models()
        except TimeoutError:
            listed = silent(name, self._timeout_s)
        except ModelError as error:
            listed = error
        # Errors too: a backend without a list must not hold up each call.
        self._kept[name] = (time.monotonic(), listed)
        return listed
