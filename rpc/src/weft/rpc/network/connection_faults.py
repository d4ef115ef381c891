"""Says why a connection failed, in words. gRPC says it in its own, or only that the socket was closed.

`explained` reads gRPC's message. `probed` asks the server itself, by one handshake with Python's own TLS: for people who wait for
an answer (a command, a log line), not for each call.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from grpc import aio

if TYPE_CHECKING:
    from weft.rpc.security.channel_credentials import ChannelSecurity

Answer = TypeVar("Answer")

PROBE_TIMEOUT_S = 2.0

_NOT_TLS = (
    "the port has no TLS, and this end uses it: unset WEFT_TLS_CA here, or give the server a certificate"
)
_NEEDS_TLS = (
    "the port has TLS, and this end uses none: set WEFT_TLS_CA (--tls-ca) to the authority of its certificate"
)
_OTHER_AUTHORITY = "its certificate is signed by an authority that is not trusted here (WEFT_TLS_CA)"
_OTHER_NAME = (
    "its certificate is for another name: dial it by a name in its certificate, set WEFT_TLS_SERVER_NAME to one, or issue a"
    " certificate with this name"
)
_ENDED = "its certificate has ended, or its authority's: it must be renewed there"
_EARLY = "its certificate is not valid yet: are the clocks of both machines right?"
_OLD = "it has TLS 1.1 or older alone, which can be broken: it must be updated to TLS 1.2 or 1.3"
_WEAK = "its certificate is too weak: it is signed by SHA-1 or MD5, or its key is too short; it must be replaced there"
_WANTS_ONE = (
    "it wants a certificate of its callers: set WEFT_TLS_CERT and WEFT_TLS_KEY (--tls-cert, --tls-key)"
)
_REFUSES_OURS = (
    "it does not accept this end's certificate (WEFT_TLS_CERT): has it ended, or is it signed by another authority? the"
    " server's log says which"
)

# A part of gRPC's message -> its meaning. In this order.
_GRPC: dict[str, str] = {
    "WRONG_VERSION_NUMBER": _NOT_TLS,
    "ALERT_PROTOCOL_VERSION": _OLD,
    "UNSUPPORTED_PROTOCOL": _OLD,
    "certificate has expired": _ENDED,
    "certificate is not yet valid": _EARLY,
    "self signed certificate": "its certificate is signed by itself, and not trusted here (WEFT_TLS_CA)",
    "unable to get local issuer certificate": _OTHER_AUTHORITY,
    "Hostname Verification Check failed": _OTHER_NAME,
    # As older versions say it.
    "is not in peer certificate": _OTHER_NAME,
    # What is dialled instead: see `followed_channel`.
    "/nonexistent/no-address": "the source of addresses has named no coordinator yet",
    "/nonexistent/no-tls": "the token is not sent without TLS to the addresses that the source names: set WEFT_TLS_CA",
}
_CLOSED = "Socket closed"
# As Python's ssl says it.
_OLD_REASONS = ("TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL")

# OpenSSL's number of a failed verification -> its meaning.
_OPENSSL: dict[int, str] = {
    9: _EARLY,
    10: _ENDED,
    18: _GRPC["self signed certificate"],
    19: _OTHER_AUTHORITY,
    20: _OTHER_AUTHORITY,
    21: _OTHER_AUTHORITY,
    62: _OTHER_NAME,
    64: _OTHER_NAME,
    # gRPC itself takes these, if a trusted authority has signed so.
    66: _WEAK,
    67: _WEAK,
    68: _WEAK,
}


def explained(message: str, security: ChannelSecurity | None = None) -> str:
    """GRPC's message of a failed connection, in words if it is about TLS or a source of addresses; else as it is.

    Args:
        security: this end's TLS; None: it has none.
    """
    for part, meaning in _GRPC.items():
        if part in message:
            return meaning
    if message.endswith(_CLOSED):
        return f"{message}; {_perhaps(security)}"
    return message


def _perhaps(security: ChannelSecurity | None) -> str:
    if security is None:
        return "if the port has TLS, set WEFT_TLS_CA"
    own = security.tls.cert
    return f"perhaps {_REFUSES_OURS if own else _WANTS_ONE}"


class ConnectionFault(Exception):
    """A connection cannot be made because of TLS; the message says why."""


async def connected(channel: aio.Channel, address: str, security: ChannelSecurity | None = None) -> None:
    """Wait until the channel is connected. It does not wait on if TLS stands in the way, which more time seldom changes.

    Args:
        address: what the channel dials.
        security: this end's TLS; None: it has none.

    Raises:
        ConnectionFault: TLS stands in the way.
    """
    asked = False
    while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
        if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE and not asked:
            asked = True
            if why := await probed(address, security):
                raise ConnectionFault(why)
        await channel.wait_for_state_change(state)


async def probed(address: str, security: ChannelSecurity | None = None, server_name: str = "") -> str:
    """Why no connection can be made, if it is because of TLS; empty: it is not, or not known. Within two seconds or so.

    Args:
        address: "host:port"; several and unix sockets are not asked.
        security: this end's TLS; None: it has none.
        server_name: the name that the certificate must have; empty: the address' host.
    """
    return await _asked(_probe, address, security, server_name) or ""


async def served_times(
    address: str, security: ChannelSecurity, server_name: str = ""
) -> tuple[float, float] | None:
    """When a server's certificate begins and ends, in seconds since 1970; None: it is not known. Arguments as for `probed`."""
    return await _asked(_times, address, security, server_name)


async def _asked(
    ask: Callable[[str, int, str, Any], Answer],
    address: str,
    security: ChannelSecurity | None,
    server_name: str,
) -> Answer | None:
    """The answer of a handshake in a thread; None: there is none."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "," in address or address.startswith("unix") or "://" in address:
        return None
    host = host.strip("[]")
    name = server_name or (security.tls.server_name if security is not None else "") or host
    try:
        async with asyncio.timeout(2 * PROBE_TIMEOUT_S):
            return await asyncio.to_thread(ask, host, int(port), name, security)
    except (OSError, TimeoutError, ValueError):
        return None


def _times(host: str, port: int, name: str, security: ChannelSecurity) -> tuple[float, float] | None:
    with (
        closing(socket.create_connection((host, port), PROBE_TIMEOUT_S)) as connection,
        _context(security).wrap_socket(connection, server_hostname=name) as secured,
    ):
        found: Any = secured.getpeercert() or {}
    if not found:
        return None
    return ssl.cert_time_to_seconds(found["notBefore"]), ssl.cert_time_to_seconds(found["notAfter"])


def _probe(host: str, port: int, name: str, security: ChannelSecurity | None) -> str:
    with closing(socket.create_connection((host, port), PROBE_TIMEOUT_S)) as connection:
        try:
            with _context(security).wrap_socket(connection, server_hostname=name) as secured:
                return _after_handshake(secured, security)
        except ssl.SSLCertVerificationError as error:
            return _OPENSSL.get(
                error.verify_code, f"its certificate cannot be verified: {error.verify_message}"
            )
        except ssl.SSLError as error:
            if error.reason in _OLD_REASONS:
                return _OLD
            # A plain server does not understand the beginning of a handshake. Without TLS here that is as it should be.
            return _NOT_TLS if security is not None else ""
        except ConnectionError:
            return ""


def _after_handshake(secured: ssl.SSLSocket, security: ChannelSecurity | None) -> str:
    if security is None:
        return _NEEDS_TLS
    refuses = _REFUSES_OURS if security.tls.cert else _WANTS_ONE
    try:
        # By TLS 1.3, a server looks at the caller's certificate after the handshake. One that takes it sends its settings.
        secured.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        return "" if secured.recv(1) else refuses
    except TimeoutError:
        return ""
    except (ssl.SSLError, ConnectionError):
        return refuses


def _context(security: ChannelSecurity | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    if security is None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context
    material = security.files.material
    if material.ca is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cadata=material.ca.decode("ascii", "replace"))
    if security.tls.cert:
        context.load_cert_chain(security.tls.cert, security.tls.key)
    return context
