"""Checks that an object is used in its own event loop, and while it is open. Else asyncio and gRPC raise unclear errors, or wait for ever."""

from __future__ import annotations

import asyncio

from weft.rpc.errors import Cancelled, FailedPrecondition


class WrongEventLoop(FailedPrecondition):
    """The object was used outside of any event loop, or in another one than before."""


class MeshClosed(Cancelled):
    """The mesh, or the object of one, was closed before this use or during it."""


class HomeLoop:
    """The event loop of an object: the loop in which it is first used, until the object is closed.

    Args:
        what: names the object, for messages.
        remedy: says how to get another one, for messages.
    """

    __slots__ = ("_closed", "_loop", "_remedy", "_what")

    def __init__(self, what: str, remedy: str) -> None:
        self._what = what
        self._remedy = remedy
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def check(self) -> None:
        """Check that the object's loop runs here, and that the object is open. The first check makes the running loop the object's.

        Raises:
            WrongEventLoop: no event loop runs here, or another one.
            MeshClosed: the object is closed.
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
                f"and each thread needs its own: {self._remedy} there"
            )
        if self._closed:
            raise self.closed_error()

    def check_cut_off(self) -> None:
        """Call it when a use ends with CancelledError: gRPC ends the calls of a closed channel so, as if their callers were cancelled.

        Raises:
            MeshClosed: the object was closed, and nobody cancelled the caller.
        """
        task = asyncio.current_task()
        if self._closed and (task is None or not task.cancelling()):
            raise self.closed_error() from None

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Let every check fail from now on."""
        self._closed = True

    def closed_error(self) -> MeshClosed:
        return MeshClosed(f"{self._what} is closed: {self._remedy} again")

    @property
    def elsewhere(self) -> bool:
        """Whether the object has a loop, and that loop does not run here."""
        try:
            return self._loop is not None and self._loop is not asyncio.get_running_loop()
        except RuntimeError:
            return True
