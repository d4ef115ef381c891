"""The embedded store's deployment: one coordinator on a file, and three agents."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.harness.deployment import Part
from tests.chaos.harness.fleet import Fleet

COORDINATOR = "coordinator"


class Embedded(Fleet):
    """A deployment (see there) in `folder`."""

    parts = frozenset({Part.COORDINATOR, Part.AGENT, Part.LINK})
    forgetful: frozenset[Part] = frozenset()
    volatile = frozenset({Part.COORDINATOR})
    own_clock = False

    def __init__(self, folder: Path, durability: str) -> None:
        super().__init__(folder, [COORDINATOR], ["a1", "a2", "a3"], durability)
