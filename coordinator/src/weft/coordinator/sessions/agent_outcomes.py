"""How one agent's attempts end, and how many it may therefore have. By the pure rules of direct calls; time is passed in.

    new ───────► 16 attempts at first; two more with each success, all after 10 s
    ejected ───► none for some seconds: some attempts in a row have failed, or many more than at its peers
    on trial ──► one; a failure ejects it again, a success begins a slow start
    slow ──────► attempts of a method take more than twice as long as elsewhere: it is chosen after others

`session_index` decides whether that holds: where an agent is the only one for a queue, or most fail, it gets work all the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from weft.rpc.balancing import slow_start
from weft.rpc.balancing.outliers import (
    SERIES_FAULTS,
    OutlierRules,
    Record,
    eject,
    ejected_until,
    failed,
    readmit,
    succeeded,
)
from weft.rpc.balancing.speed import Pace
from weft.v1 import fleet_pb2

# As numbers. Other codes are answers: a caller's mistake, a limit, a cancellation, a deadline.
ATTEMPT_FAULTS = frozenset(code.value[0] for code in SERIES_FAULTS)
# Shorter ejections than those of direct calls: tasks can wait and be retried, and a mended agent has work again within 10 s.
RULES = OutlierRules(base_ejection_s=1.0, max_ejection_s=8.0)
# Slots that an agent may use before its first success, if it has others beside it.
FIRST_SLOTS = 16


class AgentOutcomes:
    """The outcomes of an agent's attempts, over all its sessions at this coordinator.

    Attributes:
        allowance: slots that its attempts may use while others serve the queue; None: all, and its prefetch.
        suspect: it is ejected, on trial, or in the slow start after that.
        failing: it is ejected, or on trial.
        told: the ejection as others are told of it.
        slow: the factor below 1 of its weight, by method.
        typical: of each slow method, how long its attempts take over all agents.
        last_code: the code of its last failure; 0: a crash.
    """

    __slots__ = (
        "_successes",
        "_warm_at_s",
        "allowance",
        "failing",
        "instance_id",
        "last_code",
        "paces",
        "record",
        "running",
        "slow",
        "suspect",
        "told",
        "typical",
    )

    def __init__(self, now_s: float = -math.inf) -> None:
        self.record = Record()
        self.paces: dict[str, Pace] = {}
        self.slow: dict[str, float] = {}
        self.typical: dict[str, float] = {}
        self.allowance: int | None = None
        self.suspect = self.failing = False
        self.told: fleet_pb2.Ejection | None = None
        self.last_code = 0
        # Of its last session here: the process, and attempts that it ran at the end.
        self.instance_id = ""
        self.running = 0
        # The end of a slow start, and successes since its begin.
        self._warm_at_s = now_s + slow_start.WINDOW_S
        self._successes = 0

    # -- attempts -----------------------------------------------------------------------------------------------

    def succeeded(self, count: int, now_s: float) -> bool:
        """Count successes. True: they end a trial."""
        ended = succeeded(self.record, count)
        if self.allowance is not None:
            self._successes += count
            if ended:
                self._warm_at_s = now_s + slow_start.WINDOW_S
                self.failing = False
        return ended

    def failed(self, code: int, now_s: float) -> bool:
        """Count a fault of the agent. True: it ejects the agent."""
        self.last_code = code
        if not failed(self.record, RULES):
            return False
        eject(self.record, now_s)
        self.failing = True
        return True

    def came_back(self, instance_id: str) -> int:
        """Attempts that were lost with the agent's earlier process."""
        lost = self.running if self.instance_id != instance_id else 0
        self.instance_id, self.running = instance_id, 0
        return lost

    # -- what it may have ---------------------------------------------------------------------------------------

    def settle(self, slots: int, least: int, now_s: float) -> None:
        """Find out what the agent may have now.

        Args:
            least: slots of its costliest method: a single attempt is always possible.
        """
        record = self.record
        if record.ejected and not readmit(record, RULES, now_s):
            self.allowance, self.suspect = 0, True
            return
        if record.on_trial:
            self.allowance, self.suspect = least, True
            return
        left_s = self._warm_at_s - now_s
        if left_s <= 0.0:
            self.allowance, self.suspect = None, False
            return
        if self.suspect:
            allowance = int(slots * slow_start.factor(left_s))
        else:
            # A new one. Time counts little at first: its first attempts may take long before they fail.
            grown = slow_start.factor(left_s, least=0.0, aggression=0.5)
            allowance = FIRST_SLOTS + max(2 * self._successes, int((slots - FIRST_SLOTS) * grown))
        self.allowance = max(least, allowance) if allowance < slots else None

    def measured(self, method: str, seconds: float, now_s: float, typical_s: float) -> None:
        """Count how long an attempt took that succeeded."""
        pace = self.paces.get(method)
        if pace is None:
            pace = self.paces[method] = Pace()
        pace.measured(seconds, now_s, typical_s)
        factor = pace.factor(now_s, typical_s)
        if factor < 1.0:
            self.slow[method], self.typical[method] = factor, typical_s
        elif self.slow:
            self.slow.pop(method, None)

    def fade(self, typical: Mapping[str, Pace], now_s: float) -> None:
        """Let measurements of slow methods count less with time."""
        for method in list(self.slow):
            factor = self.paces[method].factor(now_s, typical[method].seconds)
            if factor < 1.0:
                self.slow[method] = factor
            else:
                del self.slow[method]

    def out_for_s(self, now_s: float) -> float:
        """How long the agent still gets nothing."""
        until_s = ejected_until(self.record, RULES)
        return 0.0 if until_s is None else max(0.0, until_s - now_s)

    def restore(self, multiplier: int, in_a_row: int, code: int, left_s: float, now_s: float) -> None:
        """Take over what another coordinator has learned of the agent."""
        record = self.record
        record.multiplier, record.in_a_row, self.last_code = multiplier, in_a_row, code
        self.failing = True
        record.ejected_at = now_s
        # The ejection ends when it would have ended there.
        until_s = ejected_until(record, RULES)
        assert until_s is not None
        record.ejected_at -= max(0.0, until_s - now_s - left_s)
        if left_s <= 0.0:
            record.ejected_at, record.on_trial = None, True


def is_fault(code: int, *, crashed: bool) -> bool:
    """Whether the end of an attempt tells of a fault of its agent."""
    return crashed or code in ATTEMPT_FAULTS


def weighted_load(used: float, slots: int, weight: float) -> float:
    """Used slots ÷ slots. With a weight below 1 it is as if there were fewer slots, also at an idle agent: the load with one
    more call, less what that call is elsewhere."""
    if weight == 1.0:
        return used / slots
    return ((used + 1) / weight - 1) / slots
