"""The embedded store: a coordinator and two agents on this machine, with one of its two durabilities."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import repeat

from google.protobuf.wrappers_pb2 import BytesValue

from weft.cli.bench.subject import METHOD, PAYLOAD, Subject, stock_caller
from weft.cli.children import Children
from weft.cli.failures import Failure
from weft.client import Method, connect

_AGENTS = 2
_SLOTS = 256
_ECHO = Method.of(METHOD, BytesValue, BytesValue)


@asynccontextmanager
async def embedded(children: Children, *, durability: str) -> AsyncIterator[Subject]:
    store = children.folder / f"{durability}.db"
    _, target = await children.coordinator(f"coordinator-{durability}", store=store, durability=durability)
    for number in range(_AGENTS):
        children.agent(f"{durability}-{number}", "weft.cli.bench.echo:agent", target, slots=_SLOTS)
    async with connect(target) as mesh, stock_caller(target) as call:

        async def burst(count: int) -> None:
            answered = 0
            async for done in mesh.tasks.run_many(_ECHO, repeat(PAYLOAD, count)):
                if done.result() != PAYLOAD:
                    raise Failure("an echo came back changed")
                answered += 1
            if answered != count:
                raise Failure(f"{count} tasks, {answered} results")

        await children.hosted(mesh, METHOD, agents=_AGENTS)
        yield Subject(
            prefix=f"embedded_{durability}",
            title=f"durable call, embedded store, {durability}",
            call=call,
            burst=burst,
            rate="tasks_per_s",
        )
