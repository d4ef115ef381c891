"""Deliveries that have become events: noted, so that a repeat is not published again. A topic itself knows ids for two minutes only.

A task needs no such note: its request id is kept for as long.
"""

from __future__ import annotations

from weft.coordinator.store.base import Store
from weft.coordinator.store.table_store import RowDelete, RowPut, TooManyRows
from weft.rpc.process.logs import get_logger

log = get_logger(__name__)

KIND = "hook-delivery"
KEPT_S = 86400.0
# How often it looks for notes whose time is over, and how many it forgets at a time.
EVERY_S = 60.0
_AT_A_TIME = 500


class SeenDeliveries:
    """The notes of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # At first there may be notes.
        self._has_notes = True
        self._look_at_s = 0.0

    async def sequence(self, uid: str, delivery: str) -> int | None:
        """The sequence of a delivery's event; None: it is new."""
        (row,) = await self._store.get_rows(KIND, [_key(uid, delivery)])
        return None if row is None else int(row.value)

    async def note(self, uid: str, delivery: str, sequence: int, kept_s: float) -> None:
        """A delivery has become an event."""
        due_at = self._store.now() + kept_s
        put = RowPut(KIND, _key(uid, delivery), str(sequence).encode(), due_at)
        (result,) = await self._store.put_rows([put])
        self._has_notes = True
        if isinstance(result, TooManyRows):
            log.warning(
                "hook.delivery_not_noted", count=result.limit, effect="a repeat of it would be published"
            )

    async def keep_house(self, now_s: float) -> None:
        """Forget notes whose time is over, if it is time for that."""
        if not self._has_notes or now_s < self._look_at_s:
            return
        due = await self._store.due_rows(KIND, _AT_A_TIME)
        if due.rows:
            await self._store.delete_rows([RowDelete(KIND, row.key, row.revision) for row in due.rows])
        full = len(due.rows) == _AT_A_TIME
        self._has_notes = full or due.next_at is not None
        self._look_at_s = now_s if full else now_s + EVERY_S


def _key(uid: str, delivery: str) -> str:
    return f"{uid}:{delivery}"
