"""Alternatives: the methods that may run a task, each with what it needs. The first is the method that the task was submitted to,
the others are its fallbacks, in order. Pure.

A task goes to the next alternative when it would end as FAILED, and another method might do better (`rules.falls_back`). It keeps its
id, its attempt numbers, priority, TTLs and the time limit over all; failures, crashes and schedule_to_start count anew.
"""

from __future__ import annotations

from typing import NamedTuple

from weft.coordinator.store.rules import ANY_AGENT, DEFAULT_RETRY, Requirements, TaskRetryPolicy
from weft.coordinator.store.run_limits import LockClaim


class Alternative(NamedTuple):
    """A method that may run a task, with what a run of it needs."""

    method: str
    requirements: Requirements = ANY_AGENT
    retry: TaskRetryPolicy = DEFAULT_RETRY
    schedule_to_start_s: float | None = None
    start_to_close_s: float | None = None
    limit_keys: tuple[tuple[str, str], ...] = ()
    locks: tuple[LockClaim, ...] = ()


class Alternatives(NamedTuple):
    """The alternatives of a task: all of them, the present one, and when the task came to it (None: with its submission)."""

    all: tuple[Alternative, ...]
    at: int = 0
    since: float | None = None

    @property
    def has_next(self) -> bool:
        return self.at + 1 < len(self.all)
