"""Carries out the commands of operators.

Each is carried out in a thread of its own: the event loop may be blocked, and then commands come out-of-band. An answer goes back on the
session on which the command came; to `stop` and `restart` before the agent drains.
"""

from __future__ import annotations

import functools
import gc
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from weft.agent.commands.run_labels import RunLabels
from weft.agent.handlers.isolate import IsolatedPool
from weft.agent.handlers.stack_dump import StackDumper
from weft.agent.handlers.threads import Threads
from weft.agent.member_hooks import MemberNews
from weft.agent.process.failure_log import log_raised
from weft.agent.process.replacement import replace_now
from weft.agent.session.session_stream import CommandAnswer
from weft.agent.shutdown import Shutdown
from weft.rpc import refusals
from weft.rpc.errors import WeftError
from weft.rpc.process import logs, process_readings
from weft.rpc.times import duration, seconds
from weft.v1 import command_pb2, session_pb2

_log = logs.get_logger("weft.agent")

# Commands that are carried out at a time.
MAX_COMMANDS = 16
Command = command_pb2.AgentCommand
Reply = command_pb2.CommandReply


class CommandParts(NamedTuple):
    """The parts of an agent that commands concern."""

    agent_id: str
    threads: Threads
    shutdown: Shutdown
    dumper: StackDumper
    # None: no method is isolated.
    pool: IsolatedPool | None
    # Takes messages to the program.
    news: MemberNews
    # The present Hello, without labels that were changed.
    hello: Callable[[], session_pb2.Hello]
    # For how long the event loop is blocked, at a monotonic time; 0: it is not.
    blocked_s: Callable[[float], float]


class AgentCommands:
    """The commands of one agent. From any thread.

    Args:
        own_process: the process is the agent's own: it may be replaced, and its log's level changed.
    """

    def __init__(self, parts: CommandParts, *, own_process: bool) -> None:
        self._parts = parts
        self._own_process = own_process
        # The agent's id, if it was generated: it is kept through a restart.
        self.generated_id: str | None = None
        self.labels = RunLabels()
        # Whether the process is to be replaced at the agent's end.
        self.restarts = False
        self._places = threading.Semaphore(MAX_COMMANDS)
        self._known: dict[str, Callable[[Command, Reply], Callable[[], None] | None]] = {
            "restart": self._restart,
            "stop": self._stop,
            "labels": self._labels,
            "log_level": self._log_level,
            "stacks": self._stacks,
            "gc": self._gc,
        }

    def take(self, commands: Sequence[Command], answer: CommandAnswer) -> None:
        """Carry out each command, and answer it."""
        for command in commands:
            if command.HasField("message"):
                # Here: messages keep their order.
                answer(self._told(command))
            elif self._places.acquire(blocking=False):
                self._parts.threads.submit(functools.partial(self._carry_out, command, answer))
            else:
                busy = refusals.overloaded(
                    f"{MAX_COMMANDS} commands are under way already", retry_after_s=1.0
                )
                answer(Reply(command_id=command.command_id, status=busy.status()))

    def _carry_out(self, command: Command, answer: CommandAnswer) -> None:
        kind = command.WhichOneof("command") or ""
        reply = Reply(command_id=command.command_id)
        then: Callable[[], None] | None = None
        try:
            carry_out = self._known.get(kind)
            if carry_out is None:
                raise refusals.command_unknown(self._parts.agent_id)
            then = carry_out(command, reply)
        except WeftError as error:
            reply.status.CopyFrom(error.status())
        except Exception as error:
            log_raised("command.failed", error, command=kind)
            reply.status.CopyFrom(refusals.internal("the agent's log has the error").status())
        finally:
            self._places.release()
        _log.info(
            "command.answered", command=kind, code=reply.status.code, error=reply.status.message or None
        )
        answer(reply)
        if then is not None:
            then()

    def _told(self, command: Command) -> Reply:
        reply = Reply(command_id=command.command_id)
        try:
            self._parts.news.told(command.message, self._parts.agent_id)
        except WeftError as error:
            reply.status.CopyFrom(error.status())
        return reply

    # -- each returns what is to be done after the answer -----------------------------------------------------------

    def _restart(self, command: Command, _reply: Reply) -> Callable[[], None]:
        if not self._own_process:
            raise self._refused(
                "it runs within another program (Agent.serve, or a test), whose process is not its own to replace; restart"
                " that program"
            )
        return self._end(command.restart, restart=True)

    def _stop(self, command: Command, _reply: Reply) -> Callable[[], None]:
        return self._end(command.stop, restart=False)

    def _end(
        self, how: command_pb2.RestartAgent | command_pb2.StopAgent, *, restart: bool
    ) -> Callable[[], None]:
        shutdown = self._parts.shutdown
        if shutdown.begun:
            raise self._refused("it is stopping already")
        grace_s = seconds(how.grace) if how.HasField("grace") else None

        def end() -> None:
            self.restarts = restart
            if restart:
                shutdown.replace = self._replace
            shutdown.begin(grace_s)

        return end

    def _replace(self) -> None:
        """Replace the process, whose event loop a handler blocks for ever."""
        if self._parts.pool is not None:
            self._parts.pool.close()
        replace_now(self.generated_id)

    def _labels(self, command: Command, reply: Reply) -> None:
        self.labels.change(command.labels.set, command.labels.remove)
        hello = session_pb2.Hello(labels=self._parts.hello().labels)
        reply.labels.labels.update(self.labels.put_into(hello).labels)

    def _log_level(self, command: Command, _reply: Reply) -> None:
        level = logging.getLevelNamesMapping().get(command.log_level.level.upper())
        if level is None:
            raise refusals.invalid_field(f"there is no level {command.log_level.level!r}", field="level")
        if not self._own_process or not logs.set_level(level):
            raise self._refused("its program sets up the log itself; change the level there")
        if self._parts.pool is not None:
            self._parts.pool.set_log_level(level)

    def _stacks(self, _command: Command, reply: Reply) -> None:
        blocked_s = self._parts.blocked_s(time.monotonic())
        reply.stacks.CopyFrom(self._parts.dumper.dump())
        if blocked_s:
            reply.stacks.loop_blocked.CopyFrom(duration(blocked_s))

    @staticmethod
    def _gc(_command: Command, reply: Reply) -> None:
        reply.gc.memory_before_bytes = process_readings.memory()
        began_s = time.monotonic()
        reply.gc.objects = gc.collect()
        reply.gc.took.CopyFrom(duration(time.monotonic() - began_s))
        reply.gc.memory_after_bytes = process_readings.memory()

    def _refused(self, why: str) -> WeftError:
        return refusals.command_refused(self._parts.agent_id, why)
