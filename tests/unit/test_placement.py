"""Placement is pure: how many tasks each session may claim, from a snapshot."""

import pytest

from weft.coordinator.dispatch.placement import FreeSession, LeastConnections, plan
from weft.coordinator.store.rules import QueueKey

A = QueueKey("a.S/A")
B = QueueKey("a.S/B")


def candidate(index, free, used=0, slots=None, costs=None):
    return FreeSession(index, free, used, slots or free + used, costs or {A: 1})


@pytest.mark.parametrize(
    ("ready", "candidates", "wanted"),
    [
        pytest.param({}, [candidate(0, 4)], {}, id="nothing ready"),
        pytest.param({A: 10}, [candidate(0, 4)], {0: 4}, id="one agent takes what it has room for"),
        pytest.param({A: 2}, [candidate(0, 4)], {0: 2}, id="one agent takes what there is"),
        pytest.param({A: 3}, [candidate(i, 4) for i in range(3)], {0: 1, 1: 1, 2: 1}, id="few tasks spread"),
        pytest.param(
            {A: 100}, [candidate(i, 4) for i in range(3)], {0: 4, 1: 4, 2: 4}, id="many tasks fill all"
        ),
        pytest.param(
            {A: 2}, [candidate(0, 2, used=6), candidate(1, 7, used=1)], {1: 2}, id="the least loaded first"
        ),
        pytest.param(
            {A: 4, B: 4},
            [candidate(0, 8, costs={A: 1}), candidate(1, 8, costs={B: 1})],
            {0: 4, 1: 4},
            id="each its own queue",
        ),
        pytest.param({B: 4}, [candidate(0, 8, costs={A: 1})], {}, id="nobody serves it"),
        pytest.param({A: 5}, [candidate(0, 4, costs={A: 2}), candidate(1, 1)], {0: 2, 1: 1}, id="dear tasks"),
        pytest.param(
            {A: 5},
            [candidate(0, 3, costs={A: 4}), candidate(1, 1)],
            {1: 1},
            id="a task dearer than the room is not planned",
        ),
    ],
)
def test_plan(ready, candidates, wanted):
    assert dict(plan(ready, candidates, LeastConnections(), 0)) == wanted


def test_ties_go_round():
    candidates = [candidate(i, 4) for i in range(3)]
    firsts = {plan({A: 1}, candidates, LeastConnections(), turn)[0][0] for turn in range(3)}
    assert firsts == {0, 1, 2}


def test_capacity_counts_not_number():
    limits = dict(plan({A: 30}, [candidate(0, 10), candidate(1, 40)], LeastConnections(), 0))
    assert limits == {0: 6, 1: 24}
