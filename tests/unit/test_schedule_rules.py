"""The fates of ticks that have come: the table of policies, the catch-up window, long outages."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from weft.coordinator.schedules.schedule_rules import (
    LEAST_WINDOW_S,
    MOST_PASSED,
    Decision,
    Fate,
    Overlap,
    decide,
    look_again_at,
)
from weft.coordinator.schedules.tick_times import Timing

MINUTELY = Timing(interval_s=60.0)
SKIPPED, MISSED = Fate.SKIPPED, Fate.MISSED


@pytest.mark.parametrize(
    ("overlap", "window_s", "now", "busy", "expected"),
    [
        # Nothing has come.
        (Overlap.SKIP, 3600.0, 59.0, False, Decision([], None, 60.0)),
        # One has.
        (Overlap.SKIP, 3600.0, 60.0, False, Decision([], 60.0, 120.0)),
        (Overlap.ALLOW, 3600.0, 60.0, True, Decision([], 60.0, 120.0)),
        (Overlap.SKIP, 3600.0, 60.0, True, Decision([(60.0, SKIPPED)], None, 120.0)),
        (Overlap.QUEUE, 3600.0, 60.0, True, Decision([], None, 60.0, waits=True)),
        (Overlap.CANCEL, 3600.0, 60.0, True, Decision([], None, 60.0, waits=True)),
        # Several have: one at a time.
        (Overlap.SKIP, 3600.0, 190.0, False, Decision([], 60.0, 120.0)),
        (Overlap.SKIP, 3600.0, 190.0, True, Decision([(60.0, SKIPPED), (120.0, SKIPPED), (180.0, SKIPPED)], None, 240.0)),
        # After an outage: the old ones are missed.
        (Overlap.SKIP, 70.0, 200.0, False, Decision([(60.0, MISSED), (120.0, MISSED)], 180.0, 240.0)),
        (Overlap.QUEUE, 30.0, 170.0, True, Decision([(60.0, MISSED), (120.0, MISSED)], None, 180.0)),
        # A tick may be a few seconds late whatever the window.
        (Overlap.SKIP, 0.0, 64.0, False, Decision([], 60.0, 120.0)),
        (Overlap.SKIP, 0.0, 65.5, False, Decision([(60.0, MISSED)], None, 120.0)),
    ],
)  # fmt: skip
def test_decisions(overlap: Overlap, window_s: float, now: float, busy: bool, expected: Decision) -> None:
    assert decide(MINUTELY, overlap, window_s, 60.0, now, busy=busy) == expected


def test_a_last_tick_leaves_none() -> None:
    assert decide(Timing(at=9.0), Overlap.SKIP, 60.0, 9.0, 10.0, busy=False) == Decision([], 9.0, None)
    assert decide(Timing(at=9.0), Overlap.SKIP, 60.0, None, 10.0, busy=False) == Decision([], None, None)


def test_after_a_long_outage_the_missed_ticks_are_not_gone_through_one_by_one() -> None:
    now = 31 * 86400.0
    decision = decide(Timing(interval_s=1.0), Overlap.SKIP, 60.0, 1.0, now, busy=False)
    assert len(decision.passed) == MOST_PASSED
    assert decision.submit == now - 60.0


def test_a_waiting_tick_looks_less_often_with_time() -> None:
    looks = [
        look_again_at(MINUTELY, 60.0, 60.0 + waited_s) - 60.0 - waited_s for waited_s in (0, 1, 16, 3600)
    ]
    assert looks == pytest.approx([0.2, 0.2, 2.0, 5.0])


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(list(Overlap)),
    st.sampled_from([0.0, 30.0, 600.0]),
    st.sampled_from([0.0, 20.0]),
    st.lists(st.tuples(st.sampled_from([0.5, 7.0, 61.0, 900.0, -300.0]), st.booleans()), max_size=25),
)
def test_each_tick_is_decided_once_and_in_order(
    overlap: Overlap, window_s: float, jitter_s: float, steps: list[tuple[float, bool]]
) -> None:
    """Time may pass in any steps, also backwards."""
    timing = Timing(interval_s=10.0, jitter_s=jitter_s, seed="s")
    now, tick = 0.0, timing.next_after(0.0)
    decided: list[float] = []
    for seconds, busy in steps:
        now += seconds
        for _ in range(1000):
            decision = decide(timing, overlap, window_s, tick, now, busy=busy)
            decided += [each for each, _ in decision.passed]
            if decision.submit is not None:
                decided.append(decision.submit)
                assert timing.submit_at(decision.submit) <= now
                assert now - timing.submit_at(decision.submit) <= max(window_s, LEAST_WINDOW_S)
            tick = decision.next_tick
            if decision.submit is None:
                break
        assert tick is not None
        # Up to here each tick was decided, and none after.
        assert decided == [10.0 * n for n in range(1, len(decided) + 1)]
        assert tick == 10.0 * (len(decided) + 1)
