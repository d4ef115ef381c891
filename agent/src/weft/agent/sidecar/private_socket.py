"""The file system's side of a unix socket that only its own user may dial."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

_PRIVATE = 0o700


def prepare(address: str) -> None:
    """Make the folder of a "unix:PATH" address, when it is one, and see that nobody else may enter or listen there.

    Raises:
        OSError: others may enter the folder, or a server listens on that path.
    """
    if not address.startswith("unix:"):
        return
    path = Path(address.removeprefix("unix:").removeprefix("//"))
    path.parent.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
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
