"""Looks at the queues of namespaces, for streams that are told of changes: one look a second for each namespace that somebody follows, however many follow it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from weft.coordinator.doors.keda.present_work import QueueLook
from weft.coordinator.store.open_errors import StoreError
from weft.rpc import refusals
from weft.rpc.errors import NotFound, WeftError
from weft.rpc.process.logs import get_logger

log = get_logger(__name__)

LOOK_S = 1.0

# The queues of a namespace now. Raises WeftError: it cannot be looked at.
Look = Callable[[str], Awaitable[QueueLook]]


class _Followed:
    """A namespace that streams follow."""

    def __init__(self) -> None:
        self.streams = 0
        self.look: QueueLook | None = None
        self.news = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.ended: WeftError | None = None


class QueueLooks:
    """Follows namespaces while there are streams for them.

    Args:
        look: looks at the queues of a namespace.
        max_streams: most at a time.
    """

    def __init__(self, look: Look, max_streams: int) -> None:
        self._look = look
        self._max_streams = max_streams
        self._streams = 0
        self._followed: dict[str, _Followed] = {}
        self._ended: WeftError | None = None

    async def follow(self, namespace: str) -> AsyncGenerator[QueueLook]:
        """The queues now, and as they are at each later look.

        Raises:
            ResourceExhausted: there are too many streams.
            NotFound: the namespace is deleted.
            WeftError: the first look fails, or the coordinator stops.
        """
        if self._streams >= self._max_streams:
            raise refusals.overloaded(f"there are {self._max_streams} streams already", retry_after_s=10.0)
        self._streams += 1
        found = self._followed.setdefault(namespace, _Followed())
        found.streams += 1
        try:
            yield await self._look(namespace)
            if found.task is None:
                found.task = asyncio.create_task(self._watch(namespace, found), name="keda looks")
            while (ended := self._ended or found.ended) is None:
                await found.news.wait()
                if self._ended is None and found.ended is None and found.look is not None:
                    yield found.look
            raise ended
        finally:
            self._streams -= 1
            found.streams -= 1
            if not found.streams:
                # One that was deleted may be followed anew by its name.
                if self._followed.get(namespace) is found:
                    del self._followed[namespace]
                if found.task is not None:
                    found.task.cancel()

    async def _watch(self, namespace: str, found: _Followed) -> None:
        failed = False
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                found.look = await self._look(namespace)
                failed = False
            except NotFound as error:
                # It is deleted: what was seen last must not hold for ever.
                self._followed.pop(namespace, None)
                found.ended = error
                found.news.set()
                return
            except (WeftError, StoreError, OSError) as error:
                # What was seen last holds. Said once.
                if not failed:
                    log.warning("keda.not_looked", namespace=namespace or "default", error=str(error))
                failed = True
                continue
            except Exception:
                log.exception("keda.look_failed")
                continue
            news, found.news = found.news, asyncio.Event()
            news.set()

    def close(self, why: WeftError) -> None:
        """End all streams with `why`."""
        self._ended = why
        for found in self._followed.values():
            if found.task is not None:
                found.task.cancel()
            found.news.set()
