"""Micro-benchmark of the embedded store alone: `python bench/store.py [--tasks N] [--durability process|full]`.

Prints thousands of tasks a second for enqueue, claim and complete by batch, the full life with four callers at once,
and the latency of one sequential durable call (enqueue, claim, complete, each of one task).
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import uvloop

from weft.coordinator.store.embedded.embedded_store import EmbeddedStore
from weft.coordinator.store.records import (
    AttemptRef,
    AttemptReport,
    Claimed,
    ClaimRequest,
    Owner,
    ProgressRow,
    Submission,
    TaskRecord,
)
from weft.coordinator.store.rules import QueueKey

METHOD = "acme.v1.Analyst/Analyze"
QUEUE = QueueKey(METHOD)
PAYLOAD = b"p" * 200
OUTCOME = b"o" * 100
CALLERS = 4


class Listener:
    """Follows every task, as a coordinator does whose clients wait."""

    def ready(self) -> None: ...

    def due(self, at: float) -> None: ...
    def fleet_changed(self) -> None: ...
    def rows_changed(self, kind: str) -> None: ...

    def posted(self, message: bytes) -> None:
        """Nobody posts."""

    def waits_for(self, queue: QueueKey, *, paused: bool) -> str:  # noqa: ARG002
        return ""

    def has_room(self, queue: QueueKey) -> bool:  # noqa: ARG002
        return True

    def has_subscriber(self, task_id: str, *, ended: bool) -> bool:  # noqa: ARG002
        return True

    def subscribed_tasks(self) -> Sequence[str]:
        return ()

    def changed(self, record: TaskRecord) -> None: ...

    def progressed(self, task_id: str, rows: Sequence[ProgressRow]) -> None: ...

    def revoked(self, owner: Owner, ref: AttemptRef, reason: str, grace_s: float, *, lost: bool) -> None: ...


class Bench:
    """One open store with one agent."""

    def __init__(self, store: EmbeddedStore, *, named: bool) -> None:
        self.store = store
        self.named = named
        self.owner = Owner("", 0)
        self._count = 0

    async def start(self) -> None:
        await self.store.open(Listener())
        self.owner = Owner("agent", await self.store.register("agent", "i", b"", 3600))

    def submissions(self, count: int) -> list[Submission]:
        self._count += count
        ids = [f"request-{self._count}-{i}" if self.named else "" for i in range(count)]
        return [Submission(METHOD, PAYLOAD, request_id=request_id) for request_id in ids]

    async def claim(self, count: int) -> Sequence[Claimed]:
        return (await self.store.claim([ClaimRequest(self.owner, {QUEUE: 1}, count, count)]))[0]

    async def complete(self, claimed: Sequence[Claimed]) -> None:
        await self.store.complete(
            [AttemptReport(self.owner, c.task_id, c.attempt, 0, OUTCOME) for c in claimed]
        )

    async def life(self, batches: int, size: int) -> None:
        for _ in range(batches):
            await self.store.enqueue(self.submissions(size))
            await self.complete(await self.claim(size))


async def steps(bench: Bench, tasks: int, size: int) -> str:
    """Enqueue all, claim all, complete all: one caller, one batch after the other."""
    batches = max(1, tasks // size)
    began = time.perf_counter()
    for _ in range(batches):
        await bench.store.enqueue(bench.submissions(size))
    enqueued = time.perf_counter()
    claims = [await bench.claim(size) for _ in range(batches)]
    claimed = time.perf_counter()
    for claim in claims:
        await bench.complete(claim)
    completed = time.perf_counter()
    rates = (
        batches * size / seconds / 1000
        for seconds in (enqueued - began, claimed - enqueued, completed - claimed)
    )
    return " / ".join(f"{rate:6.1f}" for rate in rates)


async def full_life(bench: Bench, tasks: int, size: int) -> str:
    batches = max(1, tasks // size // CALLERS)
    began = time.perf_counter()
    await asyncio.gather(*(bench.life(batches, size) for _ in range(CALLERS)))
    return f"{batches * size * CALLERS / (time.perf_counter() - began) / 1000:6.1f}"


async def sequential(bench: Bench, calls: int) -> str:
    times_ms = []
    for _ in range(calls):
        began = time.perf_counter()
        await bench.life(1, 1)
        times_ms.append((time.perf_counter() - began) * 1000)
    times_ms.sort()
    p99 = times_ms[int(len(times_ms) * 0.99)]
    return f"p50 {statistics.median(times_ms):.3f} ms, p99 {p99:.3f} ms, max {times_ms[-1]:.3f} ms"


async def main(tasks: int, durability: Literal["process", "full"], where: Path, *, named: bool) -> None:
    with tempfile.TemporaryDirectory(dir=where) as directory:
        bench = Bench(EmbeddedStore(Path(directory) / "bench.db", durability=durability), named=named)
        await bench.start()
        slow = durability == "full"
        print(f"durability {durability}, request ids: {named}; k tasks/s")
        print("batch  enqueue / claim / complete  full life, 4 callers")
        for size in (1, 16, 64, 256):
            count = tasks if size > 1 and not slow else min(tasks, 400 * size)
            print(f"{size:5}  {await steps(bench, count, size)}  {await full_life(bench, count, size)}")
        print("sequential call:", await sequential(bench, 200 if slow else 2000))
        await bench.store.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--durability", choices=("process", "full"), default="process")
    parser.add_argument("--named", action="store_true", help="give every task a request id")
    parser.add_argument("--dir", type=Path, default=None, help="where the file is made")
    args = parser.parse_args()
    uvloop.run(main(args.tasks, args.durability, args.dir, named=args.named))
