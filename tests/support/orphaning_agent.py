"""Handlers that leave orphans behind and wait for children of their own: for agents that are process 1."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

from google.protobuf.wrappers_pb2 import StringValue

from weft.agent import Agent

SERVICE = "orphan.v1.Orphan"
agent = Agent(slots=4)


def leave(count: int) -> None:
    """Let a child end before its own child does."""
    for _ in range(count):
        subprocess.run(["sh", "-c", "sleep 0.2 & exit 0"], check=True)


def status() -> str:
    return str(subprocess.run(["sh", "-c", "exit 7"], check=False).returncode)


@agent.method(f"{SERVICE}/Sync")
def sync(request: StringValue) -> StringValue:
    leave(int(request.value))
    return StringValue(value=status())


@agent.method(f"{SERVICE}/Async")
async def on_loop(request: StringValue) -> StringValue:
    await asyncio.to_thread(leave, int(request.value))
    child = await asyncio.create_subprocess_exec("sh", "-c", "exit 7")
    return StringValue(value=str(await child.wait()))


@agent.method(f"{SERVICE}/Isolated", isolate=True)
def isolated(request: StringValue) -> StringValue:
    return sync(request)


@agent.method(f"{SERVICE}/Slow")
def slow(request: StringValue) -> StringValue:
    print("slow begins", file=sys.stderr, flush=True)
    time.sleep(float(request.value))
    return request
