"""Benchmark of events: `python bench/events.py [--store URL] [--seconds S] [--subscribers N] [--replay N]`.

Publishes 10,000 events a second to live subscribers, one of which never reads, and then replays as many kept events as are asked for.
Prints what reached the subscribers, how late, and what the coordinator took.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc.aio
import psutil
import uvloop
from google.protobuf.wrappers_pb2 import BytesValue

from weft.agent import Agent
from weft.client import connect
from weft.client.event_snapshot import NewEvent
from weft.rpc.network.channel import client_options
from weft.v1 import event_pb2, event_pb2_grpc

TOPIC = "google.protobuf.BytesValue"
RATE = 10_000
BATCH = 200
PAYLOAD = BytesValue(value=b"e" * 32)
PROCESSES = 2
PUBLISHERS = 2


async def follow(target: str, count: int, total: int) -> None:
    """A process of subscribers: prints what they got, and how late, as JSON."""
    late_s: list[float] = []
    missed = received = 0
    started, began_s = 0, 0.0

    async def one() -> None:
        nonlocal missed, received, started, began_s
        async with grpc.aio.insecure_channel(
            target, options=[*client_options(), ("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            call = event_pb2_grpc.EventServiceStub(channel).SubscribeEvents(
                event_pb2.SubscribeEventsRequest(topic=TOPIC, keep_up=True)
            )
            seen = 0
            async for response in call:
                if response.events:
                    late_s.append(time.time() - response.events[0].publish_time.ToNanoseconds() / 1e9)
                else:
                    started += 1
                    if started == count:
                        began_s = time.process_time()
                        print("ready", flush=True)
                seen += len(response.events) + response.missed
                received += len(response.events)
                missed += response.missed
                if seen >= total:
                    break

    await asyncio.gather(*(one() for _ in range(count)))
    late_s.sort()
    print(
        json.dumps(
            {
                "received": received,
                "missed": missed,
                "messages": len(late_s),
                "cpu_s": time.process_time() - began_s,
                "late_p50_s": statistics.median(late_s),
                "late_p99_s": late_s[int(len(late_s) * 0.99)],
            }
        ),
        flush=True,
    )


async def live(target: str, coordinator: psutil.Process, seconds: float, subscribers: int) -> None:
    total = int(RATE * seconds) // BATCH * BATCH
    each = subscribers // PROCESSES
    command = [sys.executable, __file__, "--follow", target, str(each), str(total)]
    processes = [
        await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE) for _ in range(PROCESSES)
    ]
    for process in processes:
        assert process.stdout is not None
        assert (await process.stdout.readline()).strip() == b"ready"
    async with connect(target) as mesh, grpc.aio.insecure_channel(target) as channel:
        # It never reads.
        slow: Any = event_pb2_grpc.EventServiceStub(channel).SubscribeEvents(
            event_pb2.SubscribeEventsRequest(topic=TOPIC, keep_up=True)
        )
        await slow.read()
        before, began_s = coordinator.cpu_times(), time.perf_counter()
        own_before_s = time.process_time()
        memory = [coordinator.memory_info().rss]
        events = [NewEvent(PAYLOAD)] * BATCH
        left = iter(range(total // BATCH))

        async def publisher() -> None:
            for number in left:
                await mesh.events.publish_all(events)
                ahead_s = began_s + (number + 1) * BATCH / RATE - time.perf_counter()
                if ahead_s > 0:
                    await asyncio.sleep(ahead_s)
                if number % 50 == 0:
                    memory.append(coordinator.memory_info().rss)

        await asyncio.gather(*(publisher() for _ in range(PUBLISHERS)))
        published_s = time.perf_counter() - began_s
        found = [json.loads((await process.communicate())[0]) for process in processes]
        done_s = time.perf_counter() - began_s
        after = coordinator.cpu_times()
        missed = 0
        while True:
            response = await slow.read()
            missed += response.missed
            if response.cursor >= total:
                break
        slow.cancel()
    received = sum(each["received"] for each in found)
    used_s = {
        "coordinator": after.user + after.system - before.user - before.system,
        "subscribers": sum(each["cpu_s"] for each in found),
        "publisher": time.process_time() - own_before_s,
    }
    print(f"published        {total / published_s:,.0f} events/s in {published_s:.1f} s")
    print(
        f"subscribers      {subscribers}, {received / done_s:,.0f} events/s together, all after {done_s:.1f} s"
    )
    print(
        f"left out         {sum(each['missed'] for each in found):,} of {total * subscribers:,}; of the one that does not read {missed:,}"
    )
    print(
        f"late             p50 {max(e['late_p50_s'] for e in found) * 1e3:.0f} ms, p99 {max(e['late_p99_s'] for e in found) * 1e3:.0f} ms"
    )
    print(f"messages         {sum(each['messages'] for each in found) / done_s:,.0f} a second")
    for name, each_s in used_s.items():
        print(f"{name:<17}{each_s / done_s:.2f} cores, {each_s / total * 1e6:.0f} µs of CPU an event")
    # With so much CPU for each event, this is what two cores could do.
    print(f"two cores        {2 * total / sum(used_s.values()):,.0f} events/s")
    print(f"memory           {min(memory) / 2**20:.0f} to {max(memory) / 2**20:.0f} MiB")


async def replay(target: str, coordinator: psutil.Process, count: int) -> None:
    async with connect(target) as mesh:
        last = max([topic.last async for topic in mesh.events.topics() if topic.name == TOPIC], default=0)
        events, began_s = [NewEvent(PAYLOAD)] * 1000, time.perf_counter()
        await asyncio.gather(*(publish(mesh, events, count // 1000 // 4) for _ in range(4)))
        took_s = time.perf_counter() - began_s
        print(f"published        {count / took_s:,.0f} events/s, a thousand at a time, four at once")
        async with grpc.aio.insecure_channel(target, options=client_options()) as channel:
            began_s, seen = time.perf_counter(), 0
            call = event_pb2_grpc.EventServiceStub(channel).SubscribeEvents(
                event_pb2.SubscribeEventsRequest(topic=TOPIC, after=last)
            )
            async for response in call:
                seen += len(response.events) + response.missed
                if seen >= count:
                    break
            took_s = time.perf_counter() - began_s
            print(
                f"replayed         {count:,} events at {count / took_s:,.0f} events/s; coordinator {coordinator.memory_info().rss / 2**20:.0f} MiB"
            )
        began_s, seen = time.perf_counter(), 0
        async for _ in mesh.events.subscribe(BytesValue, after=last):
            seen += 1
            if seen == count // 10:
                break
        print(f"by the library   {seen / (time.perf_counter() - began_s):,.0f} events/s")


async def publish(mesh: Any, events: list[NewEvent], times: int) -> None:
    for _ in range(times):
        await mesh.events.publish_all(events)


async def main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        address = Path(folder) / "address"
        command = [sys.executable, "-m", "weft", "coordinator", "--listen", "127.0.0.1:0"]
        command += ["--address-file", str(address), "--store", options.store or f"{folder}/weft.db"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # noqa: ASYNC220
        try:
            while not (address.exists() and address.read_text().strip()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            target = address.read_text().strip()
            agent = Agent("bench", target=target)

            @agent.method("bench.v1.Bench/Nothing")
            async def nothing(request: BytesValue) -> BytesValue:
                return request

            serving = asyncio.create_task(agent.serve())
            while not agent.connected:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            coordinator = psutil.Process(process.pid)
            if options.seconds:
                await live(target, coordinator, options.seconds, options.subscribers)
            if options.replay:
                await replay(target, coordinator, options.replay)
            agent.stop()
            await serving
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--follow"]:
        uvloop.run(follow(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
    else:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--store", default="")
        parser.add_argument("--seconds", type=float, default=10.0)
        parser.add_argument("--subscribers", type=int, default=100)
        parser.add_argument("--replay", type=int, default=1_000_000)
        uvloop.run(main(parser.parse_args()))
