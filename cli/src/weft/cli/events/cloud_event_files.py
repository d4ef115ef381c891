"""CloudEvents in files: reads them for `weft events publish`, and writes them for `weft events tail`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weft.cli.command_line import inputs
from weft.cli.terminal.failure import Failure, system_reason
from weft.rpc import bounded_json

if TYPE_CHECKING:
    from cloudevents.core.base import BaseCloudEvent

    from weft.cli.events.event_view import EventView
    from weft.client import Event, Mesh, NewEvent

BINARY = (".binpb", ".pb")


def read(place: str) -> list[BaseCloudEvent]:
    """The CloudEvents of a file: in protobuf, if its name ends so; else one in JSON, or an array of them. "-": standard input.

    Raises:
        Failure: it cannot be read, or has something else.
    """
    from weft.client.cloud_event_format import ProtobufFormat
    from weft.rpc.errors import InvalidArgument

    name = "standard input" if place == "-" else place
    try:
        if place.endswith(BINARY):
            return [ProtobufFormat().read(None, Path(place).read_bytes())]
        return of_json(inputs.read_text("-" if place == "-" else f"@{place}"))
    except InvalidArgument as error:
        raise Failure(f"cannot read {name}: {error.message}", status=2) from None
    except (OSError, ValueError) as error:
        raise Failure(f"cannot read {name}: {system_reason(error)}", status=2) from None


def of_json(text: str) -> list[BaseCloudEvent]:
    """
    Raises:
        ValueError: the text is no CloudEvent, and no array of them.
    """
    from cloudevents.core.formats.json import JSONFormat

    found = bounded_json.loads(text)
    events: list[BaseCloudEvent] = []
    for index, each in enumerate(found if isinstance(found, list) else [found], start=1):
        place = f"CloudEvent {index}" if isinstance(found, list) else "the CloudEvent"
        try:
            events.append(JSONFormat().read(None, json.dumps(each)))
        except Exception as error:
            # The SDK's reader raises whatever its parts raise.
            why = str(error) if isinstance(each, dict) else "it is no JSON object"
            raise ValueError(f"{place} is not valid: {why}") from None
    return events


async def to_publish(mesh: Mesh, events: list[BaseCloudEvent], kind: str) -> list[NewEvent]:
    """Events to publish.

    Args:
        kind: the message type; empty: each says its own.

    Raises:
        Failure, InvalidArgument: an event is of no known type, or its data is not of it.
    """
    from weft.client.cloud_events import from_cloudevent, message_type_of

    classes: dict[str, Any] = {}
    made: list[NewEvent] = []
    for event in events:
        name = kind or message_type_of(event)
        if name not in classes:
            classes[name] = (await inputs.resolve_message(mesh, name)).message_class
        made.append(from_cloudevent(event, classes[name]))
    return made


def json_line(event: Event[bytes], view: EventView) -> str:
    """A published event as a CloudEvent in JSON."""
    from cloudevents.core.formats.json import JSONFormat

    from weft.client.cloud_events import JSON, cloudevent_of

    made = cloudevent_of(event, view.document(event)["message"], JSON)
    return JSONFormat().write(made).decode()
