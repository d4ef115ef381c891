"""What was used, by method, agent and root task: numbers that are added up. Pure, and bounded in names."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from weft.rpc.times import MAX_DURATION_S, duration, seconds
from weft.rpc.usage_units import BUILT_IN, MAX_UNITS, is_unit
from weft.v1 import session_pb2, usage_pb2

# Names of one kind that are counted apart; what is beyond is counted together, under the empty name.
MAX_NAMES = 1000
_LARGEST = 1e18
# What a field of the contract holds.
_MOST_COUNTED = 2**63
_LONGEST_S = 3e11


class Totals:
    """Amounts of everything."""

    __slots__ = (*BUILT_IN, "units")

    def __init__(self) -> None:
        self.attempts = self.request_bytes = self.response_bytes = self.direct_calls = 0
        self.active_s = self.slot_s = 0.0
        self.units: dict[str, float] = {}

    def add(self, active_s: float, slot_s: float, request_bytes: int, response_bytes: int) -> None:
        """Count an attempt."""
        self.attempts += 1
        self.active_s += active_s
        self.slot_s += slot_s
        self.request_bytes += request_bytes
        self.response_bytes += response_bytes

    def add_direct(self, told: session_pb2.DirectUsage) -> None:
        """Count direct calls, as their agent tells of them. It may say anything: amounts are bounded."""
        self.direct_calls += min(told.calls, int(_LARGEST))
        self.active_s += _bounded(seconds(told.active))
        self.slot_s += _bounded(seconds(told.slot_time))
        self.request_bytes += min(told.request_bytes, int(_LARGEST))
        self.response_bytes += min(told.response_bytes, int(_LARGEST))
        self.add_units(told.units)

    def add_units(self, units: Mapping[str, float]) -> None:
        """Count units. An agent may say anything: what is no amount is left out."""
        for name, amount in units.items():
            known = name in self.units
            room = known or (len(self.units) < MAX_UNITS and is_unit(name))
            if room and 0 < amount <= _LARGEST and math.isfinite(amount):
                self.units[name] = self.units.get(name, 0.0) + amount

    def merge(self, other: Totals) -> None:
        for name in BUILT_IN:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.add_units(other.units)

    def less(self, other: Totals) -> Totals:
        """What is in these and not in the others; nothing is below zero."""
        left = Totals()
        for name in BUILT_IN:
            setattr(left, name, max(0, getattr(self, name) - getattr(other, name)))
        left.add_units({name: amount - other.units.get(name, 0.0) for name, amount in self.units.items()})
        return left

    def amount(self, unit: str) -> float:
        """How much of a unit was used."""
        return float(getattr(self, unit)) if unit in BUILT_IN else self.units.get(unit, 0.0)

    def message(self) -> usage_pb2.Usage:
        return usage_pb2.Usage(
            attempts=self.attempts,
            active=duration(min(self.active_s, _LONGEST_S)),
            slot_time=duration(min(self.slot_s, _LONGEST_S)),
            request_bytes=min(self.request_bytes, _MOST_COUNTED),
            response_bytes=min(self.response_bytes, _MOST_COUNTED),
            units=self.units,
            direct_calls=min(self.direct_calls, _MOST_COUNTED),
        )

    @classmethod
    def of(cls, message: usage_pb2.Usage) -> Totals:
        made = cls()
        made.attempts, made.direct_calls = message.attempts, message.direct_calls
        made.active_s, made.slot_s = seconds(message.active), seconds(message.slot_time)
        made.request_bytes, made.response_bytes = message.request_bytes, message.response_bytes
        made.add_units(message.units)
        return made


class UsageTable:
    """What was used in some time."""

    def __init__(self) -> None:
        self.methods: dict[str, Totals] = {}
        self.agents: dict[str, Totals] = {}
        self.roots: dict[str, Totals] = {}

    def merge(self, other: UsageTable) -> None:
        for mine, theirs in zip(self.kinds(), other.kinds(), strict=True):
            for name, totals in theirs.items():
                entry_of(mine, name).merge(totals)

    def kinds(self) -> tuple[dict[str, Totals], dict[str, Totals], dict[str, Totals]]:
        return self.methods, self.agents, self.roots

    def total(self) -> Totals:
        """The sum over methods."""
        return sum_of(self.methods.values())

    def take_in(self, record: usage_pb2.UsageRecord) -> None:
        """Add what a stored record says."""
        for mine, entries in zip(self.kinds(), (record.methods, record.agents, record.roots), strict=True):
            for entry in entries:
                entry_of(mine, entry.name).merge(Totals.of(entry.usage))

    def records(self, most: int) -> list[usage_pb2.UsageRecord]:
        """The same as records of at most so many entries; at least one."""
        records = [usage_pb2.UsageRecord()]
        count = 0
        for kind, entries in zip(("methods", "agents", "roots"), self.kinds(), strict=True):
            for name, totals in entries.items():
                if count == most:
                    records.append(usage_pb2.UsageRecord())
                    count = 0
                getattr(records[-1], kind).add(name=name, usage=totals.message())
                count += 1
        return records


def _bounded(amount_s: float) -> float:
    return amount_s if 0.0 <= amount_s <= MAX_DURATION_S else 0.0


def entry_of(entries: dict[str, Totals], name: str) -> Totals:
    """The totals under a name; those of all others, if there are too many names."""
    found = entries.get(name)
    if found is None:
        if len(entries) >= MAX_NAMES:
            name = ""
            found = entries.get(name)
        if found is None:
            found = entries[name] = Totals()
    return found


def sum_of(entries: Iterable[Totals]) -> Totals:
    total = Totals()
    for each in entries:
        total.merge(each)
    return total
