"""Removes expired tasks from the file, in small portions. A job on the writer's connection."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from weft.coordinator.store.embedded.group_table import note_forgotten
from weft.coordinator.store.embedded.rows import MAX_ROWS, within
from weft.coordinator.store.embedded.task_spec import decode_options
from weft.coordinator.store.remembered import parent_of
from weft.coordinator.store.step_store import CHILD_KEPT_S
from weft.coordinator.store.task_ids import parse_id


class Purged(NamedTuple):
    """The number of expired tasks, when the next one expires (None: there is none), and how many are forgotten by group and final
    state."""

    tasks: int
    next_at: float | None
    grouped: Mapping[tuple[int, int], int]


_SHRINK = "UPDATE ends SET outcome = NULL, history = NULL, expired = 1, expires_at = ? WHERE id = ?"


def purge(connection: sqlite3.Connection, now: float, limit: int) -> Purged:
    """Forget expired tasks, the oldest first.

    If its request id must still be remembered, a task loses its large values and stays as a row for that long. A remembered child
    of an unfinished task is kept whole, and looked at again later.
    """
    rows = connection.execute(
        "SELECT e.id, t.request_key IS NOT NULL AND NOT e.expired, t.created_at, t.options, t.group_id, e.state, t.request_id"
        " FROM ends e JOIN tasks t ON t.id = e.id WHERE e.expires_at <= ? ORDER BY e.expires_at LIMIT ?",
        (now, min(limit, MAX_ROWS)),
    ).fetchall()
    found = len(rows)
    if needed := _needed_children(connection, [(row[0], row[6]) for row in rows]):
        rows = [row for row in rows if row[0] not in needed]
        _each(connection, "UPDATE ends SET expires_at = ? WHERE id IN {}", sorted(needed), now + CHILD_KEPT_S)
    kept = {
        number: kept_until
        for number, named, created_at, options, *_ in rows
        if named and (kept_until := created_at + _request_id_ttl_s(options)) > now
    }
    gone = sorted(number for number, *_ in rows if number not in kept)
    grouped = Counter((row[4], row[5]) for row in rows if row[4] is not None and row[0] not in kept)
    if kept:
        _each(connection, "UPDATE tasks SET payload = NULL, context = NULL WHERE id IN {}", list(kept))
        connection.executemany(_SHRINK, [(kept_until, number) for number, kept_until in kept.items()])
        _each(connection, "DELETE FROM progress WHERE task_id IN {}", list(kept))
        _each(connection, "DELETE FROM steps WHERE task_id IN {}", list(kept))
    if gone:
        # Numbers stay unique for ever, even if the clock has been set back.
        connection.execute("UPDATE meta SET value = max(value, ?) WHERE name = 'last_number'", (gone[-1],))
        _each(connection, "DELETE FROM tasks WHERE id IN {}", gone)
        _each(connection, "DELETE FROM ends WHERE id IN {}", gone)
        _each(connection, "DELETE FROM progress WHERE task_id IN {}", gone)
        _each(connection, "DELETE FROM steps WHERE task_id IN {}", gone)
        note_forgotten(connection, grouped)
    (next_at,) = connection.execute("SELECT min(expires_at) FROM ends").fetchone()
    return Purged(found, next_at, grouped)


def _needed_children(connection: sqlite3.Connection, tasks: Sequence[tuple[int, str | None]]) -> set[int]:
    """Those of these tasks that are remembered for an unfinished parent."""
    parents = {
        number: parent
        for number, request_id in tasks
        if request_id and (parent := parse_id(parent_of(request_id))) is not None
    }
    if not parents:
        return set()
    unfinished = {
        number
        for (number,) in connection.execute(
            *within("SELECT id FROM live WHERE id IN {}", sorted(set(parents.values())))
        )
    }
    return {number for number, parent in parents.items() if parent in unfinished}


def _request_id_ttl_s(options: str | None) -> float:
    return float(decode_options(options)["request_id_ttl_s"])


def _each(connection: sqlite3.Connection, text: str, numbers: Sequence[int], *before: float) -> None:
    connection.execute(*within(text, numbers, *before))
