"""The trace "specialists" on a real mesh of this machine: a coordinator without and with the placement, and three agents whose handlers sleep.

Run by `python bench/placement_replay.py --real`. The agents differ by how long they sleep, and by nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.placement_replay import INDEX, RENDER, TraceTask, figures, fleets, poisson
from weft.client import Mesh, connect

ROOT = Path(__file__).resolve().parent.parent
SERVICE = "bench.v1.Worker"
PER_S, LASTS_S = 15, 45.0
START_S = 20.0


def run() -> None:
    """Run it, and print what both make of it."""
    trace = [each for each in poisson(PER_S, (RENDER, INDEX)) if each.at_s < LASTS_S]
    print("| placement | tasks | mean (ms) | median (ms) | p95 (ms) |\n|---|---|---|---|---|")
    for placement in ("", "examples.placement.learned:LearnedPlacement"):
        took_s = asyncio.run(_run(trace, placement))
        cells = " | ".join(f"{each * 1000:.0f}" for each in figures(took_s))
        print(f"| {placement.rpartition(':')[2] or 'least connections'} | {len(took_s)} | {cells} |")


async def _run(trace: list[TraceTask], placement: str) -> list[float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weft = [sys.executable, "-m", "weft"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        options = [
            "--store",
            str(folder / "weft.db"),
            "--listen",
            "127.0.0.1:0",
            "--address-file",
            str(folder / "at"),
        ]
        given = ["--placement", placement] if placement else []
        started = [_start([*weft, "coordinator", *options, *given], environment, folder / "coordinator.log")]
        try:
            target = await asyncio.to_thread(_address, folder / "at")
            for agent in fleets()["specialists"]:
                told = {"BENCH_FACTORS": json.dumps(agent.factors)}
                command = [*weft, "agent", "bench.placement_agent:agent", "--id", agent.name, "--slots", "4"]
                words = [*command, "--target", target]
                started.append(_start(words, environment | told, folder / f"{agent.name}.log"))
            async with connect(target) as mesh:
                await _agents(mesh, 3)
                return await _replay(mesh, trace)
        finally:
            for process in reversed(started):
                process.terminate()
            for process in started:
                process.wait(20)


def _start(words: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen(words, env=environment, cwd=ROOT, stdout=out, stderr=out)


def _address(path: Path) -> str:
    until_s = time.monotonic() + START_S
    while not path.exists():
        if time.monotonic() > until_s:
            raise TimeoutError("the coordinator has not started")
        time.sleep(0.05)
    return path.read_text().strip()


async def _agents(mesh: Mesh, count: int) -> None:
    async with asyncio.timeout(START_S), contextlib.aclosing(mesh.fleet.watch()) as updates:
        async for agents in updates:
            if len(agents) == count:
                return


async def _replay(mesh: Mesh, trace: list[TraceTask]) -> list[float]:
    from google.protobuf import struct_pb2

    began_s = time.monotonic()

    async def one(task: TraceTask) -> float:
        await asyncio.sleep(began_s + task.at_s - time.monotonic())
        request = struct_pb2.Struct()
        request.update({"work_s": task.work_s * task.noise})
        sent_s = time.monotonic()
        await mesh.tasks.call(f"{SERVICE}/{task.method}", request, timeout_s=60)
        return time.monotonic() - sent_s

    return list(await asyncio.gather(*map(one, trace)))
