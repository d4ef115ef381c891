"""Whether attempts overran a run limit, a lock or a resource of their agent, from the ledger, by a pure function.

Agents that a fault disowned may still run what was given to others, and so may those whose tasks were lost before they were
acknowledged: what they ran at that time does not count.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from tests.chaos.harness.chain import SECOND, SECOND_RUNNING
from tests.chaos.harness.faults import Blow
from tests.chaos.harness.items import GPUS, RUNNING, RUNNING_PER_KEY, Item
from tests.support.ledger import Fact


class Run(NamedTuple):
    """A handler's run from its start to its end, in a gate."""

    start_s: float
    end_s: float
    item: Item
    agent_id: str
    shared: bool = True


def overrun_gates(items: Iterable[Item], facts: Sequence[Fact], blows: Sequence[Blow]) -> list[str]:
    """Runs that began although their gate was full, in words."""
    gates: defaultdict[str, list[Run]] = defaultdict(list)
    most: dict[str, int] = {}
    runs = _runs({item.request_id: item for item in items if item.key}, facts, blows)
    for run in runs:
        if run.item.lock is not None:
            name, shared = run.item.lock
            gates[f"lock {name}"].append(run._replace(shared=shared))
        # Once for each unit.
        gates[of_agent := f"gpu of {run.agent_id}"] += [run] * run.item.gpus
        most[of_agent] = GPUS
        if run.item.name == "Call":
            by_key = f"key {run.item.key}"
            gates["Call"].append(run)
            gates[by_key].append(run)
            most["Call"], most[by_key] = RUNNING, RUNNING_PER_KEY
    return [problem for gate, inside in gates.items() for problem in _overruns(gate, inside, most.get(gate))]


def overrun_fallback(items: Iterable[Item], facts: Sequence[Fact], blows: Sequence[Blow]) -> list[str]:
    """Runs of the fallback that began although its run limit was reached, in words.

    Args:
        facts: of the fallback's runs alone.
    """
    runs = list(_runs({item.request_id: item for item in items if item.key}, facts, blows))
    return list(_overruns(SECOND, runs, SECOND_RUNNING))


def _runs(items: dict[str, Item], facts: Sequence[Fact], blows: Sequence[Blow]) -> Iterator[Run]:
    """Runs that have ended, and that no fault made a stranger."""
    begun: dict[tuple[str, int, str], float] = {}
    for fact in sorted(facts, key=lambda each: each.time_s):
        attempt = (fact.text, fact.attempt, fact.agent_id)
        if fact.event == "start":
            begun[attempt] = fact.time_s
            continue
        start_s = begun.pop(attempt, None)
        if start_s is None or fact.text not in items:
            continue
        if not any(_estranges(blow, fact.agent_id, start_s, fact.time_s) for blow in blows):
            yield Run(start_s, fact.time_s, items[fact.text], fact.agent_id)


def _estranges(blow: Blow, agent_id: str, start_s: float, end_s: float) -> bool:
    if end_s < blow.struck_at_s:
        return False
    disowned = agent_id in blow.disowned and start_s < blow.disowned_until_s
    return disowned or (blow.volatile and start_s < max(blow.lifted_at_s, blow.disowned_until_s))


def _overruns(gate: str, runs: Sequence[Run], most: int | None) -> Iterator[str]:
    """`most`: of a run limit; None: a lock."""
    # Of the same moment: ends first.
    events = sorted(
        [(run.start_s, 1, run) for run in runs] + [(run.end_s, 0, run) for run in runs],
        key=lambda event: event[:2],
    )
    inside = Counter[bool]()
    for at_s, starts, run in events:
        inside[run.shared] += 1 if starts else -1
        if not starts:
            continue
        full = inside[False] > 1 or (inside[False] and inside[True]) if most is None else inside[True] > most
        if full:
            yield f"{run.item.request_id} began at {at_s} over {gate}: {dict(inside)} are inside"
