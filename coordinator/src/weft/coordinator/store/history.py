"""The history of a task: its earlier attempts, and the last one derived from the task itself.

A task that succeeds at its first attempt has no history: agent, times and outcome of the task describe its only attempt.
The history has the attempts that failed and were retried, that were lost with their agent, and that were released. They are
trimmed; of many, the first one and the newest are kept. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError
from google.rpc import code_pb2, status_pb2

from weft.coordinator.store.records import AttemptRecord, TaskRecord
from weft.coordinator.store.reruns import Rerun
from weft.coordinator.store.rules import State
from weft.rpc.times import seconds, timestamp
from weft.v1 import session_pb2, task_pb2

# Attempts of one task that are kept: the first one, and the newest.
MAX_ATTEMPTS = 16
# Length of a kept message, and of a kept exception's text.
_TEXT_CHARS = 1024

History = tuple[AttemptRecord, ...]
_LOST = status_pb2.Status(code=code_pb2.UNAVAILABLE, message="the agent was lost")


def extended(history: History, attempt: AttemptRecord) -> History:
    """A history with one more attempt."""
    if len(history) < MAX_ATTEMPTS:
        return (*history, attempt)
    return (history[0], *history[2:], attempt)


def trimmed(code: int, outcome: bytes) -> bytes:
    """A failed attempt's outcome as the history keeps it: code, message and exception; no details, trailers or stack.

    The bytes come from the agent: they may not parse.
    """
    try:
        whole = task_pb2.Outcome.FromString(outcome)
    except DecodeError:
        whole = task_pb2.Outcome()
    kept = task_pb2.Outcome(
        status=status_pb2.Status(code=code, message=whole.status.message[:_TEXT_CHARS]),
    )
    if whole.HasField("suspension"):
        kept.suspension.CopyFrom(whole.suspension)
    if whole.HasField("error"):
        kept.error.type, kept.error.message = (
            whole.error.type[:_TEXT_CHARS],
            whole.error.message[:_TEXT_CHARS],
        )
    return kept.SerializeToString()


def last_attempt(record: TaskRecord) -> AttemptRecord | None:
    """A task's current or last attempt; None: its history has it, or there was none."""
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
    """The known attempts of a task, oldest first."""
    last = last_attempt(record)
    history = tuple(record.history)
    return history if last is None else extended(history, last)


def rerun(last: AttemptRecord, *, requested: bool) -> Rerun:
    """Why a task has an attempt after this one; `requested`: RetryTask has queued it again since."""
    if requested:
        cause = session_pb2.RERUN_CAUSE_REQUESTED
    elif last.released:
        cause = session_pb2.RERUN_CAUSE_RELEASED
    elif suspension(last) is not None:
        cause = session_pb2.RERUN_CAUSE_SUSPENDED
    else:
        cause = session_pb2.RERUN_CAUSE_LOST if last.crashed else session_pb2.RERUN_CAUSE_FAILED
    lost_since = last.started_at if _lost_with_agent(last) else None
    code = 0 if last.released else _code(last)
    return Rerun(cause, last.agent_id, code, last.ended_at or 0.0, last.number, lost_since)


def suspension(attempt: AttemptRecord) -> task_pb2.Suspension | None:
    """Until when the task waited, if the attempt ended because its handler only waited."""
    outcome = _outcome(attempt.outcome)
    return outcome.suspension if outcome.HasField("suspension") else None


def _lost_with_agent(attempt: AttemptRecord) -> bool:
    """Whether its agent was lost; the process of an isolated handler is another's, and has an outcome."""
    status = _outcome(attempt.outcome).status
    return attempt.crashed and not attempt.released and (not status.code or status == _LOST)


def kept_last(record: TaskRecord) -> AttemptRecord | None:
    """The last attempt of an ended task, trimmed for the history: RetryTask queues the task again."""
    last = last_attempt(record)
    if last is None or last.ended_at is None:
        return None
    return AttemptRecord(
        last.number, last.agent_id, last.started_at, last.ended_at, trimmed(_code(last), last.outcome)
    )


def message(attempt: AttemptRecord) -> task_pb2.Attempt:
    """An attempt as a message of the contract."""
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
    if outcome.HasField("suspension"):
        told.suspension.CopyFrom(outcome.suspension)
    return told


def encode(history: History) -> bytes | None:
    """A history as bytes; None: it is empty."""
    if not history:
        return None
    return task_pb2.Task(attempts=[message(attempt) for attempt in history]).SerializeToString()


def decode(stored: bytes | None) -> History:
    """The history behind `encode`'s bytes."""
    if not stored:
        return ()
    return tuple(_record(told) for told in task_pb2.Task.FromString(stored).attempts)


def _record(told: task_pb2.Attempt) -> AttemptRecord:
    error = told.error if told.HasField("error") else None
    until = told.suspension if told.HasField("suspension") else None
    return AttemptRecord(
        told.number,
        told.agent_id,
        seconds(told.start_time) if told.HasField("start_time") else None,
        seconds(told.end_time),
        b""
        if told.released
        else task_pb2.Outcome(status=told.status, error=error, suspension=until).SerializeToString(),
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
