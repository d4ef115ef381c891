"""The Redis store's groups. The scripts count their tasks (groups.lua)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weft.coordinator.store.group_store import (
    MAX_GROUPS,
    MAX_MEMBERS,
    DueGroups,
    GroupChange,
    GroupPage,
    GroupRecord,
    TooManyGroups,
)
from weft.coordinator.store.redis.redis_ids import IdGenerator
from weft.coordinator.store.redis.redis_link import RedisLink
from weft.coordinator.store.rules import State
from weft.coordinator.store.table_store import PAGE_BYTES

# Groups that one script reads by name: each has a note of up to 64 KiB.
_READ_GROUPS = 16
_DELETED, _UNFINISHED, _ABSENT = range(3)


class RedisGroups:
    """The groups' quarter of a Redis store; `RedisStore` makes the parts."""

    _link: RedisLink
    _ids: IdGenerator
    max_groups = MAX_GROUPS
    max_members = MAX_MEMBERS

    async def create_group(
        self, name: str, note: bytes = b"", due_at: float | None = None
    ) -> tuple[GroupRecord, bool] | TooManyGroups:
        request = [name, self._ids.next(self._link.now()), note, _or_false(due_at), self.max_groups]
        found = await self._link.run("create_group", request)
        if not found:
            return TooManyGroups(name, self.max_groups)
        return _group(found[0]), bool(found[1])

    async def get_groups(self, names: Sequence[str]) -> Sequence[GroupRecord | None]:
        found: list[GroupRecord | None] = []
        for at in range(0, len(names), _READ_GROUPS):
            groups = await self._link.run("read_groups", list(names[at : at + _READ_GROUPS]))
            found += [_group(raw) if raw else None for raw in groups]
        return found

    async def list_groups(self, *, limit: int, cursor: str = "") -> GroupPage:
        groups, behind = await self._link.run("list_groups", [cursor, limit, PAGE_BYTES])
        return GroupPage([_group(raw) for raw in groups or ()], behind.decode() if behind else "")

    async def close_group(self, name: str) -> GroupRecord | None:
        found = await self._link.run("close_group", name)
        return _group(found) if found else None

    async def change_groups(self, changes: Sequence[GroupChange]) -> Sequence[bool]:
        request = [
            [known.name, known.uid, known.note, note, _or_false(due_at)] for known, note, due_at in changes
        ]
        return (
            [bool(changed) for changed in await self._link.run("change_groups", request)] if request else []
        )

    async def delete_group(self, name: str) -> bool | None:
        result = await self._link.run("delete_group", name)
        return None if result == _ABSENT else result == _DELETED

    async def due_groups(self, limit: int) -> DueGroups:
        groups, next_at, now = await self._link.run("due_groups", [limit, PAGE_BYTES])
        return DueGroups(
            [_group(raw) for raw in groups or ()],
            None if next_at is False else float(next_at),
            float(now),
        )


def _or_false(value: float | None) -> float | bool:
    return False if value is None else value


def _group(raw: Sequence[Any]) -> GroupRecord:
    uid, name, created_at, closed_at, ended_at, due_at, note, *counts = raw
    return GroupRecord(
        name.decode(),
        uid.decode(),
        float(created_at),
        {state: int(count) for state, count in zip(State, counts, strict=True)},
        None if closed_at is False else float(closed_at),
        None if ended_at is False else float(ended_at),
        note,
        None if due_at is False else float(due_at),
    )
