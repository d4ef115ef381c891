"""Follows a source of addresses, once for all of a process that use it. The last good addresses stay while the source is away, or names none.

    source (its own thread) ─► set of addresses ─► checked ─► `addresses`, `dialled` ─► told to those who use them

A thread: clients, agents and threads of one process share a source, and the loop of an application may be busy.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import threading
from collections.abc import Callable, Sequence

from weft.rpc.network import targets
from weft.rpc.network.registry_url import source_url
from weft.rpc.process.logs import get_logger
from weft.rpc.registries.address_source import AddressSource, RegistryError, checked
from weft.rpc.registries.source_choice import source_of

_log = get_logger("weft.registries")

FIRST_BACKOFF_S = 0.2
MAX_BACKOFF_S = 15.0
# The first use waits so long for the first addresses.
FIRST_S = 5.0
# The next user comes soon after the last: a look-up before a connection.
LINGER_S = 10.0


class Followed:
    """The addresses of one source, as they are now. Made by `follow`; from any thread."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.users = 0
        # Both are replaced together; no address: none is known yet.
        self._now: tuple[tuple[str, ...], str] = ((), "")
        # The same as a set, which stays the same object until there are others.
        self.known: frozenset[str] = frozenset()
        # Why there is none, or none that is newer; empty: all is well.
        self.problem = ""
        self._told = False
        # Set by the first addresses, or by the first trouble; by the first addresses alone.
        self._settled, self._named = threading.Event(), threading.Event()
        self._followers: list[Callable[[], None]] = []
        self._source: AddressSource = source_of(source_url(text))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        threading.Thread(target=self._run, name="weft-addresses", daemon=True).start()

    @property
    def addresses(self) -> tuple[str, ...]:
        """The last good ones, in the order in which they are tried; none is known yet if it is empty."""
        return self._now[0]

    @property
    def dialled(self) -> tuple[tuple[str, ...], str]:
        """The addresses, and gRPC's target for them."""
        return self._now

    def wait(self, within_s: float = FIRST_S, *, patient: bool = False) -> None:
        """Wait for the first addresses, or for the reason why there are none. Blocks.

        Args:
            patient: whatever the reason is, there may soon be some.
        """
        (self._named if patient else self._settled).wait(within_s)

    def tell(self, follower: Callable[[], None]) -> Callable[[], None]:
        """Call a function, which must not block, after each change, in another thread. Returns what ends that."""
        self._followers.append(follower)

        def end() -> None:
            with contextlib.suppress(ValueError):
                self._followers.remove(follower)

        return end

    def release(self) -> None:
        """One user less. Some seconds after the last one it ends."""
        with _shared.lock:
            self.users -= 1
            loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # The loop has ended.
                loop.call_soon_threadsafe(loop.call_later, LINGER_S, self._end_if_unused)

    def _end_if_unused(self) -> None:
        with _shared.lock:
            if self.users > 0:
                return
            if _shared.followed.get(self.text) is self:
                del _shared.followed[self.text]
        if self._task is not None:
            self._task.cancel()

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(self._follow())

    async def _follow(self) -> None:
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        backoff_s = FIRST_BACKOFF_S
        while True:
            try:
                async with contextlib.aclosing(self._source.sets()) as sets:  # type: ignore[type-var]
                    async for found in sets:
                        backoff_s = FIRST_BACKOFF_S
                        await self._take(checked(found))
                why = "it ended"
            except RegistryError as error:
                why = str(error)
            except Exception as error:
                # A source, and what it reads, may raise anything.
                why = repr(error)
            self._is_away(why)
            await asyncio.sleep(random.uniform(backoff_s / 2, backoff_s))  # noqa: S311 - not for secrets
            backoff_s = min(MAX_BACKOFF_S, backoff_s * 2)

    async def _take(self, found: Sequence[str]) -> None:
        if not found:
            self._is_away("it names no address")
            return
        if self._told:
            _log.info("addresses.known_again", source=self.text, count=len(found))
        self.problem, self._told = "", False
        known = frozenset(found)
        if known != self.known:
            # Names are looked up here, in a thread of this loop: what is left to channels does not block.
            dialled = await asyncio.to_thread(targets.dialled, found)
            self._now, self.known = (tuple(found), dialled), known
            _log.info("addresses.changed", source=self.text, addresses=list(found))
        self._named.set()
        self._settled.set()
        for each in list(self._followers):
            with contextlib.suppress(Exception):
                each()

    def _is_away(self, why: str) -> None:
        self.problem = why
        if not self._told:
            self._told = True
            kept = self.addresses
            _log.warning(
                "addresses.source_away",
                source=self.text,
                error=why,
                kept=len(kept),
                effect="the last known addresses are used" if kept else "no coordinator is known",
            )
        self._settled.set()


class _Shared:
    """What the users of this process share."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.followed: dict[str, Followed] = {}


_shared = _Shared()


def follow(text: str) -> Followed:
    """Follow the source at a URL, until `release`.

    Raises:
        InvalidArgument: it is no URL of a source.
        MissingExtra: what it needs is not installed.
    """
    with _shared.lock:
        found = _shared.followed.get(text)
        if found is None:
            found = _shared.followed[text] = Followed(text)
        found.users += 1
        return found


def present(text: str, within_s: float = FIRST_S, *, patient: bool = False) -> tuple[str, ...]:
    """The addresses that a source names now; empty: none is known. May block for some seconds: see `Followed.wait`."""
    followed = follow(text)
    try:
        followed.wait(within_s, patient=patient)
        return followed.addresses
    finally:
        followed.release()


def _forget() -> None:
    """In a forked child, which has none of the threads."""
    _shared.lock = threading.Lock()
    _shared.followed = {}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
