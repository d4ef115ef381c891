"""Who of a method's endpoints may be chosen. Pure.

The connected ones that are not ejected. Ejection is an opinion: when less than half of all could be chosen (a panic), the
connected ones get calls, ejected or not, since the few that are left would only be next. Not being connected is a fact: such
an endpoint is chosen only when none is connected, and one that just refused a connection, or calls, only when all did.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

PANIC_SHARE = 0.5


class EndpointStanding(NamedTuple):
    """How one endpoint stands."""

    # And takes calls, as far as is known.
    connected: bool
    # The last attempt to connect failed, or it said that it takes no calls.
    refused: bool = False
    ejected: bool = False


class Available(NamedTuple):
    """Places of those that may be chosen, among all; at least one when there is any."""

    places: list[int]
    panic: bool
    # Some are on their way: ask again soon.
    settled: bool


def available(standings: Sequence[EndpointStanding]) -> Available:
    connected = _places(standings, lambda standing: standing.connected)
    settled = all(standing.connected or standing.refused for standing in standings)
    if not connected:
        hopeful = _places(standings, lambda standing: not standing.refused)
        return Available(hopeful or list(range(len(standings))), panic=False, settled=False)
    healthy = [place for place in connected if not standings[place].ejected]
    panic = len(healthy) < PANIC_SHARE * len(standings) and len(healthy) < len(connected)
    return Available(connected if panic else healthy, panic, settled)


def _places(standings: Sequence[EndpointStanding], holds: Callable[[EndpointStanding], bool]) -> list[int]:
    return [place for place, standing in enumerate(standings) if holds(standing)]
