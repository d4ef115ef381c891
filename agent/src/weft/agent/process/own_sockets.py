"""Finds the sockets that gRPC has opened for the agent, by their addresses, and takes them from a forked child.

If a child kept them, the agent's connections would outlive the agent, and its port would stay in use without an answer.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Collection
from pathlib import Path

# Of a unix socket the path, of others the port: the host may be a name with many addresses.
Key = int | str


def key(address: str) -> Key:
    """The part of an address in the settings by which sockets are compared."""
    if address.startswith("unix:"):
        return address.removeprefix("unix:")
    return int(address.rpartition(":")[2] or 0)


def drop_connections(listening: Collection[Key], dialled: Collection[Key]) -> None:
    """Replace the sockets of this process that listen or were accepted there, or are connected there."""
    null = os.open(os.devnull, os.O_RDWR)
    try:
        for number in _descriptors():
            with contextlib.suppress(OSError):
                if stat.S_ISSOCK(os.fstat(number).st_mode) and _is_own(number, listening, dialled):
                    # Replaced, not closed: code that still uses the file descriptor must not reach a file that is
                    # opened later.
                    os.dup2(null, number, inheritable=False)
    finally:
        os.close(null)


def _descriptors() -> list[int]:
    for folder in ("/proc/self/fd", "/dev/fd"):
        with contextlib.suppress(OSError):
            return [int(path.name) for path in Path(folder).iterdir()]
    return []


def _is_own(number: int, listening: Collection[Key], dialled: Collection[Key]) -> bool:
    with socket.socket(fileno=os.dup(number)) as copy:
        name = _key(copy.getsockname())
        if name and name in listening:
            return True
        return _key(copy.getpeername()) in dialled


def _key(name: object) -> object:
    return name[1] if isinstance(name, tuple) and len(name) > 1 else name
