"""The errors of every store, and how subscribers hear of tasks that could not be stored or were lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from weft.coordinator.store import store_outcomes
from weft.coordinator.store.event_store import TooManyTopics
from weft.coordinator.store.group_store import GroupClosed, GroupFull, TooManyGroups
from weft.coordinator.store.records import (
    AtLimit,
    Refused,
    Submission,
    TaskRecord,
    TooManyQueues,
    TooManyTasks,
)
from weft.coordinator.store.rules import State
from weft.coordinator.store.state_store import TooManyStates
from weft.coordinator.store.store_listener import StoreListener
from weft.rpc import refusals
from weft.rpc.errors import FailedPrecondition, LimitReached, NotFound, ResourceExhausted, WeftError

# Nobody knows when a caller's task ends: try again after so long.
TASKS_RETRY_S = 1.0


def not_retryable(state: State) -> FailedPrecondition:
    """A task in this state cannot be retried by hand."""
    return refusals.task_state(
        f"the task is {state.name}; only FAILED and CANCELLED ones can be retried", state.name
    )


def payload_dropped() -> NotFound:
    """A task cannot run again: its payload is gone."""
    return refusals.result_expired("the task's payload was dropped after its time")


def refusal_of(result: Refused) -> WeftError:
    """Why the store does not take a submission."""
    match result:
        case TooManyQueues():
            return _too_many_queues(result)
        case AtLimit():
            return _at_limit(result)
        case TooManyTasks():
            return refusals.caller_limit(result.submitter, "queued_tasks", str(result.limit), TASKS_RETRY_S)
        case TooManyTopics():
            return too_many_topics(result)
        case TooManyStates():
            return too_many_states(result)
        case GroupClosed():
            return refusals.group_closed(result.name)
        case GroupFull():
            return refusals.overloaded(
                f"group {result.name!r} has had {result.limit} tasks, the most that are allowed: begin another group",
                metadata={"group": result.name},
            )
        case TooManyGroups():
            return too_many_groups(result)


def too_many_topics(result: TooManyTopics) -> ResourceExhausted:
    """A new topic would be one too many."""
    return refusals.overloaded(f"there are {result.limit} topics, the most that are allowed")


def too_many_states(result: TooManyStates) -> ResourceExhausted:
    """A new state would be one too many."""
    return refusals.overloaded(
        f"there are {result.limit} keyed states, the most that are allowed: {result.name!r} cannot be one more. Delete some, or let handlers"
        " give states a TTL",
        metadata={"state": result.name[:128]},
    )


def too_many_groups(result: TooManyGroups) -> ResourceExhausted:
    """A new group would be one too many."""
    return refusals.overloaded(
        f"there are {result.limit} groups, the most that are allowed: group {result.name!r} is not made. Close groups, so that they"
        " are forgotten with their results, or delete some",
        metadata={"group": result.name},
    )


def _too_many_queues(result: TooManyQueues) -> ResourceExhausted:
    """A task's requirements would make one queue too many."""
    return refusals.overloaded(
        f"unfinished tasks of {result.method} have {result.limit} different requirements, the most that are allowed"
        " (the coordinator's setting max_queues_per_method): wait until some have ended, or let more tasks share theirs",
        retry_after_s=5.0,
        metadata={"method": result.method},
    )


def _at_limit(result: AtLimit) -> LimitReached:
    """A run limit that refuses has as many unfinished tasks as it allows."""
    return refusals.limit_reached(
        f"{result.limit} tasks are unfinished at the {result.gate}, the most that it allows, and it refuses others"
        " (at_limit: AT_LIMIT_REFUSE): submit the task when one of them has ended",
        metadata={
            "method": result.gate.method,
            "key": result.gate.expression,
            "value": result.gate.value,
            "limit": str(result.limit),
        },
    )


def tell_not_stored(listener: StoreListener, submissions: Sequence[Submission], error: WeftError) -> None:
    """Tell subscribers that tasks could not be stored. Their submitters had no acknowledgement to wait for."""
    outcome = store_outcomes.not_stored(error)
    for submission in submissions:
        if listener.has_subscriber(submission.task_id, ended=True):
            listener.changed(TaskRecord(submission.task_id, State.FAILED, submission, outcome=outcome))


def tell_lost(listener: StoreListener, task_ids: Iterable[str]) -> None:
    """Tell subscribers that tasks were lost: they would wait for ever."""
    for task_id in task_ids:
        if listener.has_subscriber(task_id, ended=True):
            gone = Submission("", task_id=task_id)
            listener.changed(TaskRecord(task_id, State.FAILED, gone, outcome=store_outcomes.lost(task_id)))
