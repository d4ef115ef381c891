"""What a mesh under chaos must offer: the faults know nothing else of it.

A deployment is one store with its coordinators and agents, all of them real processes. Another store is another
deployment: it says which parts it has, and the faults that need others leave it alone.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Protocol

from tests.chaos.harness.items import Shape
from tests.chaos.harness.load import Door
from tests.support.ledger import Ledger


class Part(enum.Enum):
    """What a fault can hit."""

    COORDINATOR = "coordinator"
    AGENT = "agent"
    # The connection between an agent and its coordinator.
    LINK = "link"


class Deployment(Door, Protocol):
    """A mesh of processes that can be killed, paused and cut off. Every wait in it is bounded."""

    parts: frozenset[Part]
    agent_ids: Sequence[str]
    ledger: Ledger

    async def start(self, shape: Shape) -> None:
        """Everything runs, and the probe service takes calls."""
        ...

    async def close(self) -> None: ...

    def logs(self) -> str: ...

    # -- coordinators -------------------------------------------------------------------------------------------

    @property
    def coordinator_names(self) -> Sequence[str]: ...

    async def kill_coordinator(self, name: str) -> None:
        """kill -9, and gone."""
        ...

    async def start_coordinator(self, name: str) -> None:
        """Start it again, at the same address."""
        ...

    async def stale_refused(self) -> int:
        """Late results that all coordinators together have refused, those of killed ones included."""
        ...

    # -- agents -------------------------------------------------------------------------------------------------

    async def kill_agent(self, agent_id: str) -> None:
        """kill -9, and gone."""
        ...

    async def start_agent(self, agent_id: str) -> None:
        """Start it again; does not wait until it is connected."""
        ...

    def pause_agent(self, agent_id: str) -> None: ...

    def resume_agent(self, agent_id: str) -> None: ...

    async def cut_link(self, agent_id: str) -> None:
        """Connections are closed, and new ones refused."""
        ...

    async def silence_link(self, agent_id: str) -> None:
        """Connections stay, and nothing passes in either direction."""
        ...

    async def heal_link(self, agent_id: str) -> None:
        """What was silenced arrives late."""
        ...

    async def until_active(self, agent_id: str) -> None: ...

    async def until_lost(self, agent_id: str) -> None: ...
