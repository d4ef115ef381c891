"""Requests about stored tasks, of clients and of coordinators: read, list, cancel, retry."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from weft.coordinator.store.alternatives import Alternatives
from weft.coordinator.store.embedded.cancelling import cancel_calls, cancel_task
from weft.coordinator.store.embedded.core import StoreCore
from weft.coordinator.store.embedded.reader import Reader
from weft.coordinator.store.embedded.rows import changed_row
from weft.coordinator.store.embedded.task_listing import SCAN_ROWS, list_page
from weft.coordinator.store.embedded.unfinished_task import (
    PastAttempts,
    Saved,
    StepState,
    StreamState,
    TaskLimits,
    UnfinishedTask,
)
from weft.coordinator.store.falling_back import at_alternative
from weft.coordinator.store.history import extended, kept_last
from weft.coordinator.store.paging import ListFilter, Page
from weft.coordinator.store.records import Owner, ProgressRow, TaskRecord
from weft.coordinator.store.rules import State
from weft.coordinator.store.store_refusals import not_retryable, payload_dropped
from weft.coordinator.store.task_ids import parse_id

T = TypeVar("T")


async def get(
    core: StoreCore, task_ids: Sequence[str], *, payloads: bool, history: bool = False
) -> list[TaskRecord | None]:
    """Read tasks: unfinished ones from memory, ended ones from the file."""
    numbers = [parse_id(task_id) for task_id in task_ids]
    known = [number for number in numbers if number is not None]
    found = await _get(core, known, payloads=payloads, history=history)
    return [None if number is None else found.get(number) for number in numbers]


async def _get(
    core: StoreCore, numbers: Sequence[int], *, payloads: bool, history: bool = False
) -> dict[int, TaskRecord]:
    tasks = core.table.tasks
    found: dict[int, TaskRecord] = {}
    unread = []
    ended = []
    for number in numbers:
        task = tasks.get(number)
        if task is None:
            ended.append(number)
        elif task.saved is not Saved.STORED:
            # It is not acknowledged yet.
            continue
        elif payloads and task.payload is None:
            unread.append(number)
        elif payloads:
            found[number] = task.record(task.payload or b"", task.context or b"")
        else:
            found[number] = task.record()
    if unread:
        bodies = await core.readers.read(lambda reader: reader.bodies(unread), rows=len(unread))
        for number in unread:
            task = tasks.get(number)
            if task is not None and number in bodies:
                found[number] = task.record(*bodies[number])
            else:
                # It has ended meanwhile.
                ended.append(number)
    if ended:
        found |= await core.readers.read(
            lambda reader: reader.records(ended, payloads=payloads, history=history), rows=len(ended)
        )
    return found


async def list_tasks(core: StoreCore, where: ListFilter, limit: int, cursor: str, *, payloads: bool) -> Page:
    async def scan(query: Callable[[Reader], T]) -> T:
        return await core.readers.read(query, rows=SCAN_ROWS)

    async def records(numbers: Sequence[int]) -> Sequence[TaskRecord | None]:
        found = await _get(core, numbers, payloads=payloads or where.needs_context)
        return [found.get(number) for number in numbers]

    return await list_page(core.table, scan, records, where, limit, cursor)


async def read_progress(core: StoreCore, task_id: str, after: int, limit: int) -> list[ProgressRow]:
    number = parse_id(task_id)
    if number is None:
        return []
    return await core.readers.read(lambda reader: reader.progress(number, after, limit), rows=limit)


async def cancel(
    core: StoreCore, task_ids: Sequence[str], reason: str, grace_s: float
) -> list[TaskRecord | None]:
    """Cancel tasks, with the remembered calls of their handlers: waiting ones end at once, the owners of running ones are told."""
    for task_id in task_ids:
        number = parse_id(task_id)
        task = None if number is None else core.table.tasks.get(number)
        if task is not None and not task.state.terminal:
            cancel_task(core.table, task, reason, grace_s, core.clock())
    await _cancel_calls(core)
    found = await get(core, task_ids, payloads=False)
    for task_id, record in zip(task_ids, found, strict=True):
        if record is not None and record.state is State.CANCELLED:
            # Perhaps by a coordinator that was killed then, or by a call that did not arrive at what it had called.
            core.table.calls.cancel_those_of(task_id, grace_s)
    await _cancel_calls(core)
    return found


async def _cancel_calls(core: StoreCore) -> None:
    """Cancel what cancelled tasks have called; returns when that is durable."""
    more = cancel_calls(core.table, core.clock())
    while more:
        # Others have their turn.
        await asyncio.sleep(0)
        more = cancel_calls(core.table, core.clock())
    await core.journal.settled()


async def retry(core: StoreCore, task_id: str) -> TaskRecord | None:
    """Queue a failed or cancelled task again.

    Raises:
        FailedPrecondition: it is in another state.
        NotFound: its payload is gone.
    """
    core.journal.check_writable()
    number = parse_id(task_id)
    if number is None:
        return None
    task = core.table.tasks.get(number)
    if task is not None and task.state.terminal:
        # Its outcome is being written.
        await core.journal.settled()
        task = core.table.tasks.get(number)
    record = (
        core.readers.inline.records([number], payloads=False, history=True).get(number)
        if task is None
        else task.record()
    )
    if record is None:
        return None
    if record.state not in {State.FAILED, State.CANCELLED}:
        raise not_retryable(record.state)
    now = core.clock()
    if record.expired or (record.expires_at is not None and record.expires_at <= now):
        raise payload_dropped()
    _reopen(core, number, record, now)
    await core.journal.settled()
    return (await get(core, [task_id], payloads=False))[0]


def _reopen(core: StoreCore, number: int, record: TaskRecord, now: float) -> None:
    """Put an ended task back into the table. Counts and limits start anew; attempt numbers and progress go on."""
    table, submission = core.table, record.submission
    fell = submission.alternative > 0
    if fell:
        submission = at_alternative(submission, 0)
    task = UnfinishedTask(
        number, table.specs.of(submission), submission.request_id, record.created_at, now, None, None
    )
    task.saved = Saved.STORED
    task.demand = table.demands.of(submission)
    task.attempt = record.attempt
    past, last = tuple(record.history), kept_last(record)
    task.past = PastAttempts(record.outcome, past if last is None else extended(past, last))
    if record.agent_id:
        # No session has epoch 0: no session holds the attempt.
        task.owner = Owner(record.agent_id, 0)
        task.spec = table.specs.avoiding(task.spec, record.agent_id, task.demand)
    task.limits = TaskLimits(
        submission.delay_s,
        submission.schedule_to_start_s,
        submission.schedule_to_close_s,
        record.created_at,
        retried_at=now,
        fresh_attempt=record.attempt,
        alternatives=Alternatives(submission.alternatives) if submission.alternatives else None,
    )
    if record.progress_count:
        task.stream = StreamState(record.progress_count)
    counts = core.readers.inline.step_counts(number)
    if counts[0]:
        task.steps = StepState(*counts)
    if submission.group:
        group_id = core.readers.inline.group_of(number)
        group = None if group_id is None else table.groups.by_id.get(group_id)
        if group is not None:
            task.spec = table.specs.in_group(task.spec, group)
            table.groups.reopened(group, record.state)
    table.place(task, State.QUEUED, now)
    if fell:
        core.journal.add_statement(*changed_row(task))
    core.journal.add_reopened(task)
    table.listener.ready()
    table.notify(task)
