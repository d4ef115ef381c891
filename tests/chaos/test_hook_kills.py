"""Webhooks under kills of everything: coordinators, agents, Redis, one or two at a time. A delivery that was answered with 200 is one task, which
runs; and each published event reaches the receiver of an outgoing hook, under one id.

`make soak` runs it: 20 seeds on each store, or one by TEST_SEED.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from probe.v1.probe_pb2 import ProbeRequest
from tests.support.killed_world import TOPIC, Killer, world
from tests.support.ledger import Ledger
from tests.support.lightweight import CALL
from tests.support.receiver import Received, Receiver
from tests.support.redis_server import free_port
from tests.support.soak import soak
from weft.client import Mesh, NewEvent, RetryPolicy, TaskState, WeftError, connect

SECRET = "a-secret-of-16-or-more"
ROUNDS = 6
SENDERS = 4
SETTLES_S = 60.0


def cases() -> list[Any]:
    """Of all seeds, the long tests have one on two coordinators."""
    if "TEST_SEED" in os.environ:
        return [(store, int(os.environ["TEST_SEED"])) for store in ("embedded", "redis")]
    every = [(store, seed) for store in ("embedded", "redis") for seed in range(1, 21)]
    return [pytest.param(*each, marks=[] if each == ("redis", 1) else soak) for each in every]


class Sender:
    """Another system that sends each delivery until it is taken, at any coordinator, and some of them more than once."""

    def __init__(
        self, http: aiohttp.ClientSession, rng: random.Random, urls: Sequence[str], ledger: Ledger
    ) -> None:
        # By delivery, each task that was answered.
        self.taken: dict[str, set[str]] = {}
        self._http, self._rng, self._urls, self._ledger = http, rng, urls, ledger
        self._stopped = False
        self._tasks = [asyncio.create_task(self._send_on(f"s{number}")) for number in range(SENDERS)]

    async def _send_on(self, name: str) -> None:
        number = 0
        while not self._stopped:
            number += 1
            text = f"{name}/{number}"
            body = json.dumps({"text": text, "ledger": str(self._ledger.path)}).encode()
            times = self._rng.choice([1, 1, 2, 3])
            self.taken[text] = set(await asyncio.gather(*(self._deliver(body) for _ in range(times))))
            await asyncio.sleep(self._rng.uniform(0, 0.05))

    async def _deliver(self, body: bytes) -> str:
        headers = {
            "X-Signature": hmac.digest(SECRET.encode(), body, "sha256").hex(),
            "Content-Type": "application/json",
        }
        async with asyncio.timeout(SETTLES_S):
            while True:
                try:
                    async with self._http.post(
                        self._rng.choice(self._urls), data=body, headers=headers
                    ) as response:
                        told = await response.json()
                        if response.status == 200:
                            return str(told["task_id"])
                        assert response.status in {429, 503}, told
                except (aiohttp.ClientError, OSError):
                    pass
                await asyncio.sleep(0.05)

    async def repeat(self, text: str) -> str:
        """Send a delivery once more, long after it was taken."""
        return await self._deliver(json.dumps({"text": text, "ledger": str(self._ledger.path)}).encode())

    async def stop(self) -> None:
        self._stopped = True
        await asyncio.gather(*self._tasks)


class Publisher:
    """Publishes events, and notes what was acknowledged."""

    def __init__(self, mesh: Mesh, rng: random.Random) -> None:
        self.acknowledged: set[str] = set()
        self._mesh, self._rng = mesh, rng
        self._stopped = False
        self._task = asyncio.create_task(self._publish())

    async def _publish(self) -> None:
        number = 0
        while not self._stopped:
            number += 1
            try:
                await self._mesh.events.publish_all([NewEvent(ProbeRequest(text=str(number)))])
                self.acknowledged.add(str(number))
            except WeftError:
                pass
            await asyncio.sleep(self._rng.uniform(0.02, 0.1))

    async def stop(self) -> None:
        self._stopped = True
        await self._task


async def make_hooks(mesh: Mesh, receiver: Receiver) -> None:
    retry = RetryPolicy(max_attempts=1000, initial_backoff_s=0.005, max_backoff_s=0.1, max_crashes=1000)
    await mesh.hooks.add("in", "generic", method=CALL, secret=SECRET, retry=RetryPolicy(max_crashes=100))
    await mesh.hooks.send("out", receiver.url, event=TOPIC, retry=retry)


def sent_events(all_: Sequence[Received]) -> dict[str, set[str]]:
    """The ids under which each event has come."""
    found: dict[str, set[str]] = {}
    for each in all_:
        found.setdefault(json.loads(each.body)["data"]["text"], set()).add(each.headers["webhook-id"])
    return found


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("store", "seed"), cases())
async def test_hook_kills(tmp_path: Path, store: str, seed: int) -> None:
    rng = random.Random(seed)
    ports = [free_port() for _ in range(2 if store == "redis" else 1)]
    outside = {"hook_hosts": "127.0.0.1", "hook_networks": "127.0.0.0/8"}
    settings = [{"hooks": f"127.0.0.1:{port}", **outside} for port in ports]
    urls = [f"http://127.0.0.1:{port}/hooks/in" for port in ports]
    async with (
        Receiver() as receiver,
        world(tmp_path, store, settings) as here,
        connect(here.target, patience_s=120, timeout_s=60) as mesh,
        aiohttp.ClientSession() as http,
    ):
        receiver.answer = lambda _: web.Response(status=rng.choice([200, 200, 500, 503]))
        await asyncio.gather(*(each.wait_serving() for each in here.meshes))
        await make_hooks(mesh, receiver)
        ledger = Ledger(tmp_path / "ledger")
        sender, publisher, killer = Sender(http, rng, urls, ledger), Publisher(mesh, rng), Killer(rng, here)
        for _ in range(ROUNDS):
            await asyncio.sleep(rng.uniform(0, 1.5))
            print(f"seed {seed}: {await killer.strike()}")
        await sender.stop()
        await publisher.stop()
        receiver.answer = lambda _: web.Response()
        await check_taken(mesh, sender, ledger)
        await receiver.until(
            lambda all_: publisher.acknowledged <= sent_events(all_).keys(), timeout_s=SETTLES_S
        )
        ids = sent_events(receiver.received)
        assert all(len(each) == 1 for each in ids.values()), "an event was sent under two ids"
        assert len({min(each) for each in ids.values()}) == len(ids), "two events have one id"
        print(
            f"seed {seed}: {len(sender.taken)} deliveries, {len(publisher.acknowledged)} events, {len(receiver.received)} requests"
        )


async def check_taken(mesh: Mesh, sender: Sender, ledger: Ledger) -> None:
    """Each delivery is one task, which succeeds; the mesh has no others."""
    assert all(len(tasks) == 1 for tasks in sender.taken.values()), "a delivery became two tasks"
    by_task = {min(tasks): text for text, tasks in sender.taken.items()}
    assert len(by_task) == len(sender.taken), "two deliveries are one task"
    some = random.Random(0).sample(sorted(sender.taken), min(20, len(sender.taken)))
    for text in some:
        assert await sender.repeat(text) == min(sender.taken[text])
    async with asyncio.timeout(SETTLES_S):
        listed = [each async for each in mesh.tasks.list(method=CALL)]
        while any(not each.state.ended for each in listed):
            await asyncio.sleep(0.2)
            listed = [each async for each in mesh.tasks.list(method=CALL)]
    assert {each.id for each in listed} == by_task.keys(), "a task is lost, or nobody's"
    assert {each.state for each in listed} == {TaskState.SUCCEEDED}
    started = Counter(fact.text for fact in ledger.facts("start"))
    assert started.keys() == sender.taken.keys()
