"""The rules of a task's life as pure functions: transitions, retries, backoff, expiry, requirements.

No clock, no I/O, no randomness: time and random samples are arguments. Every store uses these rules. The scripts of the
Redis store repeat some of them in Lua, with the constants from here.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from google.rpc import code_pb2

from weft.rpc.task_policy.option_checks import SESSION_LABEL

DEFAULT_PRIORITY = 5
HIGHEST_PRIORITY = 9
REQUEST_ID_TTL_S = 24 * 3600.0
# Agents enforce limits and cancellations themselves. The store steps in this much later.
BACKSTOP_S = 1.0
# Attempts of an ended session that one call reclaims at most: sweeps reclaim the rest.
RECLAIM_ATTEMPTS = 250
# Largest exponent of a backoff: a larger one would overflow after a thousand attempts.
MAX_GROWTH = 64


class State(enum.IntEnum):
    """`weft.v1.TaskState`, by the same numbers."""

    SCHEDULED = 1
    QUEUED = 2
    RUNNING = 3
    SUCCEEDED = 4
    FAILED = 5
    CANCELLED = 6

    @property
    def terminal(self) -> bool:
        return self >= State.SUCCEEDED


# A state -> those that may follow it.
TRANSITIONS: Mapping[State, frozenset[State]] = {
    # A delay or a backoff ends; a limit passes; the task is cancelled; or it has succeeded elsewhere (`Submission.ended`).
    State.SCHEDULED: frozenset({State.QUEUED, State.SUCCEEDED, State.FAILED, State.CANCELLED}),
    State.QUEUED: frozenset({State.RUNNING, State.SUCCEEDED, State.FAILED, State.CANCELLED}),
    # Back to QUEUED or SCHEDULED by a retry, a release or a lost agent.
    State.RUNNING: frozenset({State.QUEUED, State.SCHEDULED, State.SUCCEEDED, State.FAILED, State.CANCELLED}),
    State.SUCCEEDED: frozenset(),
    # RetryTask.
    State.FAILED: frozenset({State.QUEUED}),
    State.CANCELLED: frozenset({State.QUEUED}),
}


# Codes that no policy retries: a retry cannot help.
FINAL_CODES = frozenset({code_pb2.INVALID_ARGUMENT, code_pb2.UNIMPLEMENTED})
# Codes that say something of the request or its caller: no fallback helps.
CALLERS_CODES = frozenset(
    {
        code_pb2.CANCELLED,
        code_pb2.INVALID_ARGUMENT,
        code_pb2.NOT_FOUND,
        code_pb2.ALREADY_EXISTS,
        code_pb2.PERMISSION_DENIED,
        code_pb2.UNAUTHENTICATED,
        code_pb2.FAILED_PRECONDITION,
        code_pb2.OUT_OF_RANGE,
    }
)


@dataclass(frozen=True, slots=True)
class TaskRetryPolicy:
    """When to retry: `weft.v1.RetryPolicy` with its defaults filled in. Hashable: policies are shared."""

    max_attempts: int = 5
    initial_backoff_s: float = 0.1
    max_backoff_s: float = 30.0
    backoff_multiplier: float = 2.0
    retryable_codes: frozenset[int] = frozenset({code_pb2.UNAVAILABLE})
    max_crashes: int = 3


DEFAULT_RETRY = TaskRetryPolicy()


def backoff_s(policy: TaskRetryPolicy, failures: int, sample: float, least_s: float | None = None) -> float:
    """The wait after the `failures`-th failed attempt (from 1), by exponential backoff with full jitter.

    Args:
        sample: a uniform random number in [0, 1).
        least_s: from the handler's RetryInfo, if any: never wait less.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 ("full jitter").
    """
    growth = policy.backoff_multiplier ** min(failures - 1, MAX_GROWTH)
    wait_s = sample * min(policy.max_backoff_s, policy.initial_backoff_s * growth)
    return wait_s if least_s is None else max(wait_s, least_s)


def should_retry(policy: TaskRetryPolicy, failures: int, code: int, *, final: bool = False) -> bool:
    """Whether to retry after the `failures`-th failed attempt of a task, which ended with `code`.

    Args:
        final: by the outcome, no retry can help (a result over the size limit).
    """
    if final or code in FINAL_CODES or code == code_pb2.CANCELLED:
        return False
    return code in policy.retryable_codes and failures < policy.max_attempts


def falls_back(code: int, *, cancel_requested: bool, close_at: float | None, now: float) -> bool:
    """Whether a task that would end as FAILED with `code` goes to its next alternative instead, if it has one.

    Not if it was cancelled, if there is no time left, or if the code is an answer about the request: another method would
    say the same.
    """
    if cancel_requested or code in CALLERS_CODES:
        return False
    return close_at is None or now < close_at


def crash_loops(policy: TaskRetryPolicy, crashes: int) -> bool:
    """Whether a task fails for good after its `crashes`-th crash."""
    return crashes > policy.max_crashes


def end_after_report(
    policy: TaskRetryPolicy, *, code: int, failures: int, final: bool = False, cancel_requested: bool = False
) -> State | None:
    """The final state of a task after its handler ended with `code`; None: it is retried. `failures` counts this one.

    A requested cancellation stops retries, but does not hide the handler's own end: a success stays a success, and a
    failure that would not have been retried stays a failure.
    """
    if code == code_pb2.OK:
        return State.SUCCEEDED
    if code == code_pb2.CANCELLED:
        return State.CANCELLED if cancel_requested else State.FAILED
    if should_retry(policy, failures, code, final=final):
        return State.CANCELLED if cancel_requested else None
    return State.FAILED


def end_after_crash(policy: TaskRetryPolicy, *, crashes: int, cancel_requested: bool = False) -> State | None:
    """The final state of a task after a crash; None: it is retried. `crashes` counts this one."""
    if cancel_requested:
        return State.CANCELLED
    return State.FAILED if crash_loops(policy, crashes) else None


def attempt_deadline(
    started_at: float, start_to_close_s: float | None, close_at: float | None
) -> float | None:
    """When an attempt must have ended, by its own limit or the task's; None: no limit."""
    if start_to_close_s is None:
        return close_at
    own_at = started_at + start_to_close_s
    return own_at if close_at is None else min(own_at, close_at)


# The label that every agent has: its id. A task for one agent requires it.
AGENT_ID_LABEL = "agent.id"
# And that of its contract: the first digits of its digest. A task that no other version may run requires it.
CONTRACT_LABEL = "agent.contract"
CONTRACT_DIGITS = 12
# Characters of an agent's id.
MAX_AGENT_ID = 128
# With the label of an agent's id: the task belongs to a sticky session there. The value is SOFT, or HARD and the process that has the session.
# No agent needs this label.
SOFT, HARD = "soft", "hard:"
# In place of an agent's id: the session has no agent yet. No agent has this id.
NO_AGENT_YET = "*"


class Requirements(NamedTuple):
    """What an agent must have for a task: labels; declared amounts of resources; and amounts that the task uses while it runs.

    A tuple, because every claim hashes some.
    """

    labels: tuple[tuple[str, str], ...] = ()
    resources: tuple[tuple[str, float], ...] = ()
    # The agent must have declared as much, and have as much left when the task starts.
    consumes: tuple[tuple[str, float], ...] = ()

    @classmethod
    def of(
        cls,
        labels: Mapping[str, str],
        resources: Mapping[str, float],
        consumes: Mapping[str, float] | None = None,
    ) -> Requirements:
        used = () if consumes is None else tuple(sorted(consumes.items()))
        return cls(tuple(sorted(labels.items())), tuple(sorted(resources.items())), used)

    def met_by(
        self, labels: Mapping[str, str], resources: Mapping[str, float], instance_id: str = ""
    ) -> bool:
        """Whether an agent with these labels and declared resources can run such tasks at all. `instance_id`: its process."""
        return all(
            labels.get(key) == value if key != SESSION_LABEL else value in (SOFT, HARD + instance_id)
            for key, value in self.labels
        ) and all(resources.get(key, 0.0) >= amount for key, amount in (*self.resources, *self.consumes))

    @property
    def agent_id(self) -> str:
        """The id of the one agent that meets them. Empty: any agent may."""
        for key, value in self.labels:
            if key == AGENT_ID_LABEL:
                return value
        return ""

    @property
    def session(self) -> str:
        """The value of `SESSION_LABEL`. Empty: no sticky session."""
        for key, value in self.labels:
            if key == SESSION_LABEL:
                return value
        return ""

    def fits(self, left: Mapping[str, float]) -> bool:
        """Whether a task can start at an agent with these amounts left."""
        return all(left.get(key, 0.0) >= amount for key, amount in self.consumes)

    def __str__(self) -> str:
        parts = [f"{key}={value}" for key, value in self.labels]
        parts += [f"{key}>={amount:g}" for key, amount in self.resources]
        parts += [f"{key}:{amount:g}" for key, amount in self.consumes]
        return ",".join(parts)


ANY_AGENT = Requirements()


class QueueKey(NamedTuple):
    """A queue: ready tasks with the same method and requirements are interchangeable for an agent.

    Retries have queues of their own, so that another agent than the last one gets them. People see them together with the
    rest (`base`).
    """

    method: str
    requirements: Requirements = ANY_AGENT
    # The id of the agent to avoid; empty: none.
    avoid: str = ""

    @property
    def base(self) -> QueueKey:
        """The queue that the tasks were submitted to."""
        return QueueKey(self.method, self.requirements) if self.avoid else self
