"""The yardstick: the same call to a plain grpc.aio server, with nothing in between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from weft.cli.bench.bench_subject import BenchSubject, at_once, stock_caller
from weft.cli.process.children import Children, until


async def plain_server(children: Children) -> str:
    """Start it; where it listens."""
    address = children.folder / "raw.address"
    server = children.python("raw server", "-m", "weft.cli.bench.raw_server", str(address))
    await until(address.exists, [server], "the raw server to listen")
    return address.read_text()


@asynccontextmanager
async def raw_unary(plain: str) -> AsyncIterator[BenchSubject]:
    """A stock client's calls to it."""
    async with stock_caller(plain) as call:
        yield BenchSubject(
            prefix="raw_unary", title="plain call", call=call, burst=at_once(call), rate="per_s"
        )
