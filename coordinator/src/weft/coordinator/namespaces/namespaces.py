"""The namespaces of a coordinator beside the default one: which there are, which are open, and the way of a call into one.

A namespace that a call asks for is opened while the call waits. `namespace_upkeep` opens and closes the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

import grpc

from weft.coordinator.namespaces.namespace import Namespace
from weft.coordinator.namespaces.namespace_table import NamespaceTable, Stored, wake
from weft.coordinator.namespaces.open_namespace import OpenNamespace
from weft.rpc import refusals
from weft.rpc.calls.late_handler import late_handler
from weft.rpc.errors import WeftError
from weft.rpc.process.logs import get_logger
from weft.rpc.security.namespace_names import is_name

log = get_logger(__name__)

# For all that is under way when the coordinator stops: each step has a bound of its own.
STOP_S = 20.0


class Namespaces:
    """The namespaces beside the default one.

    Args:
        make: the mesh of a namespace, not open yet.
        ended: told of each mesh that is closed.
    """

    def __init__(
        self,
        table: NamespaceTable,
        *,
        make: Callable[[str], Namespace],
        ended: Callable[[Namespace], None],
    ) -> None:
        self.table = table
        self._make = make
        self._ended = ended
        self.known: Mapping[str, Stored] = {}
        self._stale = True
        self._open: dict[str, OpenNamespace] = {}
        # Being closed: whoever wants one of these again waits.
        self._closing: dict[str, asyncio.Task[None]] = {}
        self._working: set[asyncio.Task[None]] = set()
        self._stopping: WeftError | None = None

    # -- which there are ------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """What is known may have changed: `load` reads it again."""
        self._stale = True

    async def load(self) -> None:
        """Take in the namespaces, if they may have changed."""
        if self._stale:
            self._stale = False
            try:
                self.known = await self.table.all()
            except BaseException:
                self._stale = True
                raise

    # -- the way of a call ----------------------------------------------------------------------------------------

    def handler(self, name: str, details: grpc.HandlerCallDetails) -> Any:
        """The handler of a call in a namespace."""
        found = self._open.get(name)
        if found is not None and found.ready:
            return found.handler(details)
        return late_handler(lambda _context: self._late(name, details))

    async def _late(self, name: str, details: grpc.HandlerCallDetails) -> Any:
        return (await self.opened(name)).handler(details)

    async def opened(self, name: str) -> OpenNamespace:
        """A namespace, open.

        Raises:
            NotFound: NAMESPACE_NOT_FOUND.
            Unavailable: it cannot be opened, or the coordinator stops.
        """
        if (closing := self._closing.get(name)) is not None:
            await asyncio.shield(closing)
        if (found := self._open.get(name)) is None:
            stored = await self.check(name)
            if not stored.awake:
                # Before anything can become due in it.
                await self.table.change(name, wake)
            found = self.open(name)
        await found.opened()
        return found

    async def check(self, name: str) -> Stored:
        """A namespace's row, if it is in use.

        Raises:
            NotFound: NAMESPACE_NOT_FOUND.
        """
        stored = self.known.get(name)
        if (stored is None or stored.namespace.HasField("delete_time")) and is_name(name):
            # It may have been made just now.
            stored = await self.table.read(name)
        if stored is None or stored.namespace.HasField("delete_time"):
            raise refusals.namespace_not_found(name)
        return stored

    def open(self, name: str) -> OpenNamespace:
        """Begin to open a namespace, unless it is open.

        Raises:
            Unavailable: the coordinator stops.
        """
        if self._stopping is not None:
            raise self._stopping
        found = self._open.get(name)
        if found is None:
            found = self._open[name] = OpenNamespace(name, partial(self._make, name))
            self.work(self._watch(found))
        return found

    async def _watch(self, opening: OpenNamespace) -> None:
        """Forget one that cannot be opened: the next call tries again."""
        try:
            await opening.opened()
        except BaseException:
            if self._open.get(opening.name) is opening:
                del self._open[opening.name]
            self._ended(opening.mesh)
            raise

    # -- open and closed ------------------------------------------------------------------------------------------

    def present(self) -> Mapping[str, OpenNamespace]:
        """Those that are open, or being opened."""
        return dict(self._open)

    def is_closing(self, name: str) -> bool:
        """Whether it is being closed."""
        return name in self._closing

    def close(self, name: str, why: WeftError) -> None:
        """Begin to close a namespace. Its calls and sessions end with `why`."""
        found = self._open.pop(name)
        found.stop_calls()
        closing = self._closing[name] = self.work(self._closed(found, why))
        closing.add_done_callback(lambda _: self._closing.pop(name, None))

    async def _closed(self, found: OpenNamespace, why: WeftError) -> None:
        try:
            await found.close(why)
        finally:
            self._ended(found.mesh)

    def work(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do something in the background. Its failure is logged."""
        task = asyncio.get_running_loop().create_task(self._told(work), name="namespaces")
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        return task

    async def _told(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except (WeftError, OSError) as error:
            log.warning("namespaces.failed", error=str(error))
        except Exception:
            log.exception("namespaces.failed")

    # -- at the end -----------------------------------------------------------------------------------------------

    async def stop(self, why: WeftError) -> None:
        """Close all. Their calls and sessions end with `why`."""
        self._stopping = why
        for name in list(self._open):
            self.close(name, why)
        if self._working:
            _, left = await asyncio.wait(list(self._working), timeout=STOP_S)
            for each in left:
                each.cancel()
