"""Connections to agents' own ports. The agent's certificate is verified by the name that the fleet's snapshot tells.

Agents have any address; the name travels with it, so that certificates need not hold addresses.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from grpc import aio

from weft.rpc.network.channel import Options, Route, dial

if TYPE_CHECKING:
    from weft.rpc.security.channel_credentials import ChannelSecurity


def dial_agent(
    address: str, tls_name: str, options: Options, security: ChannelSecurity | None
) -> aio.Channel:
    """A channel to an agent's port.

    Args:
        tls_name: the name in its certificate; empty: the port is plain.
        security: this process' TLS; None: it has none.
    """
    return dial(address, options, Route(security=security if tls_name else None), server_name=tls_name)


def tls_problem(address: str, tls_name: str, *, secured: bool) -> str:
    """Why a process must not dial an agent's port, by the TLS of both; empty: it may.

    Args:
        secured: whether this process verifies certificates.
    """
    if tls_name and not secured:
        return f"its port {address} has TLS, and there is no authority here to verify it: set WEFT_TLS_CA"
    if secured and not tls_name and not _stays_here(address):
        return (
            f"its port {address} has no TLS, and connections from here use TLS: set WEFT_TLS_CERT and WEFT_TLS_KEY"
            " for the agent"
        )
    return ""


def _stays_here(address: str) -> bool:
    """Whether nothing that is sent to the address leaves this machine."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
