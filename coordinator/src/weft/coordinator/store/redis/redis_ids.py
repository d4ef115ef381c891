"""Task ids of the Redis store: 16 digits of time and chance as in the embedded store, then the coordinator's number.

Ids of one coordinator only grow. Ids of several coordinators never collide, and sort by age as far as their clocks agree.
"""

from __future__ import annotations

import random
import re

from weft.coordinator.store.task_ids import NumberGenerator, format_id, least_number_at

_ID = re.compile(r"[0-9a-f]{20}")
_COORDINATORS = 1 << 16


class IdGenerator:
    """Generates ids.

    Args:
        last: the largest id in the store; empty: none.
        coordinator: this coordinator's number.
    """

    def __init__(self, last: str, coordinator: int, rng: random.Random) -> None:
        self._numbers = NumberGenerator(int(last[:16], 16) if last else 0, rng)
        self._suffix = f"{coordinator % _COORDINATORS:04x}"

    def next(self, now: float) -> str:
        return format_id(self._numbers.next(now)) + self._suffix


def is_id(text: str) -> bool:
    """Whether a store could have generated it."""
    return _ID.fullmatch(text) is not None


def least_id_at(at: float) -> str:
    """No task that was created at or after `at` has a smaller id."""
    return format_id(least_number_at(at))
