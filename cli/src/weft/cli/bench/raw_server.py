"""The echo method on a plain grpc.aio server: `python -m weft.cli.bench.raw_server ADDRESS_FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

import grpc
import grpc.aio
from google.protobuf.wrappers_pb2 import BytesValue

from weft.cli.bench.bench_subject import APP_METHOD, METHOD
from weft.rpc.network.channel import server_options
from weft.rpc.network.ports import open_port
from weft.rpc.process import event_loops


async def _echo(request: BytesValue, _context: object) -> BytesValue:
    return request


async def serve(address_file: Path) -> None:
    handler = grpc.unary_unary_rpc_method_handler(
        _echo, request_deserializer=BytesValue.FromString, response_serializer=BytesValue.SerializeToString
    )
    server = grpc.aio.server(options=server_options())
    for name in (METHOD, APP_METHOD):
        service, _, method = name.partition("/")
        server.add_registered_method_handlers(service, {method: handler})
    port = open_port(server, "127.0.0.1:0")
    await server.start()
    whole = address_file.with_suffix(".new")
    whole.write_text(f"127.0.0.1:{port}")
    whole.rename(address_file)
    await server.wait_for_termination()


if __name__ == "__main__":
    event_loops.run(serve(Path(sys.argv[1])))
