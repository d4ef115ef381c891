"""Checks that an object is used in its own event loop. Elsewhere asyncio raises unclear errors, or waits for ever."""

from __future__ import annotations

import asyncio

from weft.rpc.errors import FailedPrecondition


class WrongEventLoop(FailedPrecondition):
    """The object was used outside of any event loop, or in another one than before."""


class HomeLoop:
    """The event loop of an object: the loop in which it is first used.

    Args:
        what: names the object, for messages.
        remedy: says how to get one for another loop, for messages.
    """

    __slots__ = ("_loop", "_remedy", "_what")

    def __init__(self, what: str, remedy: str) -> None:
        self._what = what
        self._remedy = remedy
        self._loop: asyncio.AbstractEventLoop | None = None

    def check(self) -> None:
        """Check that the object's loop runs here. The first check makes the running loop the object's.

        Raises:
            WrongEventLoop: no event loop runs here, or another one.
        """
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            raise WrongEventLoop(
                f"{self._what} was used where no event loop runs: use it within `async def`, that is, after asyncio.run "
                "has begun"
            ) from None
        if self._loop is None:
            self._loop = running
        elif self._loop is not running:
            why = "has ended" if self._loop.is_closed() else "is another one"
            raise WrongEventLoop(
                f"{self._what} belongs to the event loop in which it was first used, and that {why}. Each asyncio.run "
                f"and each thread needs its own: {self._remedy}"
            )

    @property
    def elsewhere(self) -> bool:
        """Whether the object has a loop, and that loop does not run here."""
        try:
            return self._loop is not None and self._loop is not asyncio.get_running_loop()
        except RuntimeError:
            return True
