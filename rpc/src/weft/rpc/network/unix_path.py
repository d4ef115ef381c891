"""Checks the length of a unix socket's path: for a path that is too long, the system only says that it is invalid."""

from __future__ import annotations

import os

from weft.rpc import refusals

# The size in <sys/un.h>, without the terminating zero.
MAX_BYTES = 107


def check(address: str, field: str = "target") -> None:
    """Check that the path of a "unix:..." address is not too long. Other addresses are not checked.

    Raises:
        InvalidArgument: the path is too long; the message names path and length.
    """
    scheme, colon, path = address.partition(":")
    if not colon or scheme not in ("unix", "unix-abstract"):
        return
    if path.startswith("///"):
        path = path.removeprefix("//")
    path = path.partition("?")[0]
    length = len(os.fsencode(path))
    if length > MAX_BYTES:
        raise refusals.invalid_field(
            f"the path of a unix socket may have at most {MAX_BYTES} bytes, and {path} has {length}: choose a shorter one",
            field=field,
        )
