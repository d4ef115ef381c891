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
import sys
import tempfile
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import uvloop
from grpc import aio
from variants import bursts, show, variant

from weft.cli.process.children import Children, until

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

        def with_metrics(_process: str) -> Mapping[str, str]:
            scraped.append(free_address())
            variable = "WEFT_METRICS" if len(scraped) == 1 else "WEFT_AGENT_METRICS"
            return {variable: scraped[-1]}

        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            variants = [
                await enter(variant(children, "off", lambda _: {})),
                await enter(variant(children, "traces", lambda _: traced, {"receiver": [receiver.pid]})),
                await enter(variant(children, "metrics", with_metrics)),
            ]
            scraper = asyncio.create_task(scrape(scraped, scrape_s))
            for each in variants:
                await each.burst(4000)
            await bursts(variants, rounds, tasks)
            scraper.cancel()
        for name in ("coordinator-traces", "traces-0", "traces-1"):
            for line in (folder / f"{name}.log").read_text().splitlines():
                if "telemetry" in line:
                    print(name, line)
        received = folder / "received"
        size = int(received.read_text()) if received.exists() else 0
    show(variants, rounds, tasks)
    print(f"exported: {size / (rounds * tasks + 4000):.0f} bytes a task")


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
