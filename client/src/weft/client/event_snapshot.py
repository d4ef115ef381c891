"""Events as Python values: one to publish, a published one, and a topic."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar, cast

from google.protobuf.message import Message

from weft.client.task_snapshot import moment
from weft.rpc import refusals
from weft.rpc.errors import WeftError
from weft.rpc.payloads.envelope import is_coded, opened
from weft.rpc.telemetry import trace_headers
from weft.v1 import event_pb2

M = TypeVar("M")

_TRACE = ("traceparent", "tracestate")


def topic_of(kind: type[Message] | str) -> str:
    """The topic of a message type, or of its full name."""
    return kind if isinstance(kind, str) else kind.DESCRIPTOR.full_name


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to publish.

    Attributes:
        message: its type is the topic.
        key: what it is about: events of one key stay in order wherever events are spread. At most 256 bytes.
        id: unique in the topic, of 1 to 128 printable ASCII characters. Unset: generated.
        attributes: those of CloudEvents and others: names of lower-case letters and digits, values of at most 1024 bytes.
    """

    message: Message
    key: str = ""
    id: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict[str, str])

    def proto(self) -> event_pb2.NewEvent:
        """The event as it is sent, with the present trace."""
        trace = {name: text for name, text in trace_headers.current().items() if name in _TRACE}
        return event_pb2.NewEvent(
            topic=self.message.DESCRIPTOR.full_name,
            payload=self.message.SerializeToString(),
            # So that it can be repeated when the answer was lost.
            id=self.id or uuid.uuid4().hex,
            key=self.key,
            attributes={**trace, **self.attributes},
        )


def new_events(given: Iterable[NewEvent | Message]) -> list[event_pb2.NewEvent]:
    """Events as they are sent, if they are not coded."""
    return [(each if isinstance(each, NewEvent) else NewEvent(each)).proto() for each in given]


@dataclass(frozen=True, slots=True)
class Published:
    """Where an event is stored. `existed`: it was there already, under its id."""

    sequence: int
    id: str
    existed: bool


class Event(Generic[M]):
    """A published event.

    Attributes:
        proto: the event as it came.
        missed: so many events before this one were left out: they were not kept any more, or the subscriber was slow.
        fault: why its message cannot be decoded; `message` raises it. None: it can.
    """

    __slots__ = ("_kind", "_message", "fault", "missed", "proto")

    def __init__(
        self,
        proto: event_pb2.Event,
        kind: type[Message] | None,
        missed: int = 0,
        fault: WeftError | None = None,
    ) -> None:
        self.proto = proto
        self.fault = fault
        self.missed = missed
        self._kind = kind
        self._message: Any = None

    @property
    def message(self) -> M:
        """Its message; bytes, where the topic was given by name: a coded message that cannot be decoded, as it is.

        Raises:
            FailedPrecondition: it is coded, and this program cannot decode it, or it must be and is not (PAYLOAD_CODED).
            DataLoss: it was changed (PAYLOAD_CORRUPT).
        """
        if self._message is None:
            payload = self.proto.payload
            if self._kind is not None and self.fault is not None:
                raise self.fault
            if self._kind is not None and is_coded(payload):
                raise refusals.payload_coded(
                    f"event {self.sequence} of {self.topic} is coded ({opened(payload).told()}), and this client codes nothing:"
                    " connect(payloads=…), or WEFT_PAYLOAD_KEYS_FILE, gives it the keys",
                    self.topic,
                )
            self._message = payload if self._kind is None else self._kind.FromString(payload)
        return cast("M", self._message)

    @property
    def topic(self) -> str:
        return self.proto.topic

    @property
    def sequence(self) -> int:
        """Its place in the topic, from 1: a cursor."""
        return self.proto.sequence

    @property
    def id(self) -> str:
        return self.proto.id

    @property
    def key(self) -> str:
        return self.proto.key

    @property
    def published_at(self) -> datetime | None:
        """When it was stored, by the store's clock."""
        return moment(self.proto, "publish_time")

    @property
    def attributes(self) -> Mapping[str, str]:
        return self.proto.attributes

    def __repr__(self) -> str:
        return f"<Event {self.topic} {self.sequence}>"


class ConsumedEvent(Event[M]):
    """An event of a subscription that consumers share."""

    __slots__ = ("_acknowledge",)

    def __init__(
        self,
        proto: event_pb2.Event,
        kind: type[Message] | None,
        acknowledge: Callable[[int], None],
        fault: WeftError | None = None,
    ) -> None:
        super().__init__(proto, kind, fault=fault)
        self._acknowledge = acknowledge

    def acknowledge(self) -> None:
        """Acknowledge it now, and not when the next one is asked for: it comes to no consumer again. From any thread, and in any order: a
        part of the topic goes on after its first unacknowledged event. Twice is harmless."""
        self._acknowledge(self.proto.sequence)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic that has had events, at one moment.

    Attributes:
        first: the sequence of the oldest kept event; one more than `last` if none is kept.
        last: the sequence of the newest event.
        size_bytes: of the kept events, about.
    """

    name: str
    first: int
    last: int
    size_bytes: int
    last_published_at: datetime | None

    @property
    def kept(self) -> int:
        """How many events are kept."""
        return self.last + 1 - self.first

    @classmethod
    def of(cls, topic: event_pb2.Topic) -> Topic:
        return cls(
            topic.name,
            topic.first_sequence,
            topic.last_sequence,
            topic.size_bytes,
            moment(topic, "last_publish_time"),
        )


@dataclass(frozen=True, slots=True)
class Subscription:
    """A durable subscription at one moment.

    Attributes:
        method: it makes each event a task of this method.
        cursor: the sequence of the last event that it has given.
        declared: it was made by the option `on_event` of its method.
        submitted: tasks; `refused`: events that were no valid task; `missed`: events that were not kept any more.
        error: why it does not go on at the moment; empty: it does.
        proto: as it came, with its options.
    """

    name: str
    topic: str
    filter: str
    method: str
    uid: str
    cursor: int
    paused: bool
    pause_reason: str
    declared: bool
    submitted: int
    refused: int
    missed: int
    error: str
    created_at: datetime | None
    proto: event_pb2.Subscription

    @classmethod
    def of(cls, found: event_pb2.Subscription) -> Subscription:
        return cls(
            found.name,
            found.spec.topic,
            found.spec.filter,
            found.spec.delivery.method,
            found.uid,
            found.cursor,
            found.paused,
            found.pause_reason,
            found.declared,
            found.submitted_count,
            found.refused_count,
            found.missed_count,
            found.error,
            moment(found, "create_time"),
            found,
        )
