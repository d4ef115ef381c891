"""Ends background tasks of asyncio."""

from __future__ import annotations

import asyncio

# A task that goes on is cancelled again after so long.
AGAIN_S = 1.0


async def end_tasks(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks that loop for ever, and wait until they have ended, whatever they end with.

    Again and again: a library may swallow a cancellation (a client of Redis while it dials), and its task would go on with its loop,
    and the one that waits for it would wait for ever.
    """
    while running := [each for each in tasks if not each.done()]:
        for each in running:
            each.cancel()
        await asyncio.wait(running, timeout=AGAIN_S)
    # Nobody else looks at what they ended with.
    await asyncio.gather(*tasks, return_exceptions=True)
