"""Follows a run of the graph, and kills an agent in its middle."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from google.protobuf import json_format, struct_pb2

from examples.demo_agents.demo_mesh import MEASURE, WORKERS, DemoMesh
from weft.cli.demo.demo_display import DemoDisplay
from weft.cli.graphs.planner_calls import Planner
from weft.client import Task, TaskState

_DIVIDE = "demo.v1.Study/Divide"
_LOOK_S = 0.1
# In this part of the run the agent dies.
_KILL_AT = 0.3
_MOST_TASKS = 1000


@dataclass(slots=True)
class RunRecord:
    """What happened.

    Attributes:
        response: the end of the run, as JSON.
        tasks: the run's own task first, then those of its steps, by their end.
        steps: the names of the steps, by the ids of their tasks.
        killed: the agent that was killed; empty: none.
        killed_at: when.
        held: ids of the tasks that it had then.
    """

    response: dict[str, Any] = field(default_factory=dict)
    tasks: list[Task] = field(default_factory=list)
    steps: dict[str, str] = field(default_factory=dict)
    killed: str = ""
    killed_at: datetime | None = None
    held: list[str] = field(default_factory=list)
    took_s: float = 0.0

    @property
    def recovered_s(self) -> float:
        """From the kill until another agent had begun each of the tasks that the killed one had."""
        if self.killed_at is None:
            return 0.0
        begun = [
            attempt.started_at
            for task in self.tasks
            if task.id in self.held
            for attempt in task.attempts
            if attempt.started_at is not None and attempt.started_at > self.killed_at
        ]
        return max(((each - self.killed_at).total_seconds() for each in begun), default=0.0)


class RunWatch:
    """Watches one run."""

    def __init__(self, demo: DemoMesh, planner: Planner, display: DemoDisplay) -> None:
        self._demo = demo
        self._planner = planner
        self._display = display
        self._record = RunRecord()
        self._total = 0

    async def play(self, inputs: dict[str, Any]) -> RunRecord:
        """Run the graph to its end."""
        began = time.monotonic()
        run_id = await self._planner.submit(inputs, None)
        self._display.say(f"the planner runs the graph study.yaml as task {run_id}")
        end = asyncio.create_task(self._planner.end(run_id))
        try:
            while not end.done():
                await self._look(run_id)
                await asyncio.wait({end}, timeout=_LOOK_S)
            self._record.response = await end
        finally:
            end.cancel()
        self._record.took_s = time.monotonic() - began
        # With the attempts of each, which lists leave out.
        listed = [run_id, *(node["taskId"] for node in self._nodes() if node.get("taskId"))]
        self._record.tasks = [await self._demo.mesh.tasks.get(each) for each in dict.fromkeys(listed)]
        # The node that ran instead of another one has the same task: the first name is the step's.
        for node in reversed(self._nodes()):
            if node.get("taskId"):
                self._record.steps[node["taskId"]] = node["name"]
        return self._record

    def _nodes(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._record.response.get("nodes", [])
        return found

    async def _look(self, run_id: str) -> None:
        listed = self._demo.mesh.tasks.list(root_id=run_id, limit=_MOST_TASKS)
        tasks = [task async for task in listed]
        if not self._total:
            self._total = await self._count(tasks)
            if not self._total:
                return
            self._display.say(f"the files are {self._total} parts; workers measure four at a time")
            self._display.start_bar("parts", self._total)
        parts = [task for task in tasks if task.method == MEASURE]
        done = sum(task.state is TaskState.SUCCEEDED for task in parts)
        self._display.move_bar(done)
        if not self._record.killed and done >= self._total * _KILL_AT:
            self._kill(parts, done)

    async def _count(self, tasks: Iterable[Task]) -> int:
        for task in tasks:
            if task.method == _DIVIDE and task.state is TaskState.SUCCEEDED:
                full = await self._demo.mesh.tasks.get(task.id)
                value = json_format.MessageToDict(struct_pb2.Struct.FromString(full.response))
                return len(value["parts"])
        return 0

    def _kill(self, parts: list[Task], done: int) -> None:
        running = [task for task in parts if task.state is TaskState.RUNNING and task.agent_id in WORKERS]
        if not running:
            return
        victim = running[-1].agent_id
        self._record.killed = victim
        self._record.held = [task.id for task in running if task.agent_id == victim]
        self._record.killed_at = datetime.now(UTC)
        self._demo.kill(victim)
        self._display.say(
            f"killed {victim} (SIGKILL) after {done} parts, with {len(self._record.held)} under way; the run goes on"
        )
