"""Pools as rows of the store's table: read, and changed by compare-and-set. A pool and its members are one row, so that what is decided
of them is decided at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from weft.coordinator.pools.pool_codec import KIND
from weft.coordinator.pools.pool_news import PoolNews
from weft.coordinator.store.base import Store
from weft.coordinator.store.table_store import (
    RowConflict,
    RowDelete,
    RowPut,
    TableRow,
    TooManyRows,
    every_row,
)
from weft.rpc import refusals
from weft.v1 import pool_pb2

# How often a change is tried when others change the pool at the same time.
_TRIES = 8

# Changes the given pool; false: nothing is to be changed. May be called several times.
Change = Callable[[pool_pb2.Pool], bool]


def pool_of(row: TableRow) -> pool_pb2.Pool:
    return pool_pb2.Pool.FromString(row.value)


class PoolTable:
    """The pools of a store."""

    def __init__(self, store: Store, news: PoolNews) -> None:
        self._store, self._news = store, news

    def now(self) -> float:
        return self._store.now()

    async def read(self, name: str) -> tuple[pool_pb2.Pool, int]:
        """A pool and its row's revision.

        Raises:
            NotFound: POOL_NOT_FOUND.
        """
        (row,) = await self._store.get_rows(KIND, [name])
        if row is None:
            raise refusals.pool_not_found(name)
        return pool_of(row), row.revision

    async def create(self, pool: pool_pb2.Pool, caller: str = "") -> pool_pb2.Pool | None:
        """Store a new pool; returns the one that has its name already, if there is one.

        Raises:
            Overloaded: there are too many pools.
        """
        for _ in range(_TRIES):
            (result,) = await self._store.put_rows(
                [RowPut(KIND, pool.name, pool.SerializeToString(), expected=0)]
            )
            if isinstance(result, TooManyRows):
                raise refusals.overloaded(
                    f"there are {result.limit} pools, the most that are allowed: delete some"
                )
            if not isinstance(result, RowConflict):
                self._news.stored(None, pool, result, self.now(), caller)
                return None
            (row,) = await self._store.get_rows(KIND, [pool.name])
            if row is not None:
                return pool_of(row)
        raise _contended(pool.name)

    async def change(self, name: str, change: Change, caller: str = "") -> pool_pb2.Pool:
        """Change a pool; returns it as it is then.

        Args:
            caller: who asks for that.

        Raises:
            NotFound: POOL_NOT_FOUND.
            Overloaded: others change it at the same time, again and again.
        """
        for _ in range(_TRIES):
            pool, revision = await self.read(name)
            before = pool_pb2.Pool()
            before.CopyFrom(pool)
            if not change(pool) or await self.put(before, pool, revision, caller):
                return pool
        raise _contended(name)

    async def put(self, before: pool_pb2.Pool, pool: pool_pb2.Pool, revision: int, caller: str = "") -> int:
        """Store a changed pool; returns its new revision. 0: somebody else has changed it since."""
        put = RowPut(KIND, pool.name, pool.SerializeToString(), expected=revision)
        (result,) = await self._store.put_rows([put])
        if isinstance(result, RowConflict | TooManyRows):
            return 0
        self._news.stored(before, pool, result, self.now(), caller)
        return result

    async def delete(self, name: str, revision: int) -> bool:
        """Delete a pool of which nothing is left. False: somebody has changed it since."""
        return (await self._store.delete_rows([RowDelete(KIND, name, revision)]))[0] is True

    async def page(self, limit: int, cursor: str) -> tuple[Sequence[pool_pb2.Pool], str]:
        """Some pools by name, and the cursor of the next page."""
        page = await self._store.list_rows(KIND, limit=limit, cursor=cursor)
        return [pool_of(row) for row in page.rows], page.cursor

    async def rows(self) -> list[TableRow]:
        """The rows of all pools."""
        return [row async for row in every_row(self._store, KIND)]


def _contended(name: str) -> Exception:
    return refusals.overloaded(f"others change pool {name!r} at the same time; try again", retry_after_s=0.5)
