"""When an agent's attempts count as failing again and again: by tables, with the time passed in."""

from __future__ import annotations

import pytest
from google.rpc import code_pb2

from weft.coordinator.sessions.recent_failures import HALF_LIFE_S, RecentFailures

OK, FAULT = code_pb2.OK, code_pb2.UNAVAILABLE


def after(*codes: int, every_s: float = 0.0, crashed: bool = False) -> RecentFailures:
    """The recent_failures after these ends; the last was at 100 s."""
    recent_failures = RecentFailures()
    for number, code in enumerate(codes):
        recent_failures.ended(code, 100.0 - every_s * (len(codes) - 1 - number), crashed=crashed)
    return recent_failures


@pytest.mark.parametrize(
    ("codes", "failing"),
    [
        pytest.param([], False, id="none yet"),
        pytest.param([FAULT] * 2, False, id="two may be chance"),
        pytest.param([FAULT] * 3, True, id="three of three"),
        pytest.param([OK] * 4 + [FAULT] * 3, False, id="less than half"),
        pytest.param([OK] * 3 + [FAULT] * 3, True, id="half"),
        pytest.param([FAULT] * 3 + [OK] * 4, False, id="it works again"),
        pytest.param([code_pb2.INVALID_ARGUMENT] * 50, False, id="callers' mistakes"),
        pytest.param([code_pb2.DEADLINE_EXCEEDED] * 50, False, id="callers' deadlines"),
    ],
)
def test_what_counts_as_failing(codes: list[int], failing: bool) -> None:
    assert after(*codes).failing(100.0) is failing


def test_every_code_is_a_fault_or_an_answer() -> None:
    faults = {code for code in range(17) if after(*[code] * 3).failing(100.0)}
    assert {code_pb2.Code.Name(code) for code in faults} == {
        "UNKNOWN",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
    }


def test_crashes_are_faults_whatever_the_code() -> None:
    assert after(OK, OK, OK, crashed=True).failing(100.0)


def test_what_was_counted_fades() -> None:
    recent_failures = after(*[FAULT] * 6)
    assert recent_failures.failing(100.0 + HALF_LIFE_S * 0.99)
    assert not recent_failures.failing(100.0 + HALF_LIFE_S * 1.01), "it is tried again"


def test_failures_far_apart_are_no_series() -> None:
    assert not after(*[FAULT] * 100, every_s=HALF_LIFE_S).failing(100.0)


def test_a_clock_that_stands_still_or_goes_back_harms_nothing() -> None:
    recent_failures = after(*[FAULT] * 3)
    assert recent_failures.failing(0.0)
    recent_failures.ended(OK, 0.0)
    assert recent_failures.failing(100.0)
