"""What handlers of tasks have recorded, exported and imported: a handler goes on where it was, under its task's new id.

    steps and calls of one task, right before it ─► `StepImport` keeps them ─► they are stored with the task

Calls that have not ended, or have failed, are tasks of their own. Their request ids have the id of their parent, so that they get another one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from weft.coordinator.steps.step_codec import kind_of
from weft.coordinator.store.base import Store
from weft.coordinator.store.paging import ListFilter
from weft.coordinator.store.records import Submission
from weft.coordinator.store.remembered import name_of, parent_of, request_id_of
from weft.coordinator.store.rules import State
from weft.coordinator.store.step_store import (
    MAX_STEPS,
    MAX_STEPS_BYTES,
    MAX_VALUE_BYTES,
    StepRecord,
)
from weft.rpc import refusals
from weft.rpc.task_policy.option_checks import IMPORT_ID
from weft.rpc.times import checked_time, seconds
from weft.v1 import state_pb2, step_pb2, task_pb2

_PAGE = 1000
_NAME_CHARS = 512
# Tasks whose records may come before their tasks.
_WAITING = 1000


async def calls_of(store: Store) -> dict[str, list[str]]:
    """The remembered calls that have succeeded: their ids, by their parents'. It grows with their number."""
    found: dict[str, list[str]] = {}
    cursor = ""
    while True:
        page = await store.list_tasks(
            ListFilter(states=frozenset({State.SUCCEEDED})), limit=_PAGE, cursor=cursor
        )
        for record in page.records:
            if parent := parent_of(record.submission.request_id):
                found.setdefault(parent, []).append(record.task_id)
        if not (cursor := page.cursor):
            return found


@dataclass(slots=True)
class _Moved:
    """A task that is to come, with what has come of it."""

    # Its id here.
    task_id: str
    # It is there already: nothing of it is taken.
    existed: bool
    steps: list[StepRecord] = field(default_factory=list)
    size_bytes: int = 0


class StepImport:
    """Takes the records of one import."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[str, _Moved] = {}
        # The ids here of tasks that have run elsewhere, by their ids there: calls of theirs may come.
        self._ids: dict[str, str] = {}

    async def begin(self, given: state_pb2.StateStep) -> _Moved:
        """The task that records are of.

        Raises:
            InvalidArgument: it has no id.
            Overloaded: too many tasks have not come that records were of.
        """
        if not given.task_id:
            raise refusals.invalid_field("the records say not of which task they are", field="step.task_id")
        known = self._waiting.get(given.task_id)
        if known is None:
            if len(self._waiting) >= _WAITING:
                raise refusals.overloaded("records of steps come right before their tasks, and these did not")
            request_id = given.request_id or f"{IMPORT_ID}{given.task_id}"
            if parent := parent_of(request_id):
                request_id = request_id_of(self._here(parent), name_of(request_id))
            page = await self._store.list_tasks(ListFilter(request_id=request_id), limit=1)
            existed = bool(page.records)
            task_id = page.records[0].task_id if existed else self._store.new_task_id("")
            known = self._waiting[given.task_id] = _Moved(task_id, existed)
        return known

    def add(self, moved: _Moved, steps: Iterable[step_pb2.Step]) -> bool:
        """Keep records for a task; false: it is there already.

        Raises:
            InvalidArgument: a record is out of its bounds, or there are too many.
        """
        taken = [_record(each) for each in steps]
        if moved.existed:
            return False
        moved.size_bytes += sum(len(each.value) for each in taken)
        moved.steps += taken
        if len(moved.steps) > MAX_STEPS or moved.size_bytes > MAX_STEPS_BYTES:
            del self._waiting[next(key for key, each in self._waiting.items() if each is moved)]
            raise refusals.invalid_field(
                f"the task has more than {MAX_STEPS} records, or {MAX_STEPS_BYTES} bytes of them",
                field="step.steps",
            )
        return True

    def renamed(self, task: task_pb2.Task) -> task_pb2.Task:
        """A task that knows the tasks above it by their ids here."""
        given = task.options.context
        if not (given.parent_id or given.root_id or given.budgets):
            return task
        made = task_pb2.Task()
        made.CopyFrom(task)
        context = made.options.context
        context.step_anew = False
        context.parent_id, context.root_id = self._here(given.parent_id), self._here(given.root_id)
        for budget in context.budgets:
            budget.task_id = self._here(budget.task_id)
        return made

    def _here(self, task_id: str) -> str:
        waiting = self._waiting.get(task_id)
        return waiting.task_id if waiting is not None else self._ids.get(task_id, task_id)

    def forget(self, task_id: str) -> None:
        """A task does not come."""
        self._waiting.pop(task_id, None)

    def complete(self, task: task_pb2.Task, submission: Submission) -> None:
        """Give a task what has come of it."""
        moved = self._waiting.pop(task.id, None)
        if moved is None or moved.existed:
            return
        submission.task_id = moved.task_id
        steps = sorted(moved.steps, key=lambda each: each.sequence)
        submission.steps = tuple(steps)
        # Its handler finds out what it waits for.
        submission.delay_s = 0.0

    def came(self, task: task_pb2.Task, task_id: str) -> None:
        """A task is there, under this id."""
        if task.attempt and task.state != task_pb2.TASK_STATE_FAILED:
            self._ids[task.id] = task_id


def _record(given: step_pb2.Step) -> StepRecord:
    kind = kind_of(given.kind)
    checked_time(given.record_time, "step.steps.record_time")
    checked_time(given.wake_time, "step.steps.wake_time")
    if kind is None or not 0 < len(given.name) <= _NAME_CHARS or len(given.value) > MAX_VALUE_BYTES:
        raise refusals.invalid_field(
            f"the record {given.name[:_NAME_CHARS]!r} has no kind that exists, no name, or a value of more than {MAX_VALUE_BYTES} bytes",
            field="step.steps",
        )
    return StepRecord(
        given.sequence,
        given.name,
        kind,
        given.value,
        given.attempt,
        seconds(given.record_time),
        seconds(given.wake_time) if given.HasField("wake_time") else None,
    )
