"""The interface of a mesh under chaos: the faults use nothing else of it.

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
    """The targets of faults."""

    COORDINATOR = "coordinator"
    AGENT = "agent"
    # The connections between an agent and all its coordinators.
    LINK = "link"
    # The one between an agent and the coordinator that it is at, where there are others.
    HOME = "home"
    REDIS = "redis"
    # The connections between one coordinator and Redis.
    REDIS_LINK = "redis-link"
    # A Redis that another one takes the place of.
    PRIMARY = "primary"


class Deployment(Door, Protocol):
    """A mesh of processes that can be killed, paused and cut off. Every wait in it is bounded."""

    parts: frozenset[Part]
    # Parts that may take with them what was acknowledged.
    forgetful: frozenset[Part]
    # Parts that take with them what they had not acknowledged: repeated, it is another task.
    volatile: frozenset[Part]
    # Its store has a clock of its own, whatever the coordinators' clocks say.
    own_clock: bool
    agent_ids: Sequence[str]
    ledger: Ledger

    async def start(self, shape: Shape, clocks_off_s: Sequence[float] = (0.0,)) -> None:
        """Everything runs, and the probe service takes calls.

        Args:
            clocks_off_s: how far the clocks are off, of the coordinators and of the agents in turn.
        """
        ...

    async def restart_truth(self) -> None:
        """kill -9 of all that keeps tasks or speaks for them, started again: what is left is what was on the disk."""
        ...

    async def close(self) -> None: ...

    def logs(self) -> str: ...

    # -- coordinators -------------------------------------------------------------------------------------------

    @property
    def coordinator_names(self) -> Sequence[str]: ...

    async def kill_coordinator(self, name: str) -> None:
        """kill -9, and gone."""
        ...

    async def start_coordinator(self, name: str, clock_off_s: float | None = None) -> None:
        """Start it again, at the same address; None: its clock is as it was."""
        ...

    def clock_off_s(self, name: str) -> float:
        """How far a coordinator's clock is off."""
        ...

    def stale_refused(self) -> int:
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

    def home(self, agent_id: str) -> str:
        """The coordinator that it is at, or dials."""
        ...

    async def cut_link(self, agent_id: str, coordinator: str | None = None) -> None:
        """Connections to this coordinator, or to all, are closed, and new ones refused."""
        ...

    async def silence_link(self, agent_id: str) -> None:
        """Connections stay, and nothing passes in either direction."""
        ...

    async def heal_link(self, agent_id: str) -> None:
        """Heal a silenced connection: held messages arrive late."""
        ...

    async def until_active(self, agent_id: str) -> None: ...

    async def until_lost(self, agent_id: str) -> None: ...


class OneRedis(Deployment, Protocol):
    """One on a Redis that can be cut off and killed."""

    async def kill_redis(self) -> None:
        """kill -9, and gone."""
        ...

    async def start_redis(self) -> None:
        """Start it again on its files."""
        ...

    async def cut_redis(self, coordinator: str) -> None:
        """The coordinator's connections to it are closed, and new ones refused."""
        ...

    async def silence_redis(self, coordinator: str) -> None:
        """They stay, and nothing passes in either direction."""
        ...

    async def heal_redis(self, coordinator: str) -> None: ...


class ReplicatedRedis(Deployment, Protocol):
    """One on a Redis with replicas."""

    async def lose_primary(self) -> None:
        """The primary loses touch with its replicas, and a moment later it is killed, for good; returns when one of them
        has taken its place."""
        ...
