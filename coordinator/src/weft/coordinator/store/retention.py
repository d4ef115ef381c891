"""Forgetting: what has expired leaves the file in small portions. A job on the writer's connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from weft.coordinator.rules import REQUEST_ID_TTL_S
from weft.coordinator.store.rows import MAX_ROWS, within


class Purged(NamedTuple):
    """How many tasks expired, and when the next one will (None: none is left)."""

    tasks: int
    next_at: float | None


_SHRINK = (
    "UPDATE ends SET outcome = NULL, history = NULL, expired = 1,"
    " expires_at = (SELECT t.created_at FROM tasks t WHERE t.id = ends.id) + ? WHERE id IN {}"
)


def purge(connection: sqlite3.Connection, now: float, limit: int) -> Purged:
    """Forget tasks that have expired, the oldest first.

    One whose request id must still be remembered loses what is large and stays as a row for that long.
    """
    rows = connection.execute(
        "SELECT e.id, t.created_at, t.request_key IS NOT NULL AND NOT e.expired"
        " FROM ends e JOIN tasks t ON t.id = e.id WHERE e.expires_at <= ? ORDER BY e.expires_at LIMIT ?",
        (now, min(limit, MAX_ROWS)),
    ).fetchall()
    kept = [number for number, created_at, named in rows if named and created_at + REQUEST_ID_TTL_S > now]
    gone = sorted({number for number, _, _ in rows}.difference(kept))
    if kept:
        _each(connection, "UPDATE tasks SET payload = NULL, context = NULL WHERE id IN {}", kept)
        _each(connection, _SHRINK, kept, REQUEST_ID_TTL_S)
        _each(connection, "DELETE FROM progress WHERE task_id IN {}", kept)
    if gone:
        # Numbers stay unique for ever, also when the clock has been set back.
        connection.execute("UPDATE meta SET value = max(value, ?) WHERE name = 'last_number'", (gone[-1],))
        _each(connection, "DELETE FROM tasks WHERE id IN {}", gone)
        _each(connection, "DELETE FROM ends WHERE id IN {}", gone)
        _each(connection, "DELETE FROM progress WHERE task_id IN {}", gone)
    (next_at,) = connection.execute("SELECT min(expires_at) FROM ends").fetchone()
    return Purged(len(rows), next_at)


def _each(connection: sqlite3.Connection, text: str, numbers: Sequence[int], *before: float) -> None:
    connection.execute(*within(text, numbers, *before))
