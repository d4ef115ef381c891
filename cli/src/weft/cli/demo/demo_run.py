"""The demo's record: work goes in, an agent is killed at a third of the results, the coordinator at two thirds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from corpus.v1 import corpus_pb2
from weft.cli.demo.corpus import SourceFile
from weft.cli.demo.demo_display import DemoDisplay
from weft.cli.demo.ledger import LEDGER
from weft.cli.process.children import Child, Children
from weft.cli.terminal.failure import Failure
from weft.client import Mesh, Method, Task, TaskState, connect

ANALYZE = Method.of("corpus.v1.CorpusService/Analyze", corpus_pb2.AnalyzeRequest, corpus_pb2.AnalyzeResponse)
_PROGRAM = "weft.cli.demo.demo_agent:agent"
# Analysis is pure Python, so a process runs one at a time; the second slot hides the way of the first one's result.
_SLOTS = 2
_STALLED_S = 60.0
_POLL_S = 0.01


@dataclass(slots=True)
class DemoRecord:
    """What happened, as the client saw it."""

    # By the file's index: its task, each time it was delivered.
    delivered: dict[int, list[Task]] = field(default_factory=dict)
    # Tasks that the coordinator has on record in the end.
    recorded: int = 0
    killed_agent: str = ""
    # From submission to the last result, crashes and all.
    duration_s: float = 0.0
    # From the kill until what the agent held ran elsewhere, or had ended.
    recovered_agent_s: float = 0.0
    # The coordinator was killed before that, and what the agent held waited for the coordinator's recovery as well.
    crashes_overlapped: bool = False
    # From the kill until the next result arrived.
    recovered_coordinator_s: float = 0.0


class DemoRun:
    """One telling. `tell()` is the order of events; the crashes happen while results come in."""

    def __init__(
        self, children: Children, files: Sequence[SourceFile], agent_ids: Sequence[str], display: DemoDisplay
    ) -> None:
        self._children = children
        self._files = files
        self._display = display
        self._agent_ids = agent_ids
        self._agents: dict[str, Child] = {}
        self._store = children.folder / "weft.db"
        self._record = DemoRecord(killed_agent=agent_ids[1])
        # Resolved by the next result.
        self._next_result: asyncio.Future[None] | None = None

    async def play(self) -> DemoRecord:
        self._coordinator, self._target = await self._start_coordinator("127.0.0.1:0")
        for agent_id in self._agent_ids:
            self._agents[agent_id] = self._children.agent(
                agent_id,
                _PROGRAM,
                self._target,
                slots=_SLOTS,
                env={LEDGER: str(self._children.folder / "ledger")},
            )
        async with connect(self._target) as mesh:
            await self._children.hosted(mesh, ANALYZE.name, agents=len(self._agents))
            names = ", ".join(self._agents)
            self._display.say(f"a coordinator on a fresh store, and agents {names}, are up on {self._target}")
            try:
                async with asyncio.TaskGroup() as crashes:
                    await self._submit_and_collect(mesh, crashes)
            except ExceptionGroup as group:
                # The first failure has cancelled the rest.
                raise group.exceptions[0] from None
            async for _ in mesh.tasks.list(method=ANALYZE.name):
                self._record.recorded += 1
        return self._record

    async def _start_coordinator(self, listen: str) -> tuple[Child, str]:
        return await self._children.coordinator(
            "coordinator", store=self._store, durability="process", listen=listen
        )

    async def _submit_and_collect(self, mesh: Mesh, crashes: asyncio.TaskGroup) -> None:
        total = len(self._files)
        at_a_third, at_two_thirds = total // 3, 2 * total // 3
        self._display.say(f"submitting {total:,} files")
        self._display.start_bar("results", total)
        began = time.monotonic()
        received = 0
        async with asyncio.timeout(_STALLED_S) as stalled:
            async for done in mesh.tasks.run_many(ANALYZE, self._requests()):
                if done.task is None:
                    raise Failure(f"{self._files[done.index].name} was refused: {done.error()}")
                self._record.delivered.setdefault(done.index, []).append(done.task)
                received += 1
                self._display.move_bar(received)
                stalled.reschedule(asyncio.get_running_loop().time() + _STALLED_S)
                self._saw_result()
                if received == at_a_third:
                    crashes.create_task(self._kill_agent(mesh, received))
                elif received == at_two_thirds:
                    crashes.create_task(self._kill_coordinator(mesh, received))
        self._record.duration_s = time.monotonic() - began
        self._saw_result()

    def _requests(self) -> Iterator[corpus_pb2.AnalyzeRequest]:
        for file in self._files:
            yield corpus_pb2.AnalyzeRequest(file_name=file.name, source=file.path.read_bytes())

    def _saw_result(self) -> None:
        if self._next_result is not None and not self._next_result.done():
            self._next_result.set_result(None)

    # -- crashes ----------------------------------------------------------------------------------------------------

    async def _kill_agent(self, mesh: Mesh, received: int) -> None:
        agent_id = self._record.killed_agent
        began = time.monotonic()
        self._children.kill(self._agents.pop(agent_id))
        self._display.say(f"agent {agent_id} killed with SIGKILL, at {received:,} results")
        left = [task.id for task in await _running(mesh) if task.agent_id == agent_id]
        held = len(left)
        while left:
            tasks = [await mesh.tasks.get(task_id) for task_id in left]
            left = [task.id for task in tasks if not (task.ended or _runs_elsewhere(task, agent_id))]
            await asyncio.sleep(_POLL_S)
        self._record.recovered_agent_s = time.monotonic() - began
        self._display.say(
            f"what agent {agent_id} held ({_attempts(held)}) runs elsewhere "
            f"after {self._record.recovered_agent_s:.1f} s"
        )

    async def _kill_coordinator(self, mesh: Mesh, received: int) -> None:
        held = [task for task in await _running(mesh) if task.agent_id in self._agents]
        began = time.monotonic()
        self._record.crashes_overlapped = not self._record.recovered_agent_s
        self._children.kill(self._coordinator)
        self._display.say(f"coordinator killed with SIGKILL, at {received:,} results; starting it again")
        self._coordinator, _ = await self._start_coordinator(self._target)
        back_s = time.monotonic() - began
        self._next_result = asyncio.get_running_loop().create_future()
        await self._next_result
        self._record.recovered_coordinator_s = time.monotonic() - began
        await self._children.hosted(mesh, ANALYZE.name, agents=len(self._agents))
        now = [await mesh.tasks.get(task.id) for task in held]
        kept = sum(
            before.attempt == after.attempt and before.agent_id == after.agent_id
            for before, after in zip(held, now, strict=True)
        )
        self._display.say(
            f"coordinator back after {back_s:.1f} s on the same store, next result after "
            f"{self._record.recovered_coordinator_s:.1f} s; {kept} of {_attempts(len(held))} went on meanwhile"
        )


async def _running(mesh: Mesh) -> list[Task]:
    return [task async for task in mesh.tasks.list(states=[TaskState.RUNNING], method=ANALYZE.name)]


def _runs_elsewhere(task: Task, agent_id: str) -> bool:
    return task.state is TaskState.RUNNING and task.agent_id != agent_id


def _attempts(count: int) -> str:
    return f"{count} attempt{'' if count == 1 else 's'}"
