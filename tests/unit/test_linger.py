"""Linger: the rule by which a change waits for others, and its timer."""

from __future__ import annotations

import asyncio

from weft.coordinator.store import linger
from weft.coordinator.store.linger import LINGER_S, LingerTimer


def test_a_change_waits_for_a_moment_and_flushes_keep_apart() -> None:
    assert not linger.is_due(1.0, 1.0 + LINGER_S / 2)
    assert linger.is_due(1.0, 1.0 + LINGER_S * 1.01)
    assert linger.next_flush_s(1.0, float("-inf")) == 1.0 + LINGER_S
    # The next change is almost due: it waits for half as long again.
    assert linger.next_flush_s(1.0, 1.0 + LINGER_S) == 1.0 + LINGER_S * 1.5


async def test_the_timer_flushes_until_nothing_waits() -> None:
    loop = asyncio.get_running_loop()
    waiting = [loop.time(), loop.time() + LINGER_S / 4, loop.time() + LINGER_S]
    flushes: list[int] = []
    done = asyncio.Event()

    def flush(now_s: float) -> float | None:
        due = [since for since in waiting if linger.is_due(since, now_s)]
        flushes.append(len(due))
        for since in due:
            waiting.remove(since)
        if not waiting:
            done.set()
        return min(waiting, default=None)

    timer = LingerTimer(flush)
    timer.start()
    timer.start()
    await asyncio.wait_for(done.wait(), 5)
    assert sum(flushes) == 3
    timer.start()
    timer.cancel()
    assert timer._timer is None
