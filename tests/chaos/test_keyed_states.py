"""Keyed states under kills of everything: coordinators, agents, Redis, one or two at a time. Each acknowledged task has changed its state exactly
once, and none that was not submitted has.

`make soak` runs it: 20 seeds on each store, or one by TEST_SEED.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections import Counter
from pathlib import Path

import pytest
from google.protobuf.struct_pb2 import Struct

from tests.support.killed_world import Killer, world
from tests.support.soak import soak
from weft.client import Mesh, Method, RetryPolicy, WeftError, connect

SEEDS = [int(os.environ["TEST_SEED"])] if "TEST_SEED" in os.environ else list(range(1, 21))
KEYS = [f"k{number}" for number in range(4)]
ROUNDS = 6
SERVICE = "acme.v1.Count"
METHODS = [Method.of(f"{SERVICE}/{name}", Struct, Struct) for name in ("Note", "NoteInSteps")]
# Attempts are lost again and again.
RETRY = RetryPolicy(max_attempts=50, max_crashes=100)


class Submitter:
    """Submits tasks of each key until it is stopped, and then waits for all."""

    def __init__(self, mesh: Mesh, rng: random.Random) -> None:
        self._mesh, self._rng = mesh, rng
        self._stopped = False
        self.places: dict[str, dict[str, int]] = {key: {} for key in KEYS}
        self._tasks = [asyncio.create_task(self._count(key, lane)) for key in KEYS for lane in range(2)]

    async def _count(self, key: str, lane: int) -> None:
        number = 0
        while not self._stopped:
            name = f"{lane}.{number}"
            number += 1
            request = Struct()
            request["name"] = name
            method = self._rng.choice(METHODS)
            # With the same request id until it is acknowledged: one task.
            while True:
                with contextlib.suppress(WeftError):
                    handle = await self._mesh.tasks.submit(
                        method, request, request_id=f"{key}/{name}", metadata=[("x-key", key)], retry=RETRY
                    )
                    break
                await asyncio.sleep(0.2)
            self.places[key][name] = int((await handle.result())["place"])

    async def stop(self) -> None:
        self._stopped = True
        await asyncio.gather(*self._tasks)


@soak
@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("store", ["embedded", "redis"])
async def test_state_kills(tmp_path: Path, store: str, seed: int) -> None:
    rng = random.Random(seed)
    async with (
        world(tmp_path, store, program="tests.support.counting_agent:agent") as here,
        connect(here.target, patience_s=120, timeout_s=60) as mesh,
    ):
        for each in here.meshes:
            await each.wait_serving(SERVICE)
        counter, killer = Submitter(mesh, rng), Killer(rng, here)
        for _ in range(ROUNDS):
            await asyncio.sleep(rng.uniform(0, 1.5))
            print(f"seed {seed}: {await killer.strike()}")
        await counter.stop()
        total = 0
        for key, places in counter.places.items():
            names = (await mesh.keyed_states.get(f"count:{key}")).json()
            repeated = {name: times for name, times in Counter(names).items() if times > 1}
            assert not repeated, f"counted twice: {repeated}"
            assert set(names) == set(places), (
                f"lost {set(places) - set(names)}, made up {set(names) - set(places)}"
            )
            # What each task has answered is what it has stored.
            assert {name: at for at, name in enumerate(names, 1)} == places
            total += len(names)
        print(f"seed {seed}: {total} tasks, each counted once")
        assert total > ROUNDS * len(KEYS)
