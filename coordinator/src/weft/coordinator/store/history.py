"""The attempts at a task: what a store keeps of those before the last one, and how the last one follows from the task.

A task that succeeds at its first attempt has no history: its only attempt is told by the task's own agent, times and outcome.
Kept is an attempt that failed and is followed by another, was lost with its agent, or was released; trimmed, and of many the
first one and the newest. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError
from google.rpc import code_pb2, status_pb2

from weft.coordinator.store.records import AttemptRecord, TaskRecord
from weft.coordinator.store.rules import State
from weft.rpc.times import seconds, timestamp
from weft.v1 import task_pb2

# Attempts of one task that are told: the first one, and the newest.
MAX_ATTEMPTS = 16
# Of a kept attempt's message, and of the text that its handler raised.
_TEXT_CHARS = 1024

History = tuple[AttemptRecord, ...]
_LOST = status_pb2.Status(code=code_pb2.UNAVAILABLE, message="the agent was lost")


def extended(history: History, attempt: AttemptRecord) -> History:
    """A history with one more attempt."""
    if len(history) < MAX_ATTEMPTS:
        return (*history, attempt)
    return (history[0], *history[2:], attempt)


def trimmed(code: int, outcome: bytes) -> bytes:
    """What is kept of a failed attempt's outcome: code, message and what was raised; no details, trailers or stack.

    Whoever wrote the outcome, its bytes may be none.
    """
    try:
        whole = task_pb2.Outcome.FromString(outcome)
    except DecodeError:
        whole = task_pb2.Outcome()
    kept = task_pb2.Outcome(
        status=status_pb2.Status(code=code, message=whole.status.message[:_TEXT_CHARS]),
    )
    if whole.HasField("error"):
        kept.error.type, kept.error.message = (
            whole.error.type[:_TEXT_CHARS],
            whole.error.message[:_TEXT_CHARS],
        )
    return kept.SerializeToString()


def last_attempt(record: TaskRecord) -> AttemptRecord | None:
    """A task's current or last attempt, where its history does not have it; None: it has, or there was none."""
    if not record.attempt or any(
        past.number == record.attempt and not past.released for past in record.history
    ):
        return None
    running = record.state is State.RUNNING
    return AttemptRecord(
        record.attempt,
        record.agent_id,
        record.started_at,
        None if running else record.finished_at,
        b"" if running else record.outcome,
    )


def attempts(record: TaskRecord) -> Sequence[AttemptRecord]:
    """All attempts that are told of a task, oldest first."""
    last = last_attempt(record)
    history = tuple(record.history)
    return history if last is None else extended(history, last)


def kept_last(record: TaskRecord) -> AttemptRecord | None:
    """The last attempt of a task that has ended, as its history is to have it when the task is queued again."""
    last = last_attempt(record)
    if last is None or last.ended_at is None:
        return None
    return AttemptRecord(
        last.number, last.agent_id, last.started_at, last.ended_at, trimmed(_code(last), last.outcome)
    )


def message(attempt: AttemptRecord) -> task_pb2.Attempt:
    """An attempt as the contract has it."""
    told = task_pb2.Attempt(
        number=attempt.number,
        agent_id=attempt.agent_id,
        crashed=attempt.crashed,
        released=attempt.released,
    )
    if attempt.started_at is not None:
        told.start_time.CopyFrom(timestamp(attempt.started_at))
    if attempt.ended_at is None:
        return told
    told.end_time.CopyFrom(timestamp(attempt.ended_at))
    outcome = _outcome(attempt.outcome)
    if attempt.crashed and not outcome.status.code:
        outcome.status.CopyFrom(_LOST)
    if not attempt.released:
        told.status.CopyFrom(outcome.status)
    if outcome.HasField("error"):
        told.error.CopyFrom(outcome.error)
    return told


def encode(history: History) -> bytes | None:
    """A history as bytes to be stored; None: there is none."""
    if not history:
        return None
    return task_pb2.Task(attempts=[message(attempt) for attempt in history]).SerializeToString()


def decode(stored: bytes | None) -> History:
    """What `encode` gave."""
    if not stored:
        return ()
    return tuple(_record(told) for told in task_pb2.Task.FromString(stored).attempts)


def _record(told: task_pb2.Attempt) -> AttemptRecord:
    error = told.error if told.HasField("error") else None
    return AttemptRecord(
        told.number,
        told.agent_id,
        seconds(told.start_time) if told.HasField("start_time") else None,
        seconds(told.end_time),
        b"" if told.released else task_pb2.Outcome(status=told.status, error=error).SerializeToString(),
        crashed=told.crashed,
        released=told.released,
    )


def _code(attempt: AttemptRecord) -> int:
    return _outcome(attempt.outcome).status.code


def _outcome(serialized: bytes) -> task_pb2.Outcome:
    try:
        return task_pb2.Outcome.FromString(serialized)
    except DecodeError:
        return task_pb2.Outcome()
