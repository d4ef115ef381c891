"""Sees that what belongs to one event loop is used there alone: elsewhere asyncio says riddles, or waits for ever."""

from __future__ import annotations

import asyncio

from weft.rpc.errors import FailedPrecondition


class WrongEventLoop(FailedPrecondition):
    """It was used outside of any event loop, or in another one than before."""


class HomeLoop:
    """The event loop of something: the one in which it is first used.

    Args:
        what: names the thing, and
        again: says how to have one, for messages.
    """

    __slots__ = ("_again", "_loop", "_what")

    def __init__(self, what: str, again: str) -> None:
        self._what = what
        self._again = again
        self._loop: asyncio.AbstractEventLoop | None = None

    def check(self) -> None:
        """
        Raises:
            WrongEventLoop: it is not its loop that runs here.
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
                f"and each thread needs its own: {self._again}"
            )

    @property
    def elsewhere(self) -> bool:
        """Whether it has a loop, and that does not run here."""
        try:
            return self._loop is not None and self._loop is not asyncio.get_running_loop()
        except RuntimeError:
            return True
