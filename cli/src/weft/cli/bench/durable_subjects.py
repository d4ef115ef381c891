"""Durable calls: a coordinator and two agents on this machine, with one store and durability."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import repeat

from google.protobuf.wrappers_pb2 import BytesValue

from weft.cli.bench.bench_subject import METHOD, PAYLOAD, RULED_METHOD, BenchSubject, stock_caller
from weft.cli.bench.redis_process import RedisProcess
from weft.cli.process.children import Child, Children
from weft.cli.terminal.failure import Failure
from weft.client import Mesh, Method, connect
from weft.rpc.security.tls import chosen

_AGENTS = 2
_SLOTS = 256


@asynccontextmanager
async def embedded(
    children: Children, _plain: str, *, durability: str
) -> AsyncIterator[Sequence[BenchSubject]]:
    """Durable calls on the embedded store; with durability "process" also of a method with rules, to compare."""
    store = str(children.folder / f"{durability}.db")
    prefix, title = f"embedded_{durability}", f"durable call, embedded store, {durability}"
    methods = {METHOD: (prefix, title)}
    if durability == "process":
        methods[RULED_METHOD] = (f"{prefix}_rules", f"{title}, checked by rules")
    async with _durable(children, prefix, methods, store, durability, {}) as subjects:
        yield subjects


@asynccontextmanager
async def redis(children: Children, _plain: str) -> AsyncIterator[Sequence[BenchSubject]]:
    """Durable calls on a Redis that syncs its log every second."""
    server = await RedisProcess.start(children)
    title = "durable call, Redis, everysec"
    methods = {METHOD: ("redis", title)}
    async with _durable(children, "redis", methods, server.url, "fast", {"redis": server.child}) as subjects:
        yield subjects


@asynccontextmanager
async def _durable(
    children: Children,
    prefix: str,
    methods: Mapping[str, tuple[str, str]],
    store: str,
    durability: str,
    others: dict[str, Child],
) -> AsyncIterator[Sequence[BenchSubject]]:
    """A subject a method.

    Args:
        methods: the methods with the prefixes and titles of their subjects.
    """
    coordinator, target = await children.coordinator(
        f"coordinator-{prefix}", store=store, durability=durability
    )
    for number in range(_AGENTS):
        children.agent(f"{prefix}-{number}", "weft.cli.bench.echo:agent", target, slots=_SLOTS)
    processes = {name: child.pid for name, child in ({"coordinator": coordinator} | others).items()}
    async with AsyncExitStack() as stack:
        mesh = await stack.enter_async_context(connect(target))
        subjects = []
        for method, (key, title) in methods.items():
            await children.hosted(mesh, method, agents=_AGENTS)
            call = await stack.enter_async_context(stock_caller(target, method, tls=chosen(None)))
            burst = partial(_burst, mesh, Method.of(method, BytesValue, BytesValue))
            subjects.append(BenchSubject(key, title, call, burst, "tasks_per_s", processes))
        yield subjects


async def _burst(mesh: Mesh, method: Method[BytesValue, BytesValue], count: int) -> None:
    answered = 0
    async for done in mesh.tasks.run_many(method, repeat(PAYLOAD, count)):
        if done.result() != PAYLOAD:
            raise Failure("a response differs from its request")
        answered += 1
    if answered != count:
        raise Failure(f"{count} tasks were submitted, but {answered} results came back")
