"""Converts between messages of weft/v1/step.proto and records of the store. Pure."""

from __future__ import annotations

from weft.coordinator.steps.remembered_calls import MAX_NAME_CHARS
from weft.coordinator.store.remembered import request_id_of
from weft.coordinator.store.step_store import MAX_CALLS, RecordKind, StepRecord, StepSuspension
from weft.rpc.times import seconds, timestamp
from weft.v1 import step_pb2, task_pb2


def step(record: StepRecord, *, values: bool = True) -> step_pb2.Step:
    """A record as a message."""
    told = step_pb2.Step(
        sequence=record.sequence,
        name=record.name,
        kind=int(record.kind),  # type: ignore[arg-type]
        value=record.value if values else b"",
        attempt=record.attempt,
        record_time=timestamp(record.recorded_at),
    )
    if record.wake_at is not None:
        told.wake_time.CopyFrom(timestamp(record.wake_at))
    return told


def kind_of(number: int) -> RecordKind | None:
    """A kind by its number; None: there is none of it."""
    return RecordKind(number) if number in _KINDS else None


_KINDS = frozenset(int(kind) for kind in RecordKind)


def bound(until: task_pb2.Suspension) -> None:
    """Cut a suspension from an agent to the bounds of the contract, in place: the task's history keeps it."""
    del until.calls[MAX_CALLS:]
    for at, name in enumerate(until.calls):
        # No call has a longer name: it counts as ended either way.
        until.calls[at] = name[: MAX_NAME_CHARS + 1]


def suspension_of(outcome: task_pb2.Outcome, task_id: str) -> StepSuspension:
    """Until when the handler of a task waits, by its outcome."""
    told = outcome.suspension
    return StepSuspension(
        seconds(told.wake_time) if told.HasField("wake_time") else None,
        told.signals if told.HasField("signals") else None,
        tuple(request_id_of(task_id, name) for name in told.calls),
    )
