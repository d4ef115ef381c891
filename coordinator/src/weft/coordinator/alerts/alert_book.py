"""Which alerts fire, from what is wrong at each look. Pure: time is passed in.

wrong ──for as long as its rule says──► fires ──not wrong for RESOLVE_S──► resolved

What fires is in a row of the store, with whose turn it is to look; times since when something is wrong or right again are in memory, and begin
anew with another coordinator.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from weft.coordinator.alerts.alert_rules import HOLDS_S, Condition, name_of
from weft.coordinator.lifecycle.lifecycle_event import LifecycleEvent, event_of
from weft.rpc.times import seconds, timestamp
from weft.v1 import lifecycle_pb2

RESOLVE_S = 10.0
# Of all that fire: they must fit a row. What is wrong besides fires when there is room.
MAX_BYTES = 24 * 1024


@dataclass(slots=True)
class AlertBook:
    """The alerts of a mesh.

    Attributes:
        firing: by name.
    """

    firing: dict[str, lifecycle_pb2.Alert] = field(default_factory=dict[str, lifecycle_pb2.Alert])
    _wrong_since: dict[str, float] = field(default_factory=dict[str, float])
    _right_since: dict[str, float] = field(default_factory=dict[str, float])

    def look(self, conditions: Iterable[Condition], now: float) -> list[LifecycleEvent]:
        """Take in all that is wrong now; returns what has changed."""
        wrong = {each.name: each for each in conditions}
        self._wrong_since = {name: self._wrong_since.get(name, now) for name in wrong}
        events = [*self._resolve(wrong.keys(), now)]
        for name, each in wrong.items():
            held_s = now - self._wrong_since[name]
            if name in self.firing or held_s < HOLDS_S.get(each.kind, 0.0) or self._full:
                continue
            alert = lifecycle_pb2.Alert(
                kind=each.kind, subject=each.subject, text=each.text, fire_time=timestamp(now)
            )
            self.firing[name] = alert
            events.append(_event(lifecycle_pb2.AlertFired(alert=alert), name, alert))
        return events

    @property
    def _full(self) -> bool:
        return sum(alert.ByteSize() for alert in self.firing.values()) >= MAX_BYTES

    def _resolve(self, wrong: Iterable[str], now: float) -> Iterable[LifecycleEvent]:
        right = self.firing.keys() - set(wrong)
        self._right_since = {name: self._right_since.get(name, now) for name in right}
        for name, since in [*self._right_since.items()]:
            if now - since >= RESOLVE_S:
                alert = self.firing.pop(name)
                told = lifecycle_pb2.AlertResolved(alert=alert, resolve_time=timestamp(now))
                yield _event(told, name, alert)


def _event(
    message: lifecycle_pb2.AlertFired | lifecycle_pb2.AlertResolved, name: str, alert: lifecycle_pb2.Alert
) -> LifecycleEvent:
    return event_of(message, name, name, seconds(alert.fire_time))


@dataclass(slots=True)
class Turn:
    """Whose turn it is to look, until when by the store's clock, and what fires."""

    coordinator_id: str
    until: float
    firing: dict[str, lifecycle_pb2.Alert]

    def row(self) -> bytes:
        alerts = [b64encode(alert.SerializeToString()).decode() for alert in self.firing.values()]
        return json.dumps({"by": self.coordinator_id, "until": self.until, "firing": alerts}).encode()

    @classmethod
    def of(cls, row: bytes) -> Turn:
        """A turn as stored. One that cannot be read is over: what fires is found again."""
        try:
            read = json.loads(row)
            alerts = [lifecycle_pb2.Alert.FromString(b64decode(text)) for text in read["firing"]]
            firing = {name_of(each.kind, each.subject): each for each in alerts}
            return cls(str(read["by"]), float(read["until"]), firing)
        except (ValueError, TypeError, KeyError, DecodeError):
            return cls("", 0.0, {})
