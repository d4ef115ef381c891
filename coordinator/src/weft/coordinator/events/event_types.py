"""The message types of topics: those of contracts, and weft's own."""

from __future__ import annotations

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message

from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.rpc import refusals
from weft.rpc.contracts import descriptors
from weft.rpc.payloads.envelope import Envelope, is_coded, opened
from weft.v1 import payload_pb2

# Coordinators publish the messages of these files, and nobody else does.
OWN_FILES = frozenset({"weft/v1/lifecycle.proto"})
_OWN_PACKAGE = "weft.v1."


class EventType:
    """The message type of a topic."""

    def __init__(self, descriptor: Descriptor) -> None:
        self.name: str = descriptor.full_name
        self.descriptor = descriptor
        self.message_class: type[Message] = descriptors.message_class(descriptor)

    def check(self, payload: bytes, place: str) -> None:
        """Refuse a payload that is no message of the type. What is encrypted in a coded one is not known.

        Args:
            place: the path of the event in the request.

        Raises:
            InvalidArgument: PAYLOAD_MALFORMED.
            DataLoss: it is coded, and no event of the topic (PAYLOAD_CORRUPT).
        """
        try:
            message = self.message_class.FromString(payload)
        except DecodeError as error:
            if is_coded(payload):
                self._check_coded(opened(payload), place)
                return
            field = f"{place}.payload"
            raise refusals.payload_malformed(
                f"{field} ({len(payload)} bytes) does not parse as {self.name}: {error}", field=field
            ) from None
        if not message.IsInitialized():
            field = f"{place}.payload"
            raise refusals.payload_malformed(
                f"{field} does not parse as {self.name}: required fields are missing", field=field
            )

    def _check_coded(self, envelope: Envelope, place: str) -> None:
        header = envelope.header
        if header.kind != payload_pb2.PAYLOAD_KIND_EVENT or header.method != self.name:
            raise refusals.payload_corrupt(
                f"{place}.payload is coded, and no event of {self.name}, but of {header.method[:200]!r}",
                self.name,
            )
        if envelope.plain:
            self.check(envelope.body, place)

    def decoded(self, payload: bytes) -> Message | None:
        """The message of an event; None: it is coded, and cannot be read here.

        Raises:
            DecodeError, DataLoss: it is of an incompatible contract, or damaged.
        """
        if is_coded(payload):
            envelope = opened(payload)
            return self.message_class.FromString(envelope.body) if envelope.plain else None
        return self.message_class.FromString(payload)


class EventTypes:
    """The types by name. What was found is kept until the contracts change."""

    def __init__(self, contracts: Contracts) -> None:
        self._contracts = contracts
        self._changes = -1
        self._found: dict[str, EventType] = {}

    @property
    def changes(self) -> int:
        """Grows when types may have changed."""
        return self._contracts.changes

    def find(self, topic: str) -> EventType | None:
        """A type; None: there is none of this name."""
        if self._changes != self._contracts.changes:
            self._changes = self._contracts.changes
            self._found = {}
        found = self._found.get(topic)
        if found is None:
            own = topic.startswith(_OWN_PACKAGE)
            descriptor = _own_type(topic) if own else self._of_contracts(topic)
            if descriptor is None:
                return None
            found = self._found[topic] = EventType(descriptor)
        return found

    def _of_contracts(self, topic: str) -> Descriptor | None:
        """By the newest contract in force that has it."""
        for contract in self._contracts.in_force():
            try:
                found: Descriptor = contract.pool.FindMessageTypeByName(topic)
            except KeyError:
                continue
            return found
        return None

    def get(self, topic: str) -> EventType:
        """A type.

        Raises:
            NotFound: EVENT_TYPE_UNKNOWN.
        """
        found = self.find(topic)
        if found is None:
            raise refusals.event_type_unknown(topic)
        return found


def is_own(topic: str) -> bool:
    """Whether coordinators alone may publish to a topic."""
    return topic.startswith(_OWN_PACKAGE)


def _own_type(topic: str) -> Descriptor | None:
    try:
        found = descriptor_pool.Default().FindMessageTypeByName(topic)
    except KeyError:
        return None
    return found if found.file.name in OWN_FILES else None
