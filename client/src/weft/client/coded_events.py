"""The messages of events, coded where they are published and decoded where they are read. A coded one is bound to its topic."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import Message

from weft.client.event_snapshot import NewEvent, new_events
from weft.rpc import refusals
from weft.rpc.errors import WeftError
from weft.rpc.payloads.envelope import is_coded
from weft.rpc.payloads.payload_coder import EVENT, PayloadCoder
from weft.v1 import event_pb2

# Coordinators publish these, and have no keys.
_OWN_TOPICS = "weft.v1."


async def coded_events(coder: PayloadCoder, given: Iterable[NewEvent | Message]) -> list[event_pb2.NewEvent]:
    """Events as they are sent. None goes into the store of payloads: it might be deleted there before the event is.

    Raises:
        WeftError: one cannot be coded.
    """
    events = new_events(given)
    for event in events:
        event.payload = await coder.encode_async(event.payload, EVENT, event.topic, store=False)
    return events


async def decode_event(coder: PayloadCoder, event: event_pb2.Event) -> WeftError | None:
    """Decode an event in place; returns why it cannot be: then it stays as it is, and others can be read."""
    if not is_coded(event.payload):
        if coder.options.required and not event.topic.startswith(_OWN_TOPICS):
            return refusals.payload_coded(
                f"event {event.sequence} of {event.topic} is not coded, and must be (Payloads(required=True)): its publisher has no keys",
                event.topic,
            )
        return None
    try:
        event.payload = await coder.decode_async(event.payload, EVENT, (event.topic,))
    except WeftError as error:
        return error
    return None
