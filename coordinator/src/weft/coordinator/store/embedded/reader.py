"""Reads from the file. Each reader has a connection of its own, so that it never waits for the writer.

Reads see durable rows. Every method is bounded in rows. The store decides which ones run on the event loop (a few small rows)
and which on the reading thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from weft.coordinator.store.embedded.rows import MAX_ROWS, within
from weft.coordinator.store.embedded.task_spec import decode_options
from weft.coordinator.store.event_store import PAGE_BYTES as EVENT_PAGE_BYTES
from weft.coordinator.store.event_store import EventPage, EventRow, TopicRecord
from weft.coordinator.store.history import decode as decode_history
from weft.coordinator.store.records import AttemptReport, ProgressRow, Submission, TaskRecord, Verdict
from weft.coordinator.store.rules import State
from weft.coordinator.store.state_store import PAGE_BYTES as STATE_PAGE_BYTES
from weft.coordinator.store.state_store import StatePage, StoredState
from weft.coordinator.store.step_store import RecordKind
from weft.coordinator.store.table_store import PAGE_BYTES, RowPage, TableRow
from weft.coordinator.store.task_ids import format_id, parse_id
from weft.rpc.network.channel import BATCH_BYTES

# id, name, created_at, closed_at, ended_at, due_at, note
GroupRow = tuple[int, str, float, float | None, float | None, float | None, bytes | None]


class KnownRequest(NamedTuple):
    """A task with a request id."""

    number: int
    request_id: str
    digest: bytes


_RECORD = (
    "SELECT t.id, t.method, t.priority, t.created_at, t.delay_s, t.schedule_to_start_s, t.schedule_to_close_s,"
    " t.request_id, t.options, (SELECT name FROM groups WHERE id = t.group_id),"
    " e.state, e.attempt, e.crashes, e.agent_id, e.ready_at, e.started_at, e.finished_at, e.expires_at,"
    " e.expired, e.progress_count, e.outcome, "
)
_ENDED = " FROM tasks t JOIN ends e ON e.id = t.id WHERE t.id IN {}"
_STATE = "SELECT name, version, value, type, updated_at, expires_at, task_id FROM states"
_ROW = "SELECT key, revision, due_at, value FROM table_rows"
# Large columns, read on request.
_BODY, _HISTORY = "t.context, t.payload", "e.history"

_SCAN_ALL = (
    "SELECT t.id, t.method, t.created_at, e.state, e.agent_id FROM tasks t LEFT JOIN ends e ON e.id = t.id"
    " WHERE t.id < ? AND t.id >= ? ORDER BY t.id DESC LIMIT ?"
)
_SCAN_GROUP = (
    "SELECT t.id, t.method, t.created_at, e.state, e.agent_id"
    " FROM tasks t INDEXED BY tasks_by_group LEFT JOIN ends e ON e.id = t.id"
    " WHERE t.group_id = ? AND t.id < ? AND t.id >= ? ORDER BY t.id DESC LIMIT ?"
)
_GROUP = "SELECT id, name, created_at, closed_at, ended_at, due_at, note FROM groups"
_SCAN_UNFINISHED = (
    "SELECT t.id, t.method, t.created_at, NULL, NULL FROM live l CROSS JOIN tasks t ON t.id = l.id"
    " WHERE l.id < ? AND l.id >= ? ORDER BY l.id DESC LIMIT ?"
)


class Reader:
    """One connection for reading; used by one thread at a time. Large because it has a method for each query."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(
            path, isolation_level=None, cached_statements=64, check_same_thread=False
        )
        self._connection.execute("PRAGMA query_only = 1")
        self._connection.execute("PRAGMA busy_timeout = 100")

    def close(self) -> None:
        self._connection.close()

    def _many(self, text: str, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        """Rows of a query over any number of values; their IN list replaces `{}`."""
        for at in range(0, len(values), MAX_ROWS):
            yield from self._connection.execute(*within(text, values[at : at + MAX_ROWS])).fetchall()

    def requests(self, keys: Sequence[int]) -> Iterator[KnownRequest]:
        """Tasks by the keys of their request ids."""
        rows = self._many(
            "SELECT id, request_id, request_digest FROM tasks INDEXED BY tasks_by_request"
            " WHERE request_key IN {}",
            keys,
        )
        return (KnownRequest(*row) for row in rows)

    def end_of(self, number: int) -> tuple[State, float, float] | None:
        """State, end and expiry of an ended task with a result; None: there is none."""
        row = self._connection.execute(
            "SELECT state, finished_at, expires_at FROM ends WHERE id = ? AND NOT expired", (number,)
        ).fetchone()
        return None if row is None else (State(row[0]), row[1], row[2])

    def steps(
        self, number: int, after: int, limit: int
    ) -> list[tuple[int, str, int, bytes, int, float, float | None]]:
        """Recorded steps of a task, in order."""
        return self._connection.execute(
            "SELECT sequence, name, kind, value, attempt, recorded_at, wake_at FROM steps"
            " WHERE task_id = ? AND sequence > ? ORDER BY sequence LIMIT ?",
            (number, after, limit),
        ).fetchall()

    def step_counts(self, number: int) -> tuple[int, int, int]:
        """Recorded steps of a task: how many, the bytes of their values, and how many of them are signals."""
        counts: tuple[int, int, int] = self._connection.execute(
            "SELECT count(*), coalesce(sum(length(value)), 0), coalesce(sum(kind = ?), 0) FROM steps WHERE task_id = ?",
            (RecordKind.SIGNAL, number),
        ).fetchone()
        return counts

    def body_sizes(self, numbers: Sequence[int]) -> dict[int, int]:
        """Sizes of tasks' payloads and contexts, without reading these."""
        return dict(
            self._many(
                "SELECT id, coalesce(length(payload), 0) + coalesce(length(context), 0) FROM tasks WHERE id IN {}",
                numbers,
            )
        )

    def bodies(self, numbers: Sequence[int]) -> dict[int, tuple[bytes, bytes]]:
        """Payload and context of tasks."""
        rows = self._many("SELECT id, payload, context FROM tasks WHERE id IN {}", numbers)
        return {number: (payload or b"", context or b"") for number, payload, context in rows}

    def answers(self, reports: Sequence[AttemptReport]) -> list[Verdict]:
        """The answers to reports on ended tasks: a report may repeat the one that is stored."""
        numbers = [parse_id(report.task_id) or 0 for report in reports]
        rows = self._many("SELECT id, attempt, agent_id, epoch, answer FROM ends WHERE id IN {}", numbers)
        stored = {number: (fence, answer) for number, *fence, answer in rows}
        verdicts = []
        for number, report in zip(numbers, reports, strict=True):
            fence, answer = stored.get(number, (None, ""))
            verdicts.append(Verdict(answer) if fence == [report.attempt, *report.owner] else Verdict.STALE)
        return verdicts

    def records(
        self, numbers: Sequence[int], *, payloads: bool, history: bool = False
    ) -> dict[int, TaskRecord]:
        """Ended tasks by number."""
        large = f"{_BODY if payloads else 'NULL, NULL'}, {_HISTORY if history else 'NULL'}"
        rows = self._many(_RECORD + large + _ENDED, numbers)
        return {row[0]: _record(row) for row in rows}

    def scan(
        self, below: int, least: int, limit: int, *, unfinished: bool, group: int | None = None
    ) -> list[tuple[int, str, float, int | None, str | None]]:
        """(number, method, created_at, final state, agent of the last attempt) of tasks under `below`, newest first.

        Args:
            unfinished: only unfinished tasks, if it is not about a group.
            group: only tasks of this group.
        """
        if group is not None:
            return self._connection.execute(_SCAN_GROUP, (group, below, least, limit)).fetchall()
        text = _SCAN_UNFINISHED if unfinished else _SCAN_ALL
        return self._connection.execute(text, (below, least, limit)).fetchall()

    def progress(self, number: int, after: int, limit: int) -> list[ProgressRow]:
        """Responses of a streaming task: at least one, and not many large ones."""
        found: list[ProgressRow] = []
        size_bytes = 0
        rows = self._connection.execute(
            "SELECT sequence, attempt, payload, headers FROM progress WHERE task_id = ? AND sequence > ?"
            " ORDER BY sequence LIMIT ?",
            (number, after, limit),
        )
        for row in rows:
            found.append(ProgressRow(*row))
            size_bytes += len(row[2])
            if size_bytes > BATCH_BYTES:
                break
        return found

    def digests(self) -> list[str]:
        """Contracts, oldest first."""
        rows = self._connection.execute("SELECT digest FROM contracts ORDER BY ordinal")
        return [digest for (digest,) in rows]

    def contracts(self, known: Collection[str]) -> dict[str, tuple[bytes, list[str]]]:
        """Contracts by digest, oldest first: descriptor set (empty for known ones) and the methods for which it is in force."""
        found: dict[str, tuple[bytes, list[str]]] = {}
        for digest in self.digests():
            found[digest] = (b"", [])
            if digest not in known:
                text = "SELECT file_descriptor_set FROM contracts WHERE digest = ?"
                (descriptors,) = self._connection.execute(text, (digest,)).fetchone()
                found[digest] = (descriptors, [])
        for method, digest in self._connection.execute("SELECT method, digest FROM hosted ORDER BY method"):
            found[digest][1].append(method)
        return found

    def rows(self, kind: str, keys: Sequence[str]) -> dict[str, TableRow]:
        """Rows of the table by key."""
        found = (
            self._connection.execute(f"{_ROW} WHERE kind = ? AND key = ?", (kind, key)).fetchone()
            for key in keys
        )
        return {row[0]: _table_row(kind, row) for row in found if row is not None}

    def rows_after(self, kind: str, after: str, limit: int) -> RowPage:
        """A page of a kind's rows: at least one if there is any."""
        rows = self._connection.execute(
            f"{_ROW} WHERE kind = ? AND key > ? ORDER BY key LIMIT ?", (kind, after, limit + 1)
        )
        found: list[TableRow] = []
        size_bytes = 0
        for row in rows:
            if len(found) == limit or size_bytes > PAGE_BYTES:
                return RowPage(found, found[-1].key)
            found.append(_table_row(kind, row))
            size_bytes += len(row[3])
        return RowPage(found)

    def state(self, name: str) -> StoredState | None:
        """The state of a lock."""
        row = self._connection.execute(f"{_STATE} WHERE name = ?", (name,)).fetchone()
        return None if row is None else StoredState(*row)

    def states_after(self, prefix: str, after: str, now: float, limit: int) -> StatePage:
        """A page of the states whose names begin with a prefix: at least one if there is any."""
        rows = self._connection.execute(
            f"{_STATE} WHERE name >= ? AND name > ? ORDER BY name LIMIT ?", (prefix, after, limit + 1)
        )
        found: list[StoredState] = []
        size_bytes = read = 0
        last = ""
        for row in rows:
            if not row[0].startswith(prefix):
                return StatePage(found)
            if read == limit or size_bytes > STATE_PAGE_BYTES:
                return StatePage(found, last)
            state, last, read = StoredState(*row), row[0], read + 1
            size_bytes += len(state.value)
            if state.at(now).version:
                found.append(state)
        return StatePage(found)

    def count_states(self, now: float) -> int:
        """How many states have not ended. Reads indexes alone."""
        (count,) = self._connection.execute(
            "SELECT (SELECT count(*) FROM states) - (SELECT count(*) FROM states WHERE expires_at <= ?)",
            (now,),
        ).fetchone()
        return int(count)

    def due_rows(self, kind: str, now: float, limit: int) -> tuple[list[TableRow], float | None]:
        """Due rows, earliest first, and when the next one is due."""
        rows = self._connection.execute(
            f"{_ROW} WHERE kind = ? AND due_at IS NOT NULL ORDER BY due_at, key LIMIT ?", (kind, limit + 1)
        )
        found: list[TableRow] = []
        size_bytes = 0
        for row in rows:
            if row[2] > now or len(found) == limit or size_bytes > PAGE_BYTES:
                return found, row[2]
            found.append(_table_row(kind, row))
            size_bytes += len(row[3])
        return found, None

    def group_of(self, number: int) -> int | None:
        """The group of a stored task."""
        row = self._connection.execute("SELECT group_id FROM tasks WHERE id = ?", (number,)).fetchone()
        return None if row is None else row[0]

    def groups(self, names: Sequence[str]) -> dict[str, GroupRow]:
        """Groups by name."""
        found = (
            self._connection.execute(f"{_GROUP} WHERE name = ? AND NOT deleted", (name,)).fetchone()
            for name in names
        )
        return {row[1]: row for row in found if row is not None}

    def groups_after(self, after: str, limit: int) -> list[GroupRow]:
        """Groups in the order of their names."""
        text = f"{_GROUP} WHERE name > ? AND NOT deleted ORDER BY name LIMIT ?"
        return self._connection.execute(text, (after, limit)).fetchall()

    def due_groups(self, limit: int) -> list[GroupRow]:
        """Groups whose note has a time, earliest first."""
        text = f"{_GROUP} WHERE due_at IS NOT NULL ORDER BY due_at, id LIMIT ?"
        return self._connection.execute(text, (limit,)).fetchall()

    def events_after(self, topic: str, after: int, limit: int) -> EventPage:
        """Events of a topic: at least one if there is any, and not many large ones."""
        known = self._connection.execute(
            "SELECT id, first, last FROM topics WHERE name = ?", (topic,)
        ).fetchone()
        if known is None:
            return EventPage([], 1, 0)
        number, first, last = known
        found: list[EventRow] = []
        if after < last:
            size_bytes = 0
            rows = self._connection.execute(
                "SELECT sequence, at, body FROM events WHERE topic = ? AND sequence > ?"
                " ORDER BY sequence LIMIT ?",
                (number, after, limit),
            )
            for row in rows:
                found.append(EventRow(*row))
                size_bytes += len(row[2])
                if size_bytes > EVENT_PAGE_BYTES:
                    break
        # Events may have come in between.
        return EventPage(found, first, max(last, found[-1].sequence if found else 0))

    def event_before(self, topic: str, at: float) -> int:
        """The sequence after which all events of a topic were stored at a time or later."""
        known = self._connection.execute(
            "SELECT id, first, last FROM topics WHERE name = ?", (topic,)
        ).fetchone()
        if known is None:
            return 0
        number, low, high = known[0], known[1] - 1, known[2]
        while low < high:
            middle = (low + high + 1) // 2
            found = self._connection.execute(
                "SELECT at FROM events WHERE topic = ? AND sequence = ?", (number, middle)
            ).fetchone()
            low, high = (middle, high) if found is None or found[0] < at else (low, middle - 1)
        return int(low)

    def new_topics(self, names: Collection[str]) -> int:
        """How many topics there would be with these; 0: all of them are there already."""
        found = self._many("SELECT 1 FROM topics WHERE name IN {}", list(names))
        missing = len(names) - sum(1 for _ in found)
        if not missing:
            return 0
        (count,) = self._connection.execute("SELECT count(*) FROM topics").fetchone()
        return int(count) + missing

    def topics_after(self, after: str, limit: int) -> list[TopicRecord]:
        """Topics in the order of their names."""
        rows = self._connection.execute(
            "SELECT name, first, last, size_bytes, last_at FROM topics WHERE name > ? ORDER BY name LIMIT ?",
            (after, limit),
        )
        return [TopicRecord(*row) for row in rows]

    def first_expiry(self) -> float | None:
        row: tuple[float | None] = self._connection.execute("SELECT min(expires_at) FROM ends").fetchone()
        return row[0]


def _table_row(kind: str, row: tuple[Any, ...]) -> TableRow:
    key, revision, due_at, value = row
    return TableRow(kind, key, value, revision, due_at)


def _record(row: tuple[Any, ...]) -> TaskRecord:
    (number, method, priority, created_at, delay_s, to_start_s, to_close_s, request_id) = row[:8]
    (options, group, state, attempt, crashes, agent_id, ready_at, started_at, finished_at) = row[8:17]
    (expires_at, expired, progress_count, outcome, context, payload, history) = row[17:]
    task_id = format_id(number)
    submission = Submission(
        method,
        payload or b"",
        task_id=task_id,
        request_id=request_id or "",
        priority=priority,
        delay_s=delay_s or 0.0,
        schedule_to_start_s=to_start_s,
        schedule_to_close_s=to_close_s,
        context=context or b"",
        group=group or "",
        **decode_options(options),
    )
    return TaskRecord(
        task_id,
        State(state),
        submission,
        attempt=attempt,
        crashes=crashes,
        agent_id=agent_id,
        progress_count=progress_count,
        created_at=created_at,
        ready_at=ready_at,
        started_at=started_at,
        finished_at=finished_at,
        expires_at=expires_at,
        outcome=outcome or b"",
        expired=bool(expired),
        history=decode_history(history),
    )
