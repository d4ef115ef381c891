"""The refusal of a call by a service of weft: its reason in whichever domain, and its message."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2

from weft.rpc.errors import STATUS_DETAILS_KEY, error_info


async def refusal(call: Awaitable[Any]) -> tuple[str, str]:
    """The reason, or the code if there is none, and the message."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    for key, value in error.value.trailing_metadata() or ():
        if key == STATUS_DETAILS_KEY and isinstance(value, bytes):
            info = error_info(status_pb2.Status.FromString(value))
            if info is not None:
                return info.reason, str(error.value.details())
    return error.value.code().name, str(error.value.details())
