"""Why a new task is one too many for an embedded store."""

from __future__ import annotations

from weft.coordinator.store.embedded.state_table import StateTable
from weft.coordinator.store.embedded.task_table import TaskTable
from weft.coordinator.store.records import Refused, Submission, TooManyQueues, TooManyTasks
from weft.coordinator.store.rules import ANY_AGENT
from weft.coordinator.store.state_store import TooManyStates, kept_by


def refusal(
    table: TaskTable,
    states: StateTable,
    submission: Submission,
    now: float,
    *,
    max_queues: int,
    group_bounds: tuple[int, int],
    max_states: int,
) -> Refused | None:
    """Why a new task is one too many. None: it is not.

    Args:
        group_bounds: most groups, and most tasks of one.
    """
    if submission.requirements is not ANY_AGENT and table.backlog.is_full(submission, max_queues):
        return TooManyQueues(submission.method, max_queues)
    if submission.group:
        refused = table.groups.refusal(submission.group, *group_bounds)
        if refused is not None:
            return refused
    by = submission.submitter
    if by and table.submitted.get(by, 0) >= submission.most_unfinished:
        return TooManyTasks(submission.submitter, submission.most_unfinished)
    name = kept_by(submission.locks) if submission.locks else ""
    return TooManyStates(name, max_states) if name and states.is_full(name, now, max_states) else None
