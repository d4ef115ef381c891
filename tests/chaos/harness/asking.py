"""Asks a mesh whose coordinators come and go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc
import grpc.aio

PATIENCE_S = 30.0
_AGAIN_S = 0.1
_AWAY = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        # The store forgot a call that nobody had answered: it may be asked again.
        grpc.StatusCode.DATA_LOSS,
    }
)

T = TypeVar("T")


def passing(error: grpc.aio.AioRpcError) -> bool:
    """Whether the outcome is unknown, and asking again is right."""
    # grpc.aio says INTERNAL when a connection breaks in the very moment of a write.
    torn = error.code() is grpc.StatusCode.INTERNAL and "from Core" in (error.details() or "")
    return torn or error.code() in _AWAY


async def answered(call: Callable[[], Awaitable[T]]) -> T:
    """The answer, asked for again while a coordinator is away."""
    ends_at = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            if not passing(error) or time.monotonic() > ends_at:
                raise
        await asyncio.sleep(_AGAIN_S)
