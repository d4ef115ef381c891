"""Answers calls shortly before their deadline, so that the answer arrives in time and says what the call waited for.

Without that, the caller's own timer ends the call with "Deadline Exceeded" alone. It still does if the way back takes longer
than the margin, and for calls made by handlers, which are not answered early.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from weft.coordinator.calls.task_subscriptions import Follower
from weft.coordinator.store.records import TaskRecord
from weft.rpc.calls.answer_in_time import usable_s
from weft.rpc.errors import DeadlineExceeded
from weft.rpc.times import MAX_DURATION_S


class DeadlineNear(DeadlineExceeded):
    """Raised when it is time to answer, and the answer is not known yet."""


class Deadline(NamedTuple):
    """When a call came, and when to answer it, by the event loop's clock; `answer_at_s` None: the call has no deadline."""

    came_at_s: float
    answer_at_s: float | None

    @classmethod
    def of(cls, left_s: float | None, now_s: float) -> Deadline:
        if left_s is None or left_s >= MAX_DURATION_S:
            return cls(now_s, None)
        return cls(now_s, now_s + usable_s(left_s))

    @property
    def left_s(self) -> float | None:
        """The time in which the caller can be answered, from the call on; None: it has no deadline."""
        return None if self.answer_at_s is None else self.answer_at_s - self.came_at_s

    def end_future(self, future: asyncio.Future[TaskRecord]) -> asyncio.TimerHandle | None:
        """Let the future raise DeadlineNear at the time to answer. Cancel the timer if the task ends before."""
        if self.answer_at_s is None:
            return None
        return asyncio.get_running_loop().call_at(self.answer_at_s, _end_future, future)

    def end_following(self, follower: Follower) -> asyncio.TimerHandle | None:
        """The same for a follower."""
        if self.answer_at_s is None:
            return None
        return asyncio.get_running_loop().call_at(self.answer_at_s, _end_follower, follower)


def _end_future(future: asyncio.Future[TaskRecord]) -> None:
    if not future.done():
        future.set_exception(DeadlineNear("the call's deadline passed"))


def _end_follower(follower: Follower) -> None:
    follower.error = DeadlineNear("the call's deadline passed")
    follower.notify()
