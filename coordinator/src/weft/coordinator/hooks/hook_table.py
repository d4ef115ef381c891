"""Hooks as rows of the store's table: read, and changed by compare-and-set."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from weft.coordinator.hooks.hook_codec import COUNTS_KIND, KIND
from weft.coordinator.store.base import Store
from weft.coordinator.store.table_store import RowConflict, RowDelete, RowPut, TooManyRows, every_row
from weft.rpc import refusals
from weft.rpc.errors import Overloaded
from weft.v1 import hook_pb2

# How often a change is tried when others change the hook at the same time.
_TRIES = 8

Change = Callable[[hook_pb2.StoredHook], bool]


class HookTable:
    """The hooks of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find(self, name: str) -> tuple[hook_pb2.StoredHook, int] | None:
        """A hook and its row's revision; None: there is none."""
        (row,) = await self._store.get_rows(KIND, [name])
        return None if row is None else (hook_pb2.StoredHook.FromString(row.value), row.revision)

    async def read(self, name: str) -> hook_pb2.StoredHook:
        """
        Raises:
            NotFound: HOOK_NOT_FOUND.
        """
        found = await self.find(name)
        if found is None:
            raise refusals.hook_not_found(name)
        return found[0]

    async def counts(self, names: Sequence[str]) -> list[hook_pb2.StoredHookCounts | None]:
        return [
            None if row is None else hook_pb2.StoredHookCounts.FromString(row.value)
            for row in await self._store.get_rows(COUNTS_KIND, names)
        ]

    async def create(self, stored: hook_pb2.StoredHook) -> None:
        """
        Raises:
            AlreadyExists: HOOK_EXISTS.
            Overloaded: there are too many hooks.
        """
        name = stored.hook.name
        put = RowPut(KIND, name, stored.SerializeToString(), None, 0)
        (result,) = await self._store.put_rows([put])
        if isinstance(result, TooManyRows):
            raise refusals.overloaded(
                f"there are {result.limit} hooks, the most that are allowed: remove some"
            )
        if isinstance(result, RowConflict):
            raise refusals.hook_exists(name)

    async def change(self, name: str, change: Change, uid: str = "") -> hook_pb2.StoredHook:
        """Change a hook; returns it as it is then.

        Args:
            change: changes the given one; false: nothing is to be changed. May be called several times.
            uid: of the hook for which the change was checked. Empty: it is right for any.

        Raises:
            NotFound: HOOK_NOT_FOUND.
            Overloaded: others change it at the same time, again and again.
        """
        for _ in range(_TRIES):
            found = await self.find(name)
            if found is None:
                raise refusals.hook_not_found(name)
            stored, revision = found
            if uid not in ("", stored.hook.uid):
                raise _replaced(name)
            if not change(stored):
                return stored
            (result,) = await self._store.put_rows(
                [RowPut(KIND, name, stored.SerializeToString(), None, revision)]
            )
            if isinstance(result, int):
                return stored
        raise _busy(name)

    async def delete(self, name: str, uid: str = "") -> None:
        """
        Args:
            uid: as of `change`.

        Raises:
            NotFound: HOOK_NOT_FOUND.
            Overloaded: as `change`.
        """
        for _ in range(_TRIES):
            found = await self.find(name)
            if found is None:
                raise refusals.hook_not_found(name)
            stored, revision = found
            if uid not in ("", stored.hook.uid):
                raise _replaced(name)
            (gone,) = await self._store.delete_rows([RowDelete(KIND, name, revision)])
            if gone is True:
                # Those of a hook of this name that was made meanwhile begin anew with its uid.
                await self._store.delete_rows([RowDelete(COUNTS_KIND, name)])
                return
        raise _busy(name)

    async def page(self, limit: int, cursor: str) -> tuple[list[hook_pb2.StoredHook], str]:
        """Some hooks by name, and the cursor of the next page."""
        page = await self._store.list_rows(KIND, limit=limit, cursor=cursor)
        return [hook_pb2.StoredHook.FromString(row.value) for row in page.rows], page.cursor

    async def methods(self) -> set[str]:
        """The methods that hooks call."""
        found = {
            hook_pb2.StoredHook.FromString(row.value).hook.spec.incoming.task.method
            async for row in every_row(self._store, KIND)
        }
        return found - {""}


def _busy(name: str) -> Overloaded:
    return refusals.overloaded(
        f"others change the hook {name!r} at the same time; try again", retry_after_s=0.5
    )


def _replaced(name: str) -> Overloaded:
    """What was checked for one hook may be wrong for another one: its kind, its target, its secrets."""
    return refusals.overloaded(
        f"the hook {name!r} was removed and made anew at the same time: nothing is changed; look at it, and try again",
        retry_after_s=0.5,
    )
