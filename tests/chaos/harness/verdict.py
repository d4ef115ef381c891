"""The verdict from the ledger and the load's record, by pure functions.

duplicate        a start of what had started already and was not to be retried
unexplained      a duplicate for which no blow can be made responsible
stale accepted   an outcome on record that a newer attempt had taken the place of, or from another attempt than
                 the record says
misdated         an outcome whose time is not after its start, by a store's own clock
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from tests.chaos.harness.faults import Blow
from tests.chaos.harness.items import Item
from tests.support.ledger import Fact

_CLOCK_OFF_S = 3600
# The driver, the agents and Redis are on one machine, and read its clock within this.
_APART_S = 0.01
_LONGEST_S = 1800


def starts_of(facts: Iterable[Fact]) -> dict[str, list[Fact]]:
    """Starts by the request's text, in the order of time."""
    starts: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        if fact.event == "start":
            starts[fact.text].append(fact)
    for each in starts.values():
        each.sort(key=lambda fact: fact.time_s)
    return starts


def duplicates(
    items: Iterable[Item], starts: Mapping[str, Sequence[Fact]], blows: Sequence[Blow]
) -> tuple[int, list[str]]:
    """How many duplicates there are, and the unexplained ones in words."""
    count = 0
    unexplained: list[str] = []
    for item in items:
        # By attempt first: one that is late may start after the one that took its place.
        made = sorted(starts.get(item.request_id, ()), key=lambda fact: (fact.attempt, fact.time_s))
        for earlier, later in pairwise(made):
            if item.request.fail_code and earlier.attempt <= item.request.fail_attempts:
                continue
            count += 1
            if not any(_explains(blow, item, earlier, later) for blow in blows):
                unexplained.append(f"{item.request_id} started again for no reason: {earlier}, {later}")
    return count, unexplained


def _explains(blow: Blow, item: Item, earlier: Fact, later: Fact) -> bool:
    if later.time_s < blow.struck_at_s or earlier.time_s > blow.disowned_until_s:
        return False
    # It began before it was acknowledged, and the acknowledgement never came: repeated as another task.
    return earlier.agent_id in blow.disowned or (blow.volatile and item.repeated)


def stale_accepted(items: Iterable[Item], starts: Mapping[str, Sequence[Fact]]) -> list[str]:
    """Outcomes on record that should have been refused, in words."""
    found = []
    for item in items:
        if item.end is None:
            continue
        end = item.end
        recorded = (end.task_id, end.attempt, end.agent_id)
        if end.answered is not None and end.answered != recorded:
            found.append(f"{item.request_id}: on record is {recorded}, answered has {end.answered}")
            continue
        begun = starts.get(item.request_id, ())
        finished_at_s = _by_the_ledger(end.finished_at_s, begun)
        made = [fact for fact in begun if fact.time_s < finished_at_s]
        began_at_s = max(
            (f.time_s for f in made if (f.attempt, f.agent_id) == (end.attempt, end.agent_id)), default=0.0
        )
        # Not by its number alone: after a coordinator's death a number is used again.
        newer = [fact for fact in made if fact.attempt > end.attempt and fact.time_s > began_at_s]
        if newer:
            found.append(f"{item.request_id}: on record is {recorded}, but {newer[0]} had begun")
    return found


def misdated(items: Iterable[Item], starts: Mapping[str, Sequence[Fact]]) -> list[str]:
    """Outcomes with a time that is not their own, in words."""
    return [
        f"{item.request_id} ended at {item.end.finished_at_s}, and had begun at {begun[0].time_s}"
        for item in items
        if item.end is not None and (begun := starts.get(item.request_id))
        if not -_APART_S < item.end.finished_at_s - begun[0].time_s < _LONGEST_S
    ]


def _by_the_ledger(finished_at_s: float, begun: Sequence[Fact]) -> float:
    """A coordinator's time of an outcome, should its clock be off: by whole hours, while no run takes half of one."""
    if not begun:
        return finished_at_s
    return finished_at_s - _CLOCK_OFF_S * round((finished_at_s - begun[0].time_s) / _CLOCK_OFF_S)
