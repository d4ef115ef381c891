"""The demo's run: submit all files, kill an agent after a third of the results, the coordinator after two thirds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
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
# The analysis is pure Python: a process runs one at a time. While a result is on its way, the second slot has work.
_SLOTS = 2
_STALLED_S = 60.0
_POLL_S = 0.01


@dataclass(slots=True)
class DemoRecord:
    """The client's record of the run."""

    # File index -> its task, once for each delivery.
    delivered: dict[int, list[Task]] = field(default_factory=dict)
    # Number of tasks that the coordinator has at the end.
    recorded: int = 0
    killed_agent: str = ""
    # From the first submission to the last result, including the crashes.
    duration_s: float = 0.0
    # From the kill until the agent's tasks ran elsewhere or had ended.
    recovered_agent_s: float = 0.0
    # The coordinator was killed before that: the agent's tasks also waited for the coordinator's recovery.
    crashes_overlapped: bool = False
    # From the kill until the next result arrived.
    recovered_coordinator_s: float = 0.0


class DemoRun:
    """One run. The crashes happen while results come in."""

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
        # Done when the next result arrives.
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
        async with connect(self._target, tls=False) as mesh:
            await self._children.hosted(mesh, ANALYZE.name, agents=len(self._agents))
            names = ", ".join(self._agents)
            self._display.say(
                f"a coordinator with a new store serves on {self._target}; agents {names} are connected"
            )
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
        async with _no_result_for(_STALLED_S) as stalled:
            async for done in mesh.tasks.run_many(ANALYZE, self._requests()):
                if done.task is None:
                    raise Failure(f"the task of {self._files[done.index].name} was refused: {done.error()}")
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
        self._display.say(f"killed agent {agent_id} (SIGKILL) after {received:,} results")
        left = [task.id for task in await _running(mesh) if task.agent_id == agent_id]
        held = len(left)
        while left:
            tasks = [await mesh.tasks.get(task_id) for task_id in left]
            left = [task.id for task in tasks if not (task.ended or _runs_elsewhere(task, agent_id))]
            await asyncio.sleep(_POLL_S)
        self._record.recovered_agent_s = time.monotonic() - began
        self._display.say(
            f"other agents run the tasks of agent {agent_id} ({_attempts(held)}) "
            f"after {self._record.recovered_agent_s:.1f} s"
        )

    async def _kill_coordinator(self, mesh: Mesh, received: int) -> None:
        held = [task for task in await _running(mesh) if task.agent_id in self._agents]
        began = time.monotonic()
        self._record.crashes_overlapped = not self._record.recovered_agent_s
        self._children.kill(self._coordinator)
        self._display.say(f"killed the coordinator (SIGKILL) after {received:,} results; restarting it")
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
            f"the coordinator is back after {back_s:.1f} s with the same store; next result after "
            f"{self._record.recovered_coordinator_s:.1f} s; {kept} of {_attempts(len(held))} went on meanwhile"
        )


@asynccontextmanager
async def _no_result_for(limit_s: float) -> AsyncIterator[asyncio.Timeout]:
    """End the body when the limit has passed; the body moves the limit with each result.

    Raises:
        Failure: the limit has passed.
    """
    limit = asyncio.timeout(limit_s)
    try:
        async with limit:
            yield limit
    except TimeoutError:
        if not limit.expired():
            raise
        raise Failure(f"no result arrived for {limit_s:g} s") from None


async def _running(mesh: Mesh) -> list[Task]:
    return [task async for task in mesh.tasks.list(states=[TaskState.RUNNING], method=ANALYZE.name)]


def _runs_elsewhere(task: Task, agent_id: str) -> bool:
    return task.state is TaskState.RUNNING and task.agent_id != agent_id


def _attempts(count: int) -> str:
    return f"{count} attempt{'' if count == 1 else 's'}"
