"""Finds the endpoints of a method that may be chosen. Pure.

Normally the connected endpoints that are not ejected. If these are less than half of all (a panic), every connected endpoint
gets calls, ejected or not: otherwise the few healthy ones would be overloaded next. If none is connected, the endpoints that
are still connecting may be chosen. If each one has just refused a connection or calls, all may be chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

PANIC_SHARE = 0.5


class EndpointStanding(NamedTuple):
    """The standing of one endpoint."""

    # Connected, and has not said that it takes no calls.
    connected: bool
    # The last attempt to connect failed, or the agent said that it takes no calls.
    refused: bool = False
    ejected: bool = False


class Available(NamedTuple):
    """The indices of the endpoints that may be chosen. At least one, if there are endpoints."""

    indices: list[int]
    panic: bool
    # False: some endpoints are still connecting, so look again soon.
    settled: bool


def panics(healthy: int, total: int) -> bool:
    """Whether so few are healthy that ejections are ignored."""
    return healthy < PANIC_SHARE * total


def available(standings: Sequence[EndpointStanding]) -> Available:
    connected = _indices(standings, lambda standing: standing.connected)
    settled = all(standing.connected or standing.refused for standing in standings)
    if not connected:
        hopeful = _indices(standings, lambda standing: not standing.refused)
        return Available(hopeful or list(range(len(standings))), panic=False, settled=False)
    healthy = [index for index in connected if not standings[index].ejected]
    panic = panics(len(healthy), len(standings)) and len(healthy) < len(connected)
    return Available(connected if panic else healthy, panic, settled)


def _indices(standings: Sequence[EndpointStanding], holds: Callable[[EndpointStanding], bool]) -> list[int]:
    return [index for index, standing in enumerate(standings) if holds(standing)]
