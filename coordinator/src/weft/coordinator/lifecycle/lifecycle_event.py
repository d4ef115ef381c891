"""An event that coordinators publish themselves. Pure."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from google.protobuf.message import Message


class LifecycleEvent(NamedTuple):
    """An event. Coordinators that see the same change give its event the same id."""

    message: Message
    key: str
    id: str

    @property
    def topic(self) -> str:
        return self.message.DESCRIPTOR.full_name


def event_of(message: Message, key: str, *change: object) -> LifecycleEvent:
    """The event of a change.

    Args:
        change: what the change is told by from all others of its kind.
    """
    named = " ".join(map(str, (message.DESCRIPTOR.name, *change)))
    return LifecycleEvent(message, key, hashlib.sha256(named.encode()).hexdigest()[:32])
