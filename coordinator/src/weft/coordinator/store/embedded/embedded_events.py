"""The embedded store's events: a log a topic in the file alone. An append is a job of the journal: it gives the sequences in the
transaction that stores the events, so that a failed write leaves no gap."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from weft.coordinator.store.embedded.core import ReaderPool
from weft.coordinator.store.embedded.journal import Journal
from weft.coordinator.store.embedded.rows import MAX_ROWS, within
from weft.coordinator.store.embedded.task_table import TaskTable
from weft.coordinator.store.event_store import (
    EVENT_BYTES,
    MAX_TOPICS,
    Appended,
    EventPage,
    NewEventRow,
    TooManyTopics,
    TopicPage,
    bucket_of,
    news_of,
)
from weft.coordinator.store.records import Submission
from weft.coordinator.store.store_config import EVENT_KEEP_BYTES

# Events that are looked at together for what is to be dropped.
_TRIM_ROWS = 256
_ANY = 2**62


class EmbeddedEvents:
    """The events' part of an embedded store; `EmbeddedStore` makes the parts."""

    _clock: Callable[[], float]
    _table: TaskTable
    _journal: Journal
    _readers: ReaderPool
    max_topics = MAX_TOPICS
    event_keep_bytes = EVENT_KEEP_BYTES

    async def append_events(self, events: Sequence[NewEventRow]) -> Sequence[Appended] | TooManyTopics:
        if not events:
            return []
        self._journal.check_writable()
        append = partial(
            append_events,
            events=events,
            # As exactly as it is told.
            now=round(self._clock(), 6),
            keep_bytes=self.event_keep_bytes,
            max_topics=self.max_topics,
        )
        results: Sequence[Appended] | TooManyTopics = await self._journal.run(append)
        if not isinstance(results, TooManyTopics):
            self._tell_events(event.topic for event in events)
        return results

    def topics_refusal(self, events: Sequence[NewEventRow]) -> TooManyTopics | None:
        """Why events cannot be appended: one of their topics would be one too many."""
        topics = {event.topic for event in events}
        too_many = bool(topics) and self._readers.inline.new_topics(topics) > self.max_topics
        return TooManyTopics(self.max_topics) if too_many else None

    async def stored_with_events(self, fresh: Sequence[Submission]) -> None:
        """Wait until new tasks, which were added to the journal just now, are durable: with their events, in the same transaction.

        Raises:
            Unavailable: they could not be written; nor were the events.
        """
        events = [event for submission in fresh for event in submission.events]
        if not events:
            return await self._journal.stored()
        append = partial(
            append_events,
            events=events,
            now=round(self._clock(), 6),
            keep_bytes=self.event_keep_bytes,
            # That was checked; a refusal now would come too late.
            max_topics=_ANY,
        )
        await self._journal.run(append)
        self._tell_events(event.topic for event in events)
        return None

    def _tell_events(self, topics: Iterable[str]) -> None:
        for topic in dict.fromkeys(topics):
            self._table.listener.rows_changed(news_of(topic))

    async def read_events(self, topic: str, after: int, *, limit: int) -> EventPage:
        return await self._readers.read(lambda reader: reader.events_after(topic, after, limit), rows=limit)

    async def event_before(self, topic: str, at: float) -> int:
        return await self._readers.read(lambda reader: reader.event_before(topic, at), rows=1)

    async def list_topics(self, *, limit: int, cursor: str = "") -> TopicPage:
        found = await self._readers.read(lambda reader: reader.topics_after(cursor, limit + 1), rows=limit)
        return TopicPage(found[:limit], found[limit - 1].name if len(found) > limit else "")

    async def trim_events(self, topic: str, before: float, limit: int) -> int:
        self._journal.check_writable()
        trimmed: int = await self._journal.run(partial(_trim_old, topic=topic, before=before, limit=limit))
        return trimmed


class _TopicLog:
    """A topic while events are appended."""

    def __init__(self, name: str, row: tuple[int, int, int, int, float] | None) -> None:
        self.name = name
        self.id, self.first, self.last, self.size_bytes, self.at = row or (0, 1, 0, 0, 0.0)

    def insert(self, connection: sqlite3.Connection) -> None:
        """Give a new topic its row."""
        if not self.id:
            found = connection.execute(
                "INSERT INTO topics (name, first, last, size_bytes, last_at) VALUES (?, 1, 0, 0, 0)",
                (self.name,),
            )
            self.id = found.lastrowid or 0

    def trim(self, connection: sqlite3.Connection, keep_bytes: int) -> None:
        """Drop the oldest events until the rest has no more bytes than may be kept."""
        while self.size_bytes > keep_bytes and self.first < self.last:
            sizes = connection.execute(
                "SELECT sequence, length(body) FROM events WHERE topic = ? AND sequence < ?"
                " ORDER BY sequence LIMIT ?",
                (self.id, self.last, _TRIM_ROWS),
            ).fetchall()
            for sequence, size in sizes:
                if self.size_bytes <= keep_bytes:
                    break
                self.first = sequence + 1
                self.size_bytes -= size + EVENT_BYTES
            connection.execute("DELETE FROM events WHERE topic = ? AND sequence < ?", (self.id, self.first))

    def save(self, connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE topics SET first = ?, last = ?, size_bytes = ?, last_at = ? WHERE id = ?",
            (self.first, self.last, self.size_bytes, self.at, self.id),
        )


def append_events(
    connection: sqlite3.Connection,
    *,
    events: Sequence[NewEventRow],
    now: float,
    keep_bytes: int,
    max_topics: int,
) -> Sequence[Appended] | TooManyTopics:
    """Append events in the transaction of a job."""
    logs = {event.topic: _log(connection, event.topic) for event in events}
    missing = sum(not log.id for log in logs.values())
    if missing:
        (count,) = connection.execute("SELECT count(*) FROM topics").fetchone()
        if count + missing > max_topics:
            return TooManyTopics(max_topics)
        for log in logs.values():
            log.insert(connection)
    bucket = bucket_of(now)
    known = _known_ids(connection, events, logs, bucket)
    results: list[Appended] = []
    rows: list[tuple[int, int, float, bytes]] = []
    ids: list[tuple[int, int, str, int]] = []
    for event in events:
        log = logs[event.topic]
        if event.id and (earlier := known.get((log.id, event.id))) is not None:
            results.append(Appended(earlier, existed=True))
            continue
        log.last += 1
        log.at = max(log.at, now)
        log.size_bytes += len(event.body) + EVENT_BYTES
        rows.append((log.id, log.last, log.at, event.body))
        if event.id:
            known[log.id, event.id] = log.last
            ids.append((bucket, log.id, event.id, log.last))
        results.append(Appended(log.last))
    connection.executemany("INSERT INTO events (topic, sequence, at, body) VALUES (?, ?, ?, ?)", rows)
    if ids:
        connection.execute("DELETE FROM event_ids WHERE bucket < ?", (bucket - 1,))
        connection.executemany("INSERT INTO event_ids (bucket, topic, id, sequence) VALUES (?, ?, ?, ?)", ids)
    for log in logs.values():
        log.trim(connection, keep_bytes)
        log.save(connection)
    return results


def _log(connection: sqlite3.Connection, name: str) -> _TopicLog:
    row = connection.execute(
        "SELECT id, first, last, size_bytes, last_at FROM topics WHERE name = ?", (name,)
    ).fetchone()
    return _TopicLog(name, row)


def _known_ids(
    connection: sqlite3.Connection, events: Sequence[NewEventRow], logs: dict[str, _TopicLog], bucket: int
) -> dict[tuple[int, str], int]:
    """Sequences of events that are stored already, by topic and id."""
    known: dict[tuple[int, str], int] = {}
    wanted: dict[int, list[str]] = {}
    for event in events:
        if event.id:
            wanted.setdefault(logs[event.topic].id, []).append(event.id)
    for topic, ids in wanted.items():
        for at in range(0, len(ids), MAX_ROWS):
            for each in (bucket - 1, bucket):
                text = "SELECT id, sequence FROM event_ids WHERE bucket = ? AND topic = ? AND id IN {}"
                found = connection.execute(*within(text, ids[at : at + MAX_ROWS], each, topic))
                known.update(((topic, event_id), sequence) for event_id, sequence in found)
    return known


def _trim_old(connection: sqlite3.Connection, *, topic: str, before: float, limit: int) -> int:
    log = _log(connection, topic)
    old = connection.execute(
        "SELECT sequence, length(body), at FROM events WHERE topic = ? ORDER BY sequence LIMIT ?",
        (log.id, limit),
    ).fetchall()
    count = 0
    for sequence, size, at in old:
        if at >= before:
            break
        count += 1
        log.first = sequence + 1
        log.size_bytes -= size + EVENT_BYTES
    if count:
        connection.execute("DELETE FROM events WHERE topic = ? AND sequence < ?", (log.id, log.first))
        log.save(connection)
    return count
