"""The forecast of waits, in simulated queues: callers with deadlines, slots that are too few, time that passes at once."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from weft.coordinator.dispatch.queue_forecast import (
    FORGET_S,
    LEARN_S,
    MAX_FLOWS,
    MAX_RETRY_S,
    FlowKey,
    QueueForecast,
    TooLate,
)
from weft.coordinator.store.rules import QueueKey

QUEUE = QueueKey("acme.v1.Service/Method")
NORMAL, HIGH, LOW = FlowKey(QUEUE, 5, ""), FlowKey(QUEUE, 9, ""), FlowKey(QUEUE, 0, "")


@dataclass
class Caller:
    """Calls at random times, so many a second."""

    flow: FlowKey
    rate: float
    left_s: float | None
    # The time in which it calls.
    since_s: float = 0.0
    until_s: float = 1e9


@dataclass
class Simulation:
    """A queue in front of slots. `forecast` None: every call is let in."""

    callers: list[Caller]
    slots: int = 20
    run_s: float = 0.05
    # The number of slots changes at these times.
    changes: dict[float, int] = field(default_factory=dict[float, int])
    forecast: QueueForecast | None = field(default_factory=QueueForecast)
    # Each caller's ends, and how long its successes took.
    ends: list[Counter[str]] = field(init=False)
    took_s: list[list[float]] = field(init=False)

    def run(self, lasts_s: float) -> None:
        rng, count, free, slots = random.Random(7), 0, self.slots, self.slots
        self.ends, self.took_s = [Counter() for _ in self.callers], [[] for _ in self.callers]
        # (rank, number) in order, and (at, what, …) of events.
        ready: list[tuple[int, int]] = []
        waiting: dict[int, tuple[int, float]] = {}
        running: dict[int, tuple[int, float, float]] = {}
        events: list[tuple[float, int, str, int]] = []
        ranks: Counter[int] = Counter()

        def put(at: float, what: str, which: int) -> None:
            nonlocal count
            count += 1
            heapq.heappush(events, (at, count, what, which))

        for at, caller in enumerate(self.callers):
            put(caller.since_s + rng.expovariate(caller.rate), "call", at)
        for change_s in self.changes:
            put(change_s, "change", 0)
        while events and events[0][0] < lasts_s:
            now_s, number, what, which = heapq.heappop(events)
            if what == "call":
                caller = self.callers[which]
                rank = 9 - caller.flow.priority
                if now_s > caller.until_s:
                    continue
                put(now_s + rng.expovariate(caller.rate), "call", which)
                self.ends[which]["called"] += 1
                ahead = sum(ranks[each] for each in range(rank + 1))
                if self.forecast is not None and self.forecast.join(
                    str(number), caller.flow, ahead, caller.left_s, now_s
                ):
                    self.ends[which]["refused"] += 1
                    continue
                heapq.heappush(ready, (rank, number))
                waiting[number] = which, now_s
                ranks[rank] += 1
                if caller.left_s is not None:
                    put(now_s + caller.left_s, "late", number)
            elif what == "change":
                free += self.changes[now_s] - slots
                slots = self.changes[now_s]
            elif what == "late":
                if which in waiting:
                    of, _ = waiting.pop(which)
                    ranks[9 - self.callers[of].flow.priority] -= 1
                    self.ends[of]["late"] += 1
                    if self.forecast is not None:
                        self.forecast.late(str(which), now_s)
            else:
                free += 1
                of, came_s, began_s = running.pop(which)
                left_s = self.callers[of].left_s
                if self.forecast is not None:
                    self.forecast.ended(str(which), None, now_s - began_s, now_s)
                if left_s is None or now_s - came_s <= left_s:
                    self.ends[of]["served"] += 1
                    self.took_s[of].append(now_s - came_s)
                else:
                    self.ends[of]["in vain"] += 1
            while free > 0 and ready:
                rank, first = heapq.heappop(ready)
                if first not in waiting:
                    continue
                of, came_s = waiting.pop(first)
                ranks[rank] -= 1
                free -= 1
                running[first] = of, came_s, now_s
                if self.forecast is not None:
                    self.forecast.started([str(first)], now_s)
                put(now_s + self.run_s * rng.uniform(0.5, 1.5), "end", first)

    def p99_s(self, of: int) -> float:
        return sorted(self.took_s[of])[int(0.99 * len(self.took_s[of]))]


CAPACITY = 400.0


@pytest.mark.slow
@pytest.mark.parametrize("left_s", [0.2, 1.0, 5.0])
def test_three_times_the_work_does_not_end_in_vain(left_s: float) -> None:
    overload = [Caller(NORMAL, 3 * CAPACITY, left_s), Caller(HIGH, 20, 10.0)]
    simulation, without = Simulation(overload), Simulation(overload, forecast=None)
    for each in (simulation, without):
        each.run(20.0)
    # The first moments count.
    assert simulation.ends[0]["served"] + simulation.ends[1]["served"] >= 0.9 * CAPACITY * 20, simulation.ends
    assert without.ends[0]["served"] < 0.4 * CAPACITY * 20, without.ends
    # A higher priority is never refused, and waits for a slot only.
    assert simulation.ends[1].keys() == {"called", "served"}
    assert simulation.p99_s(1) < 2 * 0.075


def test_calls_that_can_be_served_are_not_refused() -> None:
    # Almost all of what there is, in bursts of a queue each.
    simulation = Simulation([Caller(NORMAL, 0.95 * CAPACITY, 1.0)])
    simulation.run(30.0)
    assert simulation.ends[0]["served"] > 0.99 * (simulation.ends[0]["called"] - 50), simulation.ends
    # A burst that fits its deadline.
    burst = Simulation([Caller(NORMAL, 100_000, 10.0, until_s=0.02)])
    burst.run(20.0)
    assert burst.ends[0]["called"] > 1500
    assert burst.ends[0].keys() == {"called", "served"}


def test_slow_tasks_in_few_slots() -> None:
    simulation = Simulation([Caller(NORMAL, 0.6, 60.0)], slots=2, run_s=10.0)
    simulation.run(2000.0)
    assert simulation.ends[0]["served"] > 0.85 * 2000 / 5, simulation.ends


def test_nobody_is_refused_for_work_without_a_deadline_of_a_lower_priority() -> None:
    simulation = Simulation([Caller(LOW, 3 * CAPACITY, None), Caller(NORMAL, CAPACITY / 2, 0.3)])
    simulation.run(10.0)
    assert simulation.ends[1]["served"] > 0.99 * (simulation.ends[1]["called"] - 10), simulation.ends
    assert "refused" not in simulation.ends[0]


def test_a_tenant_that_asks_for_little_does_not_pay_for_others() -> None:
    # As far as the forecast can tell: the queue serves keys in turns.
    forecast, quiet, loud = QueueForecast(), FlowKey(QUEUE, 5, "quiet"), FlowKey(QUEUE, 5, "loud")
    for number in range(100):
        now_s = number / 10
        assert forecast.join(f"q{number}", quiet, 500, 2.0, now_s) is None
        forecast.started([f"q{number}"], now_s + 0.05)
        if not forecast.join(f"l{number}", loud, 500, 60.0, now_s):
            forecast.started([f"l{number}"], now_s + 5.0)
    assert isinstance(forecast.join("l", loud, 500, 2.0, 10.0), TooLate)


def test_pauses_of_the_agents_cost_little_more_than_themselves() -> None:
    pauses = {5.0 * at: 0 for at in range(1, 6)} | {5.0 * at + 0.3: 20 for at in range(1, 6)}
    simulation = Simulation([Caller(NORMAL, 3 * CAPACITY, 1.0)], changes=pauses)
    simulation.run(30.0)
    assert simulation.ends[0]["served"] > 0.95 * CAPACITY * (30 - 5 * 0.3), simulation.ends


def test_more_agents_are_noticed() -> None:
    simulation = Simulation([Caller(NORMAL, 800, 1.0)], slots=10, changes={10.0: 60})
    simulation.run(20.0)
    # 200 a second for 10 s, then all.
    assert simulation.ends[0]["served"] > 0.9 * (200 * 10 + 800 * 10), simulation.ends


def test_calls_wait_for_agents_that_are_away() -> None:
    """No slots is no overload: calls wait as long as they have time, however many were late before."""
    simulation = Simulation([Caller(NORMAL, 50, 2.0)], changes={5.0: 0, 15.0: 20})
    simulation.run(25.0)
    ends = simulation.ends[0]
    assert ends["refused"] < 50, ends
    assert ends["served"] > 50 * (5 + 2 + 10) - 100, ends


def test_what_is_not_told_of_is_forgotten() -> None:
    forecast = QueueForecast()
    assert forecast.join("a", NORMAL, 10, 1.0, 0.0) is None
    forecast.started(["a", "unknown"], 10.0)
    forecast.started(["a"], 20.0)
    # What came in a moment is let through.
    assert forecast.join("b", NORMAL, 10, 1.0, 10.0 + LEARN_S / 2) is None
    late = forecast.join("c", NORMAL, 10, 1.0, 10.0 + LEARN_S)
    assert late == TooLate(10, 10.0, 1.0, 9.5)
    assert forecast.join("d", NORMAL, 100, 1.0, 10.0 + LEARN_S) == TooLate(
        100, pytest.approx(91.8, abs=0.1), 1.0, MAX_RETRY_S
    )
    # Nobody is ahead, there is no deadline, or it is known no more.
    assert forecast.join("e", NORMAL, 0, 0.001, 11.0) is None
    assert forecast.join("f", NORMAL, 10, None, 11.0) is None
    assert forecast.join("g", NORMAL, 10, 1.0, 12.0 + FORGET_S) is None
    for task_id in "abefg":
        forecast.left(task_id)
    forecast.late("b", 50.0)
    forecast.ended("b", 1.0, 1.0, 50.0)
    assert not forecast.places


def test_flows_have_a_bound() -> None:
    forecast = QueueForecast()
    for number in range(3 * MAX_FLOWS):
        forecast.join(str(number), FlowKey(QUEUE, 5, str(number)), 1, 1.0, number / 100)
    assert len(forecast.flows) <= MAX_FLOWS
