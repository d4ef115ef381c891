"""What a source of addresses is, and what an address from outside must be."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from weft.rpc.network.targets import MAX_TARGETS, is_host

# With a port behind them, gRPC takes these for other kinds of addresses.
_NO_HOSTS = {"dns", "ipv4", "ipv6", "unix", "unix-abstract", "vsock", "xds"}


class RegistryError(Exception):
    """A registry cannot be read or written now, or its answer is none; the message says why."""


class AddressSource(Protocol):
    """Tells where coordinators are. Used by one event loop."""

    def sets(self) -> AsyncIterator[Sequence[str]]:
        """All present addresses, `host:port`: at once, and again after each change. They are in the order in which they are tried. A set may be empty, and may be
        told twice.

        Raises:
            RegistryError: the source is away, or tells what is no address. It may be asked again.
        """
        ...


def endpoint(host: object, port: object) -> str:
    """`host:port` of what a registry tells.

    Raises:
        RegistryError: it is no IP address or name, or no port.
    """
    if not isinstance(host, str) or type(port) is not int or not 1 <= port <= 65535:
        raise RegistryError(f"{_shown(host)} with port {_shown(port)} is no address")
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        if not is_host(host) or host.startswith("[") or host.lower() in _NO_HOSTS:
            raise RegistryError(f"{_shown(host)} is no address") from None
        return f"{host}:{port}"
    return f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"


def checked(addresses: Sequence[str]) -> tuple[str, ...]:
    """Without duplicates.

    Raises:
        RegistryError: there are too many: the name must be another service's.
    """
    found = tuple(dict.fromkeys(addresses))
    if len(found) > MAX_TARGETS:
        raise RegistryError(f"it has {len(found)} addresses; at most {MAX_TARGETS} can be coordinators")
    return found


def _shown(value: object) -> str:
    return repr(value)[:80]
