"""Pools under kills of everything: members, their keeper and coordinators, one or several at a time; a keeper that hangs, and members that stand
still meanwhile. The pool is at its size within 5 s, and in the end no process is left.

`make soak` runs it: 20 seeds on each store, or one by TEST_SEED. On a busy machine, TEST_HEALS_S says how long a pool may take.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.harness.pool_kills import POOL, ROUNDS, run_pools
from tests.support.pooled import PROBE, pooled, stands
from tests.support.soak import soak
from weft.client import connect

SEEDS = [int(os.environ["TEST_SEED"])] if "TEST_SEED" in os.environ else list(range(1, 21))
# An agent of the probe starts further processes.
PLAIN = replace(PROBE, program="tests.support.plain:agent")
# On a machine with other work, a start of members takes longer.
HEALS_S = float(os.environ.get("TEST_HEALS_S", "5"))


@soak
@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_pool_of_fifty_stands_within_fifteen_seconds(tmp_path: Path) -> None:
    async with pooled(tmp_path) as (machine, (own,)), connect(own.target) as mesh:
        began_at = time.monotonic()
        await mesh.pools.create(POOL, PLAIN, size=50)
        await stands(mesh, POOL, 50, within_s=60)
        took_s = time.monotonic() - began_at
        print(f"50 members stood after {took_s:.1f} s")
        await mesh.pools.delete(POOL)
        await machine.wait_empty(30)
        assert took_s < 3 * HEALS_S


@soak
@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("store", ["embedded", "redis"])
async def test_pools_heal_and_leave_nothing(tmp_path: Path, store: str, seed: int) -> None:
    outcome = await run_pools(tmp_path, store, seed, lambda text: print(f"seed {seed}:{text}"))
    assert not outcome.notes
    assert outcome.tasks > ROUNDS
    assert outcome.recovered_s is not None
    assert outcome.recovered_s < HEALS_S
