"""The steps' part of a store: what handlers have recorded of their tasks, and signals that were sent to these (weft/v1/step.proto).

A record has a name, unique in its task; the first one of a name stays. Records are kept as long as their task. A record can be written
by the task's running attempt alone; a signal by anybody while the task is unfinished.

A task whose attempt ends with a `Suspension` waits, SCHEDULED, until it is to go on. A signal that it waits for queues it at once, also
if the signal is stored before the attempt's end.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from weft.rpc.times import MAX_DURATION_S

# Records of a task, and bytes of their values.
MAX_STEPS = 10_000
MAX_STEPS_BYTES = 16 * 1024 * 1024
# Of one value.
MAX_VALUE_BYTES = 256 * 1024
# Of one page.
PAGE_BYTES = 1024 * 1024
PAGE_STEPS = 1000
# A task that waits for a signal alone goes on after so long, and waits again.
LONGEST_WAIT_S = MAX_DURATION_S
# How much longer a remembered child task is kept each time that its parent is found unfinished.
CHILD_KEPT_S = 600.0
# Calls that one attempt may wait for.
MAX_CALLS = 100
SIGNALS = "signal/"


class RecordKind(enum.IntEnum):
    """`weft.v1.StepKind`, by the same numbers."""

    VALUE = 1
    SLEEP = 2
    WAIT = 3
    TIMEOUT = 4
    SIGNAL = 5


class AttemptFence(NamedTuple):
    """The attempt that records. `agent_id` empty: of any agent."""

    task_id: str
    attempt: int
    agent_id: str = ""


@dataclass(frozen=True, slots=True)
class NewStep:
    """A record to be. `delay_s`: of a sleep or a wait, how long it lasts."""

    name: str
    kind: RecordKind
    value: bytes = b""
    delay_s: float | None = None


@dataclass(frozen=True, slots=True)
class NewSignal:
    """A signal to be. `signal_id`: its repeats have the same; empty: it has none."""

    name: str
    value: bytes = b""
    signal_id: str = ""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A record as stored. `attempt` 0: a signal. `wake_at`: when a sleep or a wait ends, by the store's clock."""

    sequence: int
    name: str
    kind: RecordKind
    value: bytes
    attempt: int
    recorded_at: float
    wake_at: float | None = None


def counts_of(steps: Sequence[StepRecord]) -> list[int]:
    """How many records these are, the bytes of their values, and how many signals are among them."""
    signals = sum(step.kind is RecordKind.SIGNAL for step in steps)
    return [len(steps), sum(len(step.value) for step in steps), signals]


class StepAnswer(NamedTuple):
    """The record of a name, and whether it was there already."""

    step: StepRecord
    existed: bool = False


class StepRefusal(enum.Enum):
    """Why nothing was recorded."""

    # The attempt is not the current one, or the task has ended, or there is no such task.
    OVER = "over"
    # The task has as many records, or bytes of them, as it may have.
    LIMIT = "limit"


class StepSuspension(NamedTuple):
    """Until when a task waits. `wake_at` None: for `LONGEST_WAIT_S`. `signals`: it goes on as soon as it has more signals than this. `calls`: or
    as soon as one of these tasks has ended, by their request ids; one that is not known has."""

    wake_at: float | None = None
    signals: int | None = None
    calls: tuple[str, ...] = ()

    def ready_at(self, signals: int, now: float) -> float:
        """When the task goes on, if it has so many signals."""
        if self.signals is not None and signals > self.signals:
            return now
        longest = now + LONGEST_WAIT_S
        return longest if self.wake_at is None else min(max(self.wake_at, now), longest)


class StepStore(Protocol):
    """Records of steps, and signals. A method that makes a change returns when the change is durable."""

    async def record_step(self, fence: AttemptFence, step: NewStep) -> StepAnswer | StepRefusal:
        """Record a step of a running attempt; or give the record that has its name."""
        ...

    async def send_signal(self, task_id: str, signal: NewSignal) -> StepAnswer | StepRefusal:
        """Store a signal, as the next one of its name ("signal/NAME#n"); or give the stored one that has its name and id. A task that
        waits for signals is queued."""
        ...

    async def list_steps(self, task_id: str, after: int, limit: int) -> Sequence[StepRecord]:
        """Records with a sequence above `after`, in order. Large ones: fewer than `limit`, but at least one."""
        ...
