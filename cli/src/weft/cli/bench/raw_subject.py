"""The plain call, for comparison: the same call to a plain grpc.aio server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from weft.cli.bench.bench_subject import BenchSubject, at_once, stock_caller
from weft.cli.process.children import Children, until


async def plain_server(children: Children) -> str:
    """Start the plain server. Returns its address."""
    address = children.folder / "raw.address"
    server = children.python("plain server", "-m", "weft.cli.bench.raw_server", str(address))
    await until(address.exists, [server], "the plain server to listen")
    return address.read_text()


@asynccontextmanager
async def raw_unary(plain: str) -> AsyncIterator[BenchSubject]:
    """Calls of a stock client to the plain server."""
    async with stock_caller(plain) as call:
        yield BenchSubject(
            prefix="raw_unary", title="plain call", call=call, burst=at_once(call), rate="per_s"
        )
