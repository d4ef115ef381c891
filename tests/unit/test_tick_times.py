"""When ticks come: cron with time zones and clock changes, intervals, one time, jitter."""

from __future__ import annotations

from datetime import datetime

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from weft.coordinator.schedules.tick_times import BadTiming, Timing, check_cron, rounded, zone_of

BERLIN = "Europe/Berlin"


def at(text: str, zone: str = "") -> float:
    """A time by its text; without an offset it is of the zone."""
    parsed = datetime.fromisoformat(text)
    return parsed.timestamp() if parsed.tzinfo else parsed.replace(tzinfo=zone_of(zone)).timestamp()


def ticks(timing: Timing, after: float, count: int) -> list[float]:
    found: list[float] = []
    tick: float | None = after
    for _ in range(count):
        assert tick is not None
        if (tick := timing.next_after(tick)) is None:
            break
        found.append(tick)
    return found


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        ("*/15 * * * *", "", "2026-01-01T00:07+00:00", ["2026-01-01T00:15+00:00", "2026-01-01T00:30+00:00"]),
        ("0 9 * * MON-FRI", "", "2026-01-02T12:00+00:00", ["2026-01-05T09:00+00:00"]),
        ("0 0 L * *", "", "2026-02-01T00:00+00:00", ["2026-02-28T00:00+00:00", "2026-03-31T00:00+00:00"]),
        ("0 0 29 2 *", "", "2026-01-01T00:00+00:00", ["2028-02-29T00:00+00:00", "2032-02-29T00:00+00:00"]),
        ("*/20 * * * * *", "", "2026-01-01T00:00:05+00:00", ["2026-01-01T00:00:20+00:00"]),
        # Either day fires, as in cron.
        ("0 0 13 * FRI", "", "2026-01-01T00:00+00:00", ["2026-01-02T00:00+00:00", "2026-01-09T00:00+00:00"]),
        # The clock is set from 2:00 to 3:00: what is in the gap comes at its end, once.
        ("30 2 * * *", BERLIN, "2026-03-28T12:00+01:00", ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]),
        ("15,45 2 * * *", BERLIN, "2026-03-29T00:00+01:00", ["2026-03-29T03:00+02:00", "2026-03-30T02:15+02:00"]),
        ("0 * * * *", BERLIN, "2026-03-29T01:30+01:00", ["2026-03-29T03:00+02:00", "2026-03-29T04:00+02:00"]),
        # From 3:00 back to 2:00: a set time comes once, an hourly one in both hours.
        ("30 2 * * *", BERLIN, "2026-10-24T12:00+02:00", ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]),
        (
            "30 * * * *",
            BERLIN,
            "2026-10-25T02:00+02:00",
            ["2026-10-25T02:30+02:00", "2026-10-25T02:30+01:00", "2026-10-25T03:30+01:00"],
        ),
        # From within the second of the two hours.
        ("45 2 * * *", BERLIN, "2026-10-25T02:20+01:00", ["2026-10-26T02:45+01:00"]),
    ],
)  # fmt: skip
def test_cron(cron: str, zone: str, after: str, expected: list[str]) -> None:
    timing = Timing(cron=cron, zone=zone)
    assert ticks(timing, at(after), len(expected)) == [at(text) for text in expected]


@pytest.mark.parametrize(
    ("cron", "zone", "says"),
    [
        ("0 0 30 2 *", "", "day of month"),
        ("* * */20 * 1L", "", "never fires"),
        ("* * * *", "", "five fields"),
        ("61 * * * *", "", "minute"),
        ("* * * * MOON", "", "day of week"),
        ("*/0 * * * *", "", "minute"),
        ("", "", "five fields"),
        ("@daily", "", "five fields"),
        ("1 " * 5000, "", "256 characters"),
        ("٣ * * * *", "", "ASCII"),
        ("* * * * *", "Mars/Olympus", "no time zone"),
        ("* * * * *", "../../etc/passwd", "no time zone"),
        ("* * * * *", "E" * 10_000, "no time zone"),
        ("* * * * *", "Europe", "no time zone"),
        ("* * * * *", "\0", "no time zone"),
    ],
)
def test_bad_cron(cron: str, zone: str, says: str) -> None:
    with pytest.raises(BadTiming, match=says):
        check_cron(cron, zone, at("2026-01-01T00:00+00:00"))


def test_an_interval_counts_from_its_anchor() -> None:
    timing = Timing(interval_s=90.0, anchor=1000.0)
    assert ticks(timing, 1000.0, 3) == [1090.0, 1180.0, 1270.0]
    assert timing.next_after(0.0) == 1090.0
    assert timing.next_after(1179.999) == 1180.0
    assert timing.next_after(1180.0) == 1270.0
    # A start, as `schedule_codec.timing_of` gives it: the first tick is at the start.
    timing = Timing(interval_s=60.0, anchor=4940.0, start_at=5000.0, end_at=5120.0)
    assert ticks(timing, 0.0, 9) == [5000.0, 5060.0]


def test_once() -> None:
    assert ticks(Timing(at=50.0), 0.0, 3) == [50.0]
    assert Timing(at=50.0).next_after(50.0) is None
    assert Timing(at=50.0, end_at=50.0).next_after(0.0) is None
    assert Timing(at=50.0, start_at=51.0).next_after(0.0) is None


def test_ticks_end_before_the_calendar_does() -> None:
    for timing in (Timing(cron="* * * * *"), Timing(interval_s=60.0), Timing(at=1e300)):
        assert timing.next_after(2.6e11) is None


CRONS = st.sampled_from(
    ["* * * * *", "*/7 * * * *", "30 2 * * *", "0 */2 * * *", "15,45 2,3 * * *", "0 3 * * SUN", "*/30 * * * * *"]
)  # fmt: skip
ZONES = st.sampled_from(
    ["", BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"]
)
MOMENTS = st.floats(1.0e9, 2.2e9).map(rounded) | st.sampled_from(
    [at("2026-03-29T02:00+02:00") + s for s in (-3600, -1, 0, 1, 3600)]
    + [at("2026-10-25T02:00+01:00") + s for s in (-3600, -1, 0, 1, 3600)]
)  # fmt: skip


@st.composite
def timings(draw: st.DrawFn) -> Timing:
    jitter_s, seed = draw(st.sampled_from([0.0, 5.0, 86400.0])), draw(st.text("ab", max_size=3))
    if draw(st.booleans()):
        return Timing(cron=draw(CRONS), zone=draw(ZONES), jitter_s=jitter_s, seed=seed)
    return Timing(
        interval_s=draw(st.floats(1.0, 1e6).map(rounded)),
        anchor=draw(st.floats(0.0, 2e9).map(rounded)),
        jitter_s=jitter_s,
        seed=seed,
    )


@settings(max_examples=200, deadline=None)
@given(timings(), MOMENTS, st.floats(0.0, 1.0))
def test_ticks_are_in_order_and_the_same_from_wherever_one_looks(
    timing: Timing, after: float, share: float
) -> None:
    found = ticks(timing, after, 6)
    assert found == sorted(set(found))
    assert found[0] > after
    assert found == [rounded(tick) for tick in found]
    # From any time between two ticks the second one is next: none is left out, none comes twice.
    for tick, following in zip([after, *found], found, strict=False):
        assert (
            timing.next_after(min(rounded(tick + share * (following - tick)), following - 0.001)) == following
        )


@settings(max_examples=100, deadline=None)
@given(timings(), MOMENTS)
def test_jitter_depends_on_schedule_and_tick_alone(timing: Timing, tick: float) -> None:
    submit_at = timing.submit_at(tick)
    assert tick <= submit_at <= tick + timing.jitter_s + 0.001
    assert timing.submit_at(tick) == submit_at
    if timing.jitter_s:
        others = {Timing(jitter_s=timing.jitter_s, seed=str(n)).submit_at(tick) for n in range(20)}
        assert len(others) > 10


@settings(max_examples=300, deadline=None)
@given(st.text("0123456789*/,-#LWFRI ", max_size=20) | st.text(max_size=20))
def test_any_text_is_a_schedule_or_a_refusal(cron: str) -> None:
    try:
        check_cron(cron, BERLIN, 1.75e9)
    except BadTiming:
        return
    assert Timing(cron=cron, zone=BERLIN).next_after(1.75e9) is not None
