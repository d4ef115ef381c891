"""The sockets of a port that gRPC has opened in this process. Linux alone.

gRPC for Python has no way to stop accepting without ending the server: from then on it cancels calls that arrive, although their clients cannot
know yet. The kernel has: of the processes that share a port (SO_REUSEPORT), a program of one instruction chooses the one that gets new connections.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import stat
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

# Not in Python's `socket`: <asm-generic/socket.h>.
_SO_ATTACH_REUSEPORT_CBPF = 51
_OWN_FILES = "/proc/self/fd"
# BPF_RET | BPF_K: return the second socket of those that share the port, by age. If there is no second one, the kernel takes any.
_SECOND = struct.pack("HBBI", 0x06, 0, 0, 1)


def can_share() -> bool:
    """Whether two processes can share a port here, and one of them be chosen."""
    return sys.platform == "linux" and hasattr(socket, "SO_REUSEPORT") and Path(_OWN_FILES).is_dir()


def listening() -> frozenset[int]:
    """The TCP sockets at which this process listens, by their numbers in the system."""
    return frozenset(inode for inode, one in _sockets() if _listens(one))


def send_newcomers_on(sockets: frozenset[int]) -> bool:
    """New connections go to the process that shares the port since later, as long as it does. Those that are in the queue stay here.

    Args:
        sockets: those of the port, from `listening`.

    Returns:
        Whether the kernel does so. Otherwise it spreads them over both.
    """
    program = ctypes.create_string_buffer(_SECOND)
    filtered = struct.pack("HL", 1, ctypes.addressof(program))
    try:
        for inode, one in _sockets():
            if inode in sockets:
                one.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, filtered)
    except OSError:
        return False
    return True


def stop_listening(sockets: frozenset[int]) -> None:
    """Take no new connections. Those that are open stay so; gRPC logs an error of its own, once. The port is another process' alone."""
    for inode, one in _sockets():
        if inode in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def connections(port: int) -> int:
    """How many connections to the port are open here."""
    return sum(1 for _, one in _sockets() if _connects(one, port))


def _sockets() -> Iterator[tuple[int, socket.socket]]:
    """This process' TCP sockets, each closed after its turn."""
    for path in list(Path(_OWN_FILES).iterdir()):
        number = int(path.name)
        try:
            status = os.fstat(number)
            if not stat.S_ISSOCK(status.st_mode):
                continue
            found = socket.socket(fileno=os.dup(number))
        except OSError:
            # Closed meanwhile.
            continue
        with found:
            if found.family in (socket.AF_INET, socket.AF_INET6) and found.type == socket.SOCK_STREAM:
                yield status.st_ino, found


def _listens(one: socket.socket) -> bool:
    try:
        return bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False


def _connects(one: socket.socket, port: int) -> bool:
    try:
        one.getpeername()
        return bool(one.getsockname()[1] == port)
    except OSError:
        return False
