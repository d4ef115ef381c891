"""The Redis store's run limits and locks, for operators. The scripts apply them (gates.lua)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from weft.coordinator.store.records import MAX_HOLDERS, LockHolder, LockRecord
from weft.coordinator.store.redis.encoding import packable_rules, rules_of
from weft.coordinator.store.redis.redis_link import RedisLink
from weft.coordinator.store.redis.write_buffer import WriteBuffer
from weft.coordinator.store.run_limits import RunLimitRules

# Sessions whose attempts one script counts, and locks that one script lists.
_SESSIONS = 25
_LOCKS = 100


class RedisGates:
    """The run limits and locks of a Redis store; `RedisStore` makes the parts."""

    _link: RedisLink
    _buffer: WriteBuffer

    async def set_run_limits(self, method: str, rules: RunLimitRules) -> None:
        self._buffer.flush()
        packed = packable_rules(rules)
        if await self._link.run("prepare_limits", [method, packed]):
            await self._count_running(method)
        await self._link.run("set_limits", [method, packed])
        known = self._link.limited - {method}
        self._link.limited = known | {method} if rules else known

    async def _count_running(self, method: str) -> None:
        """Count the running attempts of a method at new gates, some sessions at a time. Attempts that start meanwhile, or
        change their session, are counted by their scripts."""
        counted: set[bytes] = set()
        while fresh := sorted(await self._sessions() - counted):
            for at in range(0, len(fresh), _SESSIONS):
                await self._link.run("count_running", [method, fresh[at : at + _SESSIONS]])
            counted.update(fresh)

    async def _sessions(self) -> set[bytes]:
        """The names of all sessions with attempts."""
        found: set[bytes] = set()
        for name in ("owners", "leaving"):
            asked: Any = self._link.client.zrange(self._link.keys(name), 0, -1)
            found.update(await self._link.ask("sessions", asked))
        return found

    async def run_limits(self) -> Mapping[str, RunLimitRules]:
        asked: Any = self._link.client.hgetall(self._link.keys("limits"))
        found = await self._link.ask("limits", asked)
        return {method.decode(): rules_of(raw) for method, raw in found.items()}

    async def locks(self, name: str = "") -> Sequence[LockRecord]:
        self._buffer.flush()
        found: list[LockRecord] = []
        behind: bytes | bool = b""
        while behind is not False:
            request = [behind, _LOCKS, name or False, MAX_HOLDERS]
            records, behind = await self._link.run("list_locks", request)
            found += [_lock(*record) for record in records or ()]
        return found


def _lock(
    name: bytes, waiting: int, exclusive: bool, holders: Sequence[tuple[bytes, bytes, float]]
) -> LockRecord:
    held = [
        LockHolder(task_id.decode(), agent_id.decode(), float(since), shared=not exclusive)
        for task_id, agent_id, since in holders or ()
    ]
    held.sort(key=lambda holder: (holder.since, holder.task_id))
    return LockRecord(name.decode(errors="surrogateescape"), held, int(waiting))
