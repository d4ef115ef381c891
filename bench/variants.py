"""Meshes that differ in one thing, which run the same work in turn: what that thing costs. Used by the programs beside this one."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from types import MappingProxyType

from google.protobuf.wrappers_pb2 import BytesValue

from weft.cli.bench.bench_subject import METHOD, PAYLOAD
from weft.cli.process.children import Children
from weft.client import Mesh, Method, Tls, connect

AGENTS = 2
SLOTS = 256


@dataclass
class Variant:
    """One mesh, and what its bursts took."""

    name: str
    target: str
    mesh: Mesh
    # Pids by what is printed.
    processes: dict[str, list[int]]
    rates: list[float] = field(default_factory=list)
    cpu_us: dict[str, list[float]] = field(default_factory=dict)
    # Of single calls, in seconds.
    latencies_s: list[float] = field(default_factory=list)

    async def burst(self, count: int) -> None:
        answered = 0
        method = Method.of(METHOD, BytesValue, BytesValue)
        async for done in self.mesh.tasks.run_many(method, repeat(PAYLOAD, count)):
            assert done.result() == PAYLOAD
            answered += 1
        assert answered == count

    async def measure(self, count: int) -> None:
        before = {name: cpu_us(pids) for name, pids in self.processes.items()}
        began_s = time.perf_counter()
        await self.burst(count)
        self.rates.append(count / (time.perf_counter() - began_s))
        # What is exported after the burst counts, too.
        await asyncio.sleep(0.15)
        for name, pids in self.processes.items():
            self.cpu_us.setdefault(name, []).append((cpu_us(pids) - before[name]) / count)


async def single_calls(
    variants: Sequence[Variant], calls: Sequence[Callable[[], Awaitable[object]]], count: int
) -> None:
    """Make single calls, one to each variant in turn."""
    for number in range(count):
        for step in range(len(variants)):
            at = (number + step) % len(variants)
            began_s = time.perf_counter()
            await calls[at]()
            variants[at].latencies_s.append(time.perf_counter() - began_s)


async def bursts(variants: Sequence[Variant], rounds: int, tasks: int) -> None:
    """Run bursts of tasks; each variant is first in turn."""
    for number in range(rounds):
        for at in range(len(variants)):
            await variants[(number + at) % len(variants)].measure(tasks)


def cpu_us(pids: Sequence[int]) -> float:
    """CPU time of processes so far, by the scheduler's own account: /proc/PID/stat counts in hundredths of a second."""
    total_ns = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            total_ns += int((thread / "schedstat").read_text().split()[0])
    return total_ns / 1000


@asynccontextmanager
async def variant(
    children: Children,
    name: str,
    env: Callable[[str], Mapping[str, str]],
    others: Mapping[str, list[int]] = MappingProxyType({}),
    *,
    tls: Tls | None = None,
    token: Path | None = None,
) -> AsyncIterator[Variant]:
    """A running mesh.

    Args:
        env: makes the variables of one process, by its name: "coordinator", "agent-0"….
        others: further processes whose CPU time counts.
        tls: of the caller.
        token: the file of the caller's token.
    """
    coordinator, target = await children.coordinator(
        f"coordinator-{name}",
        store=children.folder / f"{name}.db",
        durability="process",
        env=env("coordinator"),
    )
    agents = [
        children.agent(
            f"{name}-{number}",
            "weft.cli.bench.echo:agent",
            target,
            slots=SLOTS,
            env=env(f"agent-{number}"),
        )
        for number in range(AGENTS)
    ]
    async with connect(target, tls=tls, token=token) as mesh:
        await children.hosted(mesh, METHOD, agents=AGENTS)
        processes = {"coordinator": [coordinator.pid], "agents": [agent.pid for agent in agents]}
        yield Variant(name, target, mesh, processes | dict(others))


def show(variants: Sequence[Variant], rounds: int, tasks: int) -> None:
    off = variants[0]
    print(f"{rounds} rounds of {tasks} tasks; ratios to off: median (quartiles)")
    for each in variants:
        print(f"\n{each.name}")
        if each.latencies_s:
            middle_ms, base_ms = (statistics.median(one.latencies_s) * 1e3 for one in (each, off))
            print(f"  {'single call, p50, ms':28} {middle_ms:8.3f}   {middle_ms / base_ms:.3f}")
        if not each.rates:
            continue
        _line("tasks/s", each.rates, None if each is off else off.rates, "%8.0f")
        for name, values in each.cpu_us.items():
            beside = None if each is off else off.cpu_us.get(name)
            _line(f"{name}, CPU µs a task", values, beside, "%8.1f")


def _line(what: str, values: Sequence[float], beside: Sequence[float] | None, shape: str) -> None:
    text = f"  {what:28} {shape % statistics.median(values)}"
    if beside is not None:
        ratios = [value / base for value, base in zip(values, beside, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        text += f"   {middle:.3f} ({low:.3f} to {high:.3f})"
    print(text)
