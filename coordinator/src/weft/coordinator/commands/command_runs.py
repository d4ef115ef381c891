"""Commands that are under way at this coordinator.

    session here       AgentCommand ─► agent ─► CommandReply ─► CommandRun ─► results
    session elsewhere  one CommandPost to all coordinators ─► those with the sessions run it there ─► CommandPosts with results

A run ends when each agent has a result: at the latest when its time is over. Nothing of it is stored, and a fleet costs one pass over the
sessions.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Iterable, Sequence

from weft.coordinator.commands.command_checks import check_allowed
from weft.coordinator.sessions.agent_session import AgentSession
from weft.coordinator.sessions.sessions_by_agent import SessionsByAgent
from weft.coordinator.store.base import Store
from weft.rpc import refusals
from weft.rpc.errors import WeftError
from weft.rpc.network.channel import BATCH_BYTES
from weft.rpc.times import duration, seconds
from weft.v1 import command_pb2, post_pb2

# Commands of this coordinator's callers that are under way at a time, and those of other coordinators.
MAX_RUNS = 64
# For the way to another coordinator and back, beside the time that agents have.
POST_S = 1.0
# Results in one message.
BATCH_RESULTS = 512


class CommandRun:
    """One command at some agents.

    Args:
        timeout_s: how long they may take to answer.
    """

    def __init__(self, command: command_pb2.AgentCommand, agent_ids: Iterable[str], timeout_s: float) -> None:
        self.command = command
        self.timeout_s = timeout_s
        # Those without a result.
        self.waiting = set(agent_ids)
        # Those that have the command, on sessions here.
        self.sessions: dict[str, AgentSession] = {}
        self._results: list[command_pb2.CommandResult] = []
        self._came = asyncio.Event()
        self._error: WeftError | None = None

    def settle(self, agent_id: str, error: WeftError | None = None) -> None:
        """An agent's result, without an answer of its own. Only its first result counts."""
        result = command_pb2.CommandResult(agent_id=agent_id)
        if error is not None:
            result.status.CopyFrom(error.status())
        self.add(result)

    def add(self, result: command_pb2.CommandResult) -> None:
        """The same, as another coordinator tells it, or with the agent's answer."""
        if result.agent_id in self.waiting:
            self.waiting.discard(result.agent_id)
            self._results.append(result)
            self._came.set()

    def fail(self, error: WeftError) -> None:
        """End it: the coordinator is stopping."""
        self._error = error
        self._came.set()

    async def batches(self, extra_s: float = 0.0) -> AsyncGenerator[list[command_pb2.CommandResult]]:
        """The results, as they come, until each agent has one.

        Args:
            extra_s: time beside that of the agents.

        Raises:
            Unavailable: the coordinator is stopping.
        """
        loop = asyncio.get_running_loop()
        ends_at_s = loop.time() + self.timeout_s + extra_s
        while self.waiting or self._results:
            if not self._results:
                self._came.clear()
                try:
                    async with asyncio.timeout_at(ends_at_s):
                        await self._came.wait()
                except TimeoutError:
                    for agent_id in sorted(self.waiting):
                        self.settle(agent_id, refusals.command_not_answered(agent_id, self.timeout_s))
            if self._error is not None:
                raise self._error
            yield self._taken()

    def _taken(self) -> list[command_pb2.CommandResult]:
        """The next results, within the bounds of a message."""
        size_bytes = count = 0
        for result in self._results[:BATCH_RESULTS]:
            size_bytes += result.ByteSize()
            if count and size_bytes > BATCH_BYTES:
                break
            count += 1
        taken, self._results = self._results[:count], self._results[count:]
        return taken


class CommandRuns:
    """The runs."""

    def __init__(self, store: Store, sessions: SessionsByAgent) -> None:
        self._store = store
        self._sessions = sessions
        self._name = secrets.token_hex(8)
        self._runs: dict[str, CommandRun] = {}
        # Commands of other coordinators.
        self._for_others: set[asyncio.Task[None]] = set()

    async def run(
        self, command: command_pb2.AgentCommand, agent_ids: Sequence[str], timeout_s: float
    ) -> AsyncGenerator[list[command_pb2.CommandResult]]:
        """Give connected agents a command, wherever their sessions are; the results as they come.

        Raises:
            ResourceExhausted: too many commands are under way.
            Unavailable: the coordinator is stopping.
        """
        if len(self._runs) >= MAX_RUNS:
            raise refusals.overloaded(
                f"{MAX_RUNS} commands are under way already; try again", retry_after_s=1.0
            )
        run = CommandRun(command, agent_ids, timeout_s)
        self._runs[command.command_id] = run
        try:
            elsewhere = self._send(run)
            if elsewhere:
                # What the others do not hear is not answered in time.
                asked = command_pb2.CommandPost(
                    asker=self._name, agent_ids=elsewhere, command=command, timeout=duration(timeout_s)
                )
                await self._tell(asked)
            async for batch in run.batches(POST_S if elsewhere else 0.0):
                yield batch
        finally:
            self._end(run)

    def _send(self, run: CommandRun) -> list[str]:
        """Give the command to the agents whose sessions are here; returns the others that may be elsewhere."""
        elsewhere: list[str] = []
        for agent_id in sorted(run.waiting):
            session = self._sessions.get(agent_id)
            if session is not None and session.open:
                self._give(run, agent_id, session)
            elif self._store.shared:
                elsewhere.append(agent_id)
            else:
                run.settle(agent_id, refusals.agent_not_connected(agent_id))
        return elsewhere

    @staticmethod
    def _give(run: CommandRun, agent_id: str, session: AgentSession) -> None:
        if not session.hello.takes_commands:
            run.settle(agent_id, refusals.command_unknown(agent_id))
            return
        try:
            check_allowed(run.command, session)
        except WeftError as error:
            run.settle(agent_id, error)
            return
        if not session.requests.command(run.command):
            too_many = "too many commands to this agent are not answered; try again"
            run.settle(agent_id, refusals.overloaded(too_many, retry_after_s=1.0))
            return
        run.sessions[agent_id] = session

    def _end(self, run: CommandRun) -> None:
        del self._runs[run.command.command_id]
        for session in run.sessions.values():
            session.requests.settled(run.command.command_id)

    # -- what sessions tell -------------------------------------------------------------------------------------

    def answered(self, session: AgentSession, reply: command_pb2.CommandReply) -> None:
        """An agent has answered on its session. Answers that come too late are dropped."""
        run = self._runs.get(reply.command_id)
        agent_id = session.owner.agent_id
        if run is None or run.sessions.get(agent_id) is not session:
            return
        result = command_pb2.CommandResult(agent_id=agent_id, reply=reply)
        if reply.status.code:
            result.status.CopyFrom(reply.status)
        result.reply.ClearField("status")
        run.add(result)

    def session_ended(self, session: AgentSession) -> None:
        """An agent's stream is over: it does not answer any more."""
        agent_id = session.owner.agent_id
        for run in self._runs.values():
            if run.sessions.get(agent_id) is session:
                run.settle(agent_id, refusals.agent_not_connected(agent_id, told=True))

    # -- other coordinators ---------------------------------------------------------------------------------------

    async def _tell(self, post: command_pb2.CommandPost) -> None:
        await self._store.post(post_pb2.CoordinatorPost(command=post).SerializeToString())

    def posted(self, post: command_pb2.CommandPost) -> None:
        """Another coordinator asks for something, or answers this one."""
        if post.HasField("command"):
            here = [each for each in post.agent_ids if self._is_here(each)]
            if here and post.asker != self._name and len(self._for_others) < MAX_RUNS:
                task = asyncio.get_running_loop().create_task(self._run_for(post, here))
                self._for_others.add(task)
                task.add_done_callback(self._for_others.discard)
        elif post.asker == self._name and (run := self._runs.get(post.command_id)):
            for result in post.results:
                run.add(result)

    def _is_here(self, agent_id: str) -> bool:
        session = self._sessions.get(agent_id)
        return session is not None and session.open

    async def _run_for(self, post: command_pb2.CommandPost, agent_ids: Sequence[str]) -> None:
        """Run a command of another coordinator, and post the results."""
        run = CommandRun(post.command, agent_ids, seconds(post.timeout))
        self._runs[post.command.command_id] = run
        try:
            self._send(run)
            async for batch in run.batches():
                command_id = post.command.command_id
                await self._tell(
                    command_pb2.CommandPost(asker=post.asker, results=batch, command_id=command_id)
                )
        except WeftError:
            # The other one has a limit of its own.
            return
        finally:
            self._end(run)

    async def stop(self, error: WeftError) -> None:
        """End all runs."""
        for run in list(self._runs.values()):
            run.fail(error)
        for task in self._for_others:
            task.cancel()
        await asyncio.gather(*self._for_others, return_exceptions=True)
