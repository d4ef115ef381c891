"""What the ledger and the load's memory say together: pure functions of what was written down.

duplicate        a start of what had started already and was not to be retried
unexplained      a duplicate for which no blow can be made responsible
stale accepted   an outcome on record that a newer attempt had taken the place of, or from another attempt than
                 the record says
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from tests.chaos.harness.deployment import Part
from tests.chaos.harness.faults import Blow
from tests.chaos.harness.items import Item
from tests.support.ledger import Fact


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
    if blow.part is Part.COORDINATOR:
        # It began before it was acknowledged, and the acknowledgement never came: repeated as another task.
        return item.repeated
    return earlier.agent_id == blow.victim


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
        made = [fact for fact in starts.get(item.request_id, ()) if fact.time_s < end.finished_at_s]
        began_at_s = max(
            (f.time_s for f in made if (f.attempt, f.agent_id) == (end.attempt, end.agent_id)), default=0.0
        )
        # Not by its number alone: after a coordinator's death a number is used again.
        newer = [fact for fact in made if fact.attempt > end.attempt and fact.time_s > began_at_s]
        if newer:
            found.append(f"{item.request_id}: on record is {recorded}, but {newer[0]} had begun")
    return found
