"""The bound on a call's path. Servers keep handlers and figures by path, and callers make paths: nothing is kept of a long one."""

from __future__ import annotations

from typing import Any

import grpc

from weft.rpc import refusals
from weft.rpc.errors import STATUS_DETAILS_KEY, status_code
from weft.rpc.network.gone import to_caller

# More than any real method's name needs.
MAX_PATH_CHARS = 1024


def refused_path(path: str) -> Any:
    """A handler that refuses a call, if its path is too long for a method's name; else None."""
    return _REFUSAL if len(path) > MAX_PATH_CHARS else None


async def _refuse(_requests: Any, context: Any) -> None:
    why = f"there is no method with a name of more than {MAX_PATH_CHARS} characters"
    status = refusals.method_unknown(why, "", called=True).status()
    details = ((STATUS_DETAILS_KEY, status.SerializeToString()),)
    await to_caller(context.abort(status_code(status.code), status.message, details))


# Any shape of call fits this one on the wire.
_REFUSAL: Any = grpc.stream_stream_rpc_method_handler(_refuse)
