"""Opens the ports of servers: plain or with TLS, on an address or on a unix socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpc import aio

from weft.rpc.network import private_socket
from weft.rpc.network.binding import NO_REASON, why_not

if TYPE_CHECKING:
    from weft.rpc.security.tls_files import TlsFiles


class PortRefused(Exception):
    """A server cannot listen on an address; the message says why."""


def open_port(
    server: aio.Server, address: str, files: TlsFiles | None = None, *, asks_callers: bool = True
) -> int:
    """Let a server listen on an address. Returns the port.

    Args:
        address: "host:port", port 0 for a free one; or "unix:PATH". A unix socket has no TLS: the folder that it is in is for
            its user alone.
        files: the certificate of the port. None: the port is plain.
        asks_callers: False: callers need no certificate, whatever the settings are.

    Raises:
        PortRefused: it cannot.
    """
    try:
        private_socket.prepare(address)
    except OSError as error:
        raise PortRefused(error.strerror or str(error)) from None
    tls = None if address.startswith("unix:") else files
    try:
        return _opened(server, address, tls, asks_callers=asks_callers)
    except RuntimeError:
        why = why_not(address)
        if tls is not None and why == NO_REASON:
            why = f"gRPC takes the certificate {tls.tls.cert} for no server's"
        raise PortRefused(why) from None


def _opened(server: aio.Server, address: str, files: TlsFiles | None, *, asks_callers: bool) -> int:
    if files is None:
        return server.add_insecure_port(address)
    from weft.rpc.security.server_credentials import server_credentials

    return server.add_secure_port(address, server_credentials(files, asks_callers=asks_callers))
