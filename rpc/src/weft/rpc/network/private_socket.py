"""Prepares the folder of a unix socket that only its own user may dial."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

_PRIVATE = 0o700


def prepare(address: str) -> None:
    """Make the folder of a "unix:PATH" address if it is missing, and check that the socket will be private.

    Other addresses need nothing. The folder is made, those above it are not: a misspelt path would leave folders behind.

    Raises:
        OSError: the folder above the socket's folder is missing, other users may enter the socket's folder, or a server
            listens on the path.
    """
    if not address.startswith("unix:"):
        return
    path = Path(address.removeprefix("unix:").removeprefix("//"))
    try:
        path.parent.mkdir(mode=_PRIVATE, exist_ok=True)
    except FileNotFoundError:
        above = path.parent.parent
        raise OSError(errno.ENOENT, f"the folder {above} does not exist: make it first") from None
    mode = stat.S_IMODE(path.parent.stat().st_mode)
    if mode & 0o077:
        raise OSError(
            errno.EACCES, f"others may enter {path.parent} (mode {mode:o}): its folder must have mode 700"
        )
    # gRPC would take the path from another process that listens there.
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(os.fspath(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return
    raise OSError(errno.EADDRINUSE, "another server listens there")
