"""Gauges: numbers that an application reports of itself, in heartbeats and in metrics."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from weft.agent.errors import HostingError
from weft.agent.process.failure_log import log_raised
from weft.rpc.telemetry.figures import Labels

MOST_GAUGES = 64
# Slots: more makes no difference, and stays finite.
MOST_BACKLOG = 1e9
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,63}")

Gauge = Callable[[], float]


class GaugeReadings(NamedTuple):
    """What gauges say now.

    Args:
        values: by name.
        backlog_slots: those that count as load, together, as so many used slots.
    """

    values: Mapping[str, float]
    backlog_slots: float


class Gauges:
    """An agent's gauges by name."""

    def __init__(self) -> None:
        self._functions: dict[str, Gauge] = {}
        # Of those that count as load: what one of theirs counts.
        self._as_slots: dict[str, float] = {}
        # Those that have raised: the log says it once.
        self._failed: set[str] = set()

    def add(self, name: str, function: Gauge, as_slots: float = 0.0) -> None:
        """
        Raises:
            HostingError: the name is not possible or taken, there are too many, or it cannot count so much.
        """
        if not (math.isfinite(as_slots) and as_slots >= 0):
            raise HostingError(f"as_slots of gauge {name!r} is {as_slots}: it must be 0 or more used slots")
        if not _NAME.fullmatch(name):
            raise HostingError(
                f"a gauge cannot be named {name!r}: use 1 to 64 letters, digits, dots and underscores, and no digit first"
            )
        if name in self._functions:
            raise HostingError(f"there is a gauge {name!r} already")
        if len(self._functions) >= MOST_GAUGES:
            raise HostingError(f"an agent has at most {MOST_GAUGES} gauges")
        self._functions[name] = function
        if as_slots:
            self._as_slots[name] = as_slots

    def read(self) -> GaugeReadings:
        """The numbers now. From any thread. One whose function raises, or gives no number, is left out."""
        values = dict(self._read())
        backlog = sum(max(0.0, values.get(name, 0.0)) * slots for name, slots in self._as_slots.items())
        return GaugeReadings(values, min(backlog, MOST_BACKLOG))

    def points(self) -> Iterator[tuple[Labels, float]]:
        """The same for metrics."""
        for name, value in self._read():
            yield (name,), value

    def _read(self) -> Iterator[tuple[str, float]]:
        for name, function in self._functions.items():
            try:
                value = float(function())
                if not math.isfinite(value):
                    raise ValueError(f"{value} is not a number that can be compared")
            except Exception as error:
                if name not in self._failed:
                    self._failed.add(name)
                    log_raised("gauge.failed", error, hook=f"gauge {name}")
                continue
            yield name, value
