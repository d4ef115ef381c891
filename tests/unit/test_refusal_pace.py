"""The pace of refusals: at once for few, in a line for many, and never long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from weft.rpc.identity.refusal_pace import BURST, MOST_S, RATE_PER_S, RefusalPace


def test_few_are_answered_at_once_and_many_in_a_line() -> None:
    pace = RefusalPace()
    delays = [pace.delay_s(1000.0) for _ in range(BURST + 10 + 1)]
    assert delays[: BURST + 1] == [0.0] * (BURST + 1)
    assert [round(each * RATE_PER_S) for each in delays[BURST + 1 :]] == list(range(1, 11))
    # After a while without any, it is as before.
    assert pace.delay_s(1000.0 + 2 * BURST / RATE_PER_S) == 0.0


@given(st.lists(st.floats(0.0, 1.0), max_size=2000))
def test_a_line_is_never_long_and_answers_no_more_than_its_rate(pauses_s: list[float]) -> None:
    pace, now_s, answered_at = RefusalPace(), 5.0, []
    for pause_s in pauses_s:
        now_s += pause_s / 100
        delay_s = pace.delay_s(now_s)
        assert 0.0 <= delay_s <= MOST_S
        if delay_s < MOST_S:
            answered_at.append(now_s + delay_s)
    for first, last in zip(answered_at, answered_at[BURST + 1 :], strict=False):
        # In the time between, no more than a burst and the rate allow.
        assert last - first >= 1 / RATE_PER_S - 1e-6
