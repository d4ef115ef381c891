"""Events and topics for people and as JSON documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weft.cli.rendering.documents import time_text
from weft.cli.terminal import moments
from weft.cli.terminal.output import Styled, StyledText, json_text
from weft.cli.terminal.payload_view import PayloadView
from weft.cli.terminal.tables import Column
from weft.rpc.contracts.secret_fields import SecretFields
from weft.rpc.errors import InvalidArgument

if TYPE_CHECKING:
    from weft.client import Event, Subscription, Topic
    from weft.rpc.contracts.contract_reader import ResolvedMessage

TOPIC_COLUMNS = (
    Column("topic"),
    Column("kept", right=True),
    Column("first", right=True),
    Column("last", right=True),
    Column("bytes", right=True),
    Column("last event"),
)

SUBSCRIPTION_COLUMNS = (
    Column("subscription"),
    Column("topic", below=True),
    Column("method", below=True),
    Column("filter", below=True),
    Column("cursor", right=True),
    Column("behind", right=True),
    Column("tasks", right=True, spare=1),
    Column("state", below=True),
)


class EventView:
    """Shows the events of one topic.

    Args:
        message: the topic's type.
        show_secrets: show the values of secret fields, too.
    """

    def __init__(self, message: ResolvedMessage, *, show_secrets: bool) -> None:
        self._message = message
        self._secrets = None if show_secrets else SecretFields()
        self._unread = PayloadView(show_secrets=show_secrets).unread

    def document(self, event: Event[bytes]) -> dict[str, Any]:
        try:
            shown = self._message.to_json(event.message, self._secrets)
        except InvalidArgument:
            # Coded, or published by another version of the contract.
            shown = self._unread(event.message)
        return {
            "topic": event.topic,
            "sequence": event.sequence,
            "id": event.id,
            "key": event.key,
            "published_at": time_text(event.published_at),
            "attributes": dict(event.attributes),
            "message": shown,
        }

    def words(self, event: Event[bytes]) -> StyledText:
        """An event as a line."""
        document = self.document(event)
        at = event.published_at
        moment = f"{at.astimezone():%H:%M:%S.%f}"[:-3] if at is not None else "?"
        key = f" {event.key}" if event.key else ""
        return [f"{moment} ", Styled(str(event.sequence), "bold"), f"{key} {json_text(document['message'])}"]


def topic_row(topic: Topic) -> list[StyledText]:
    at = topic.last_published_at
    return [
        topic.name,
        str(topic.kept),
        str(topic.first) if topic.kept else "",
        str(topic.last),
        str(topic.size_bytes),
        f"{moments.since(at)} ago" if at is not None else "",
    ]


def topic_document(topic: Topic) -> dict[str, Any]:
    return {
        "topic": topic.name,
        "kept": topic.kept,
        "first": topic.first,
        "last": topic.last,
        "size_bytes": topic.size_bytes,
        "last_published_at": time_text(topic.last_published_at),
    }


def subscription_row(subscription: Subscription, last: int) -> list[StyledText]:
    """A subscription as a row.

    Args:
        last: the topic's last sequence.
    """
    counts = (("refused", subscription.refused), ("missed", subscription.missed))
    words = [f"{count} {name}" for name, count in counts if count]
    state: StyledText = ", ".join(words)
    if subscription.paused:
        reason = f": {subscription.pause_reason}" if subscription.pause_reason else ""
        state = Styled(f"paused{reason}", "yellow")
    elif subscription.error:
        state = Styled(subscription.error, "red")
    return [
        subscription.name,
        subscription.topic,
        subscription.method,
        subscription.filter,
        str(subscription.cursor),
        str(max(0, last - subscription.cursor)),
        str(subscription.submitted),
        state,
    ]


def subscription_document(subscription: Subscription) -> dict[str, Any]:
    return {
        "name": subscription.name,
        "uid": subscription.uid,
        "topic": subscription.topic,
        "filter": subscription.filter,
        "method": subscription.method,
        "cursor": subscription.cursor,
        "paused": subscription.paused,
        "pause_reason": subscription.pause_reason,
        "declared": subscription.declared,
        "submitted": subscription.submitted,
        "refused": subscription.refused,
        "missed": subscription.missed,
        "error": subscription.error,
        "created_at": time_text(subscription.created_at),
    }
