"""Run limits and locks as plain values: which gates a task passes when it starts, and how a gate counts.

A *gate* is one value of a run limit's key, or one lock. A task starts when all its gates have room, and takes all of them
together. A task whose gate has no room is *parked* there: it stays QUEUED, and is in no ready queue until the gate has room.
Pure: time is an argument. The scripts of the Redis store repeat the arithmetic in Lua.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from weft.rpc.task_policy.option_checks import EVENT_ID

# The key expression of a run limit that means: by the fairness key. It is reserved: no field path is read.
FAIRNESS_KEY = "fairness_key"
# Tasks that one claim may park. More wait for the next claim (`StoreListener.ready`).
MAX_PARKED = 256
# A token that is missing by less than this is there: sums of floats are not exact.
_EPSILON = 1e-9
# A time is a float of this resolution: a wait is longer by so much, so that the token is there when it ends.
_TICK_S = 1e-6


class LimitAction(enum.IntEnum):
    """What happens to a task for which a run limit has no room: `weft.v1.AtLimit`, by the same numbers."""

    QUEUE = 1
    REFUSE = 2
    CANCEL_NEWEST = 3
    CANCEL_OLDEST = 4


@dataclass(frozen=True, slots=True)
class RunLimitRule:
    """A run limit of one method and key expression; it holds for each value of the key apart."""

    # Most attempts that run at a time. 0: any number.
    max_running: int = 0
    # Most attempts that start each second, on average. 0: any number.
    rate_per_s: float = 0.0
    # Most attempts that start at once after a pause. 0: as many as in one second, at least 1.
    burst: int = 0
    at_limit: LimitAction = LimitAction.QUEUE
    # CANCEL_OLDEST: how long a running task may take to end.
    grace_s: float = 5.0

    @property
    def bucket_size(self) -> float:
        """The most tokens that a bucket holds."""
        return float(self.burst) if self.burst else max(1.0, self.rate_per_s)

    @property
    def counts_unfinished(self) -> bool:
        """Whether the limit is also one of unfinished tasks, which is decided when a task is submitted."""
        return self.at_limit is not LimitAction.QUEUE and self.max_running > 0


# The run limits of one method, by key expression; "": the method as a whole.
RunLimitRules = Mapping[str, RunLimitRule]


class LockClaim(NamedTuple):
    """A lock that a task holds while it runs: any number of tasks may share it, or one has it alone. `state`: it keeps a state."""

    name: str
    shared: bool = False
    state: bool = False


class GateKey(NamedTuple):
    """Identifies a gate: a run limit's method, key expression and value; or a lock, with no method and its name as the value."""

    method: str
    expression: str = ""
    value: str = ""

    @classmethod
    def of_lock(cls, name: str) -> GateKey:
        return cls("", "lock", name)

    def __str__(self) -> str:
        if not self.method:
            return f"{self.expression} {self.value}"
        if not self.expression:
            return f"run limit of {self.method}"
        return f"run limit of {self.method} by {self.expression}: {self.value}"


def limit_gates(
    rules: RunLimitRules, method: str, fairness_key: str, limit_keys: tuple[tuple[str, str], ...]
) -> Iterator[tuple[GateKey, RunLimitRule]]:
    """The gates of a method's run limits that a task passes now, with their rules, in a fixed order.

    A rule for the method as a whole and a rule by the fairness key hold for every task, also for those that were queued before
    the rule was set; a rule by another key for the tasks that were submitted with a value of it.

    Args:
        limit_keys: the task's (key expression, value).
    """
    if (rule := rules.get("")) is not None:
        yield GateKey(method), rule
    if (rule := rules.get(FAIRNESS_KEY)) is not None:
        yield GateKey(method, FAIRNESS_KEY, fairness_key), rule
    for expression, value in limit_keys:
        if expression not in {"", FAIRNESS_KEY} and (rule := rules.get(expression)) is not None:
            yield GateKey(method, expression, value), rule


# -- token buckets ----------------------------------------------------------------------------------------------------


def tokens_at(rule: RunLimitRule, tokens: float, at: float, now: float) -> float:
    """The tokens of a bucket now that had `tokens` at `at`. A clock that was set back takes none."""
    return min(rule.bucket_size, tokens + max(0.0, now - at) * rule.rate_per_s)


def next_token_at(rule: RunLimitRule, tokens: float, now: float) -> float:
    """When a bucket with `tokens` now has one."""
    return now + max(0.0, 1.0 - tokens) / rule.rate_per_s + _TICK_S


def room(rule: RunLimitRule, running: int, tokens: float) -> int:
    """How many attempts may start now at a gate; not negative. An adopted attempt may have exceeded the limit."""
    left = rule.max_running - running if rule.max_running else math.inf
    if rule.rate_per_s:
        left = min(left, math.floor(tokens + _EPSILON))
    return max(0, int(min(left, MAX_PARKED)))


def lock_has_room(*, shared: bool, holders: int, exclusive: bool, waits_longer: bool) -> bool:
    """Whether a task may take a lock.

    An exclusive claim needs a free lock. A shared one needs a lock that is free, or shared while no older exclusive claim is
    parked at it (`waits_longer`): otherwise a stream of shared claims would keep an exclusive one waiting for ever.

    Args:
        holders: tasks that hold the lock.
        exclusive: whether one of them holds it alone.
    """
    if not holders:
        return True
    return shared and not exclusive and not waits_longer


def takes_turn(locks: Iterable[LockClaim]) -> bool:
    """Whether a task keeps its place among those of its lock also after a lost attempt: that of an event's key.

    It is then the first one in its queue. So its next attempt avoids no agent: in a queue of its own, others would overtake it.
    """
    return any(lock.name.startswith(EVENT_ID) for lock in locks)
