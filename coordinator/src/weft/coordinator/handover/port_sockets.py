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


def _own_sockets(port: int) -> Iterator[socket.socket]:
    """This process' TCP sockets with a local port, each closed after its turn."""
    for path in list(Path(_OWN_FILES).iterdir()):
        number = int(path.name)
        try:
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            found = socket.socket(fileno=os.dup(number))
        except OSError:
            # Closed meanwhile.
            continue
        with found, contextlib.suppress(OSError):
            if found.family not in (socket.AF_INET, socket.AF_INET6) or found.type != socket.SOCK_STREAM:
                continue
            if found.getsockname()[1] == port:
                yield found


def _listens(one: socket.socket) -> bool:
    return bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def send_newcomers_on(port: int) -> bool:
    """New connections to the port go to the process that shares it since later, as long as it does. Those in the queue stay here.

    Returns:
        Whether the kernel does so. Otherwise it spreads them over both.
    """
    program = ctypes.create_string_buffer(_SECOND)
    filtered = struct.pack("HL", 1, ctypes.addressof(program))
    done = False
    for one in _own_sockets(port):
        if _listens(one):
            try:
                one.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, filtered)
            except OSError:
                return False
            done = True
    return done


def stop_listening(port: int) -> None:
    """Refuse new connections; those that are open stay so."""
    for one in _own_sockets(port):
        with contextlib.suppress(OSError):
            if _listens(one):
                one.shutdown(socket.SHUT_RDWR)


def connections(port: int) -> int:
    """How many connections to the port are open here."""
    count = 0
    for one in _own_sockets(port):
        with contextlib.suppress(OSError):
            one.getpeername()
            count += 1
    return count
