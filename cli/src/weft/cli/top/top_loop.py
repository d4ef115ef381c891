"""The loop of `weft top`: reads the mesh now and then, takes keys, does what they ask for, and draws."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from weft.cli.rendering import agent_facts, task_view
from weft.cli.rendering.documents import task_document
from weft.cli.terminal.output import StyledText, plain
from weft.cli.terminal.tables import Verbatim
from weft.cli.top.keys import KeyDecoder
from weft.cli.top.picture import Picture
from weft.cli.top.top_state import Act, TopState, press
from weft.cli.top.top_view import DETAIL_INDENT, body_height, screen
from weft.client import CoordinatorStats, DesiredState, Mesh, Task, TaskState, Unimplemented
from weft.rpc.errors import WeftError

if TYPE_CHECKING:
    from weft.cli.top.screen import Screen

# A reading may take so long; so may an act.
PATIENCE_S = 10.0
WINDOW_S = 60.0
# Tasks that are listed, and how long ago failed ones were submitted at most.
TASKS = 200
FAILED_IN = timedelta(hours=1)
_STATES = {
    "drain agent": DesiredState.DRAINING,
    "pause agent": DesiredState.PAUSED,
    "activate agent": DesiredState.ACTIVE,
}


async def read(mesh: Mesh, picture: Picture, tabs: Sequence[str]) -> Picture:
    """The mesh now. If nobody answers, the picture before, with the problem.

    Args:
        tabs: tasks are read only for the tabs that show them: a listing may cost a large store some work.
    """
    now = datetime.now(UTC)
    try:
        async with asyncio.timeout(PATIENCE_S):
            agents, queues, stats = await asyncio.gather(
                mesh.fleet.agents(), mesh.fleet.queues(), _stats(mesh)
            )
            running = await _tasks(mesh, TaskState.RUNNING, None) if "tasks" in tabs else picture.tasks
            failed = picture.failures
            if "failures" in tabs:
                failed = await _tasks(mesh, TaskState.FAILED, now - FAILED_IN)
    except TimeoutError:
        return replace(picture, at=now, problem=f"no answer of {mesh.target} in {PATIENCE_S:g} s")
    except WeftError as error:
        return replace(picture, at=now, problem=error.message)
    return replace(
        picture,
        at=now,
        agents=agents,
        queues=queues,
        stats=stats,
        tasks=running,
        failures=failed,
        problem="",
    )


async def _stats(mesh: Mesh) -> CoordinatorStats | None:
    try:
        return await mesh.stats(window_s=WINDOW_S)
    except Unimplemented:
        # An older coordinator.
        return None


async def _tasks(mesh: Mesh, state: TaskState, since: datetime | None) -> Sequence[Task]:
    return [task async for task in mesh.tasks.list(states=[state], created_from=since, limit=TASKS)]


async def act(mesh: Mesh, asked: Act) -> str:
    """Do what a key asked for; what became of it, in words."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            if asked.name in _STATES:
                await mesh.fleet.set_state(asked.subject, _STATES[asked.name])
            elif asked.name == "pause method":
                await mesh.fleet.pause(asked.subject)
            elif asked.name == "resume method":
                await mesh.fleet.resume(asked.subject)
            elif asked.name == "cancel task":
                await mesh.tasks.cancel(asked.subject, "weft top")
    except TimeoutError:
        return f"{asked.name} {asked.subject}: no answer in {PATIENCE_S:g} s"
    except WeftError as error:
        return f"{asked.name} {asked.subject}: {error.message}"
    return f"{asked.name} {asked.subject}: done"


async def detail(mesh: Mesh, tab: str, key: str, picture: Picture) -> Sequence[StyledText]:
    """What is known of a row, as lines."""
    if tab in {"tasks", "failures"}:
        try:
            async with asyncio.timeout(PATIENCE_S):
                task = await mesh.tasks.get(key)
        except TimeoutError:
            return [f"no answer in {PATIENCE_S:g} s"]
        except WeftError as error:
            return [error.message]
        facts = task_view.facts(task, task_document(task, full=True))
        # Payloads may be large: `weft tasks get` shows them.
        return _lines([each for each in facts if each[0] not in {"request", "response"}])
    if tab == "agents":
        return [
            each for agent in picture.agents if agent.id == key for each in _lines(agent_facts.facts(agent))
        ]
    method = key.partition(" ")[0]
    lines = _lines([("method", method)])
    for queue in picture.queues:
        if queue.method == method:
            counts = f"{queue.queued} queued, {queue.scheduled} scheduled, {queue.running} running, {queue.agents} agents"
            lines += _lines([("queue", queue.requirements or "(no requirements)"), ("", counts)])
            if queue.paused or queue.waits_for:
                lines += _lines([("waits for", "paused" if queue.paused else queue.waits_for)])
    for of in picture.stats.methods if picture.stats else ():
        if of.method == method:
            ends = f"{of.succeeded} succeeded, {of.failed} failed, {of.cancelled} cancelled"
            why = of.attempts
            attempts = (
                f"{why.succeeded} succeeded, {why.failed} failed, {why.timed_out} timed out, {why.crashed} crashed,"
                f" {why.lost} lost, {why.cancelled} cancelled, {why.released} released"
            )
            lines += _lines(
                [
                    ("tasks", ends),
                    ("attempts", attempts),
                    ("again", f"{of.retried} retried, {of.rerun} rerun"),
                ]
            )
    return lines


def _lines(facts: Sequence[tuple[str, StyledText | Verbatim]]) -> list[StyledText]:
    found: list[StyledText] = []
    for name, value in facts:
        head = f"{name:<{DETAIL_INDENT}}"
        text = (
            value.text if isinstance(value, Verbatim) else value if isinstance(value, str) else plain(value)
        )
        for line in text.split("\n"):
            found.append(head + line)
            head = " " * DETAIL_INDENT
    return found


class Top:
    """One run of `weft top` on a terminal."""

    def __init__(self, mesh: Mesh, terminal: Screen, interval_s: float) -> None:
        self._mesh = mesh
        self._terminal = terminal
        self._interval_s = interval_s
        self._state = TopState()
        self._picture = Picture(datetime.now(UTC), mesh.target)
        self._decoder = KeyDecoder()
        self._keys: list[str] = []
        self._stirred = asyncio.Event()
        self._hastened = asyncio.Event()
        # The signal that ended it.
        self._ended_by = 0
        self._gone = False
        self._fault: BaseException | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Run until the user ends it; the signal that did, or 0."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._terminal.input, self._typed)
        ending = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
        loop.add_signal_handler(signal.SIGWINCH, self._stirred.set)
        for each in ending:
            loop.add_signal_handler(each, self._end, each)
        self._start(self._read_on())
        try:
            while self._go_on():
                self._draw()
                await self._stirred.wait()
                self._stirred.clear()
        finally:
            loop.remove_reader(self._terminal.input)
            for each in (*ending, signal.SIGWINCH):
                loop.remove_signal_handler(each)
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)
        if self._fault is not None:
            raise self._fault
        return self._ended_by

    def _end(self, by: int) -> None:
        self._ended_by = by
        self._gone = True
        self._stirred.set()

    def _typed(self) -> None:
        read_now = self._terminal.read()
        if not read_now:
            self._end(signal.SIGHUP)
            return
        self._keys += self._decoder.keys(read_now)
        self._stirred.set()

    def _go_on(self) -> bool:
        """Handle the keys; False: it is over."""
        while self._keys and not self._gone:
            height = body_height(self._terminal.size()[1])
            before = self._state
            self._state, asked = press(before, self._keys.pop(0), self._picture, height)
            if self._state.tab != before.tab:
                self._hastened.set()
            if asked is None:
                continue
            if asked.name == "quit":
                return False
            if asked.name == "suspend":
                self._terminal.suspend()
            elif asked.name == "open":
                self._picture = replace(self._picture, detail=())
                self._start(self._open(asked.subject))
            else:
                self._state = replace(self._state, message=f"{asked.name} {asked.subject} …")
                self._start(self._act(asked))
        return not self._gone

    def _draw(self) -> None:
        columns, lines = self._terminal.size()
        self._terminal.draw(screen(self._state, self._picture, columns, lines))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A fault of weft's own. The terminal is given back before it is told.
            self._fault, self._gone = error, True
        self._stirred.set()

    async def _read_on(self) -> None:
        while True:
            self._hastened.clear()
            tab = self._state.tab
            found = await read(self._mesh, self._picture, (tab,))
            self._picture = replace(found, detail=self._picture.detail)
            if opened := self._state.opened:
                await self._open(opened)
            self._stirred.set()
            try:
                async with asyncio.timeout(self._interval_s):
                    await self._hastened.wait()
            except TimeoutError:
                pass

    async def _open(self, key: str) -> None:
        found = await detail(self._mesh, self._state.tab, key, self._picture)
        if self._state.opened == key:
            self._picture = replace(self._picture, detail=found)

    async def _act(self, asked: Act) -> None:
        self._state = replace(self._state, message=await act(self._mesh, asked))
        self._hastened.set()
