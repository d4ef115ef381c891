"""Kept events, exported and imported: topic by topic, in order. They get new sequences, so an import notes which ones it has stored.

    StateImportedEvents, a row for each mesh and topic: first_sequence ─► first_stored … last_sequence

Nobody else's events of the topic can make the place of an imported one smaller than that row says: a subscription that begins there misses none,
and gives some again if others have published meanwhile.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Sequence

from weft.coordinator.events.event_codec import MAX_ATTRIBUTES, checked_sequence, event_of, new_rows
from weft.coordinator.events.event_types import EventTypes, is_own
from weft.coordinator.store.base import Store
from weft.coordinator.store.event_store import MAX_EVENTS, NewEventRow, TooManyTopics
from weft.coordinator.store.table_store import RowPut
from weft.rpc import refusals
from weft.rpc.errors import WeftError
from weft.rpc.times import checked_time
from weft.v1 import event_pb2, state_pb2

# Rows of the table.
_MESH, _MESH_KEY = "state-mesh", "id"
_IMPORTED = "state-events"
_MESH_ID_CHARS = 64
_TOPICS = 1000
# The attribute that has an event's time of before.
_TIME = "time"


async def mesh_id(store: Store) -> str:
    """What a mesh is known by where its events are imported. Made when it is first asked for."""
    made = secrets.token_hex(8).encode()
    await store.put_rows([RowPut(_MESH, _MESH_KEY, made, expected=0)])
    (row,) = await store.get_rows(_MESH, [_MESH_KEY])
    return (row.value if row is not None else made).decode()


async def exported(store: Store) -> AsyncIterator[event_pb2.Event]:
    """The kept events of all topics, but those that coordinators publish."""
    cursor = ""
    while True:
        page = await store.list_topics(limit=_TOPICS, cursor=cursor)
        for topic in page.topics:
            if not is_own(topic.name):
                async for event in _of_topic(store, topic.name, topic.last):
                    yield event
        cursor = page.cursor
        if not cursor:
            return


async def _of_topic(store: Store, topic: str, last: int) -> AsyncIterator[event_pb2.Event]:
    after = 0
    while after < last:
        rows = (await store.read_events(topic, after, limit=MAX_EVENTS)).rows
        for row in rows:
            if row.sequence <= last:
                yield event_of(topic, row)
        if not rows:
            return
        after = rows[-1].sequence


def _new_event(event: event_pb2.Event) -> event_pb2.NewEvent:
    """
    Raises:
        InvalidArgument: naming the field.
    """
    if not checked_sequence(event.sequence):
        raise refusals.invalid_field("the event has no sequence", field="event.sequence")
    checked_time(event.publish_time, "event.publish_time")
    made = event_pb2.NewEvent(
        topic=event.topic, id=event.id, key=event.key, payload=event.payload, attributes=event.attributes
    )
    if _TIME not in made.attributes and len(made.attributes) < MAX_ATTRIBUTES:
        made.attributes[_TIME] = event.publish_time.ToJsonString()
    return made


class EventImport:
    """Takes the events of one import.

    Args:
        told: called with each event, and why it was refused; True: it is stored; False: it was there.
    """

    def __init__(
        self, store: Store, types: EventTypes, told: Callable[[event_pb2.Event, WeftError | bool], None]
    ) -> None:
        self._store, self._types, self._told = store, types, told
        # The mesh that they come from.
        self.mesh_id = ""
        self._topics: dict[str, state_pb2.StateImportedEvents] = {}

    def begin(self, header: state_pb2.StateHeader) -> None:
        """
        Raises:
            InvalidArgument: the header's mesh id is none.
        """
        if len(header.mesh_id) > _MESH_ID_CHARS or not header.mesh_id.isprintable():
            raise refusals.invalid_field("mesh_id is no id of a mesh", field="header.mesh_id")
        self.mesh_id = header.mesh_id

    async def take(self, events: Sequence[event_pb2.Event]) -> None:
        """Store those that were not stored before. Those of a topic come in order.

        Raises:
            Unavailable: the store cannot be written.
        """
        waiting: list[tuple[event_pb2.Event, NewEventRow]] = []
        changed: set[str] = set()
        for event in events:
            try:
                (row,) = new_rows([_new_event(event)], self._types, "event")
            except WeftError as error:
                self._told(event, error)
                continue
            if event.sequence <= (await self._topic(event.topic)).last_sequence:
                self._told(event, False)
                continue
            waiting.append((event, row))
            if len(waiting) == MAX_EVENTS:
                changed |= await self._append(waiting)
                waiting = []
        if waiting:
            changed |= await self._append(waiting)
        if changed:
            await self._store.put_rows(
                [
                    RowPut(_IMPORTED, self._key(name), self._topics[name].SerializeToString())
                    for name in changed
                ]
            )

    async def _append(self, waiting: Sequence[tuple[event_pb2.Event, NewEventRow]]) -> set[str]:
        """Store events; returns their topics."""
        stored = await self._store.append_events([row for _, row in waiting])
        if isinstance(stored, TooManyTopics):
            error = refusals.overloaded(f"there are {stored.limit} topics, the most that are allowed")
            for event, _ in waiting:
                self._told(event, error)
            return set()
        for (event, _), place in zip(waiting, stored, strict=True):
            topic = self._topics[event.topic]
            if not topic.first_sequence:
                topic.first_sequence, topic.first_stored = event.sequence, place.sequence
            topic.last_sequence = event.sequence
            self._told(event, not place.existed)
        return {event.topic for event, _ in waiting}

    async def place_of(self, topic: str, cursor: int) -> int | None:
        """Where a subscription goes on that has given all events up to a sequence of the other mesh; None: none of them was imported."""
        known = await self._topic(topic)
        if not known.first_sequence:
            return None
        given = min(max(cursor, known.first_sequence - 1), known.last_sequence)
        return known.first_stored + given - known.first_sequence

    async def _topic(self, name: str) -> state_pb2.StateImportedEvents:
        known = self._topics.get(name)
        if known is None:
            (row,) = await self._store.get_rows(_IMPORTED, [self._key(name)])
            known = state_pb2.StateImportedEvents()
            if row is not None:
                known = state_pb2.StateImportedEvents.FromString(row.value)
            self._topics[name] = known
        return known

    def _key(self, topic: str) -> str:
        return f"{self.mesh_id}/{topic}"
