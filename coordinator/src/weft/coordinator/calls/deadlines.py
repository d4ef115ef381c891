"""A caller's deadline, as the coordinator answers it: a little before it passes, so that the answer arrives and says why.

Left alone, the caller's own timer would end the call with "Deadline Exceeded", and nothing about what it waited for. It still
does where the way back takes longer than the margin, and for calls of handlers, whose deadline is that of the call they handle.
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
    """It is time to answer; what with is still to be said."""


class Deadline(NamedTuple):
    """When a call came and is to be answered, by the event loop's clock; `answer_at_s` None: it has no deadline."""

    came_at_s: float
    answer_at_s: float | None

    @classmethod
    def of(cls, left_s: float | None, now_s: float) -> Deadline:
        if left_s is None or left_s >= MAX_DURATION_S:
            return cls(now_s, None)
        return cls(now_s, now_s + usable_s(left_s))

    def end_future(self, future: asyncio.Future[TaskRecord]) -> asyncio.TimerHandle | None:
        """Let a task's end raise DeadlineNear when it is time; cancel the timer when it has come before."""
        if self.answer_at_s is None:
            return None
        return asyncio.get_running_loop().call_at(self.answer_at_s, _end_future, future)

    def end_following(self, follower: Follower) -> asyncio.TimerHandle | None:
        """The same for what follows a task."""
        if self.answer_at_s is None:
            return None
        return asyncio.get_running_loop().call_at(self.answer_at_s, _end_follower, follower)


def _end_future(future: asyncio.Future[TaskRecord]) -> None:
    if not future.done():
        future.set_exception(DeadlineNear("the call's deadline passed"))


def _end_follower(follower: Follower) -> None:
    follower.error = DeadlineNear("the call's deadline passed")
    follower.notify()
