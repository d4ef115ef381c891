"""Durable calls: a coordinator and two agents on this machine, with one store and durability."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import repeat

from google.protobuf.wrappers_pb2 import BytesValue

from weft.cli.bench.bench_subject import METHOD, PAYLOAD, BenchSubject, stock_caller
from weft.cli.process.children import Child, Children, until
from weft.cli.terminal.failure import Failure
from weft.client import Method, connect

_AGENTS = 2
_SLOTS = 256
_ECHO = Method.of(METHOD, BytesValue, BytesValue)


@asynccontextmanager
async def embedded(
    children: Children, _plain: str, *, durability: str
) -> AsyncIterator[Sequence[BenchSubject]]:
    """Durable calls on the embedded store."""
    store = str(children.folder / f"{durability}.db")
    prefix, title = f"embedded_{durability}", f"durable call, embedded store, {durability}"
    async with _durable(children, prefix, title, store, durability, {}) as subject:
        yield [subject]


def redis_server() -> str | None:
    """The path of the Redis server program, or None if it is not installed."""
    return shutil.which("redis-server") or shutil.which("valkey-server")


def redis_missing() -> str | None:
    """Why this installation cannot measure the Redis store, or None if it can."""
    for module in ("redis", "msgpack"):
        if importlib.util.find_spec(module) is None:
            return f"the Python package {module} is not installed (it is in weft's extra 'coordinator')"
    return "redis-server is not installed" if redis_server() is None else None


@asynccontextmanager
async def redis(children: Children, _plain: str) -> AsyncIterator[Sequence[BenchSubject]]:
    """Durable calls on a Redis that syncs its log every second."""
    folder = children.folder / "redis"
    folder.mkdir()
    socket = folder / "redis.sock"
    program = redis_server()
    assert program is not None
    server = children.program(
        "redis",
        program,
        *("--port", "0", "--unixsocket", str(socket), "--dir", str(folder)),
        *("--save", "", "--appendonly", "yes", "--appendfsync", "everysec"),
    )
    await until(socket.exists, [server], "redis-server to listen")
    title = "durable call, Redis, everysec"
    async with _durable(children, "redis", title, f"unix://{socket}", "fast", {"redis": server}) as subject:
        yield [subject]


@asynccontextmanager
async def _durable(
    children: Children, prefix: str, title: str, store: str, durability: str, others: dict[str, Child]
) -> AsyncIterator[BenchSubject]:
    coordinator, target = await children.coordinator(
        f"coordinator-{prefix}", store=store, durability=durability
    )
    for number in range(_AGENTS):
        children.agent(f"{prefix}-{number}", "weft.cli.bench.echo:agent", target, slots=_SLOTS)
    async with connect(target) as mesh, stock_caller(target) as call:

        async def burst(count: int) -> None:
            answered = 0
            async for done in mesh.tasks.run_many(_ECHO, repeat(PAYLOAD, count)):
                if done.result() != PAYLOAD:
                    raise Failure("a response differs from its request")
                answered += 1
            if answered != count:
                raise Failure(f"{count} tasks were submitted, but {answered} results came back")

        await children.hosted(mesh, METHOD, agents=_AGENTS)
        yield BenchSubject(
            prefix=prefix,
            title=title,
            call=call,
            burst=burst,
            rate="tasks_per_s",
            processes={name: child.pid for name, child in ({"coordinator": coordinator} | others).items()},
        )
