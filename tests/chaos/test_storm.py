"""The chaos harness inside the tests: many faults under a dense load break no promise.

`make chaos` runs the same with one fault a row. Each run prints its seed; WEFT_SEED repeats it. TEST_SOAK=1 has longer storms.
"""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.harness.deployment import Deployment
from tests.chaos.harness.embedded import Embedded
from tests.chaos.harness.items import DENSE, STEADY
from tests.chaos.harness.on_redis import DURABLE, FAST, Mode, RedisFleet
from tests.chaos.harness.report import Row
from tests.chaos.harness.run import Outcome, run
from tests.chaos.harness.scenarios import Scenario, gated, storm
from tests.support.soak import SOAKS, soak

# The long ones, with TEST_SOAK=1.
LONGER = 3 if SOAKS else 1


class Forgetful(Embedded):
    """Loses its file when its coordinator dies."""

    async def kill_coordinator(self, name: str) -> None:
        await super().kill_coordinator(name)
        for path in self.coordinators[name].folder.glob("weft.db*"):
            path.unlink()


class Flushed(RedisFleet):
    """Somebody empties its Redis while it is killed."""

    async def start_redis(self) -> None:
        await super().start_redis()
        await self.redis.command("FLUSHALL")


async def outcome_of(scenario: Scenario, deployment: Deployment) -> Outcome:
    seed = int(os.environ.get("WEFT_SEED") or random.SystemRandom().getrandbits(31))
    print(f"WEFT_SEED={seed}")
    outcome = await run(scenario, deployment, seed, print)
    print(outcome)
    assert not outcome.notes, outcome.notes[:5]
    return outcome


@pytest.mark.slow
async def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    # First a late agent, whose results must be refused; then a coordinator that has to find its agents again.
    scenario = storm(agents_paused=1, coordinators_killed=1)
    outcome = await outcome_of(scenario, Embedded(tmp_path, "process"))
    assert outcome.tasks > 1000


@pytest.mark.slow
async def test_a_store_that_forgets_is_found_out(tmp_path: Path) -> None:
    outcome = await run(storm(coordinators_killed=1), Forgetful(tmp_path, "process"), 1, print)
    print(outcome)
    assert outcome.lost_tasks
    assert outcome.lost_results
    assert outcome.group_faults
    assert Row("storm", "embedded", [outcome]).broken


@pytest.mark.slow
async def test_nothing_acknowledged_is_lost_on_redis(tmp_path: Path) -> None:
    redis_killed = storm(redis_killed=1, coordinators_killed=1, agents_killed=1)
    outcome = await outcome_of(redis_killed, RedisFleet(tmp_path, DURABLE))
    assert outcome.tasks > 1000


@soak
@pytest.mark.slow
async def test_no_gate_is_overrun_in_a_storm(tmp_path: Path) -> None:
    blows = storm(agents_killed=2, agents_paused=1, coordinators_killed=2, links_cut=1)
    outcome = await outcome_of(gated(blows), Embedded(tmp_path, "process"))
    assert outcome.tasks > 500


@pytest.mark.slow
async def test_no_gate_is_overrun_in_a_storm_on_redis(tmp_path: Path) -> None:
    blows = storm(agents_killed=2, agents_paused=1, coordinators_killed=2, links_cut=1, redis_killed=1)
    outcome = await outcome_of(gated(blows), RedisFleet(tmp_path, DURABLE))
    assert outcome.tasks > 500


@pytest.mark.slow
async def test_a_redis_that_forgets_is_found_out(tmp_path: Path) -> None:
    # No transparent calls: those whose tasks are gone wait out their deadlines.
    scenario = replace(storm(redis_killed=1), shape=replace(DENSE, callers=0, sharers=0))
    outcome = await run(scenario, Flushed(tmp_path, DURABLE), 1, print)
    print(outcome)
    assert outcome.lost_tasks
    assert outcome.lost_results
    assert Row("storm", "redis-durable", [outcome]).broken


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("durability", ["process", "full"])
async def test_nothing_acknowledged_is_lost_in_a_long_storm(tmp_path: Path, durability: str) -> None:
    scenario = storm(
        agents_killed=4 * LONGER,
        agents_paused=LONGER,
        coordinators_killed=3 * LONGER,
        links_cut=LONGER,
        links_silent=LONGER,
    )
    await outcome_of(scenario, Embedded(tmp_path, durability))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", [pytest.param(FAST, marks=soak), DURABLE], ids=["fast", "durable"])
async def test_one_of_six_is_killed_every_five_seconds(tmp_path: Path, mode: Mode) -> None:
    """Two coordinators, four agents, for half a minute: every task has exactly one outcome."""
    blows = storm(agents_killed=4 * LONGER, coordinators_killed=2 * LONGER).faults
    scenario = Scenario("killings", blows, shape=STEADY, timed=False, every_s=5.0)
    outcome = await outcome_of(scenario, RedisFleet(tmp_path, mode))
    assert outcome.tasks > 1000
