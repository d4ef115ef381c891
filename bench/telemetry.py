"""What traces and metrics cost in bulk: `python bench/telemetry.py [--rounds N] [--tasks N] [--scrape-s S]`.

Meshes of a coordinator (embedded store, `process`) and two agents run bursts of tasks in turn:

    off      neither traces nor metrics are exported
    traces   every trace is recorded, and exported by OTLP over gRPC to a receiver on this machine
    metrics  coordinator and agents are scraped in turn, each of them every --scrape-s seconds

Each round compares its own bursts, so that other load on the machine hits all of them alike. Printed are the medians of the
rounds, with the quartiles: tasks/s, and CPU time a task of the coordinator and of the agents. The receiver does not parse; its own CPU
time is printed too, because it shares the machine. With `--null`, "traces" is a second mesh without traces: what comes out is noise.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

import grpc
import uvloop
from google.protobuf.wrappers_pb2 import BytesValue
from grpc import aio

from weft.cli.bench.bench_subject import METHOD, PAYLOAD
from weft.cli.process.children import Children, until
from weft.client import Mesh, Method, connect

_AGENTS = 2
_SLOTS = 256
_MIB = 1024 * 1024


# -- the receiver, in a process of its own ----------------------------------------------------------------------------


async def receive(folder: Path) -> None:
    """Take exports and count their bytes, as a collector that drops them."""
    received = folder / "received"
    total = 0

    async def export(request: bytes, _context: object) -> bytes:
        nonlocal total
        total += len(request)
        received.write_text(str(total))
        return b""

    class Everything(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:  # noqa: ARG002
            return grpc.unary_unary_rpc_method_handler(export)

    server = aio.server(options=[("grpc.max_receive_message_length", 64 * _MIB)])
    server.add_generic_rpc_handlers((Everything(),))  # type: ignore[arg-type]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    (folder / "port").write_text(str(port))
    await server.wait_for_termination()


# -- the meshes -------------------------------------------------------------------------------------------------------


@dataclass
class Variant:
    """One mesh, and what its bursts took."""

    name: str
    mesh: Mesh
    # Pids by what is printed.
    processes: dict[str, list[int]]
    rates: list[float] = field(default_factory=list)
    cpu_us: dict[str, list[float]] = field(default_factory=dict)

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


def cpu_us(pids: Sequence[int]) -> float:
    """CPU time of processes so far, by the scheduler's own account: /proc/PID/stat counts in hundredths of a second."""
    total_ns = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            total_ns += int((thread / "schedstat").read_text().split()[0])
    return total_ns / 1000


@asynccontextmanager
async def variant(
    children: Children, name: str, env: Callable[[], dict[str, str]], others: dict[str, list[int]]
) -> AsyncIterator[Variant]:
    """A running mesh.

    Args:
        env: makes the variables of one process.
        others: further processes whose CPU time counts.
    """
    coordinator, target = await children.coordinator(
        f"coordinator-{name}", store=children.folder / f"{name}.db", durability="process", env=env()
    )
    agents = [
        children.agent(f"{name}-{number}", "weft.cli.bench.echo:agent", target, slots=_SLOTS, env=env())
        for number in range(_AGENTS)
    ]
    async with connect(target) as mesh:
        await children.hosted(mesh, METHOD, agents=_AGENTS)
        processes = {"coordinator": [coordinator.pid], "agents": [agent.pid for agent in agents]} | others
        yield Variant(name, mesh, processes)


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


async def scrape(addresses: Sequence[str], every_s: float) -> None:
    """Scrape all of them for ever, as Prometheus does."""
    while True:
        for address in addresses:
            await asyncio.sleep(every_s / len(addresses))
            await asyncio.to_thread(_get, f"http://{address}/metrics")


def _get(url: str) -> None:
    with urllib.request.urlopen(url) as answer:
        assert answer.read()


async def run(folder: Path, rounds: int, tasks: int, scrape_s: float, *, null: bool) -> None:
    with Children(folder) as children:
        receiver = children.python("receiver", __file__, "--receive", str(folder))
        await until((folder / "port").exists, [receiver], "the receiver")
        traced = (
            {}
            if null
            else {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{(folder / 'port').read_text()}"}
        )
        scraped: list[str] = []

        def with_metrics() -> dict[str, str]:
            scraped.append(free_address())
            variable = "WEFT_METRICS" if len(scraped) == 1 else "WEFT_AGENT_METRICS"
            return {variable: scraped[-1]}

        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            variants = [
                await enter(variant(children, "off", dict, {})),
                await enter(variant(children, "traces", lambda: traced, {"receiver": [receiver.pid]})),
                await enter(variant(children, "metrics", with_metrics, {})),
            ]
            scraper = asyncio.create_task(scrape(scraped, scrape_s))
            for each in variants:
                await each.burst(4000)
            for number in range(rounds):
                # Each is first in turn.
                for at in range(len(variants)):
                    await variants[(number + at) % len(variants)].measure(tasks)
            scraper.cancel()
        for name in ("coordinator-traces", "traces-0", "traces-1"):
            for line in (folder / f"{name}.log").read_text().splitlines():
                if "telemetry" in line:
                    print(name, line)
        received = folder / "received"
        size = int(received.read_text()) if received.exists() else 0
    show(variants, rounds, tasks)
    print(f"exported: {size / (rounds * tasks + 4000):.0f} bytes a task")


def show(variants: Sequence[Variant], rounds: int, tasks: int) -> None:
    off = variants[0]
    print(f"{rounds} rounds of {tasks} tasks; ratios to off: median (quartiles)")
    for each in variants:
        print(f"\n{each.name}")
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--scrape-s", type=float, default=5.0)
    parser.add_argument("--null", action="store_true", help="measure the noise")
    parser.add_argument("--receive", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.receive:
        uvloop.run(receive(args.receive))
        sys.exit()
    with tempfile.TemporaryDirectory() as name:
        uvloop.run(run(Path(name), args.rounds, args.tasks, args.scrape_s, null=args.null))
