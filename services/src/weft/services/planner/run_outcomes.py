"""What became of the nodes of a run, kept while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from google.rpc import status_pb2

from weft.rpc.times import timestamp
from weft.services.planner.step_tasks import NodeFailed
from weft.services.planner.v1 import planner_pb2

if TYPE_CHECKING:
    from datetime import datetime

    from google.protobuf.timestamp_pb2 import Timestamp

    from weft.client import Task

# The most characters of an error's message: an outcome may have thousands.
_MOST_CHARS = 500


@dataclass(slots=True)
class RunOutcomes:
    """The outcomes, with their places in the graph's order."""

    _found: dict[str, tuple[tuple[int, ...], planner_pb2.NodeOutcome]] = field(default_factory=dict)

    def add(
        self,
        name: str,
        place: tuple[int, ...],
        state: planner_pb2.NodeState,
        *,
        method: str = "",
        task: Task | None = None,
        failure: NodeFailed | None = None,
    ) -> None:
        """Note the end of a node."""
        outcome = planner_pb2.NodeOutcome(name=name, state=state, method=method)
        if failure is not None:
            outcome.error.CopyFrom(status_of(failure))
            task = task or failure.task
        if task is not None:
            outcome.task_id, outcome.attempts, outcome.agent_id = task.id, task.attempt, task.agent_id
            outcome.submitted_at.CopyFrom(_time(task.created_at))
            if task.started_at is not None:
                outcome.started_at.CopyFrom(_time(task.started_at))
            outcome.ended_at.CopyFrom(_time(task.finished_at))
        self._found[name] = place, outcome

    def change(self, name: str, state: planner_pb2.NodeState) -> None:
        """Change the state of a node that was noted."""
        self._found[name][1].state = state

    def listed(self) -> list[planner_pb2.NodeOutcome]:
        """The outcomes in the graph's order."""
        return [outcome for _, outcome in sorted(self._found.values(), key=lambda each: each[0])]


def status_of(failure: NodeFailed) -> status_pb2.Status:
    """A failure as a status."""
    text = failure.message
    return status_pb2.Status(
        code=failure.code, message=text if len(text) <= _MOST_CHARS else f"{text[: _MOST_CHARS - 1]}…"
    )


def _time(moment: datetime | None) -> Timestamp:
    return timestamp(0.0 if moment is None else moment.timestamp())
