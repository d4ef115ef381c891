"""Notices on a terminal of what a durable call waits for, if it is not started within some seconds."""

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
INTERVAL_S = 5.0


@asynccontextmanager
async def wait_notices(mesh: Mesh, method: str, require: Sequence[str]) -> AsyncIterator[None]:
    """While the body runs, print on stderr what a queue waits for. Prints nothing if stderr is not a terminal.

    Args:
        method: full name.
        require: the `--require` options.
    """
    if not sys.stderr.isatty():
        yield
        return
    notices = asyncio.create_task(_print_notices(mesh, method, _parts(require)))
    try:
        yield
    finally:
        notices.cancel()
        await asyncio.gather(notices, return_exceptions=True)


def _parts(require: Sequence[str]) -> frozenset[str]:
    """Requirements in the form of `Queue.requirements`, in any order."""
    labels, resources = inputs.requirements(list(require))
    return frozenset(
        [*(f"{key}={value}" for key, value in labels.items())]
        + [f"{key}>={amount:g}" for key, amount in resources.items()]
    )


async def _print_notices(mesh: Mesh, method: str, requirements: frozenset[str]) -> None:
    from weft.client import WeftError

    last = ""
    wait_s = FIRST_S
    while True:
        await asyncio.sleep(wait_s)
        wait_s = INTERVAL_S
        with contextlib.suppress(WeftError):
            for queue in await mesh.fleet.queues(method):
                if frozenset(filter(None, queue.requirements.split(","))) == requirements:
                    words = _words(queue)
                    if words and words != last:
                        remark(f"still waiting for {words}")
                    last = words


def _words(queue: Queue) -> str:
    from weft.client import WaitReason

    return "" if queue.wait_reason is WaitReason.TURN else queue.waits_for
