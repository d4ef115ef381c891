"""Functions of an application for its connection and for messages: when it is connected, when it is not any more, and what others tell it.

    session open, ended ─► one queue: on_connect, on_disconnect, in the order of what happened
    messages            ─► another one: on_message, in the order of arrival

Functions run beside the handlers, one after another in each queue: async ones on the agent's event loop, sync ones in threads. They take no
slots. What a function raises is logged; the agent goes on.
"""

from __future__ import annotations

import asyncio
import inspect
import typing
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from weft.agent.errors import HostingError
from weft.agent.handlers.threads import Threads
from weft.agent.hosting.function_messages import descriptor_of, deserializer, is_message_type
from weft.agent.hosting.hosted_methods import is_async
from weft.agent.process.failure_log import log_raised
from weft.rpc import refusals
from weft.v1 import command_pb2

# Messages that wait for the functions before them.
MAX_WAITING = 1000


@dataclass(frozen=True, slots=True)
class Connected:
    """A session that was opened."""

    # Name of the coordinator's process.
    coordinator_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Disconnected:
    """A session that has ended; the agent dials again, one coordinator after another."""

    # The reason of weft's error, such as "STOPPING": the coordinator stops in order. Empty: the connection broke.
    reason: str
    message: str

    @property
    def stopping(self) -> bool:
        """The coordinator has said that it stops: another one, or the same after its restart, takes over."""
        return self.reason == "STOPPING"


class MessageHook(NamedTuple):
    """A function for messages of one type."""

    parse: Callable[[bytes], Any]
    function: Callable[..., Any]


class MemberHooks:
    """The functions that an agent was given."""

    def __init__(self) -> None:
        self.connect: list[Callable[..., Any]] = []
        self.disconnect: list[Callable[..., Any]] = []
        # By full name of the type.
        self.messages: defaultdict[str, list[MessageHook]] = defaultdict(list)

    def add(self, kind: str, function: Callable[..., Any]) -> None:
        """Keep a function.

        Args:
            kind: "on_connect", "on_disconnect" or "on_message".

        Raises:
            HostingError: it takes other arguments, or it yields.
        """
        name = f"{kind} function {getattr(function, '__qualname__', repr(function))}"
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise HostingError(f"the {name} yields: it must be a plain function or `async def`")
        if kind == "on_message":
            message_type = _message_type(name, function)
            hook = MessageHook(deserializer(message_type), function)
            self.messages[descriptor_of(message_type).full_name].append(hook)
            return
        if len(_required(function)) > 1:
            what = "the connection" if kind == "on_connect" else "the disconnection"
            raise HostingError(f"the {name} must take one argument at most, {what}")
        getattr(self, kind.removeprefix("on_")).append(function)


def _required(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return [
        each
        for each in inspect.signature(function).parameters.values()
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]


def _message_type(name: str, function: Callable[..., Any]) -> type:
    required = _required(function)
    hint = typing.get_type_hints(function).get(required[0].name) if len(required) == 1 else None
    if hint is None or not is_message_type(hint):
        raise HostingError(
            f"the {name} must take one argument, annotated with a protobuf message, dict or a pydantic model, such as"
            " `async def heard(message: Heartbeat)`"
        )
    kind: type = hint
    return kind


class MemberNews:
    """Runs an agent's functions. Made on the event loop; `connected`, `disconnected` and `told` from any thread.

    Args:
        threads: where sync functions run.
    """

    def __init__(self, hooks: MemberHooks, threads: Threads, loop: asyncio.AbstractEventLoop) -> None:
        self._hooks = hooks
        self._threads = threads
        self._loop = loop
        self._changes: asyncio.Queue[_Job] = asyncio.Queue()
        self._messages: asyncio.Queue[_Job] = asyncio.Queue()
        self._workers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        hooks = self._hooks
        if hooks.connect or hooks.disconnect:
            self._workers.append(self._loop.create_task(self._work(self._changes)))
        if hooks.messages:
            self._workers.append(self._loop.create_task(self._work(self._messages)))

    def stop(self) -> None:
        """End. What waits is dropped, and async functions that run are cancelled."""
        for worker in self._workers:
            worker.cancel()

    def connected(self, connection: Connected) -> None:
        """A session is open."""
        self._put(self._changes, [_Job("on_connect", each, connection) for each in self._hooks.connect])

    def disconnected(self, disconnection: Disconnected) -> None:
        """A session has ended, and the agent goes on."""
        jobs = [_Job("on_disconnect", each, disconnection) for each in self._hooks.disconnect]
        self._put(self._changes, jobs)

    def told(self, message: command_pb2.AgentMessage, agent_id: str) -> None:
        """Somebody sends a message.

        Raises:
            Unimplemented: nothing here takes messages of its type.
            InvalidArgument: it does not parse.
            Overloaded: too many wait.
        """
        hooks = self._hooks.messages.get(message.type)
        if not hooks:
            raise refusals.command_unknown(agent_id)
        if self._messages.qsize() >= MAX_WAITING:
            raise refusals.overloaded(f"{MAX_WAITING} messages wait at the agent already", retry_after_s=1.0)
        try:
            jobs = [_Job("on_message", each.function, each.parse(message.payload)) for each in hooks]
        except (DecodeError, ValueError) as error:
            raise refusals.payload_malformed(
                f"the message does not parse as {message.type}: {error}"
            ) from None
        self._put(self._messages, jobs)

    def _put(self, queue: asyncio.Queue[_Job], jobs: Sequence[_Job]) -> None:
        for job in jobs:
            self._loop.call_soon_threadsafe(queue.put_nowait, job)

    async def _work(self, queue: asyncio.Queue[_Job]) -> None:
        while True:
            job = await queue.get()
            try:
                await self._run(job)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
            except Exception as error:
                log_raised("hook.failed", error, hook=f"{job.kind} function {job.name}")

    async def _run(self, job: _Job) -> None:
        if is_async(job.function):
            await job.function(*job.arguments)
            return
        ended: asyncio.Future[None] = self._loop.create_future()

        def work() -> None:
            raised: Exception | None = None
            try:
                job.function(*job.arguments)
            except Exception as error:
                raised = error
            self._loop.call_soon_threadsafe(_settle, ended, raised)

        self._threads.submit(work)
        await ended


class _Job(NamedTuple):
    """One call of a function."""

    kind: str
    function: Callable[..., Any]
    argument: Any

    @property
    def arguments(self) -> tuple[Any, ...]:
        return (self.argument,) if _required(self.function) else ()

    @property
    def name(self) -> str:
        return getattr(self.function, "__qualname__", repr(self.function))


def _settle(ended: asyncio.Future[None], raised: Exception | None) -> None:
    if ended.done():
        return
    if raised is None:
        ended.set_result(None)
    else:
        ended.set_exception(raised)
