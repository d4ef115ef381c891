"""One seeded run: a new mesh, a load, a scenario's faults, and the verdict."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from probe.v1.probe_pb2 import ProbeRequest
from tests.chaos.harness import timing, verdict
from tests.chaos.harness.chain import second_ledger
from tests.chaos.harness.deployment import Deployment
from tests.chaos.harness.faults import Blow, Fault
from tests.chaos.harness.gate_verdict import overrun_fallback, overrun_gates
from tests.chaos.harness.gatherings import Gatherings
from tests.chaos.harness.load import Load
from tests.chaos.harness.scenarios import WARM_UP_S, Scenario
from tests.chaos.harness.sharing import Sharing
from tests.chaos.harness.ticks import TickCounts, Ticks
from tests.chaos.harness.topic import Topic
from tests.support import tasks
from tests.support.ledger import Fact, Ledger

# A mesh whose throughput is not back after this has not recovered.
RECOVERY_S = 12.0
# A run past this hangs, whatever it waits for.
_RUN_S = 110.0
_LOOK_S = 0.1
# Processes that start up compete with the load at its beginning.
_UNSTEADY_S = 0.5


@dataclass(frozen=True, slots=True)
class Outcome:
    """The figures of one run."""

    seed: int
    tasks: int = 0
    lost_tasks: int = 0
    lost_results: int = 0
    duplicates: int = 0
    unexplained: int = 0
    strangers: int = 0
    stale_refused: int = 0
    stale_accepted: int = 0
    misdated: int = 0
    # Of schedules: ticks that became tasks, more than one task of a tick, ticks without a task.
    ticks: int = 0
    double_ticks: int = 0
    lost_ticks: int = 0
    # Groups and what was wrong with them; answers of a method with a cache that were stored results, and what was wrong.
    groups: int = 0
    group_faults: int = 0
    cached: int = 0
    cache_faults: int = 0
    # Events that the topic has, and what was wrong with them.
    events: int = 0
    event_faults: int = 0
    # Processes that a deleted pool has left.
    pool_faults: int = 0
    # Graphs that did not end right, steps that ran again for no reason, and what was left.
    graph_faults: int = 0
    # Attempts that ran over a run limit or a lock.
    overruns: int = 0
    # The slowest blow's; None: no blow called for it, it was not timed, or it was never seen.
    first_claim_s: float | None = None
    recovered_s: float | None = None
    # The faults that were found, in words. Empty if the run is right.
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Beside:
    """What runs beside the load."""

    gatherings: Gatherings
    sharing: Sharing
    topic: Topic


async def run(
    scenario: Scenario, deployment: Deployment, seed: int, remark: Callable[[str], None]
) -> Outcome:
    """Run the scenario with this seed on a deployment that has not started; it is closed afterwards."""
    try:
        async with asyncio.timeout(_RUN_S * max(1, len(scenario.faults) // 6)):
            return await _run(scenario, deployment, seed, remark)
    except BaseException:
        remark(deployment.logs())
        raise
    finally:
        await deployment.close()


async def _run(
    scenario: Scenario, deployment: Deployment, seed: int, remark: Callable[[str], None]
) -> Outcome:
    # Apart, so that the load cannot change the schedule, which depends on the seed alone.
    load_rng, schedule_rng = random.Random(f"load {seed}"), random.Random(f"schedule {seed}")
    await deployment.start(scenario.shape, scenario.clocks_off_s)
    load = Load(deployment, load_rng, scenario.shape, deployment.ledger.path)
    ticks = Ticks(
        deployment,
        load_rng,
        tasks.method("Call"),
        ProbeRequest().SerializeToString(),
        scenario.shape.schedules,
    )
    await ticks.create()
    beside = Beside(
        gatherings=Gatherings(
            deployment, random.Random(f"groups {seed}"), scenario.shape, deployment.ledger.path
        ),
        sharing=Sharing(deployment, random.Random(f"caches {seed}"), scenario.shape, deployment.ledger.path),
        topic=Topic(deployment, random.Random(f"events {seed}"), scenario.shape, deployment.ledger.path),
    )
    await beside.topic.begin()
    if scenario.shape.gated:
        await load.set_limits()
    loading = asyncio.create_task(_run_all(load, beside))
    try:
        began_at_s = time.time()
        striking = asyncio.create_task(_strike(scenario, deployment, schedule_rng, remark))
        await asyncio.wait({loading, striking}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            striking.cancel()
            await loading
        blows = await striking
        steady = await _recovery(deployment, blows, began_at_s) if scenario.timed else None
        # A victim that is still away would be so when the run is judged: its late results must have come.
        await asyncio.gather(*map(deployment.until_active, deployment.agent_ids))
        for each in (load, beside.gatherings, beside.sharing, beside.topic):
            each.stop()
        await loading
    finally:
        loading.cancel()
    await load.read_again()
    refused = deployment.stale_refused()
    # Once more from what is on the disk alone.
    await deployment.restart_truth()
    await load.read_again()
    await load.look_for_strangers()
    shared = await beside.gatherings.faults(), await beside.sharing.faults(), await beside.topic.faults()
    outcome = _judge(seed, load, beside, deployment, blows, refused, steady)
    outcome = _with_shared(outcome, beside, *shared)
    return _with_ticks(outcome, await ticks.counts()) if scenario.shape.schedules else outcome


async def _run_all(load: Load, beside: Beside) -> None:
    async with asyncio.TaskGroup() as group:
        for each in (load, beside.gatherings, beside.sharing, beside.topic):
            group.create_task(each.run())


async def _strike(
    scenario: Scenario, deployment: Deployment, rng: random.Random, remark: Callable[[str], None]
) -> list[Blow]:
    schedule: list[tuple[float, Fault]] = scenario.schedule(rng)
    blows: list[Blow] = []
    due_at = time.monotonic()
    for wait_s, fault in schedule:
        await asyncio.sleep(max(wait_s, due_at - time.monotonic()))
        due_at = time.monotonic() + scenario.every_s
        blow = await fault.strike(deployment, rng)
        blows.append(blow)
        remark(
            f"  {wait_s:.2f} s after the last: {blow.fault}, {blow.victim},"
            f" over after {blow.lifted_at_s - blow.struck_at_s:.2f} s"
        )
    return blows


async def _recovery(deployment: Deployment, blows: Sequence[Blow], began_at_s: float) -> float:
    """Wait until the throughput is back after the last blow, or is given up; the steady one."""
    first_s = min(blow.struck_at_s for blow in blows)
    since_s = began_at_s + min(_UNSTEADY_S, WARM_UP_S / 2)
    ends_at = time.monotonic() + RECOVERY_S
    while True:
        ends_s = _ends(deployment.ledger.facts("end"))
        steady = timing.steady_rate(ends_s, since_s, first_s)
        if timing.recovered_s(blows[-1], ends_s, steady) is not None or time.monotonic() > ends_at:
            break
        await asyncio.sleep(_LOOK_S)
    return steady


def _ends(facts: Sequence[Fact]) -> list[float]:
    return sorted(fact.time_s for fact in facts if fact.event == "end")


def _judge(
    seed: int,
    load: Load,
    beside: Beside,
    deployment: Deployment,
    blows: Sequence[Blow],
    refused: int,
    steady: float | None,
) -> Outcome:
    items, facts = load.acknowledged, deployment.ledger.facts()
    starts = verdict.starts_of(facts)
    grouped = beside.gatherings.items
    again, unexplained = verdict.duplicates([*items, *grouped], starts, blows)
    accepted = verdict.stale_accepted(items, starts)
    misdated = verdict.misdated(items, starts) if deployment.own_clock else []
    overrun = overrun_gates([*items, *grouped], facts, blows)
    overrun += overrun_fallback(grouped, Ledger(Path(second_ledger(deployment.ledger.path))).facts(), blows)
    plain = {item.request_id for item in items if item.plain}
    ends_s = _ends(facts)
    claims = [timing.first_claim_s(blow, facts, plain) for blow in blows]
    recoveries = [None if steady is None else timing.recovered_s(blow, ends_s, steady) for blow in blows]
    return Outcome(
        seed=seed,
        tasks=len(items),
        lost_tasks=len(load.lost_tasks),
        lost_results=len(load.lost_results),
        duplicates=again,
        unexplained=len(unexplained),
        strangers=len(load.strangers),
        stale_refused=refused,
        stale_accepted=len(accepted),
        misdated=len(misdated),
        first_claim_s=max((claim for claim in claims if claim is not None), default=None),
        recovered_s=max([each for each in recoveries if each is not None], default=0.0)
        if None not in recoveries
        else None,
        overruns=len(overrun),
        notes=[*load.notes, *unexplained, *accepted, *misdated, *overrun],
    )


def _with_shared(
    outcome: Outcome,
    beside: Beside,
    group_faults: Sequence[str],
    cache_faults: Sequence[str],
    event_faults: Sequence[str],
) -> Outcome:
    return replace(
        outcome,
        groups=len(beside.gatherings.made),
        group_faults=len(group_faults),
        cached=beside.sharing.stored,
        cache_faults=len(cache_faults),
        events=len(beside.topic.taken.stored),
        event_faults=len(event_faults),
        notes=[*outcome.notes, *group_faults, *cache_faults, *event_faults],
    )


def _with_ticks(outcome: Outcome, counts: TickCounts) -> Outcome:
    wrong = {"double": counts.double, "lost": counts.lost}
    notes = [f"{count} ticks of schedules are {what}" for what, count in wrong.items() if count]
    return replace(
        outcome,
        ticks=counts.ticks,
        double_ticks=counts.double,
        lost_ticks=counts.lost,
        notes=[*outcome.notes, *notes],
    )
