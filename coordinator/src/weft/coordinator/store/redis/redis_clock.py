"""Redis' clock, as a coordinator estimates it between two looks."""

from __future__ import annotations

import time
from collections.abc import Callable


class RedisClock:
    """The clock. A look at it tells bounds of its difference to this process' clock: the answer was made between question and now.
    The estimate changes no more than the bounds ask for, so that a slow answer, whose bounds are wide, does not spoil it.

    Args:
        clock: seconds since the epoch, for tests: then there is nothing to estimate.
        own: this process' clock.
    """

    def __init__(self, clock: Callable[[], float] | None, own: Callable[[], float] = time.time) -> None:
        self._own = own
        self._offset_s: float | None = None
        self.now = clock or self._estimate

    def _estimate(self) -> float:
        return self._own() + (self._offset_s or 0.0)

    def seen(self, at: float, asked_at: float) -> None:
        """It showed `at`, in the answer to a question of `asked_at` by this process' clock."""
        least, most = at - self._own(), at - asked_at
        middle = (least + most) / 2
        self._offset_s = middle if self._offset_s is None else min(max(self._offset_s, least), most)
