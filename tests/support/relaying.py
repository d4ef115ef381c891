"""A server that only passes calls on: `python -m tests.support.relaying ADDRESS_FILE CALLEE [--shapes]`.

With `--shapes` it knows those of the mirror service; without, every call passes as stream-stream.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from weft.rpc.calls import relay
from weft.rpc.network.channel import client_options, server_options
from weft.v1 import fleet_pb2

SHAPES = {
    "Unary": fleet_pb2.METHOD_KIND_UNARY,
    "Down": fleet_pb2.METHOD_KIND_SERVER_STREAMING,
    "Up": fleet_pb2.METHOD_KIND_CLIENT_STREAMING,
    "Both": fleet_pb2.METHOD_KIND_BIDI_STREAMING,
}


class Relaying(grpc.GenericRpcHandler):
    """Passes every method on."""

    def __init__(self, channel: grpc.aio.Channel, *, shapes: bool) -> None:
        self._channel = channel
        self._shapes = SHAPES if shapes else {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        path = handler_call_details.method
        kind = self._shapes.get(path.rpartition("/")[2], fleet_pb2.METHOD_KIND_UNSPECIFIED)
        return relay.handler(self._channel, path, kind)


async def serve(address_file: Path, callee: str, *, shapes: bool) -> None:
    """Until it is killed."""
    async with grpc.aio.insecure_channel(callee, options=client_options()) as channel:
        server = grpc.aio.server(options=server_options())
        server.add_generic_rpc_handlers((Relaying(channel, shapes=shapes),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        part = address_file.with_suffix(".part")
        part.write_text(f"127.0.0.1:{port}")
        part.replace(address_file)
        await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2], shapes="--shapes" in sys.argv))
