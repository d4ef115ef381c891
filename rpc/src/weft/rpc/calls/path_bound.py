"""The bound on a call's path. Servers keep handlers and figures by path, and callers make paths: nothing is kept of a long one."""

from __future__ import annotations

from typing import Any

import grpc

from weft.rpc import refusals
from weft.rpc.calls import relay

# More than any real method's name needs.
MAX_PATH_CHARS = 1024


def refused_path(path: str) -> Any:
    """A handler that refuses a call, if its path is too long for a method's name; else None."""
    return _REFUSAL if len(path) > MAX_PATH_CHARS else None


async def _refuse(_requests: Any, context: Any) -> None:
    why = f"there is no method with a name of more than {MAX_PATH_CHARS} characters"
    await relay.refuse(refusals.method_unknown(why, "", called=True), context)


# Any shape of call fits this one on the wire.
_REFUSAL = grpc.stream_stream_rpc_method_handler(_refuse)
