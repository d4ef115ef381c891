"""The part of a submission that many tasks share: their spec, one object for all of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from weft.coordinator.store import stored_options
from weft.coordinator.store.embedded.ready import ReadyQueue
from weft.coordinator.store.embedded.stored_alternatives import decode as decode_alternatives
from weft.coordinator.store.embedded.task_demand import TaskDemand, decode_demand
from weft.coordinator.store.embedded.task_group import TaskGroup
from weft.coordinator.store.records import Submission
from weft.coordinator.store.rules import ANY_AGENT, QueueKey, Requirements, State, TaskRetryPolicy


@dataclass(slots=True, eq=False)
class TaskSpec:
    """The method and options of tasks that were submitted alike."""

    method: str
    priority: int
    requirements: Requirements
    retry: TaskRetryPolicy
    start_to_close_s: float | None
    result_ttl_s: float
    failure_ttl_s: float
    request_id_ttl_s: float
    queue: ReadyQueue
    # All options, as stored.
    options: str
    group: TaskGroup | None = None
    # Whose unfinished tasks are counted. Empty: nobody's.
    submitter: str = ""

    def ttl_s(self, state: State) -> float:
        return self.failure_ttl_s if state is State.FAILED else self.result_ttl_s


class SpecTable:
    """Finds an equal spec again. Bounded: a forgotten one costs only the memory of an equal one made later."""

    def __init__(self, queue_of: Callable[[QueueKey], ReadyQueue], limit: int = 4096) -> None:
        self._queue_of = queue_of
        self._limit = limit
        self._known: dict[tuple[Any, ...], TaskSpec] = {}
        self._avoiding: dict[tuple[TaskSpec, str], TaskSpec] = {}
        self._last: TaskSpec | None = None
        self._in_group: dict[tuple[TaskSpec, TaskGroup], TaskSpec] = {}
        self._by: dict[tuple[TaskSpec, str], TaskSpec] = {}

    def of(self, submission: Submission) -> TaskSpec:
        """The spec of a task, without its group."""
        spec = self._plain(submission)
        return self.by(spec, submission.submitter) if submission.submitter else spec

    def _plain(self, submission: Submission) -> TaskSpec:
        """The spec of a task that nobody counts. Most are like the one before: their options are the same objects, and need no hash."""
        last = self._last
        if (
            last is not None
            and submission.retry is last.retry
            and submission.requirements is last.requirements
            and submission.method == last.method
            and submission.priority == last.priority
            and submission.start_to_close_s == last.start_to_close_s
            and submission.result_ttl_s == last.result_ttl_s
            and submission.failure_ttl_s == last.failure_ttl_s
            and submission.request_id_ttl_s == last.request_id_ttl_s
        ):
            return last
        found = self._last = self._find(submission)
        return found

    def _find(self, submission: Submission) -> TaskSpec:
        key = (
            submission.method,
            submission.priority,
            submission.requirements,
            submission.retry,
            submission.start_to_close_s,
            submission.result_ttl_s,
            submission.failure_ttl_s,
            submission.request_id_ttl_s,
        )
        spec = self._known.get(key)
        if spec is None:
            if len(self._known) >= self._limit:
                self._known.clear()
            queue = self._queue_of(QueueKey(submission.method, submission.requirements))
            spec = self._known[key] = TaskSpec(*key, queue=queue, options=encode_options(submission))
        return spec

    def avoiding(self, spec: TaskSpec, agent_id: str, demand: TaskDemand | None) -> TaskSpec:
        """The same spec, for an attempt that another agent should make, unless its task takes its turn."""
        if demand is not None and demand.takes_turn:
            return spec
        found = self._avoiding.get((spec, agent_id))
        if found is None:
            if len(self._avoiding) >= self._limit:
                self._avoiding.clear()
            queue = self._queue_of(spec.queue.key._replace(avoid=agent_id))
            found = self._avoiding[spec, agent_id] = replace(spec, queue=queue)
        return found

    def in_group(self, spec: TaskSpec, group: TaskGroup) -> TaskSpec:
        """The same spec, for the tasks of a group."""
        found = self._in_group.get((spec, group))
        if found is None:
            if len(self._in_group) >= self._limit:
                self._in_group.clear()
            found = self._in_group[spec, group] = replace(spec, group=group)
        return found

    def by(self, spec: TaskSpec, submitter: str) -> TaskSpec:
        """The same spec, for the tasks of a submitter."""
        found = self._by.get((spec, submitter))
        if found is None:
            if len(self._by) >= self._limit:
                self._by.clear()
            found = self._by[spec, submitter] = replace(spec, submitter=submitter)
        return found

    def stored(self, method: str, priority: int, options: str | None) -> TaskSpec:
        """The spec of a stored task."""
        key = (method, priority, options)
        spec = self._known.get(key)
        if spec is None:
            spec = self._plain(Submission(method, priority=priority, **decode_options(options)))
            self._known[key] = spec
        return spec


def encode_options(submission: Submission) -> str:
    """A submission's options as stored: the text of `stored_options`; then its requirements as JSON, if it has any."""
    text = stored_options.encode(stored_options.options_of(submission))
    if submission.requirements == ANY_AGENT:
        return text
    parts = [dict(part) for part in submission.requirements]
    # What tasks consume came last: most have none.
    return f"{text} {json.dumps(parts if parts[-1] else parts[:-1], separators=(',', ':'))}"


def decode_options(text: str | None) -> dict[str, Any]:
    """The keyword arguments of `Submission` behind stored options, with the demand."""
    text, demand, alternatives, submitter = split_options(text)
    if text is None or text.startswith("{"):
        # Layouts up to 6 left out the defaults, which are those of then.
        given: dict[str, Any] = json.loads(text) if text else {}
        requirements = [given.get("labels", {}), given.get("resources", {})]
        decoded = stored_options.decode_earlier(text)._asdict()
    else:
        options, _, parts = text.partition(" [")
        requirements = json.loads(f"[{parts}") if parts else []
        decoded = stored_options.decode(options)._asdict()
    if any(requirements):
        decoded["requirements"] = Requirements.of(*requirements)
    if demand:
        decoded |= decode_demand(demand)
    if alternatives:
        decoded["alternatives"], decoded["alternative"], _ = decode_alternatives(alternatives)
    if submitter:
        decoded["submitter"] = json.loads(submitter)
    return decoded


class SplitOptions(NamedTuple):
    """Stored options, a line each; empty: none."""

    options: str | None
    demand: str = ""
    alternatives: str = ""
    # As JSON: callers have names of any characters.
    submitter: str = ""


def split_options(text: str | None) -> SplitOptions:
    """Stored options, and the lines behind them."""
    return SplitOptions(None) if text is None else SplitOptions(*text.split("\n", 3))


def joined_options(options: str, *more: str) -> str:
    """Options with lines behind them, as `split_options` reads them."""
    return "\n".join((options, *more)).rstrip("\n")
