"""The scenarios: each has its faults and its load, and is a row of the table."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.chaos.harness import faults, redis_faults
from tests.chaos.harness.deployment import Part
from tests.chaos.harness.faults import Fault
from tests.chaos.harness.items import DENSE, EVENTFUL, GATED, STEADY, Shape

# The load's throughput is measured before the first blow.
WARM_UP_S = 1.5
CLOCK_OFF_S = 3600.0
_BEGUN_S = 0.5


@dataclass(frozen=True, slots=True)
class Scenario:
    """The faults of one run. Its seed decides their order and times."""

    name: str
    faults: tuple[Fault, ...]
    shape: Shape = STEADY
    # The longest time from one blow's end to the next one.
    pause_s: float = 1.0
    # The shortest time from one blow's beginning to the next one's.
    every_s: float = 0.0
    # Whether throughput can be seen to fall and come back: not where it is all that goes through.
    timed: bool = True
    # How far clocks are off, of the coordinators and of the agents in turn.
    clocks_off_s: Sequence[float] = (0.0,)

    def needs(self) -> frozenset[Part]:
        return frozenset(fault.part for fault in self.faults)

    def schedule(self, rng: random.Random) -> list[tuple[float, Fault]]:
        """Blows, each with the seconds to wait before it."""
        order = rng.sample(self.faults, len(self.faults))
        waits = [rng.uniform(0, self.pause_s) for _ in order]
        waits[0] += WARM_UP_S if self.timed else _BEGUN_S
        return list(zip(waits, order, strict=True))


def storm(
    *,
    agents_killed: int = 0,
    agents_paused: int = 0,
    coordinators_killed: int = 0,
    links_cut: int = 0,
    links_silent: int = 0,
    redis_killed: int = 0,
    redis_cut: int = 0,
    primary_lost: int = 0,
) -> Scenario:
    """Many faults, close to each other, under all the load that goes through."""
    blows = (
        *[faults.AGENT_KILLED] * agents_killed,
        *[faults.AGENT_PAUSED] * agents_paused,
        *[faults.COORDINATOR_KILLED] * coordinators_killed,
        *[faults.LINK_CUT] * links_cut,
        *[faults.LINK_SILENT] * links_silent,
        *[redis_faults.REDIS_KILLED] * redis_killed,
        *[redis_faults.REDIS_CUT] * redis_cut,
        *[redis_faults.PRIMARY_LOST] * primary_lost,
    )
    return Scenario("storm", blows, shape=DENSE, pause_s=0.6, timed=False)


def gated(scenario: Scenario) -> Scenario:
    """The same with run limits, locks and fairness keys."""
    return replace(scenario, name=f"gated-{scenario.name}", shape=GATED)


def _single(fault: Fault) -> Scenario:
    return Scenario(fault.name, (fault,))


_SINGLE = tuple(
    map(
        _single,
        (
            faults.COORDINATOR_KILLED,
            faults.AGENT_KILLED,
            faults.AGENT_PAUSED,
            faults.LINK_CUT,
            faults.LINK_SILENT,
            faults.LINK_BLIP,
            faults.HOME_CUT,
            redis_faults.REDIS_KILLED,
            redis_faults.REDIS_CUT,
            redis_faults.REDIS_SILENT,
            redis_faults.PRIMARY_LOST,
        ),
    )
)
# A late agent is judged by clocks that disagree, and a coordinator comes back with its clock set by two hours.
_CLOCKS = Scenario(
    "clocks",
    (faults.CLOCK_TURNED, faults.AGENT_PAUSED),
    timed=False,
    clocks_off_s=(CLOCK_OFF_S, -CLOCK_OFF_S),
)
# Where the coordinator's clock is the store's: what waits for another attempt waits by it.
_ITS_CLOCK = replace(_CLOCKS, shape=replace(STEADY, retries=False))
_STORM = storm(agents_killed=2, agents_paused=1, coordinators_killed=2, links_cut=1, links_silent=1)
_REDIS_STORM = storm(
    agents_killed=2, agents_paused=1, coordinators_killed=2, links_silent=1, redis_killed=1, redis_cut=1
)
_SENTINEL_STORM = storm(
    agents_killed=2, agents_paused=1, coordinators_killed=2, links_silent=1, primary_lost=1
)
_EVENTS = Scenario(
    "events",
    (faults.COORDINATOR_KILLED, faults.COORDINATOR_KILLED, faults.AGENT_KILLED),
    shape=EVENTFUL,
    timed=False,
)
_REDIS_EVENTS = replace(_EVENTS, faults=(*_EVENTS.faults, redis_faults.REDIS_KILLED))
# Their faults are their own.
POOLS = Scenario("pools", ())
GRAPHS = Scenario("graphs", ())
EMBEDDED: Sequence[Scenario] = (*_SINGLE, _ITS_CLOCK, _STORM, gated(_STORM), _EVENTS, POOLS, GRAPHS)
REDIS: Sequence[Scenario] = (
    *_SINGLE,
    _CLOCKS,
    _REDIS_STORM,
    gated(_REDIS_STORM),
    _SENTINEL_STORM,
    _REDIS_EVENTS,
    POOLS,
    GRAPHS,
)
