"""What is known of one sandbox, and the rules of its life. Pure: time is passed in."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
from collections.abc import Mapping

from weft.agent import Sandbox
from weft.services.sandboxes.sandbox_provider import Box


class LifeState(enum.Enum):
    """What becomes of a sandbox."""

    RUNNING = "running"
    # By PauseSandbox.
    PAUSED = "paused"
    # By nobody's calls: the next one lets it go on.
    IDLE = "idle"
    ENDED = "ended"


@dataclasses.dataclass(slots=True, eq=False)
class Life:
    """One sandbox. Times are of the wall clock, in seconds.

    Args:
        pause_when_idle_s: 0: never.
    """

    id: str
    box: Box
    sandbox: Sandbox
    provider: str
    created_at_s: float
    ends_at_s: float
    pause_when_idle_s: float
    labels: Mapping[str, str]
    state: LifeState = LifeState.RUNNING
    used_at_s: float = 0.0
    # Calls that are in it now.
    in_use: int = 0
    ended_for: str = ""
    ended_at_s: float = 0.0
    # What was last known of its memory.
    usage: tuple[int, int] = (0, 0)
    # Its provider has failed in the background, and that is logged.
    troubled: bool = False
    # Held by what pauses, resumes, packs and ends it.
    changing: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock)


def is_over(life: Life, now_s: float) -> bool:
    """Its time has passed."""
    return life.state is not LifeState.ENDED and now_s >= life.ends_at_s


def is_idle(life: Life, now_s: float) -> bool:
    """Nobody has called for so long that it is to be paused."""
    if life.state is not LifeState.RUNNING or life.in_use or not life.pause_when_idle_s:
        return False
    return now_s - life.used_at_s >= life.pause_when_idle_s
