"""The Redis store's steps: a list a task, and an index of their names (steps.lua)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weft.coordinator.store.redis.redis_ids import is_id
from weft.coordinator.store.redis.redis_link import RedisLink
from weft.coordinator.store.redis.write_buffer import WriteBuffer
from weft.coordinator.store.step_store import (
    MAX_STEPS,
    MAX_STEPS_BYTES,
    PAGE_BYTES,
    SIGNALS,
    AttemptFence,
    NewSignal,
    NewStep,
    RecordKind,
    StepAnswer,
    StepRecord,
    StepRefusal,
)

# Records of one script.
_IMPORTED = 50
# How long records are kept whose task is not stored.
_UNOWNED_S = 3600
_REFUSALS = {1: StepRefusal.OVER, 2: StepRefusal.LIMIT}


class RedisSteps:
    """The steps' part of a Redis store; `RedisStore` makes the link and the buffer."""

    _link: RedisLink
    _buffer: WriteBuffer
    max_steps = MAX_STEPS
    max_steps_bytes = MAX_STEPS_BYTES

    async def record_step(self, fence: AttemptFence, step: NewStep) -> StepAnswer | StepRefusal:
        if not is_id(fence.task_id):
            return StepRefusal.OVER
        self._buffer.flush([fence.task_id])
        delay_s = False if step.delay_s is None else step.delay_s
        request = [*fence, step.name, int(step.kind), step.value, delay_s]
        return _recorded(await self._link.run("record_step", [*request, *self._limits_of_steps]))

    async def send_signal(self, task_id: str, signal: NewSignal) -> StepAnswer | StepRefusal:
        if not is_id(task_id):
            return StepRefusal.OVER
        self._buffer.flush([task_id])
        request = [
            task_id,
            f"{SIGNALS}{signal.name}",
            signal.value,
            signal.signal_id,
            int(RecordKind.SIGNAL),
        ]
        return _recorded(await self._link.run("send_signal", [*request, *self._limits_of_steps]))

    async def list_steps(self, task_id: str, after: int, limit: int) -> Sequence[StepRecord]:
        if not is_id(task_id):
            return []
        rows = await self._link.run("list_steps", [task_id, after, limit, PAGE_BYTES])
        return [_step(after + at, row) for at, row in enumerate(rows or (), 1)]

    async def import_steps(self, task_id: str, steps: Sequence[StepRecord]) -> None:
        """Store what a task has recorded elsewhere, before the task: nobody may see that without it."""
        for at in range(0, len(steps), _IMPORTED):
            rows = [
                (
                    step.name,
                    int(step.kind),
                    step.value,
                    step.attempt,
                    step.recorded_at,
                    False if step.wake_at is None else step.wake_at,
                )
                for step in steps[at : at + _IMPORTED]
            ]
            await self._link.run("import_steps", [task_id, at, rows, int(RecordKind.SIGNAL), _UNOWNED_S])

    @property
    def _limits_of_steps(self) -> tuple[int, int]:
        return self.max_steps, self.max_steps_bytes


def _recorded(result: Any) -> StepAnswer | StepRefusal:
    if isinstance(result, int):
        return _REFUSALS[result]
    sequence, row, existed = result
    return StepAnswer(_step(sequence, row), bool(existed))


def _step(sequence: int, row: Sequence[Any]) -> StepRecord:
    name, kind, value, attempt, at, wake_at = row
    return StepRecord(
        sequence,
        name.decode(),
        RecordKind(kind),
        value,
        attempt,
        float(at),
        None if wake_at is False else float(wake_at),
    )
