"""The yardstick: the same call to a plain grpc.aio server, with nothing in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from weft.cli.bench.subject import Subject, stock_caller
from weft.cli.children import Children, until

_IN_FLIGHT = 64


@asynccontextmanager
async def raw_unary(children: Children) -> AsyncIterator[Subject]:
    address = children.folder / "raw.address"
    address.unlink(missing_ok=True)
    server = children.python("raw server", "-m", "weft.cli.bench.raw_server", str(address))
    await until(address.exists, [server], "the raw server to listen")
    async with stock_caller(address.read_text()) as call:
        yield Subject(
            prefix="raw_unary",
            title="plain call",
            call=call,
            burst=lambda count: _burst(call, count),
            rate="per_s",
        )


async def _burst(call: Callable[[], Awaitable[object]], count: int) -> None:
    left = iter(range(count))

    async def some() -> None:
        for _ in left:
            await call()

    await asyncio.gather(*(some() for _ in range(_IN_FLIGHT)))
