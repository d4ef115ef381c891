"""The stores of `make chaos`: the faults that can hit each, and how its deployment is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.chaos.harness import scenarios
from tests.chaos.harness.deployment import Deployment, Part
from tests.chaos.harness.embedded import Embedded
from tests.chaos.harness.on_redis import DURABLE, FAST, REPLICATED, RedisFleet, SentinelFleet
from tests.chaos.harness.scenarios import Scenario


@dataclass(frozen=True, slots=True)
class Store:
    """`make` gives a deployment in a folder, which has not started."""

    parts: frozenset[Part]
    # Parts that may take with them what was acknowledged: a row of their faults is measured, not promised.
    forgetful: frozenset[Part]
    make: Callable[[Path], Deployment]
    # Pools and graphs have deployments of their own, one of each kind.
    own: bool = False

    @property
    def on_redis(self) -> bool:
        return bool(self.parts & {Part.REDIS, Part.PRIMARY})

    @property
    def scenarios(self) -> Sequence[Scenario]:
        """Those that it has the parts for."""
        every = scenarios.REDIS if self.on_redis else scenarios.EMBEDDED
        return [
            each
            for each in every
            if each.needs() <= self.parts and (each not in (scenarios.POOLS, scenarios.GRAPHS) or self.own)
        ]

    def promises(self, scenario: Scenario) -> bool:
        """Whether what was acknowledged survives these faults."""
        return not scenario.needs() & self.forgetful


STORES: Mapping[str, Store] = {
    **{
        f"embedded-{durability}": Store(
            Embedded.parts,
            frozenset(),
            partial(Embedded, durability=durability),
            own=durability == "process",
        )
        for durability in ("process", "full")
    },
    **{
        f"redis-{mode.durability}": Store(
            RedisFleet.parts, mode.forgetful, partial(RedisFleet, mode=mode), own=mode is DURABLE
        )
        for mode in (FAST, DURABLE)
    },
    **{
        name: Store(SentinelFleet.parts, mode.forgetful, partial(SentinelFleet, mode=mode))
        for name, mode in (("redis-replicated", REPLICATED), ("redis-sentinel-fast", FAST))
    },
}
FAULTS = list(dict.fromkeys(scenario.name for store in STORES.values() for scenario in store.scenarios))
# Without --store and --fault: each kind of store, in the mode that promises most of its processes' deaths.
DEFAULT = ("embedded-process", "redis-durable")
# What a minute has room for. Every run ends with the death of all that keeps tasks, the embedded coordinator included.
QUICK: Sequence[tuple[str, str]] = (
    ("embedded-process", "agent-paused"),
    ("redis-durable", "coordinator-killed"),
    ("redis-durable", "agent-killed"),
    ("redis-durable", "redis-killed"),
)
