"""What becomes of ticks that have come: submitted, skipped, missed, or waiting. Pure: time and running tasks are arguments.

A tick is decided once, by whichever coordinator changes the schedule's row first; only then its task is submitted.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from weft.coordinator.schedules.tick_times import Timing

# A tick may be so late in any case: processes and networks take their time.
LEAST_WINDOW_S = 5.0
# Ticks that one decision passes over one by one. After more, it goes to the first tick that is not too late.
MOST_PASSED = 200
# A waiting tick looks again whether the earlier task has ended: the longer it has waited, the less often.
FIRST_LOOK_S, LAST_LOOK_S, LOOKS = 0.2, 5.0, 8


class Overlap(enum.IntEnum):
    """What happens to a tick while an earlier task has not ended; the numbers are those of `weft.v1.OverlapPolicy`."""

    SKIP = 1
    QUEUE = 2
    CANCEL = 3
    ALLOW = 4


class Fate(enum.IntEnum):
    """What became of a tick; the numbers are those of `weft.v1.TickOutcome`."""

    SUBMITTED = 1
    SKIPPED = 2
    MISSED = 3
    REFUSED = 4


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of the ticks up to now.

    `passed` are ticks that get no task, oldest first; `submit` is the tick that gets one now. `next_tick` is the first one that
    is not decided. If `waits`, that one has come, but an earlier task has not ended.
    """

    passed: Sequence[tuple[float, Fate]]
    submit: float | None
    next_tick: float | None
    waits: bool = False


def decide(
    timing: Timing,
    overlap: Overlap,
    window_s: float,
    next_tick: float | None,
    now: float,
    *,
    busy: bool,
) -> Decision:
    """Decide the ticks up to now, up to the first one that is submitted or waits.

    Args:
        window_s: the catch-up window.
        busy: an earlier task of the schedule has not ended.
    """
    window_s = max(window_s, LEAST_WINDOW_S)
    passed: list[tuple[float, Fate]] = []
    tick = next_tick
    while tick is not None and (submit_at := timing.submit_at(tick)) <= now:
        if submit_at + window_s < now:
            passed.append((tick, Fate.MISSED))
        elif not busy or overlap is Overlap.ALLOW:
            return Decision(passed, tick, timing.next_after(tick))
        elif overlap is Overlap.SKIP:
            passed.append((tick, Fate.SKIPPED))
        else:
            return Decision(passed, None, tick, waits=True)
        if len(passed) == MOST_PASSED:
            # The rest of those that are too late by any jitter.
            tick = max(tick, now - window_s - timing.jitter_s - 0.001)
        tick = timing.next_after(tick)
    return Decision(passed, None, tick)


def look_again_at(timing: Timing, tick: float, now: float) -> float:
    """When a waiting tick looks again."""
    waited_s = max(0.0, now - timing.submit_at(tick))
    return now + min(LAST_LOOK_S, max(FIRST_LOOK_S, waited_s / LOOKS))
