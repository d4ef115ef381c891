"""Running a command's coroutine against a coordinator."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from weft.client import Mesh

T = TypeVar("T")

CONNECT_S = 3.0


def run(target: str, work: Callable[[Mesh], Awaitable[T]]) -> T:
    """Connect to the coordinator, do the work, and close.

    Raises:
        weft.client.Unreachable: nobody answers there.
    """
    import uvloop

    from weft.client import connect

    async def connected() -> T:
        async with connect(target) as mesh:
            await mesh.ready(CONNECT_S)
            return await work(mesh)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(connected())
