"""Checks whether the system has such a unix socket, and the length of its path: for one that is too long, the system only says that it is invalid."""

from __future__ import annotations

import os
import sys

from weft.rpc import refusals

# The size in <sys/un.h>, without the terminating zero.
MAX_BYTES = 103 if sys.platform == "darwin" else 107


def check(address: str, field: str = "target") -> None:
    """Check that a "unix:..." address can be here, and that its path is not too long. Other addresses are not checked.

    Raises:
        InvalidArgument: the system has no such sockets, or the path is too long; the message names path and length.
    """
    scheme, colon, path = address.partition(":")
    if not colon or scheme not in ("unix", "unix-abstract"):
        return
    if sys.platform == "win32" or (scheme == "unix-abstract" and sys.platform != "linux"):
        raise refusals.invalid_field(
            f"{address} is a unix socket, which weft does not have on this system: use HOST:PORT of the loopback",
            field=field,
        )
    if path.startswith("///"):
        path = path.removeprefix("//")
    path = path.partition("?")[0]
    length = len(os.fsencode(path))
    if length > MAX_BYTES:
        raise refusals.invalid_field(
            f"the path of a unix socket may have at most {MAX_BYTES} bytes, and {path} has {length}: choose a shorter one",
            field=field,
        )
