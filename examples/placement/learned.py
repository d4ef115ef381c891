"""A placement that learns how long each method takes at each agent, and gives tasks to the quickest one that is free.

    weft coordinator --placement learned:LearnedPlacement

It keeps a mean that fades with each later run, and trusts it less with time, so that an agent that has become quicker is tried again.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from weft.coordinator.dispatch.placement_plugin import FreeAgent

# The share of the newest run in the mean.
NEWEST = 0.2
# Knowledge counts half after so long without a run.
HALF_LIFE_S = 30.0
# How much quicker an agent may be than what is known of it, after one run; less with more of them.
DOUBT = 0.5
# Pairs of method and agent that are kept.
MAX_PAIRS = 10_000


@dataclass(slots=True)
class Known:
    """What is known of one method at one agent."""

    run_s: float
    # How many runs the knowledge is worth, and when that was.
    runs: float
    at_s: float


class LearnedPlacement:
    """Ranks an agent by the time that a task is likely to take there.

    Args:
        clock: monotonic, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[tuple[str, str], Known] = OrderedDict()
        # The quickest mean of each method, for agents of which nothing is known.
        self._best_s: dict[str, float] = {}

    def rank(self, method: str, candidate: FreeAgent) -> float:
        known = self._known.get((method, candidate.agent_id))
        # Tasks beside it take their part of the machine.
        crowd = 1.0 + candidate.used_slots / candidate.slots
        if known is None:
            # As quick as the quickest, and half as long: it is tried.
            return self._best_s.get(method, 1.0) * DOUBT * crowd
        worth = known.runs * 0.5 ** ((self._clock() - known.at_s) / HALF_LIFE_S)
        return known.run_s * (1.0 - DOUBT / math.sqrt(1.0 + worth)) * crowd

    def ended(self, method: str, agent_id: str, run_s: float, succeeded: bool) -> None:
        if not succeeded:
            # A quick failure is no quick run.
            return
        pair, now_s = (method, agent_id), self._clock()
        known = self._known.get(pair)
        if known is None:
            known = self._known[pair] = Known(run_s, 0.0, now_s)
            if len(self._known) > MAX_PAIRS:
                self._known.popitem(last=False)
        known.runs = known.runs * 0.5 ** ((now_s - known.at_s) / HALF_LIFE_S) + 1.0
        known.run_s += (run_s - known.run_s) * max(NEWEST, 1.0 / known.runs)
        known.at_s = now_s
        self._known.move_to_end(pair)
        best_s = self._best_s.get(method, math.inf)
        # It forgets slowly that an agent was quick.
        self._best_s[method] = min(best_s * 1.01, known.run_s)
        if len(self._best_s) > MAX_PAIRS:
            self._best_s.clear()
