"""First contact with a mesh: its authority, recognised by a pin, so that no file has to be copied.

The server sends its authority in the handshake. What it sends is believed only if its SHA-256 is the pin. The same handshake proves nothing
about the server: every later one verifies it by that authority.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
import ssl
from contextlib import closing
from typing import Any

from weft.rpc import refusals
from weft.rpc.security.mesh_names import COORDINATOR
from weft.rpc.security.tls import pinned

_DER = 2


def authority_at(address: str, pin: str, timeout_s: float) -> bytes:
    """The authority of a mesh, as PEM. Blocks.

    Args:
        address: "host:port" of a join port.
        pin: "sha256:" and 64 hex digits.

    Raises:
        OSError: the port cannot be reached.
        FailedPrecondition: PIN_MISMATCH.
        Unavailable: NOT_JOINED: it is no port with TLS.
    """
    expected = pinned(pin)
    try:
        chain = _chain_of(address, timeout_s)
    except ssl.SSLError as error:
        raise refusals.not_joined(
            f"{address} has no TLS that can be used ({error.reason or error}): is it the join port of a coordinator with --ca auto?"
        ) from None
    for each in chain:
        if hmac.compare_digest(hashlib.sha256(each).digest(), expected):
            return ssl.DER_cert_to_PEM_cert(each).encode()
    raise refusals.pin_mismatch(address)


def _chain_of(address: str, timeout_s: float) -> list[bytes]:
    """The certificates that a server sends, unverified, as DER."""
    host, _, port = address.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    connection = socket.create_connection((host.strip("[]"), int(port)), timeout_s)
    with closing(connection), context.wrap_socket(connection, server_hostname=COORDINATOR) as secured:
        # Public from Python 3.13 on.
        public: Any = getattr(secured, "get_unverified_chain", None)
        if public is not None:
            return list(public())
        inside: Any = secured._sslobj  # type: ignore[attr-defined]
        return [bytes(each.public_bytes(_DER)) for each in inside.get_unverified_chain() or ()]
