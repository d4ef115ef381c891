"""Whether a process may dial an agent's own port, by the TLS of both.

Agents have any address. A name in the agent's certificate travels with it, so that certificates need not hold addresses.
"""

from __future__ import annotations

import ipaddress


def tls_problem(address: str, tls_name: str, *, secured: bool) -> str:
    """Why a process must not dial an agent's port, by the TLS of both; empty: it may.

    Args:
        secured: whether this process verifies certificates.
    """
    if tls_name and not secured:
        return f"its port {address} has TLS, and there is no authority here to verify it: set WEFT_TLS_CA"
    if secured and not tls_name and not stays_here(address):
        return (
            f"its port {address} has no TLS, and connections from here use TLS: set WEFT_TLS_CERT and WEFT_TLS_KEY"
            " for the agent"
        )
    return ""


def stays_here(address: str) -> bool:
    """Whether nothing that is sent to the address leaves this machine."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
