"""How long a mesh took to come back, read from the ledger: pure functions of its facts."""

from __future__ import annotations

import statistics
from bisect import bisect_left
from collections.abc import Collection, Sequence

from tests.chaos.harness.deployment import Part
from tests.chaos.harness.faults import Blow
from tests.support.ledger import Fact

WINDOW_S = 0.5
BACK = 0.99
_STEP_S = 0.05
# What a killed coordinator had sent off already starts within this.
_UNDER_WAY_S = 0.05


def first_claim_s(blow: Blow, facts: Sequence[Fact], plain: Collection[str]) -> float | None:
    """From the blow to the first new attempt that it called for; None: it called for none.

    Where agents got nothing to do: until the last of them has started something. After an agent's or its link's
    fault: the first start elsewhere of something that the victim was running; `plain` are the texts that never need
    a retry of their own.
    """
    starts = [fact for fact in facts if fact.event == "start"]
    if blow.bereft:
        since_s = (
            blow.disowned_until_s if blow.part is Part.COORDINATOR else blow.struck_at_s
        ) + _UNDER_WAY_S
        firsts = {
            fact.agent_id: fact.time_s
            for fact in sorted(starts, key=lambda fact: -fact.time_s)
            if fact.agent_id in blow.bereft and fact.time_s > since_s
        }
        return max(firsts.values()) - blow.struck_at_s if firsts else None
    ended = {fact.text for fact in facts if fact.event == "end" and fact.time_s <= blow.struck_at_s}
    held = {
        fact.text
        for fact in starts
        if fact.agent_id == blow.victim and fact.time_s <= blow.struck_at_s and fact.text in plain
    } - ended
    after = [fact.time_s for fact in starts if fact.text in held and fact.time_s > blow.struck_at_s]
    return min(after) - blow.struck_at_s if after else None


def steady_rate(ends_s: Sequence[float], since_s: float, until_s: float) -> float:
    """Ends a window between two moments: the median window's."""
    windows = max(1, int((until_s - since_s) / WINDOW_S))
    return statistics.median(_ends_in_window(ends_s, until_s - WINDOW_S * (n + 1)) for n in range(windows))


def recovered_s(blow: Blow, ends_s: Sequence[float], steady: float) -> float | None:
    """From the moment at which the fault was over to the first window that is back at 99 % of the steady one;
    None: there is none yet. `ends_s` is in order."""
    start_s = blow.lifted_at_s
    while ends_s and start_s + WINDOW_S <= ends_s[-1]:
        if _ends_in_window(ends_s, start_s) >= BACK * steady:
            return start_s - blow.lifted_at_s
        start_s += _STEP_S
    return None


def _ends_in_window(ends_s: Sequence[float], start_s: float) -> int:
    return bisect_left(ends_s, start_s + WINDOW_S) - bisect_left(ends_s, start_s)
