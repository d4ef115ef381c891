"""Gauges: numbers that an application reports of itself, in heartbeats and in metrics."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator

from weft.agent.errors import HostingError
from weft.agent.process.failure_log import log_raised
from weft.rpc.telemetry.figures import Labels

MOST_GAUGES = 64
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,63}")

Gauge = Callable[[], float]


class Gauges:
    """An agent's gauges by name."""

    def __init__(self) -> None:
        self._functions: dict[str, Gauge] = {}
        # Those that have raised: the log says it once.
        self._failed: set[str] = set()

    def add(self, name: str, function: Gauge) -> None:
        """
        Raises:
            HostingError: the name is not possible or taken, or there are too many.
        """
        if not _NAME.fullmatch(name):
            raise HostingError(
                f"a gauge cannot be named {name!r}: use 1 to 64 letters, digits, dots and underscores, and no digit first"
            )
        if name in self._functions:
            raise HostingError(f"there is a gauge {name!r} already")
        if len(self._functions) >= MOST_GAUGES:
            raise HostingError(f"an agent has at most {MOST_GAUGES} gauges")
        self._functions[name] = function

    def read(self) -> dict[str, float]:
        """The numbers now. From any thread. One whose function raises, or gives no number, is left out."""
        return dict(self._read())

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
