"""The agent under test: its process, if the driver starts it, its sessions, and what its handlers have seen."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from weft.cli.conformance.protocol_rules import NotChecked, RuleBroken
from weft.cli.conformance.scripted_coordinator import REDIAL_S, ScriptedCoordinator, ScriptedSession
from weft.cli.process import parent_death
from weft.cli.terminal.failure import Failure, system_reason
from weft.conformance.v1 import conformance_pb2
from weft.rpc.process import process_group
from weft.rpc.security.tls import VARIABLES
from weft.rpc.times import duration

SERVICE = "weft.conformance.v1.ConformanceService"
ECHO, WAIT, FAIL, COUNT = (f"{SERVICE}/{name}" for name in ("Echo", "Wait", "Fail", "Count"))
# Settings of an agent that the driver starts: small, so that some attempts wait for a slot.
SLOTS = PREFETCH = 2
# Time limits for the start and the end of the process.
START_S = 20.0
STOP_S = 10.0
# An agent with more slots is not filled.
MAX_SLOTS = 64
_TAIL_LINES = 10


class Waits(NamedTuple):
    """Counts of the handlers of Wait in this process."""

    started: int
    cancelled: int


class AgentUnderTest:
    """The agent. Large because it has a method for each thing that checks do with its process, sessions and handlers.

    Args:
        command: starts the agent; empty: the user starts it.
        log: the file for the agent's output.
        patience_s: how long to wait for an agent that the user starts.
    """

    def __init__(
        self, coordinator: ScriptedCoordinator, command: Sequence[str], log: Path, *, patience_s: float
    ) -> None:
        self.coordinator = coordinator
        self.command = command
        self._log = log
        self._patience_s = patience_s
        self._process: asyncio.subprocess.Process | None = None
        self._session: ScriptedSession | None = None
        self._tasks = 0

    def task(self) -> str:
        """A new task id."""
        self._tasks += 1
        return f"task-{self._tasks}"

    # -- sessions -----------------------------------------------------------------------------------------------

    async def session(self) -> ScriptedSession:
        """The open session, or a new session in which the agent holds nothing."""
        if self._session is None or self._session.over:
            await self.dialled()
            await self.welcome()
        assert self._session is not None
        return self._session

    async def next_session(self, *, adopt: Collection[str] = (), **fields: Any) -> ScriptedSession:
        """End the open session, if there is one, and welcome the next stream."""
        await self.dialled()
        return await self.welcome(adopt=adopt, **fields)

    async def dialled(self) -> ScriptedSession:
        """End the present stream and return the agent's next one, without a Welcome."""
        if self._session is not None and not self._session.over:
            self._session.end()
            await self._session.closed("the stream that the coordinator ended is over")
        first = self._session is None
        patience_s = REDIAL_S
        if self.command and (self._process is None or self._process.returncode is not None):
            await self._start()
            patience_s = START_S
        elif first:
            patience_s = self._patience_s
        try:
            self._session = await self._accept(patience_s)
        except RuleBroken as error:
            if first:
                raise Failure(str(error), *self.tail().splitlines()) from None
            raise
        return self._session

    async def _accept(self, patience_s: float) -> ScriptedSession:
        """The agent's next stream. Fails at once if the process ends."""
        accepting = asyncio.ensure_future(self.coordinator.accept(patience_s))
        waiting: set[asyncio.Future[Any]] = {accepting}
        if self._process is not None:
            waiting.add(asyncio.ensure_future(self._process.wait()))
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if accepting.done():
                return accepting.result()
        finally:
            for each in waiting:
                each.cancel()
        assert self._process is not None
        raise RuleBroken(f"the agent exited with status {self._process.returncode} instead of dialling")

    async def welcome(self, **fields: Any) -> ScriptedSession:
        """Welcome the new stream, and wait for the agent's first state."""
        assert self._session is not None
        session = self._session
        session.welcome(**fields)
        await session.wait(lambda: next(iter(session.reports), None), "state after Welcome")
        return session

    async def drop(self) -> None:
        """End the session, if there is one, so that the agent holds nothing in the next one."""
        if self._session is not None and not self._session.over:
            self._session.end()
            with contextlib.suppress(RuleBroken):
                await self._session.closed("the stream that the coordinator ended is over")

    # -- its methods, and the counts of its handlers --------------------------------------------------------------

    def needs(self, method: str) -> None:
        """Skip the check if the agent does not host the method.

        Raises:
            NotChecked: it does not.
        """
        assert self._session is not None
        if all(hosted.name != method for hosted in self._session.hello.methods):
            raise NotChecked(f"the agent does not host {method}")

    def credits(self, session: ScriptedSession) -> int:
        """How many attempts the agent may be assigned: its slots and prefetch.

        Raises:
            NotChecked: the agent has too many slots to fill.
        """
        hello = session.hello
        if hello.slots > MAX_SLOTS or hello.prefetch > MAX_SLOTS:
            raise NotChecked(f"the agent has more than {MAX_SLOTS} slots: give it fewer")
        return hello.slots + hello.prefetch

    async def waits(self, session: ScriptedSession) -> Waits:
        """Read the counts, by a call of Echo."""
        task_id = self.task()
        session.assign(task_id, ECHO, conformance_pb2.EchoRequest())
        result = await session.result(task_id)
        session.ack([result])
        if result.outcome.status.code:
            raise RuleBroken(f"Echo failed: {result.outcome.status.message}")
        answer = conformance_pb2.EchoResponse.FromString(result.outcome.response)
        return Waits(answer.waits_started, answer.waits_cancelled)

    async def saw_cancellation(self, session: ScriptedSession, before: Waits) -> None:
        """Wait until one more handler has been cancelled."""
        for _ in range(20):
            if (await self.waits(session)).cancelled > before.cancelled:
                return
            await session.heartbeats(1)
        raise RuleBroken("the handler was not cancelled")

    async def start_wait(self, session: ScriptedSession, time_s: float, **fields: Any) -> str:
        """Assign a Wait and wait until it runs. Returns the task id."""
        task_id = self.task()
        session.assign(task_id, WAIT, wait_request(time_s), **fields)
        await session.report(lambda report: report.used_slots > 0, "with a used slot: a handler runs")
        return task_id

    # -- the process --------------------------------------------------------------------------------------------

    async def kill(self) -> None:
        """Send SIGKILL to the process and everything that it started."""
        if self._process is not None:
            process_group.kill(self._process.pid)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                self._process.kill()
            await self._process.wait()

    def terminate(self) -> None:
        """Send SIGTERM to the process only."""
        assert self._process is not None
        self._process.terminate()

    async def exited(self, timeout_s: float = STOP_S) -> int:
        """Wait for the process to exit, and return its status.

        Raises:
            RuleBroken: it does not exit in time.
        """
        assert self._process is not None
        try:
            return await asyncio.wait_for(self._process.wait(), timeout_s)
        except TimeoutError:
            raise RuleBroken(f"the process did not exit within {timeout_s:g} s") from None

    def tail(self) -> str:
        """The last lines of the agent's output."""
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return "\n".join(lines[-_TAIL_LINES:]) or "it printed nothing"

    async def _start(self) -> None:
        settings = {
            "WEFT_TARGET": self.coordinator.address,
            "WEFT_AGENT_ID": "conformance",
            "WEFT_AGENT_SLOTS": str(SLOTS),
            "WEFT_AGENT_PREFETCH": str(PREFETCH),
            "PYTHONUNBUFFERED": "1",
            # The port of this coordinator is plain.
            **dict.fromkeys(VARIABLES.values(), ""),
            # Agents of weft use it; other agents outlive a killed driver.
            **parent_death.child_environment(),
        }
        with self._log.open("ab") as output:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *self.command,
                    env=os.environ | settings,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            except OSError as error:
                raise Failure(f"cannot start {self.command[0]}: {system_reason(error)}", status=2) from None


def wait_request(time_s: float, *, stubborn: bool = False) -> conformance_pb2.WaitRequest:
    """A request that waits so long; `stubborn`: even if the handler is cancelled."""
    return conformance_pb2.WaitRequest(time=duration(time_s), ignore_cancellation=stubborn)
