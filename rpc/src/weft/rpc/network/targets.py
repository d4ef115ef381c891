"""Targets: the addresses of coordinators, as people write them, and as gRPC dials them.

    "coordinator.example:7700"          one address; a name may have several IP addresses, and gRPC tries each
    "10.0.0.1:7700,10.0.0.2:7700"       several coordinators, any of which will do; or a list of such texts
    "unix:/run/weft.sock"               a socket of this machine; it must be the only address
    "consul://10.0.0.9:8500/weft"       a source of addresses (`weft.rpc.network.registry_url`); it must be the only one, too

An agent dials one of its addresses at a time (`weft.agent.session.connector`). A client has one channel for all of them, in
which gRPC itself fails over to the next address: see `dialled` and decision 0011.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence

from weft.rpc import refusals
from weft.rpc.errors import InvalidArgument
from weft.rpc.network import unix_path

DEFAULT_PORT = 7700
DEFAULT_TARGET = f"127.0.0.1:{DEFAULT_PORT}"
MAX_TARGETS = 64

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address

_ADDRESS = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>.*))?")
_NAME = re.compile(r"(?=[A-Za-z0-9_.-]{1,253}$)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")
_NUMERIC = re.compile(r"[0-9.]+")
_DNS = re.compile(r"\Adns:(///)?")
_UNIX = re.compile(r"unix(-abstract)?:.+")


def parse(target: str | Sequence[str], *, sources: bool = True) -> tuple[str, ...]:
    """The addresses of a target, each with its port, in order, without duplicates.

    Args:
        target: an address, several addresses separated by commas, or a sequence of such texts.
        sources: it may be a source of addresses.

    Raises:
        InvalidArgument: it is not a target; the message says why.
    """
    texts = [target] if isinstance(target, str) else target
    # A caller without a type checker may pass anything.
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise _refusal(
            f"{target!r} is not a target: write HOST:PORT, such as {DEFAULT_TARGET}, or a list of such"
        )
    parts = [part.strip() for text in texts for part in text.split(",")]
    found = tuple(dict.fromkeys(_address(part) for part in parts))
    if not found:
        raise _refusal("the target has no address")
    if len(found) > MAX_TARGETS:
        raise _refusal(f"the target has {len(found)} addresses; at most {MAX_TARGETS} can be")
    if len(found) > 1 and any(_UNIX.match(each) for each in found):
        raise _refusal("a unix socket cannot be one of several addresses")
    if not sources and (named := [each for each in found if is_source(each)]):
        raise _refusal(
            f"{named[0]!r} is a source of addresses, and one address is wanted here: write HOST:PORT"
        )
    if len(found) > 1 and any(map(is_source, found)):
        raise _refusal("a source of addresses cannot be one of several addresses")
    return found


def is_source(target: str) -> bool:
    """Whether one of the texts of `parse` is the URL of a source of addresses, and no address."""
    return "://" in target


def dialled(targets: Sequence[str]) -> str:
    """The gRPC target of one channel to any of `targets` (from `parse`). The channel fails over to another when one is lost.

    A single target goes to gRPC as it is. Of several, the names are looked up now, in the calling thread: gRPC takes only lists of
    IP addresses.
    """
    if len(targets) == 1:
        return targets[0]
    found = list(dict.fromkeys(each for target in targets for each in _look_up(target)))
    if not found:
        # No name is known yet. gRPC retries the look-up, and fails the calls meanwhile.
        return targets[0]
    if any(isinstance(ip, ipaddress.IPv6Address) for ip, _ in found):
        # A list has one family, and IPv4 addresses can be written as IPv6.
        return "ipv6:" + ",".join(f"[{_in_ipv6(ip)}]:{port}" for ip, port in found)
    return "ipv4:" + ",".join(f"{ip}:{port}" for ip, port in found)


def _address(text: str) -> str:
    """One address in its full form."""
    if not text:
        raise _refusal("an address of the target is empty")
    if _UNIX.fullmatch(text):
        unix_path.check(text)
        return text
    if "://" in text and not text.startswith("dns://"):
        # Imported here: most targets are addresses.
        from weft.rpc.network.registry_url import is_url, source_url

        if is_url(text):
            return source_url(text).text
    bare = _DNS.sub("", text, count=1)
    if _is_ip(ipaddress.IPv6Address, bare):
        raise _refusal(f"{text!r} has no brackets around its IPv6 address: write [{bare}]:{DEFAULT_PORT}")
    match = _ADDRESS.fullmatch(bare)
    if match is None or not is_host(match["host"]):
        raise _refusal(f"{text!r} is not an address: write HOST:PORT, such as {DEFAULT_TARGET}")
    return f"{match['host']}:{_port(match['port'], text)}"


def _port(digits: str | None, text: str) -> int:
    if digits is None:
        return DEFAULT_PORT
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 5 and 1 <= int(digits) <= 65535):
        raise _refusal(f"{text!r} has no port between 1 and 65535 after its colon")
    return int(digits)


def is_host(host: str) -> bool:
    """Whether a text is an IP address, IPv6 in brackets, or a name."""
    if host.startswith("["):
        return _is_ip(ipaddress.IPv6Address, host[1:-1])
    if _NUMERIC.fullmatch(host):
        return _is_ip(ipaddress.IPv4Address, host)
    return _NAME.fullmatch(host) is not None


def _is_ip(kind: type[Ip], text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


def _look_up(target: str) -> list[tuple[Ip, int]]:
    """The IP addresses and port of a target. Empty: its name is not known now."""
    host, _, port = target.rpartition(":")
    try:
        answers = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [(ipaddress.ip_address(where[0]), int(port)) for *_, where in answers]


def _in_ipv6(ip: Ip) -> str:
    # gRPC's target is a URI, in which the "%" of a zone must be escaped.
    return f"::ffff:{ip}" if ip.version == 4 else str(ip).replace("%", "%25")


def _refusal(why: str) -> InvalidArgument:
    return refusals.invalid_field(why, field="target")
