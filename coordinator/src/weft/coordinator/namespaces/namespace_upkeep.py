"""Keeps namespaces open, closes and removes them, in a part of each pass of the default namespace's sweeper.

    made ─► opened by a call, or because its row says `awake` ─► closed when nothing in it can become due
         ─► deleted: closed at every coordinator within 2 s; its data removed some seconds later, then its row

A closed namespace costs nothing. One in which something may become due is `awake`, and each coordinator has it open: so the end of one
coordinator does not leave a schedule, a delay or a lease unheeded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from weft.coordinator.namespaces.namespace_table import KIND, Stored, let_sleep, wake
from weft.coordinator.namespaces.namespaces import Namespaces
from weft.coordinator.namespaces.open_namespace import OpenNamespace
from weft.rpc import refusals
from weft.rpc.process.logs import get_logger
from weft.rpc.times import seconds

log = get_logger(__name__)

# A namespace without calls, agents, tasks and schedules is closed after so long.
IDLE_S = 300.0
# How often it is asked for kept tasks, when it has been idle for so long.
LOOK_S = 60.0
# The data of a deleted namespace is removed so much later: by then all coordinators have closed it.
REMOVE_S = 5.0
# A namespace that cannot be opened, or whose data cannot be removed, is tried again after so long.
RETRY_S = 5.0


class NamespaceUpkeep:
    """Opens, closes and removes namespaces.

    Args:
        remove: removes the data of a namespace that no coordinator has open.
    """

    def __init__(self, namespaces: Namespaces, remove: Callable[[str], Awaitable[None]]) -> None:
        self._namespaces = namespaces
        self._table = namespaces.table
        self._remove = remove
        # What was tried or looked at is not tried again before this time, by the monotonic clock.
        self._not_before_s: dict[str, float] = {}

    def rows_changed(self, kind: str) -> bool:
        """Some coordinator has changed rows of a kind. True: these are namespaces, and `keep_house` looks at them."""
        if kind == KIND:
            self._namespaces.forget()
        return kind == KIND

    async def keep_house(self, now_s: float) -> None:
        """Begin what is to be done. It goes on in the background."""
        await self._namespaces.load()
        known, present = self._namespaces.known, self._namespaces.present()
        for name, found in present.items():
            stored = known.get(name)
            if stored is None or stored.namespace.HasField("delete_time"):
                self._namespaces.close(name, refusals.namespace_not_found(name))
            elif found.ready:
                self._look_at(found, stored, now_s)
        self._not_before_s = {name: at_s for name, at_s in self._not_before_s.items() if name in known}
        for name, stored in known.items():
            if now_s < self._not_before_s.get(name, 0.0) or self._namespaces.is_closing(name):
                continue
            if stored.namespace.HasField("delete_time"):
                if self._table.now() >= seconds(stored.namespace.delete_time) + REMOVE_S:
                    self._not_before_s[name] = now_s + RETRY_S
                    self._namespaces.work(self._remove_data(name))
            elif stored.awake and name not in present:
                self._not_before_s[name] = now_s + RETRY_S
                self._namespaces.open(name)

    def _look_at(self, found: OpenNamespace, stored: Stored, now_s: float) -> None:
        """Close one that is idle, and keep one awake in which something may become due."""
        if found.mesh.rests and not found.calls:
            idle = now_s - found.used_at_s >= IDLE_S
            if idle and now_s >= self._not_before_s.get(found.name, 0.0):
                self._not_before_s[found.name] = now_s + LOOK_S
                self._namespaces.work(self._rest(found))
        elif not stored.awake:
            self._namespaces.work(self._wake(found))

    async def _wake(self, found: OpenNamespace) -> None:
        await self._table.change(found.name, wake)

    async def _rest(self, found: OpenNamespace) -> None:
        """Close a namespace in which nothing can become due."""
        if await found.mesh.keeps_tasks() or not _is_idle(found):
            return
        await self._table.change(found.name, let_sleep)
        if _is_idle(found) and self._namespaces.present().get(found.name) is found:
            why = refusals.stopping("the namespace is closed for now; try again", retry_after_s=0.1)
            self._namespaces.close(found.name, why)

    async def _remove_data(self, name: str) -> None:
        await self._remove(name)
        await self._table.remove(name)
        log.info("namespace.removed", namespace=name)


def _is_idle(found: OpenNamespace) -> bool:
    return found.ready and found.mesh.rests and not found.calls
