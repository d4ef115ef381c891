"""Statistics of the last minutes: quantiles from buckets, windows of figures that only grow, and their bounds."""

from __future__ import annotations

import itertools
import math
import sys
from array import array

from hypothesis import given
from hypothesis import strategies as st

from weft.coordinator.statistics.statistics_window import SLOT_S, WINDOW_S, StatisticsWindow
from weft.coordinator.store.task_figures import StoreFigures, TaskEvent, observe
from weft.rpc.telemetry.coordinator_metrics import FINE_TASK_BOUNDS_S, TASK_BOUNDS_S, WAIT
from weft.rpc.telemetry.figures import Histogram
from weft.rpc.telemetry.quantiles import GROWTH, quantile

times = st.lists(st.floats(0.0005, 80_000), min_size=1, max_size=200)


def counted(values: list[float]) -> Histogram:
    histogram = Histogram(WAIT.counted, WAIT.bounds)
    for value in values:
        histogram.observe(value)
    return histogram


@given(times, st.sampled_from((0.5, 0.9, 0.99, 1.0)))
def test_a_quantile_is_in_the_bucket_of_the_exact_one(values: list[float], share: float) -> None:
    exact = sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
    found = quantile(FINE_TASK_BOUNDS_S, counted(values).counts, share)
    assert exact / GROWTH * 0.999 <= found <= exact * GROWTH * 1.001


def test_quantiles_of_the_edges() -> None:
    assert quantile((1.0, 2.0), [0, 0, 0], 0.5) == 0.0
    assert quantile((1.0, 2.0), [4, 0, 0], 0.5) == 0.5
    assert quantile((1.0, 2.0), [0, 0, 3], 0.99) == 2.0


@given(times)
def test_what_is_exported_does_not_depend_on_what_is_counted(values: list[float]) -> None:
    coarse = Histogram(TASK_BOUNDS_S)
    for value in values:
        coarse.observe(value)
    assert counted(values).read().counts == coarse.read().counts


def test_the_finer_bounds_have_all_that_are_exported() -> None:
    assert set(TASK_BOUNDS_S) < set(FINE_TASK_BOUNDS_S)
    assert list(FINE_TASK_BOUNDS_S) == sorted(FINE_TASK_BOUNDS_S)
    grows = max(b / a for a, b in itertools.pairwise(FINE_TASK_BOUNDS_S))
    assert grows <= GROWTH * 1.000001


@given(
    st.lists(st.tuples(st.floats(0.1, 25.0), st.integers(0, 3)), max_size=80),
    st.floats(SLOT_S, WINDOW_S),
)
def test_a_window_has_what_happened_in_the_time_that_it_covers(
    steps: list[tuple[float, int]], window_s: float
) -> None:
    """Housekeeping comes late or early, and each thing counts in each window that covers it."""
    figures, now_s = StoreFigures(), 100.0
    window = StatisticsWindow(now_s)
    happened: list[tuple[float, int]] = []
    most_s = 0.0
    for pause_s, tasks in steps:
        now_s += pause_s
        window.tick(now_s, figures.methods())
        figures.of("m").counts[TaskEvent.SUBMITTED] += tasks
        observe(figures.of("m").wait, [1.0] * tasks, 1.0, "")
        happened.append((now_s, tasks))
        most_s = max(most_s, pause_s)
    covered_s, found = window.read(now_s, window_s, figures.methods())
    # What happened at the very time of a copy came after it.
    wanted = sum(tasks for at_s, tasks in happened if at_s >= now_s - covered_s - 1e-9)
    changes = dict(found)
    assert sum(change.events[TaskEvent.SUBMITTED] for change in changes.values()) == wanted
    assert sum(sum(change.wait) for change in changes.values()) == wanted
    assert changes.keys() == ({"m"} if wanted else set())
    assert min(window_s, now_s - 100.0) - 1e-6 <= covered_s
    assert covered_s <= window_s + SLOT_S + most_s + 1e-6


def test_copies_are_bounded_and_idle_methods_share_theirs() -> None:
    figures, window = StoreFigures(), StatisticsWindow(0.0)
    figures.of("idle").counts[TaskEvent.SUBMITTED] = 1
    for at in range(1000):
        figures.of("busy").counts[TaskEvent.SUBMITTED] += 1
        window.tick(at * SLOT_S, figures.methods())
    copies = [kept for _, slot in window._slots for kept in slot.values()]
    assert len(window._slots) == WINDOW_S / SLOT_S + 1
    own = {id(kept): sys.getsizeof(kept) for kept in copies if isinstance(kept, array)}
    assert len(own) == len(window._slots) + 1
    # The module says 1.5 kB; arrays that grow have some room.
    assert max(own.values()) < 2000
    assert dict(window.read(1000 * SLOT_S, 60.0, figures.methods())[1]).keys() == {"busy"}
