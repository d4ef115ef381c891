"""The states' part of a Redis store: a key each, which scripts read and change."""

from __future__ import annotations

from weft.coordinator.store.redis.encoding import packable_change, stored_state
from weft.coordinator.store.redis.redis_ids import is_id
from weft.coordinator.store.redis.redis_link import RedisLink
from weft.coordinator.store.state_store import (
    MAX_STATES,
    PAGE_BYTES,
    StaleAttempt,
    StateConflict,
    StatePage,
    StateWrite,
    StoredState,
    TooManyStates,
)

_DONE, _CONFLICT, _HELD, _TOO_MANY = range(4)


class RedisStates:
    """The states' part of a Redis store; `RedisStore` makes the link."""

    _link: RedisLink
    max_states = MAX_STATES

    async def get_state(self, name: str) -> StoredState | None:
        found = await self._link.run("get_state", [name])
        return stored_state(name, found) if found else None

    async def list_states(self, prefix: str, *, limit: int, cursor: str = "") -> StatePage:
        found, after = await self._link.run("list_states", [prefix, cursor, limit, PAGE_BYTES])
        return StatePage([stored_state(name.decode(), state) for name, state in found or ()], after.decode())

    async def put_state(self, name: str, write: StateWrite) -> StoredState | StateConflict | TooManyStates:
        how, found = await self._link.run("put_state", [name, packable_change(write), self.max_states])
        if how == _TOO_MANY:
            return TooManyStates(name, self.max_states)
        if how != _DONE:
            return StateConflict(int(found), held=how == _HELD)
        return stored_state(name, found or ())

    async def save_state(
        self, agent_id: str, task_id: str, attempt: int, write: StateWrite
    ) -> int | StateConflict | StaleAttempt:
        if not is_id(task_id):
            return StaleAttempt(task_id)
        how, version = await self._link.run(
            "save_state", [agent_id, task_id, attempt, packable_change(write)]
        )
        if how == _DONE:
            return int(version)
        return StateConflict(int(version)) if how == _CONFLICT else StaleAttempt(task_id)
