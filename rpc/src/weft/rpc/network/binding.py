"""Addresses to listen on: their form, and why a server cannot have one. gRPC says only that it failed."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import closing
from pathlib import Path

# The answer if the address can be bound.
NO_REASON = "gRPC could not bind it"

_WHY = {
    errno.EADDRINUSE: "it is in use by another process",
    errno.EADDRNOTAVAIL: "it is not an address of this machine",
    errno.EACCES: "this user is not allowed to use it: ports below 1024 need more rights",
}


class OperatorsBindError(Exception):
    """The address of a port for operators cannot be used."""


def checked_host_port(value: str, example: str) -> str:
    """Check a "host:port"; empty: there is none.

    Raises:
        ValueError: it is not HOST:PORT.
    """
    host, _, number = value.rpartition(":")
    if value and not (host and number.isdecimal() and int(number) <= 65535):
        raise ValueError(f"{value!r} is not HOST:PORT, such as {example}")
    return value


def why_not(address: str) -> str:
    """The reason, in words, for "host:port" or "unix:path". Looks names up, and binds the address for a moment."""
    if address.startswith("unix:"):
        return _why_no_socket(Path(address.removeprefix("unix:")))
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if not port.isdecimal() or int(port) > 65535:
        return f"{port!r} is not a port number"
    try:
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        return f"the host {host!r} is not known ({getattr(error, 'strerror', None) or error})"
    reasons = [_why_not_bound(family, kind, where) for family, kind, _, _, where in found]
    return next(filter(None, reasons), NO_REASON)


def taken_by_other(address: str) -> str:
    """The reason why an address cannot be had alone, though gRPC might share it; empty: none is known."""
    why = "" if address.startswith("unix") else why_not(address)
    return "" if why == NO_REASON else why


def _why_not_bound(family: int, kind: int, where: tuple[object, ...]) -> str:
    try:
        with closing(socket.socket(family, kind)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        return _WHY.get(error.errno or 0, error.strerror or str(error))
    return ""


def _why_no_socket(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder {folder}"
    if path.exists():
        return "it is there already: another process listens on it, or left it behind"
    return NO_REASON if os.access(folder, os.W_OK) else f"this user may not write to {folder}"
