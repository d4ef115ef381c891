"""Tells the person at a terminal what a durable call waits for, when nobody takes it for some seconds."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from weft.cli.command_line import inputs
from weft.cli.terminal.output import remark

if TYPE_CHECKING:
    from weft.client import Mesh, Queue

FIRST_S = 3.0
AGAIN_S = 5.0


@asynccontextmanager
async def wait_notices(mesh: Mesh, method: str, require: Sequence[str]) -> AsyncIterator[None]:
    """While the body waits for tasks of a queue, say on stderr what that waits for; where stderr is no terminal, nothing.

    Args:
        method: full name.
        require: what an agent must have, as on the command line.
    """
    if not sys.stderr.isatty():
        yield
        return
    teller = asyncio.create_task(_tell(mesh, method, _parts(require)))
    try:
        yield
    finally:
        teller.cancel()
        await asyncio.gather(teller, return_exceptions=True)


def _parts(require: Sequence[str]) -> frozenset[str]:
    """Requirements as a queue names them, in any order."""
    labels, resources = inputs.requirements(list(require))
    return frozenset(
        [*(f"{key}={value}" for key, value in labels.items())]
        + [f"{key}>={amount:g}" for key, amount in resources.items()]
    )


async def _tell(mesh: Mesh, method: str, requirements: frozenset[str]) -> None:
    from weft.client import WeftError

    last = ""
    wait_s = FIRST_S
    while True:
        await asyncio.sleep(wait_s)
        wait_s = AGAIN_S
        with contextlib.suppress(WeftError):
            for queue in await mesh.fleet.queues(method):
                if frozenset(filter(None, queue.requirements.split(","))) == requirements:
                    words = _words(queue)
                    if words and words != last:
                        remark(f"still waiting: {words}")
                    last = words


def _words(queue: Queue) -> str:
    from weft.client import WaitReason

    return "" if queue.wait_reason is WaitReason.TURN else queue.waits_for
