"""Rows: tasks as parameters, and statements that write many rows in one step.

One step for many rows matters: SQLite releases the interpreter's lock for each step, and a thread that competes with a busy
event loop waits up to the switch interval (5 ms) to get it back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

from weft.coordinator.store.embedded.stored_alternatives import encode as encode_alternatives
from weft.coordinator.store.embedded.task_spec import joined_options
from weft.coordinator.store.embedded.unfinished_task import UnfinishedTask
from weft.coordinator.store.history import encode as encode_history
from weft.coordinator.store.rules import State

# Most rows in one statement. The numbers of rows are powers of two, so that statements are prepared once.
MAX_ROWS = 256


class Writer:
    """A statement of the form "HEAD VALUES (...), (...)", for any number of rows."""

    def __init__(self, head: str, width: int) -> None:
        self.width = width
        row = f"({','.join('?' * width)})"

        @cache
        def text(rows: int) -> str:
            return f"{head} VALUES {','.join([row] * rows)}"

        self._text: Callable[[int], str] = text

    def statements(self, flat: Sequence[Any]) -> Iterator[tuple[str, Sequence[Any]]]:
        """Statements that write all rows of `flat`, the values of all rows one after the other."""
        rows = len(flat) // self.width
        start = 0
        while rows:
            take = min(MAX_ROWS, 1 << (rows.bit_length() - 1))
            stop = start + take * self.width
            yield self._text(take), flat[start:stop] if take < rows or start else flat
            start, rows = stop, rows - take


# Only a new task may fail because its row exists. Other rows are written until that succeeds, and a write with an unknown
# outcome may have succeeded.
TASKS = Writer(
    "INSERT INTO tasks (id, method, priority, created_at, delay_s, schedule_to_start_s, schedule_to_close_s,"
    " request_key, request_id, request_digest, options, context, payload, group_id)",
    14,
)
NEW_LIVE = Writer("INSERT INTO live (id)", 1)
LIVE = Writer(
    "INSERT OR REPLACE INTO live (id, attempt, failures, crashes, ready_at, retried_at, fresh_attempt,"
    " cancel_reason, cancel_grace_s, agent_id, epoch, started_at, reported, outcome, history)",
    15,
)
ENDS = Writer(
    "INSERT OR REPLACE INTO ends (id, state, attempt, crashes, agent_id, epoch, answer, ready_at, started_at,"
    " finished_at, expires_at, progress_count, outcome, history)",
    14,
)
STATES = Writer(
    "INSERT OR REPLACE INTO states (name, version, type, updated_at, expires_at, task_id, value)", 7
)
PROGRESS = Writer(
    "INSERT OR REPLACE INTO progress (task_id, sequence, attempt, position, payload, headers)", 6
)


def changed_row(task: UnfinishedTask) -> tuple[str, *tuple[Any, ...]]:
    """A statement, and its values, for a task that came to another alternative."""
    limits = task.limits
    return (
        "UPDATE tasks SET method = ?, options = ?, delay_s = ?, schedule_to_start_s = ? WHERE id = ?",
        task.spec.method,
        _options(task),
        None if limits is None else limits.delay_s,
        None if limits is None else limits.schedule_to_start_s,
        task.number,
    )


def _options(task: UnfinishedTask) -> str:
    """Options and requirements; then in lines of their own the demand, the alternatives, and whose task it is."""
    spec, demand, alternatives = task.spec, task.demand, task.alternatives
    return joined_options(
        spec.options,
        "" if demand is None else demand.text,
        "" if alternatives is None else encode_alternatives(alternatives),
        json.dumps(spec.submitter) if spec.submitter else "",
    )


# Of a request with an id: the key of the id, and the digest of the request.
RequestIdentity = tuple[int, bytes]


def task_row(task: UnfinishedTask, identity: RequestIdentity | None) -> tuple[Any, ...]:
    spec, limits = task.spec, task.limits
    key, digest = (None, None) if identity is None else identity
    return (
        task.number,
        spec.method,
        spec.priority,
        task.created_at,
        None if limits is None else limits.delay_s,
        None if limits is None else limits.schedule_to_start_s,
        None if limits is None else limits.schedule_to_close_s,
        key,
        task.request_id or None,
        digest,
        spec.options
        if task.demand is None and (limits is None or limits.alternatives is None) and not spec.submitter
        else _options(task),
        task.context or None,
        task.payload or None,
        None if spec.group is None else spec.group.id,
    )


def live_row(task: UnfinishedTask) -> tuple[Any, ...]:
    limits, cancel, owner = task.limits, task.cancel, task.owner
    return (
        task.number,
        # A running attempt has not ended: its agent may name it to the next coordinator.
        task.attempt - (task.state is State.RUNNING),
        task.failures,
        task.crashes,
        # A ready task stays ready when the clock is set back.
        task.ready_at if task.state is State.SCHEDULED else 0.0,
        None if limits is None else limits.retried_at,
        0 if limits is None else limits.fresh_attempt,
        None if cancel is None else cancel.reason,
        None if cancel is None else cancel.grace_s,
        None if owner is None else owner.agent_id,
        None if owner is None else owner.epoch,
        task.started_at,
        task.reported,
        task.outcome or None,
        encode_history(task.history),
    )


def end_row(task: UnfinishedTask) -> tuple[Any, ...]:
    end, owner, stream = task.end, task.owner, task.stream
    assert end is not None
    return (
        task.number,
        int(task.state),
        task.attempt,
        task.crashes,
        "" if owner is None else owner.agent_id,
        0 if owner is None else owner.epoch,
        task.answer.value,
        task.ready_at,
        task.started_at,
        end.finished_at,
        end.expires_at,
        0 if stream is None else stream.count,
        end.outcome or None,
        encode_history(task.history),
    )


def within(text: str, values: Sequence[Any], *before: Any) -> tuple[str, Sequence[Any]]:
    """A statement with an IN list of 1 to MAX_ROWS values, which replaces `{}` in it.

    The list is padded with its last value to a power of two, so that statements are prepared once.

    Args:
        before: values of the placeholders before the list.
    """
    width = 1 << (len(values) - 1).bit_length()
    marks = f"({','.join('?' * width)})"
    return text.format(marks), [*before, *values, *[values[-1]] * (width - len(values))]
