"""Events under kills of everything: coordinators, agents, consumers, Redis, one or two at a time. What was acknowledged to a publisher reaches every
durable subscriber at least once, in order by key; what a follower gets is the topic itself.

`make soak` runs it: 20 seeds on each store, or one by TEST_SEED.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import time
from collections.abc import Iterable
from contextlib import aclosing
from pathlib import Path

import pytest

from probe.v1.probe_pb2 import ProbeRequest
from tests.support.killed_world import Killer, world
from tests.support.ledger import Ledger
from tests.support.lightweight import CALL
from tests.support.soak import soak
from weft.client import Mesh, NewEvent, RetryPolicy, WeftError, connect

SEEDS = [int(os.environ["TEST_SEED"])] if "TEST_SEED" in os.environ else list(range(1, 21))
KEYS = [f"k{number}" for number in range(6)]
ROUNDS = 6
# Two coordinators' consumers have to be given up by a dead one, leases to end, tasks to be done once more.
SETTLES_S = 60.0


class Publisher:
    """Publishes the numbers of each key in order, and notes what was acknowledged."""

    def __init__(self, mesh: Mesh, rng: random.Random, ledger: Ledger) -> None:
        self.acknowledged: set[str] = set()
        self._mesh, self._rng, self._ledger = mesh, rng, ledger
        self._stopped = False
        self._tasks = [asyncio.create_task(self._publish(key)) for key in KEYS]

    async def _publish(self, key: str) -> None:
        number = 0
        while not self._stopped:
            texts = [f"{key}/{number + each}" for each in range(self._rng.choice([1, 1, 3]))]
            number += len(texts)
            events = [NewEvent(ProbeRequest(text=text, ledger=self._ledger.path), key=key) for text in texts]
            # Without an answer, they may be there or not.
            with contextlib.suppress(WeftError):
                await self._mesh.events.publish_all(events)
                self.acknowledged.update(texts)
            await asyncio.sleep(self._rng.uniform(0.01, 0.1))

    async def stop(self) -> None:
        self._stopped = True
        await asyncio.gather(*self._tasks)


async def follow(mesh: Mesh, seen: list[str]) -> None:
    async with aclosing(mesh.events.subscribe(ProbeRequest, after=0)) as events:
        async for event in events:
            seen.append(event.message.text)


def printed(path: Path) -> list[str]:
    """The events that consumers have printed, in order, with all repeats."""
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return [json.loads(each)["message"]["text"] for each in lines if each.startswith("{")]


def check_order(what: str, texts: Iterable[str]) -> None:
    """Of each key, the first times come in order."""
    last: dict[str, int] = {}
    for text in dict.fromkeys(texts):
        key, _, number = text.partition("/")
        assert int(number) > last.get(key, -1), f"{what}: {text} came after {key}/{last[key]}"
        last[key] = int(number)


@soak
@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("store", ["embedded", "redis"])
async def test_event_kills(tmp_path: Path, store: str, seed: int) -> None:
    rng = random.Random(seed)
    async with world(tmp_path, store) as here, connect(here.target, patience_s=120, timeout_s=60) as mesh:
        ledger, followed = Ledger(tmp_path / "ledger"), list[str]()
        # The contract reaches the other coordinator a moment later.
        await asyncio.gather(*(each.wait_serving() for each in here.meshes))
        retry = RetryPolicy(max_attempts=50)
        await mesh.subscriptions.create("tasks", ProbeRequest, CALL, after=0, retry=retry)
        await here.keep_consumers()
        following = asyncio.create_task(follow(mesh, followed))
        publisher, killer = Publisher(mesh, rng, ledger), Killer(rng, here)
        for _ in range(ROUNDS):
            await asyncio.sleep(rng.uniform(0, 1.5))
            print(f"seed {seed}: {await killer.strike()}")
            await here.keep_consumers()
        await publisher.stop()
        truth = [event.message.text async for event in mesh.events.list(ProbeRequest)]
        assert len(set(truth)) == len(truth), "an event was stored twice"
        assert publisher.acknowledged <= set(truth), "an acknowledged event is lost"
        check_order("the topic", truth)
        began_s, consumed, started = time.monotonic(), list[str](), list[str]()
        while time.monotonic() < began_s + SETTLES_S:
            started = [fact.text for fact in ledger.facts("start")]
            consumed = printed(here.consumed)
            if set(started) >= set(truth) and set(consumed) >= set(truth) and len(followed) >= len(truth):
                break
            await here.keep_consumers()
            await asyncio.sleep(0.2)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        print(
            f"seed {seed}: {len(truth)} events, {len(publisher.acknowledged)} acknowledged; consumed {len(consumed)},"
            f" started {len(started)} times; all after {time.monotonic() - began_s:.1f} s"
        )
        assert followed == truth
        for what, texts in (("consumers", consumed), ("tasks", started)):
            assert not set(truth) - set(texts), f"{what} did not get {sorted(set(truth) - set(texts))[:5]}"
            check_order(what, texts)
