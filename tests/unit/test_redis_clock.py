"""The estimate of Redis' clock: as good as the quickest answer, and it follows a clock that is set."""

from __future__ import annotations

import random

import pytest

from weft.coordinator.store.redis.redis_clock import RedisClock


class Ends:
    """Redis and a coordinator, with clocks apart."""

    def __init__(self, apart_s: float) -> None:
        self.own = 1000.0
        self.apart_s = apart_s
        self.clock = RedisClock(None, lambda: self.own)

    @property
    def error_s(self) -> float:
        return abs(self.clock.now() - self.own - self.apart_s)

    def look(self, there_s: float, back_s: float) -> None:
        asked_at = self.own
        self.own += there_s
        at = self.own + self.apart_s
        self.own += back_s
        self.clock.seen(at, asked_at)


@pytest.mark.parametrize("apart_s", [0.0, -3600.0, 7200.5])
def test_a_slow_answer_does_not_spoil_the_estimate(apart_s: float) -> None:
    ends = Ends(apart_s)
    ends.look(0.4, 0.001)
    assert ends.error_s < 0.21
    ends.look(0.001, 0.002)
    assert ends.error_s < 0.0031
    for there_s, back_s in ((0.5, 0.0), (0.0, 3.0), (1.0, 1.0)):
        ends.look(there_s, back_s)
        assert ends.error_s < 0.0031


def test_it_follows_a_clock_that_is_set() -> None:
    ends, chance = Ends(0.0), random.Random(5)
    for _ in range(200):
        ends.apart_s += chance.choice([0.0, 0.0, 0.0001, -50.0, 3600.0])
        there_s, back_s = chance.uniform(0.0, 0.01), chance.uniform(0.0, 0.01)
        ends.look(there_s, back_s)
        assert ends.error_s <= there_s + back_s + 1e-9


def test_a_given_clock_is_the_clock() -> None:
    clock = RedisClock(lambda: 7.0)
    clock.seen(100.0, 99.0)
    assert clock.now() == 7.0
