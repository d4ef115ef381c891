"""The assigner's rules: when a task starts, and where the tasks of a batch go."""

from __future__ import annotations

import math
import random

import pytest

from weft.services.assigner import forecast_rules as rules
from weft.services.assigner.forecast_rules import FreeTimes, PlannedWork, RunTimes, Server

RUN = RunTimes(0.5, 1.0, 3.0)


def server(name: str = "a", slots: int = 2, used: int = 0, cost: int = 1, mean_s: float = 1.0) -> Server:
    return Server(name, slots, used, cost, mean_s)


@pytest.mark.parametrize(
    ("servers", "ahead", "starts"),
    [
        ([server()], 0, 0.0),
        ([server()], 1, 0.0),
        ([server()], 2, 1.0),
        ([server()], 5, 2.0),
        # Running tasks have half of their time left.
        ([server(used=2)], 0, 0.5),
        ([server(used=2)], 2, 1.5),
        # A slow agent does not take what a quick one ends first.
        ([server(slots=1), server("b", slots=1, mean_s=10.0)], 3, 2.0),
        ([server(slots=4, cost=2)], 2, 1.0),
        ([server(slots=1, cost=2)], 0, math.inf),
        ([], 0, math.inf),
    ],
)
def test_when_a_task_starts(servers: list[Server], ahead: int, starts: float) -> None:
    assert rules.start_after(servers, ahead, 1.0, 0.5) == pytest.approx(starts)


def test_a_long_queue_is_reckoned_by_its_number() -> None:
    servers = [server(slots=4), server("b", slots=4, mean_s=2.0)]
    # Six tasks end each second.
    assert rules.start_after(servers, 600_000, 1.0, 0.5) == pytest.approx(100_000, rel=0.01)


def test_a_range_is_in_order_and_has_its_ends() -> None:
    found = rules.forecast([server(used=2)], RUN, ahead=4, others=2, first=False)
    assert found.earliest_s < found.likely_s < found.latest_s
    assert found.earliest_s == pytest.approx(1.0)  # four tasks of 0.5 s, two at a time
    assert found.likely_s == pytest.approx(3.5)
    assert found.latest_s == pytest.approx(12.0)
    before = rules.forecast([server(used=2)], RUN, ahead=4, others=2, first=True)
    assert before.likely_s == pytest.approx(0.5)
    assert before.latest_s == found.latest_s


def work(name: str, deadline_s: float = math.inf, priority: int = 5, **run_s: float) -> PlannedWork:
    return PlannedWork(name, run_s, dict.fromkeys(run_s, 1), priority, deadline_s)


def idle(**slots: int) -> dict[str, FreeTimes]:
    return {name: FreeTimes([0.0] * count) for name, count in slots.items()}


def test_each_task_goes_where_it_ends_first() -> None:
    places = rules.assign([work("x", a=1, b=3), work("y", a=3, b=1), work("z", a=1, b=3)], idle(a=1, b=1))
    assert {each.name: (each.agent_id, each.end_s) for each in places} == {
        "x": ("a", 1),
        "y": ("b", 1),
        "z": ("a", 2),
    }
    assert places[-1].next_best_s == 4


def test_deadlines_come_first_then_priorities_then_long_ones() -> None:
    tasks = [
        work("short", a=1),
        work("long", a=5),
        work("high", priority=9, a=1),
        work("soon", deadline_s=1, a=1),
    ]
    places = rules.assign(tasks, idle(a=1))
    assert [each.name for each in places] == ["soon", "high", "long", "short"]
    assert places[0].in_time
    late = rules.assign([work("one", deadline_s=1, a=1), work("two", deadline_s=1.5, a=1)], idle(a=1))
    assert [each.in_time for each in late] == [True, False]


def test_what_nobody_can_run_has_no_place() -> None:
    wide = PlannedWork("wide", {"a": 1.0}, {"a": 3})
    places = rules.assign([work("none"), wide], idle(a=2))
    assert {each.agent_id for each in places} == {""}
    assert not any(each.in_time for each in places)


def test_no_slot_has_two_tasks_at_a_time() -> None:
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    for _ in range(100):
        slots = {name: rng.randint(1, 4) for name in "abc"}
        tasks = []
        for number in range(rng.randint(1, 20)):
            names = rng.sample("abc", rng.randint(1, 3))
            run_s = {name: rng.uniform(0.1, 5) for name in names}
            tasks.append(PlannedWork(str(number), run_s, {name: rng.randint(1, 2) for name in names}))
        cost = {each.name: each.cost for each in tasks}
        places = [each for each in rules.assign(tasks, idle(**slots)) if each.agent_id]
        for at in places:
            beside = [
                each
                for each in places
                if each.agent_id == at.agent_id and each.start_s <= at.start_s < each.end_s
            ]
            assert sum(cost[each.name][at.agent_id] for each in beside) <= slots[at.agent_id], seed
