"""Steps and signals of tasks, over the coordinator's API."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from weft.client.api import Api
from weft.client.methods import Method
from weft.v1 import step_pb2

_SERVICE = "weft.v1.StepService"
RECORD_STEP = Method.of(f"{_SERVICE}/RecordStep", step_pb2.RecordStepRequest, step_pb2.RecordStepResponse)
LIST_STEPS = Method.of(f"{_SERVICE}/ListSteps", step_pb2.ListStepsRequest, step_pb2.ListStepsResponse)
SEND_SIGNAL = Method.of(f"{_SERVICE}/SendSignal", step_pb2.SendSignalRequest, step_pb2.SendSignalResponse)


class StepKind(StrEnum):
    """What a record says."""

    VALUE = "value"
    SLEEP = "sleep"
    WAIT = "wait"
    TIMEOUT = "timeout"
    SIGNAL = "signal"
    # A kind of a later version of weft.
    UNKNOWN = "unknown"

    @classmethod
    def of(cls, number: int) -> StepKind:
        """A kind by its number in the contract."""
        known = _KINDS.get(number)
        return cls.UNKNOWN if known is None else cls(known)


_KINDS = {
    number: name.removeprefix("STEP_KIND_").lower() for name, number in step_pb2.StepKind.items() if number
}


@dataclass(frozen=True, slots=True)
class RecordedStep:
    """A step that a task's handler has recorded, or a signal that it got.

    Attributes:
        attempt: the attempt that recorded it; 0: a signal.
        wake_at: when a sleep or a wait ends; None: neither, or a wait without a limit.
        value: of a local step or a signal, as stored: mostly JSON.
    """

    sequence: int
    name: str
    kind: StepKind
    attempt: int
    recorded_at: datetime
    wake_at: datetime | None
    value: bytes

    @classmethod
    def of(cls, step: step_pb2.Step) -> RecordedStep:
        return cls(
            step.sequence,
            step.name,
            StepKind.of(step.kind),
            step.attempt,
            step.record_time.ToDatetime(UTC),
            step.wake_time.ToDatetime(UTC) if step.HasField("wake_time") else None,
            step.value,
        )


async def steps_of(api: Api, task_id: str, after: int = 0) -> AsyncGenerator[step_pb2.ListStepsResponse]:
    """The records of a task, page by page."""
    more = True
    while more:
        page = await api.call(LIST_STEPS, step_pb2.ListStepsRequest(task_id=task_id, after_sequence=after))
        yield page
        more = page.more
        if page.steps:
            after = page.steps[-1].sequence


async def send_signal(api: Api, task_id: str, name: str, value: Any, signal_id: str) -> RecordedStep:
    """Store a signal; `value`: bytes as they are, None as nothing, anything else as JSON."""
    encoded = b"" if value is None else value if isinstance(value, bytes) else json.dumps(value).encode()
    request = step_pb2.SendSignalRequest(task_id=task_id, name=name, value=encoded, id=signal_id)
    # Without an id, a repeat could be stored as a second signal.
    answer = await api.call(SEND_SIGNAL, request, repeatable=bool(signal_id))
    return RecordedStep.of(answer.step)
