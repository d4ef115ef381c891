"""Events on the wire and in the store: requests are checked here, and nowhere else.

The store keeps an event as a serialized `weft.v1.Event` without topic, sequence and time. Fields of a message may come in any order: so a
stored event gets these in front, and goes out without being parsed.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from weft.coordinator.events.event_types import EventType, EventTypes, is_own
from weft.coordinator.store.event_store import MAX_EVENTS, EventRow, NewEventRow, TopicRecord
from weft.rpc import refusals
from weft.rpc.network.channel import MAX_PAYLOAD_BYTES
from weft.rpc.times import timestamp
from weft.v1 import event_pb2

MAX_EVENT_BYTES = 1024 * 1024
# More would not fit the stores' integers.
MAX_SEQUENCE = 2**53
# Those that are published with a task.
MAX_WITH_TASK = 100
MAX_TOPIC_CHARS = 256
MAX_KEY_BYTES = 256
MAX_ATTRIBUTES = 32
MAX_ATTRIBUTE_BYTES = 1024
# Those of CloudEvents that follow from the rest of an event.
DERIVED = frozenset({"id", "type", "specversion", "datacontenttype", "data"})
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_ID = re.compile(r"[\x21-\x7e]{1,128}")
_ATTRIBUTE = re.compile(r"[a-z0-9]{1,32}")
# The tag of `events` in a response.
_EVENTS_TAG = b"\x0a"
# The tag of `sequence` in an `Event`.
_SEQUENCE_TAG = b"\x10"


def check_topic(topic: str, field: str = "topic") -> str:
    """Refuse a name that no message type can have; returns it.

    Raises:
        InvalidArgument
    """
    if len(topic) > MAX_TOPIC_CHARS or not _NAME.fullmatch(topic):
        raise refusals.invalid_field(
            f"{field} is {topic[:64]!r}; it must be the full name of a message type, such as acme.shop.v1.OrderPlaced",
            field=field,
        )
    return topic


def checked_sequence(after: int) -> int:
    """A cursor of a request.

    Raises:
        InvalidArgument
    """
    if after > MAX_SEQUENCE:
        raise refusals.invalid_field(f"after is at most {MAX_SEQUENCE}", field="after")
    return after


def new_rows(
    events: Sequence[event_pb2.NewEvent], types: EventTypes, field: str = "events", most: int = MAX_EVENTS
) -> list[NewEventRow]:
    """The events of a request, checked, as the store keeps them.

    Raises:
        InvalidArgument, TooLarge, NotFound: as `PublishEvents` says.
    """
    if not 1 <= len(events) <= most:
        raise refusals.invalid_field(
            f"{field} must be 1 to {most} events; there are {len(events)}", field=field
        )
    size = sum(len(event.payload) for event in events)
    if size > MAX_PAYLOAD_BYTES:
        raise refusals.payload_too_large(
            f"the events have {size} bytes together, the most are {MAX_PAYLOAD_BYTES}: publish them in several calls",
            size,
            MAX_PAYLOAD_BYTES,
            field=field,
        )
    known: dict[str, EventType] = {}
    return [_new_row(event, types, known, f"{field}[{index}]") for index, event in enumerate(events)]


def _new_row(
    event: event_pb2.NewEvent, types: EventTypes, known: dict[str, EventType], field: str
) -> NewEventRow:
    """A row.

    Args:
        known: the types of topics that were looked up for this request.
    """
    topic, payload, key, event_id = event.topic, event.payload, event.key, event.id
    kind = known.get(topic)
    if kind is None:
        kind = known[topic] = _open_type(topic, types, f"{field}.topic")
    if (size := len(payload)) > MAX_EVENT_BYTES:
        raise refusals.payload_too_large(
            f"{field}.payload has {size} bytes, the most are {MAX_EVENT_BYTES}: put large data elsewhere, and name it in the event",
            size,
            MAX_EVENT_BYTES,
            field=f"{field}.payload",
        )
    if event_id and not _ID.fullmatch(event_id):
        raise refusals.invalid_field(
            f"{field}.id must be 1 to 128 printable ASCII characters without spaces", field=f"{field}.id"
        )
    if key and len(key.encode()) > MAX_KEY_BYTES:
        raise refusals.invalid_field(f"{field}.key has more than {MAX_KEY_BYTES} bytes", field=f"{field}.key")
    # Most have none, and an empty map is not for nothing either.
    attributes = dict(event.attributes) if event.attributes else None
    if attributes:
        _check_attributes(attributes, f"{field}.attributes")
    kind.check(payload, field)
    return row_of(topic, payload, event_id, key, attributes)


def _open_type(topic: str, types: EventTypes, field: str) -> EventType:
    """The type of a topic to which callers may publish.

    Raises:
        InvalidArgument, NotFound
    """
    check_topic(topic, field)
    if is_own(topic):
        raise refusals.invalid_field(
            f"{field} is {topic}, to which coordinators alone publish: use a message type of your own",
            field=field,
        )
    return types.get(topic)


def row_of(
    topic: str, payload: bytes, event_id: str = "", key: str = "", attributes: dict[str, str] | None = None
) -> NewEventRow:
    """An event as the store keeps it."""
    event = event_pb2.Event(id=event_id or secrets.token_hex(16), key=key, payload=payload)
    if attributes:
        event.attributes.update(attributes)
    return NewEventRow(topic, event.SerializeToString(), event_id)


def _check_attributes(attributes: Mapping[str, str], field: str) -> None:
    if len(attributes) > MAX_ATTRIBUTES:
        raise refusals.invalid_field(f"{field} are more than {MAX_ATTRIBUTES}", field=field)
    for name, value in attributes.items():
        if name in DERIVED or not _ATTRIBUTE.fullmatch(name):
            raise refusals.invalid_field(
                f"{field} have the name {name[:64]!r}; names are 1 to 32 lower-case letters and digits, and not"
                f" {', '.join(sorted(DERIVED))}",
                field=field,
            )
        if len(value.encode()) > MAX_ATTRIBUTE_BYTES:
            raise refusals.invalid_field(
                f"{field}: the value of {name} has more than {MAX_ATTRIBUTE_BYTES} bytes", field=field
            )


class SentEvent(NamedTuple):
    """A stored event on its way to subscribers: `wire` is its part of a `SubscribeEventsResponse`."""

    sequence: int
    body: bytes
    wire: bytes


def sent(topic: str, row: EventRow) -> SentEvent:
    event = serialized(topic, row)
    return SentEvent(row.sequence, row.body, b"".join((_EVENTS_TAG, _varint(len(event)), event)))


def serialized(topic: str, row: EventRow) -> bytes:
    """A stored event as a serialized `Event`."""
    return b"".join((_head(topic, row.at), _SEQUENCE_TAG, _varint(row.sequence), row.body))


# Events that were stored together have one time.
@lru_cache(maxsize=64)
def _head(topic: str, at: float) -> bytes:
    """Topic and time of an `Event`, serialized."""
    return event_pb2.Event(topic=topic, publish_time=timestamp(at)).SerializeToString()


def event_of(topic: str, row: EventRow) -> event_pb2.Event:
    """A stored event as a message."""
    return event_pb2.Event.FromString(serialized(topic, row))


def topic_message(record: TopicRecord) -> event_pb2.Topic:
    return event_pb2.Topic(
        name=record.name,
        first_sequence=record.first,
        last_sequence=record.last,
        size_bytes=max(0, record.size_bytes),
        last_publish_time=timestamp(record.last_at),
    )


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
