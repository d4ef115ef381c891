"""The one limit of unix sockets that people meet: a path has room for so many bytes, and the system only says that it is invalid."""

from __future__ import annotations

import os

from weft.rpc import refusals

# <sys/un.h>, less the end mark.
MAX_BYTES = 107


def check(address: str, field: str = "target") -> None:
    """See that the path of a "unix:..." address has room; other addresses are left alone.

    Raises:
        InvalidArgument: it has not; the message names path and length.
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
