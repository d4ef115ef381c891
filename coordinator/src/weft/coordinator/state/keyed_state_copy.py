"""Keyed states that move with a mesh."""

from __future__ import annotations

from collections.abc import AsyncIterator

from weft.coordinator.keyed_states.keyed_state_codec import check_name, kind_of, message
from weft.coordinator.store.base import Store
from weft.coordinator.store.state_store import (
    MOST_STATE_BYTES,
    StateConflict,
    StateWrite,
    TooManyStates,
)
from weft.coordinator.store.store_refusals import too_many_states
from weft.rpc import refusals
from weft.rpc.times import checked_time
from weft.v1 import keyed_state_pb2

_PAGE = 100


async def exported(store: Store) -> AsyncIterator[keyed_state_pb2.KeyedState]:
    """All states, by name."""
    cursor = ""
    while True:
        page = await store.list_states("", limit=_PAGE, cursor=cursor)
        for state in page.states:
            yield message(state)
        if not (cursor := page.cursor):
            return


async def take(store: Store, state: keyed_state_pb2.KeyedState) -> bool:
    """Take in one; false: there is one of its name. It ends when it would have ended.

    Raises:
        InvalidArgument: its name or its type; or it has ended.
        TooLarge: STATE_TOO_LARGE: larger than any coordinator keeps.
        Aborted: STATE_CONFLICT: a running task holds its lock, and has begun without it.
        Overloaded: there are too many.
    """
    name = check_name(state.name, "keyed_state.name")
    if (size_bytes := len(state.value)) > MOST_STATE_BYTES:
        raise refusals.state_too_large(name, size_bytes, MOST_STATE_BYTES)
    ttl_s = None
    if state.HasField("expire_time"):
        ttl_s = checked_time(state.expire_time, "keyed_state.expire_time") - store.now()
        if ttl_s <= 0:
            raise refusals.invalid_field("the state has ended meanwhile", field="keyed_state.expire_time")
    write = StateWrite(0, state.value, kind_of(state.type, "keyed_state."), ttl_s)
    match await store.put_state(name, write):
        case StateConflict(version) if version:
            return False
        case StateConflict():
            raise refusals.state_conflict(
                f"a running task holds the lock {name[:128]!r}, and has begun without a state: import it again when the task has ended",
                name=name,
            )
        case TooManyStates() as refused:
            raise too_many_states(refused)
        case _:
            return True
