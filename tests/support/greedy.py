"""A caller that asks for ten times what it may: `python -m tests.support.greedy WAY TARGET SECONDS TOKEN_FILE`.

In a process of its own, so that it takes no time of whoever measures. Prints how its calls ended, by reason, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
import grpc.aio

from weft.rpc.errors import from_call
from weft.rpc.network.channel import client_options
from weft.v1 import coordinator_pb2
from weft.v1.coordinator_pb2_grpc import CoordinatorServiceStub

ECHO = "probe.v1.ProbeService/Echo"
# The limits of the token, and how much more is asked for.
CALLS_PER_S, OPEN_STREAMS, BYTES_PER_S, QUEUED_TASKS = 50, 10, 1_000_000, 100
GREED = 10
Pairs = tuple[tuple[str, str], ...]
Way = Callable[[grpc.aio.Channel, Pairs, Counter[str]], Awaitable[None]]


async def call(channel: grpc.aio.Channel, pairs: Pairs, seen: Counter[str], payload: bytes = b"") -> None:
    try:
        await channel.unary_unary(f"/{ECHO}")(payload, metadata=pairs, timeout=10)
        seen["OK"] += 1
    except grpc.aio.AioRpcError as error:
        seen[from_call(error).reason_name] += 1


async def stream(channel: grpc.aio.Channel, pairs: Pairs, seen: Counter[str]) -> None:
    request = coordinator_pb2.WatchAgentsRequest()
    opened = CoordinatorServiceStub(channel).WatchAgents(request, metadata=pairs, timeout=1)
    try:
        async for _ in opened:
            seen["OK"] += 1
    except grpc.aio.AioRpcError as error:
        seen[from_call(error).reason_name] += 1


async def heavy(channel: grpc.aio.Channel, pairs: Pairs, seen: Counter[str]) -> None:
    # A field that the method does not know.
    size = BYTES_PER_S // 10
    await call(channel, pairs, seen, b"\x7a" + varint(size) + bytes(size))


async def queue(channel: grpc.aio.Channel, pairs: Pairs, seen: Counter[str]) -> None:
    """Tasks that nobody runs soon."""
    task = coordinator_pb2.SubmitTaskRequest(method=ECHO)
    task.options.delay.FromSeconds(60)

    async def requests() -> AsyncIterator[coordinator_pb2.SubmitTasksRequest]:
        yield coordinator_pb2.SubmitTasksRequest(tasks=[task] * QUEUED_TASKS)

    async for response in CoordinatorServiceStub(channel).SubmitTasks(requests(), metadata=pairs, timeout=60):
        seen.update("CALLER_LIMIT" if ack.HasField("error") else "OK" for ack in response.acks)


def varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


# A way to ask, and how often a second.
WAYS: dict[str, tuple[Way, int]] = {
    "calls_per_s": (call, CALLS_PER_S * GREED),
    "open_streams": (stream, OPEN_STREAMS * GREED),
    "bytes_per_s": (heavy, 10 * GREED),
    "queued_tasks": (queue, GREED),
}


async def main(name: str, target: str, seconds: float, text: str) -> None:
    way, per_s = WAYS[name]
    seen: Counter[str] = Counter()
    pairs = (("weft-token", text),)
    async with grpc.aio.insecure_channel(target, options=client_options(own_connection=True)) as channel:
        began_s, begun, going = time.monotonic(), 0, set[asyncio.Task[None]]()
        while (now_s := time.monotonic()) < began_s + seconds:
            while begun < (now_s - began_s) * per_s:
                begun += 1
                task = asyncio.ensure_future(way(channel, pairs, seen))
                going.add(task)
                task.add_done_callback(going.discard)
            await asyncio.sleep(0.005)
        for task in going:
            task.cancel()
        await asyncio.gather(*going, return_exceptions=True)
    print(json.dumps(dict(seen)), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), Path(sys.argv[4]).read_text()))
