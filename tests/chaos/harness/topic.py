"""Events beside the load, published by key and taken in three ways, and their verdict.

publishers, one a key ─► topic ─► a subscription that makes tasks ─► handlers, by a ledger of their own
                                ─► a subscription that two consumers share; now and then one of them goes away with what it has
                                ─► a follower from the first event on

lost         acknowledged, and not in the topic; or in the topic, and never taken by one of the three
out of order first times of a key's events that do not come in the order in which they were published
twice        stored twice, or followed twice
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from probe.v1.probe_pb2 import ProbeRequest
from tests.chaos.harness.asking import PATIENCE_S
from tests.chaos.harness.chain import DELIVERED
from tests.chaos.harness.items import Shape
from tests.chaos.harness.load import Door
from tests.support.ledger import Ledger
from weft.client import Mesh, NewEvent, RetryPolicy, WeftError, connect

# Parts of a dead coordinator's consumers are free after 5 s; leases end, and tasks run once more.
SETTLES_S = 60.0
_CONSUMERS = 2
_STAYS_S = (0.5, 4.0)
_PAUSE_S = (0.01, 0.1)
_AGAIN_S = 0.1


@dataclass(slots=True)
class Taken:
    """Texts of events in the order in which they came."""

    # As the publishers know it, and as the topic has it.
    acknowledged: set[str] = field(default_factory=set[str])
    stored: list[str] = field(default_factory=list[str])
    followed: list[str] = field(default_factory=list[str])
    # With all repeats.
    consumed: list[str] = field(default_factory=list[str])
    started: list[str] = field(default_factory=list[str])

    @property
    def complete(self) -> bool:
        """Whether all was taken in all three ways."""
        stored = set(self.stored)
        return all(stored <= set(each) for each in (self.followed, self.consumed, self.started))


class Topic:
    """The events of one run: `begin`, `run` until `stop`, then `faults`."""

    def __init__(self, door: Door, rng: random.Random, shape: Shape, ledger_path: str) -> None:
        self.taken = Taken()
        self._door = door
        self._rng = rng
        self._keys = [f"k{number}" for number in range(shape.event_keys)]
        self._ledger = Ledger(Path(f"{ledger_path}.events"))
        self._stopped = False
        self._mesh: Mesh | None = None
        self._takers: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        """Subscribe, and take from now on."""
        if not self._keys:
            return
        self._mesh = mesh = connect(self._door.target, patience_s=120, timeout_s=60)
        retry = RetryPolicy(max_attempts=50, max_crashes=100)
        await mesh.subscriptions.create("tasks", ProbeRequest, DELIVERED, after=0, retry=retry)
        self._takers = [asyncio.create_task(self._follow(mesh))]
        self._takers += [asyncio.create_task(self._consume_on(mesh)) for _ in range(_CONSUMERS)]

    def stop(self) -> None:
        """Publish nothing new; `run` returns when all that was sent is answered."""
        self._stopped = True

    async def run(self) -> None:
        """Publish until `stop`."""
        if self._mesh is not None:
            await asyncio.gather(*(self._publish_on(self._mesh, key) for key in self._keys))

    async def _publish_on(self, mesh: Mesh, key: str) -> None:
        number = 0
        while not self._stopped:
            texts = [f"{key}/{number + each}" for each in range(self._rng.choice((1, 1, 3)))]
            number += len(texts)
            events = [NewEvent(ProbeRequest(text=text, ledger=self._ledger.path), key=key) for text in texts]
            # Without an answer, they may be there or not.
            with contextlib.suppress(WeftError):
                await mesh.events.publish_all(events)
                self.taken.acknowledged.update(texts)
            await asyncio.sleep(self._rng.uniform(*_PAUSE_S))

    async def _follow(self, mesh: Mesh) -> None:
        async with aclosing(mesh.events.subscribe(ProbeRequest, after=0)) as events:
            async for event in events:
                self.taken.followed.append(event.message.text)

    async def _consume_on(self, mesh: Mesh) -> None:
        while True:
            # Until nothing new comes: then a consumer that goes away would only delay the verdict.
            stays_s = None if self._stopped else self._rng.uniform(*_STAYS_S)
            with contextlib.suppress(TimeoutError, WeftError):
                async with asyncio.timeout(stays_s):
                    await self._consume(mesh)
            await asyncio.sleep(_AGAIN_S)

    async def _consume(self, mesh: Mesh) -> None:
        async with aclosing(mesh.subscriptions.consume("shared", ProbeRequest, after=0)) as events:
            async for event in events:
                self.taken.consumed.append(event.message.text)

    async def faults(self) -> list[str]:
        """What is wrong, in words, once all was taken or it takes too long."""
        if self._mesh is None:
            return []
        try:
            async with asyncio.timeout(PATIENCE_S):
                self.taken.stored = [
                    event.message.text async for event in self._mesh.events.list(ProbeRequest)
                ]
            ends_at = time.monotonic() + SETTLES_S
            while time.monotonic() < ends_at:
                self.taken.started = [fact.text for fact in self._ledger.facts("start")]
                if self.taken.complete:
                    break
                await asyncio.sleep(_AGAIN_S)
            # A consumer or follower that ended by an error would have been noticed as a loss only.
            broken = [repr(each.exception()) for each in self._takers if each.done() and not each.cancelled()]
        finally:
            await self._close(self._mesh)
        return [*broken, *judged(self.taken)]

    async def _close(self, mesh: Mesh) -> None:
        for each in self._takers:
            each.cancel()
        await asyncio.gather(*self._takers, return_exceptions=True)
        await mesh.close()


def judged(taken: Taken) -> list[str]:
    """What is wrong with what was taken, in words. Pure."""
    stored = set(taken.stored)
    found = _listed("lost by the topic", taken.acknowledged - stored)
    for what, texts in (("the topic", taken.stored), ("the follower", taken.followed)):
        if len(set(texts)) != len(texts):
            found.append(f"{what} has an event twice")
    for what, texts in (
        ("the topic", taken.stored),
        ("the follower", taken.followed),
        ("consumers", taken.consumed),
        ("tasks", taken.started),
    ):
        found += _listed(f"lost by {what}", stored - set(texts))
        found += _listed(f"not of the topic, at {what}", set(texts) - stored)
        found += _out_of_order(what, texts)
    return found


def _listed(what: str, texts: Iterable[str]) -> list[str]:
    return [f"event {text} is {what}" for text in sorted(texts)]


def _out_of_order(what: str, texts: Sequence[str]) -> list[str]:
    """First times that come after a later one of their key."""
    found: list[str] = []
    last: dict[str, int] = {}
    for text in dict.fromkeys(texts):
        key, _, number = text.partition("/")
        if int(number) <= last.get(key, -1):
            found.append(f"event {text} came after {key}/{last[key]} to {what}")
        last[key] = max(int(number), last.get(key, -1))
    return found
