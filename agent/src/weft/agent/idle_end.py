"""The end of an agent that has had nothing to do for a while: one that is started for the work that there is, such as a job of Kubernetes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from weft.agent.handlers.slots import Slots
from weft.rpc.process.logs import get_logger

_log = get_logger("weft.agent")

# So often within the time, but no more often and no more seldom than that.
_LOOKS = 20
_LEAST_LOOK_S, _MOST_LOOK_S = 0.02, 1.0


class Stoppable(Protocol):
    """An agent that runs."""

    @property
    def connected(self) -> bool: ...

    def stop(self) -> None:
        """Drain and end."""


def end_when_idle(
    idle_s: float | None,
    slots: Slots,
    ends: Callable[[], object],
    agent: Stoppable,
    finished: asyncio.Future[None],
) -> None:
    """Stop an agent when it has been connected and has run nothing for so long.

    Args:
        idle_s: None: never.
        ends: how many calls have ended so far: a change shows what ran between two looks.
        finished: done when the agent has ended.
    """
    if idle_s is None:
        return
    task = asyncio.get_running_loop().create_task(_watch(idle_s, slots, ends, agent), name="idle end")
    finished.add_done_callback(lambda _: task.cancel())


async def _watch(idle_s: float, slots: Slots, ends: Callable[[], object], agent: Stoppable) -> None:
    loop = asyncio.get_running_loop()
    look_s = max(_LEAST_LOOK_S, min(_MOST_LOOK_S, idle_s / _LOOKS))
    since_s, before = loop.time(), ends()
    while True:
        await asyncio.sleep(look_s)
        if slots.used or slots.waiting or not agent.connected or ends() != before:
            since_s, before = loop.time(), ends()
        elif loop.time() - since_s >= idle_s:
            _log.info("agent.idle", idle_s=idle_s, effect="it ends")
            agent.stop()
            return
