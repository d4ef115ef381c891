"""Runs the scripts, by their digests; loads them again when Redis has forgotten them.

A script is the shared files, and a file of its own or a function of a file with several (`_OF_FUNCTIONS`), with the constants put in,
and without the functions that it does not use.
Calls go out in order, one pipeline after another: calls that come while a pipeline is under way form the next one. The storing
of a task and its claim by an idle agent are one pipeline.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import time
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError

from weft.coordinator.store.redis.encoding import pack, unpack
from weft.coordinator.store.redis.endpoint_resolver import PrimaryMoved
from weft.coordinator.store.redis.lua_constants import with_constants
from weft.coordinator.store.redis.lua_linker import linked
from weft.coordinator.store.task_figures import StoreFigures

# Calls of one pipeline: later calls must not wait for long.
_PIPELINE_CALLS = 256


class Reply(NamedTuple):
    """The reply of a script, as in base.lua. Strings are bytes."""

    result: Any
    # (id, record) of tasks that changed their state, or (id, False) of those that only got progress.
    changed: list[tuple[bytes, bytes | bool]]
    # (queue, ready tasks)
    depths: list[tuple[bytes, int]]
    unfinished: int
    woke: bool
    # (agent, epoch, id, attempt, reason, grace, lost)
    revoked: list[tuple[bytes, int, bytes, int, bytes, float, bool]]
    # The next time at which one of its changed tasks is due. False: never.
    due_at: float | bool
    # What happened to tasks: how often, by method and TaskEvent. False: nothing.
    tally: dict[bytes, dict[int, int]] | bool = False
    # Kinds of changed rows.
    kinds: Sequence[bytes] = ()


class _ScriptCall(NamedTuple):
    script: str
    arguments: tuple[Any, ...]
    answer: asyncio.Future[Reply]


# Files that every script begins with, and the files whose functions are scripts.
_SHARED = (
    "base",
    "fairness",
    "gate_states",
    "gates",
    "groups",
    "event_log",
    "states",
    "task_times",
    "moves",
    "cancels",
    "sessions",
)
_OF_FUNCTIONS = ("events", "fleet", "group_calls", "limits", "rows", "state_calls", "steps")


@cache
def _files() -> dict[str, str]:
    folder = files("weft.coordinator.store.redis") / "scripts"
    found = (each for each in folder.iterdir() if each.name.endswith(".lua"))
    return {each.name.removesuffix(".lua"): each.read_text() for each in found}


@cache
def _names() -> tuple[str, ...]:
    """The scripts: a file each, and the functions without parameters of some files."""
    return tuple(sorted({*_files(), *_functions()} - {*_SHARED, *_OF_FUNCTIONS}))


@cache
def _functions() -> dict[str, str]:
    """The scripts that are functions, and their files."""
    return {
        function: name
        for name in _OF_FUNCTIONS
        for function in re.findall(r"^local function (\w+)\(\)$", _files()[name], re.MULTILINE)
    }


@cache
def _source(name: str) -> tuple[str, str]:
    """A script and its digest."""
    file = _functions().get(name)
    own = _files()[name] if file is None else f"{_files()[file]}\nreturn reply({name}())\n"
    text = with_constants(linked("\n".join((*(_files()[part] for part in _SHARED), own))))
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Scripts:
    """The scripts of a store.

    Args:
        connection: their own; dialled when it is needed.
        clock: seconds since the epoch, for tests; None: Redis' own clock.
        replicas: how many must have a change before its answer.
        timeout_s: for one pipeline.
    """

    def __init__(
        self,
        connection: AbstractConnection,
        prefix: str,
        clock: Callable[[], float] | None,
        *,
        replicas: int = 0,
        timeout_s: float = 5.0,
        figures: StoreFigures | None = None,
    ) -> None:
        self._connection = connection
        self._prefix = prefix
        self._clock = clock
        self._replicas = replicas
        self._timeout_s = timeout_s
        self.figures = figures or StoreFigures()
        # Given out by Redis; tells a coordinator its own events.
        self.coordinator = 0
        self._waiting: list[_ScriptCall] = []
        self._pipeline: asyncio.Task[None] | None = None

    def run(self, name: str, request: Any) -> asyncio.Future[Reply]:
        """Run a script. It goes out before all later ones.

        Raises (when awaited):
            redis.exceptions.RedisError, OSError: it did not run, or its result is unknown.
        """
        now = -1.0 if self._clock is None else self._clock()
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        arguments = (self._prefix, repr(now), str(self.coordinator), pack(request))
        self._waiting.append(_ScriptCall(name, arguments, answer))
        if self._pipeline is None:
            self._pipeline = asyncio.get_running_loop().create_task(
                self._send_waiting(), name="redis-scripts"
            )
        return answer

    @property
    def replicated(self) -> bool:
        """Whether an answer means that a replica has all earlier changes."""
        return self._replicas > 0

    async def close(self) -> None:
        """Wait for the calls under way, and disconnect."""
        try:
            if self._pipeline is not None:
                await asyncio.gather(self._pipeline, return_exceptions=True)
        finally:
            await self._connection.disconnect(nowait=True)

    async def _send_waiting(self) -> None:
        try:
            while self._waiting:
                # Later calls of this turn of the loop come along.
                await asyncio.sleep(0)
                calls, self._waiting = self._waiting[:_PIPELINE_CALLS], self._waiting[_PIPELINE_CALLS:]
                try:
                    await self._settle(calls, retry=True)
                finally:
                    # After any fault here, no caller may wait for ever.
                    for call in calls:
                        if not call.answer.done():
                            call.answer.set_exception(RedisConnectionError("the call was given up"))
        finally:
            self._pipeline = None

    async def _settle(self, calls: list[_ScriptCall], *, retry: bool) -> None:
        try:
            began_s = time.perf_counter()
            raws = await self._send(calls)
            self.figures.wrote(time.perf_counter() - began_s, len(calls))
        except Exception as error:
            raws = [error] * len(calls)
        not_run = []
        for call, raw in zip(calls, raws, strict=True):
            if isinstance(raw, NoScriptError | PrimaryMoved) and retry:
                not_run.append(call)
            elif call.answer.done():
                # The caller has gone.
                continue
            elif isinstance(raw, Exception):
                call.answer.set_exception(raw)
            else:
                call.answer.set_result(Reply(*unpack(raw)))
        if not_run:
            with contextlib.suppress(RedisError, OSError):
                # The second try shows whether it helped.
                await self._load()
            await self._settle(not_run, retry=False)

    async def _send(self, calls: list[_ScriptCall]) -> list[Any]:
        commands: list[tuple[Any, ...]] = [
            ("EVALSHA", _source(call.script)[1], 1, *call.arguments) for call in calls
        ]
        if self._replicas:
            # WAIT covers the last write of its own connection. The scripts may have read a newer write of another one.
            commands.append(("SET", f"{self._prefix}:fence", b""))
            commands.append(("WAIT", self._replicas, int(self._timeout_s * 500)))
        raws = await self._ask(commands)
        if self._replicas:
            *raws, fence, waited = raws
            if isinstance(waited, PrimaryMoved):
                # It is unknown whether a replica has the changes of those that ran.
                return [raw if isinstance(raw, PrimaryMoved) else RedisError(str(waited)) for raw in raws]
            for answer in (fence, waited):
                if isinstance(answer, Exception):
                    raise answer
            if waited < self._replicas:
                raise RedisError(f"{waited} of {self._replicas} replicas have the change")
        return raws

    async def _load(self) -> None:
        """Load all scripts at once: Redis then knows all of them or none, so that repeated calls stay in order."""
        await self._ask([("MULTI",), *(("SCRIPT", "LOAD", _source(name)[0]) for name in _names()), ("EXEC",)])

    async def _ask(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        """The answers to some commands, including errors of the server.

        Packed and read here: a pipeline of the client takes twice as long.
        """
        connection, answers = self._connection, []
        try:
            async with asyncio.timeout(self._timeout_s):
                await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
                for _ in commands:
                    try:
                        answers.append(await connection.read_response())
                    except ResponseError as error:
                        answers.append(error)
                    except PrimaryMoved as error:
                        # It would answer all later ones the same.
                        return answers + [error] * (len(commands) - len(answers))
        except BaseException:
            # A late answer must not be taken for that of a later command.
            await connection.disconnect(nowait=True)
            raise
        return answers
