"""A real gRPC server that offers handlers and nothing else, and grpcurl to look at it with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc.aio

from tests.support.foreign_tools import find_go_tool
from weft.rpc.contracts.reflection import Reflection
from weft.rpc.network.channel import server_options
from weft.rpc.network.routes import Routes


@asynccontextmanager
async def serving(*handlers: grpc.GenericRpcHandler | Reflection) -> AsyncIterator[str]:
    """A server with these handlers; yields its "host:port"."""
    server = grpc.aio.server(options=server_options())
    for handler in handlers:
        if isinstance(handler, Reflection):
            handler.serve_on(Routes(server))
        else:
            server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def find_grpcurl() -> str:
    """Where grpcurl is. Without it the test is skipped, but in CI, which must have it."""
    return find_go_tool("grpcurl", "github.com/fullstorydev/grpcurl/cmd/grpcurl@latest")


async def grpcurl(target: str, words: Sequence[str], flags: Sequence[str] = ()) -> tuple[int, str]:
    """Run grpcurl against a plaintext target: its exit status, and what it printed on both outputs."""
    process = await asyncio.create_subprocess_exec(
        find_grpcurl(),
        "-plaintext",
        "-max-time",
        "20",
        *flags,
        target,
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await asyncio.wait_for(process.communicate(), timeout=30)
    assert process.returncode is not None
    return process.returncode, printed.decode()
