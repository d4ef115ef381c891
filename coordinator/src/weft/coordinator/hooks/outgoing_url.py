"""Where outgoing hooks may send: hosts by name, and networks by address. Pure.

A name is checked when a hook is made and again at each delivery; the address is checked at the moment of its connection, so that a name that means
another address by then (DNS rebinding) gets nobody anywhere.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from weft.rpc import refusals
from weft.rpc.identity.scope import covers

MAX_URL_CHARS = 2048
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# Addresses of IPv4 within IPv6, which translate to them.
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
# Not for anybody's servers, whatever the version of Python says of them.
_SPECIAL = tuple(
    ipaddress.ip_network(text)
    for text in (
        "100.64.0.0/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "2001::/23",
        "2001:db8::/32",
        "3fff::/20",
        "5f00::/16",
        "fec0::/10",
    )
)
_PRINTABLE = frozenset(map(chr, range(0x21, 0x7F)))


class UrlPlace(NamedTuple):
    """Where a URL leads."""

    host: str
    port: int
    # By TLS.
    secure: bool


def place_of(url: str, field: str = "url") -> UrlPlace:
    """Where a URL leads.

    Raises:
        InvalidArgument: it is no URL that a hook can have.
    """
    if len(url) > MAX_URL_CHARS or not _PRINTABLE.issuperset(url):
        raise refusals.invalid_field(
            f"{field} must be at most {MAX_URL_CHARS} printable ASCII characters without spaces", field=field
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise refusals.invalid_field(f"{field} is {url[:64]!r}: {error}", field=field) from None
    if parts.scheme not in ("https", "http") or not parts.hostname or port == 0 or "\\" in url:
        raise refusals.invalid_field(
            f"{field} is {url[:64]!r}; it must be https://HOST[:PORT]/PATH", field=field
        )
    if "@" in parts.netloc or parts.fragment:
        raise refusals.invalid_field(f"{field} must have no user, password and fragment", field=field)
    secure = parts.scheme == "https"
    return UrlPlace(parts.hostname.rstrip("."), port or (443 if secure else 80), secure)


def check_host(place: UrlPlace, hosts: Sequence[str]) -> None:
    """Refuse a place whose host is not allowed.

    Args:
        hosts: patterns.

    Raises:
        FailedPrecondition: HOOK_ADDRESS_REFUSED.
    """
    if not covers(hosts, place.host):
        told = f"the coordinators' setting hook_hosts has {', '.join(hosts) if hosts else 'no hosts'}"
        raise refusals.hook_address_refused(place.host, f"the host is not allowed: {told}")


def check_address(place: UrlPlace, address: str, networks: Sequence[Network]) -> None:
    """Refuse an address at the moment of its connection.

    Args:
        networks: those that are allowed though they are not public.

    Raises:
        FailedPrecondition: HOOK_ADDRESS_REFUSED.
    """
    try:
        found = meant(ipaddress.ip_address(address.partition("%")[0]))
    except ValueError:
        raise refusals.hook_address_refused(place.host, f"{address!r} is no address") from None
    if any(found in network for network in networks if network.version == found.version):
        return
    if not is_public(found):
        raise refusals.hook_address_refused(
            place.host,
            f"{found} is not a public address: the coordinators' setting hook_networks allows other networks",
        )
    if not place.secure:
        raise refusals.hook_address_refused(
            place.host,
            "http:// is for networks of the coordinators' setting hook_networks alone: use https://",
        )


def meant(address: Address) -> Address:
    """The address that is reached: that of IPv4, where one of IPv6 stands for it."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and any(address in network for network in _NAT64):
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if inner is None and (int(address) >> 32) == 0 and int(address) > 1:
        # The old form of compatible addresses.
        inner = ipaddress.IPv4Address(int(address))
    return address if inner is None else inner


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet."""
    if any(address in network for network in _SPECIAL if network.version == address.version):
        return False
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_unspecified or address.is_loopback
    )


def networks_of(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks of a setting.

    Raises:
        ValueError: one is none.
    """
    return tuple(ipaddress.ip_network(text) for text in texts)
