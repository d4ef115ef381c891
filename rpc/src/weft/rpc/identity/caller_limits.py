"""Most of what one caller may use at a time: the limits, and where they come from. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from weft.v1 import security_pb2

# Beyond this, a number is no limit.
MOST = 1e15
# A bucket that fills more slowly refuses for hours.
LEAST_RATE = 0.001
RATES = frozenset({"calls_per_s", "bytes_per_s"})
# Limits that somebody has set; 0: none, whatever others say.
SetLimits = Mapping[str, float]


class CallerLimits(NamedTuple):
    """The limits that hold for a caller. 0: no limit. The names are those of `weft.v1.CallerLimits`."""

    calls_per_s: float = 0.0
    open_calls: float = 0
    open_streams: float = 0
    bytes_per_s: float = 0.0
    queued_tasks: float = 0

    def message(self) -> security_pb2.CallerLimits:
        """Those that hold, as they are sent."""
        return limits_message({name: value for name, value in self._asdict().items() if value})


NO_LIMITS = CallerLimits()


def layered(*layers: SetLimits) -> CallerLimits:
    """The limits that hold: of each, that of the first layer that sets it."""
    if not any(layers):
        return NO_LIMITS
    return CallerLimits(*(_first(name, layers) for name in CallerLimits._fields))


def _first(name: str, layers: Iterable[SetLimits]) -> float:
    return next((layer[name] for layer in layers if name in layer), 0)


def set_in(message: security_pb2.CallerLimits) -> SetLimits:
    """The limits that a message sets."""
    return {field.name: value for field, value in message.ListFields()}


def limits_message(given: SetLimits) -> security_pb2.CallerLimits:
    """As they are sent."""
    made = security_pb2.CallerLimits()
    for name, value in given.items():
        setattr(made, name, value if name in RATES else int(value))
    return made


def fault_of(name: str, value: float) -> str:
    """What is wrong with a limit, for people. Empty: nothing."""
    if name not in CallerLimits._fields:
        return f"there is no limit {name!r}: there are {', '.join(CallerLimits._fields)}"
    if not math.isfinite(value) or not 0 <= value <= MOST:
        return f"{name} must be 0 (no limit) to {MOST:.0e}"
    if name in RATES:
        return f"{name} must be 0 (no limit) or at least {LEAST_RATE}" if 0 < value < LEAST_RATE else ""
    return f"{name} must be a whole number" if value != int(value) else ""


def texts_of(limits: SetLimits) -> list[str]:
    """The limits for people: `calls_per_s 100`."""
    return [f"{name} {number(value) if value else 'none'}" for name, value in limits.items()]


def number(value: float) -> str:
    """A limit's value for people: without an exponent, as it would be given."""
    return str(int(value)) if value == int(value) else f"{value:.10g}"
