"""How often a coordinator polls its Redis: seldom while there is no work."""

from __future__ import annotations

import pytest

from weft.coordinator.store.redis.redis_activity import RESTING_POLL_S, RESTS_AFTER_S, RedisActivity


def test_it_rests_after_the_last_work() -> None:
    activity = RedisActivity(0.5, 100.0)
    assert activity.poll_s(100.0, pending=False) == 0.5
    rested_at = 100.1 + RESTS_AFTER_S
    assert activity.poll_s(rested_at, pending=False) == RESTING_POLL_S
    assert activity.poll_s(rested_at, pending=True) == 0.5
    # What runs without work does not wake it.
    for what in ("look", "sweep", "agents", "catalogue"):
        activity.asks(what, rested_at)
        assert activity.poll_s(rested_at, pending=False) == RESTING_POLL_S
    activity.asks("enqueue", rested_at)
    assert activity.poll_s(rested_at, pending=False) == 0.5


@pytest.mark.parametrize("poll_s", [0.1, 60.0])
def test_it_never_polls_more_often_than_it_was_told(poll_s: float) -> None:
    assert RedisActivity(poll_s, 0.0).poll_s(100.0, pending=False) == max(poll_s, RESTING_POLL_S)
