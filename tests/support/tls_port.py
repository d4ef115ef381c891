"""A port of gRPC with mTLS, in a process of its own, whose standard error has gRPC's log: `python -m tests.support.tls_port CA CERT KEY`."""

from __future__ import annotations

import asyncio
import sys

from weft.rpc.network.channel import make_server
from weft.rpc.network.ports import open_port
from weft.rpc.security.tls import Tls
from weft.rpc.security.tls_files import TlsFiles


async def main(ca: str, cert: str, key: str) -> None:
    server = make_server()
    port = open_port(server, "127.0.0.1:0", TlsFiles(Tls(ca, cert, key, client_ca=ca)))
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
