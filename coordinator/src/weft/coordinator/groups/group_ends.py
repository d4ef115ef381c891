"""Calls that wait for the end of groups. When groups have changed, at this coordinator or another one, those that are waited for are
read in one go."""

from __future__ import annotations

import asyncio

from weft.coordinator.store.base import Store
from weft.coordinator.store.group_store import GroupRecord
from weft.rpc import refusals
from weft.rpc.errors import WeftError

# Groups that are read at a time, and the wait after a failed read.
_READ_GROUPS = 256
_RETRY_S = 0.5


class GroupEnds:
    """The waiting calls, by group.

    Args:
        most: how many calls may wait.
    """

    def __init__(self, store: Store, most: int) -> None:
        self._store = store
        self._most = most
        self._count = 0
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._stale = False
        self._reading: asyncio.Task[None] | None = None

    async def wait(self, name: str, timeout_s: float | None) -> GroupRecord:
        """The group when it has ended, or when the time has passed.

        Raises:
            NotFound: GROUP_NOT_FOUND.
            Overloaded: too many calls wait.
        """
        if self._count >= self._most:
            raise refusals.overloaded(f"{self._most} calls wait for groups, the most that are allowed")
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, set()).add(ended)
        self._count += 1
        try:
            record = await self._read_one(name)
            if record.ended_at is None:
                try:
                    async with asyncio.timeout(timeout_s):
                        await ended
                except TimeoutError:
                    pass
                record = await self._read_one(name)
            return record
        finally:
            self._count -= 1
            self._waiting[name].discard(ended)
            if not self._waiting[name]:
                del self._waiting[name]

    async def _read_one(self, name: str) -> GroupRecord:
        (record,) = await self._store.get_groups([name])
        if record is None:
            raise refusals.group_not_found(name)
        return record

    def changed(self) -> None:
        """Groups have changed."""
        self._stale = True
        if self._waiting and self._reading is None:
            self._reading = asyncio.get_running_loop().create_task(self._read(), name="group-ends")

    def close(self, error: WeftError) -> None:
        """End all waiting calls with an error."""
        if self._reading is not None:
            self._reading.cancel()
        for waiting in self._waiting.values():
            for ended in waiting:
                if not ended.done():
                    ended.set_exception(error)

    async def _read(self) -> None:
        try:
            while self._stale and self._waiting:
                self._stale = False
                try:
                    await self._read_all(list(self._waiting))
                except WeftError:
                    self._stale = True
                    await asyncio.sleep(_RETRY_S)
        finally:
            self._reading = None

    async def _read_all(self, names: list[str]) -> None:
        for at in range(0, len(names), _READ_GROUPS):
            some = names[at : at + _READ_GROUPS]
            for name, record in zip(some, await self._store.get_groups(some), strict=True):
                if record is not None and record.ended_at is None:
                    continue
                for ended in self._waiting.get(name, ()):
                    if not ended.done():
                        ended.set_result(None)
