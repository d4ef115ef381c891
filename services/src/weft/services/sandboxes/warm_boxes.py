"""Boxes that are made ahead, so that a caller need not wait."""

from __future__ import annotations

import asyncio

from weft.agent import Sandbox
from weft.rpc.process.logs import get_logger
from weft.services.sandboxes.sandbox_provider import Box, BoxError, Providers

_log = get_logger("weft.services.sandboxes")

# After a failure.
_AGAIN_S = 10.0


class WarmBoxes:
    """Boxes of one provider with the same limits.

    Args:
        size: how many wait; 0: none are made.
    """

    def __init__(self, providers: Providers, provider: str, sandbox: Sandbox, size: int) -> None:
        self._providers = providers
        self._provider = provider
        self._sandbox = sandbox
        self._wanted = size
        self._boxes: list[Box] = []
        self._after_s = 0.0
        self._making: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def size(self) -> int:
        """How many wait."""
        return len(self._boxes)

    def take(self, sandbox: Sandbox, provider: str) -> Box | None:
        """One that is ready; None: there is none with these limits."""
        if provider != self._provider or sandbox != self._sandbox:
            return None
        while self._boxes:
            box = self._boxes.pop(0)
            if not box.ended.done():
                return box
        return None

    def fill(self, now_s: float) -> None:
        """Make those that are missing, in the background, unless that failed a moment ago."""
        if self._closed or (self._making is not None and not self._making.done()) or now_s < self._after_s:
            return
        self._boxes = [each for each in self._boxes if not each.ended.done()]
        if len(self._boxes) < self._wanted:
            self._making = asyncio.ensure_future(self._make(now_s))

    async def close(self) -> None:
        """End all of them."""
        self._closed = True
        if self._making is not None:
            self._making.cancel()
            await asyncio.wait({self._making})
        boxes, self._boxes = self._boxes, []
        await asyncio.gather(
            *(each.terminate("its agent has ended") for each in boxes), return_exceptions=True
        )

    async def _make(self, now_s: float) -> None:
        while len(self._boxes) < self._wanted and not self._closed:
            try:
                box = await self._providers.get(self._provider).create(self._sandbox)
            except BoxError as error:
                self._after_s = now_s + _AGAIN_S
                _log.warning("sandbox.not_made_ahead", error=repr(error))
                return
            self._boxes.append(box)
