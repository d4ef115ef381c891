"""Handlers that fork the agent's process: `weft agent tests.support.forking_agent:agent` hosts them.

The request says what the child does; the answer is what the parent has seen: how the child ended.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from google.protobuf.wrappers_pb2 import StringValue

from weft.agent import Agent

SERVICE = "fork.v1.Fork"
# The actions of children that may end by themselves, each with the exit status that it must have.
LEAVES = {
    "returns": 1,
    "raises": 1,
    "raises in finally": 1,
    "exits with 3": 3,
    "exits with a text": 1,
    "exits": 0,
    "ends with 7": 7,
    "runs a program": 5,
}
agent = Agent()


def fork(how: str) -> str:
    """Fork; the child leaves as `how` says, the parent waits for it."""
    child = os.fork()
    if child:
        return str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    match how:
        case "raises":
            raise ValueError("of the child")
        case "raises in finally":
            try:
                raise ValueError("of the child")
            finally:
                len("something")
        case "exits":
            sys.exit()
        case "exits with 3":
            sys.exit(3)
        case "exits with a text":
            sys.exit("of the child")
        case "ends with 7":
            os._exit(7)
        case "runs a program":
            os.execv(sys.executable, [sys.executable, "-c", "raise SystemExit(5)"])
    return "the child's answer"


@agent.method(f"{SERVICE}/Sync")
def sync(request: StringValue) -> StringValue:
    return StringValue(value=fork(request.value))


@agent.method(f"{SERVICE}/Async")
async def on_loop(request: StringValue) -> StringValue:
    return StringValue(value=fork(request.value))


@agent.method(f"{SERVICE}/Isolated", isolate=True)
def isolated(request: StringValue) -> StringValue:
    return StringValue(value=fork(request.value))


@agent.method(f"{SERVICE}/SyncStream")
def sync_stream(request: StringValue) -> Iterator[StringValue]:
    yield StringValue(value=fork(request.value))


@agent.method(f"{SERVICE}/AsyncStream")
async def async_stream(request: StringValue) -> AsyncIterator[StringValue]:
    yield StringValue(value=fork(request.value))


@agent.method(f"{SERVICE}/IsolatedStream", isolate=True)
def isolated_stream(request: StringValue) -> Iterator[StringValue]:
    yield StringValue(value=fork(request.value))


@agent.method(f"{SERVICE}/Awaits")
async def awaits(request: StringValue) -> StringValue:
    """The child tries to go on with the event loop."""

    async def forks() -> str:
        child = os.fork()
        await asyncio.sleep(0)
        return "" if child == 0 else str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    if request.value == "in a task":
        return StringValue(value=await asyncio.create_task(forks()))
    if request.value == "in a thread":
        return StringValue(value=await asyncio.to_thread(fork, "returns"))
    if request.value == "in a callback":
        answer = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(lambda: answer.set_result(fork("returns")))
        return StringValue(value=await answer)
    return StringValue(value=await forks())


@agent.method(f"{SERVICE}/Leaves")
def leaves(request: StringValue) -> StringValue:
    """Leave a child behind, which runs for long; its number."""
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    return StringValue(value=str(child))


@agent.method(f"{SERVICE}/Works")
def works(request: StringValue) -> StringValue:
    """Start children by each way of the standard library: all of these must work."""
    done = [subprocess.run(["true"], check=False, preexec_fn=step).returncode for step in (None, os.getpid)]
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            done += pool.map(abs, [0, 0])
        child = multiprocessing.get_context(method).Process(target=time.sleep, args=(60,))
        child.start()
        child.terminate()
        child.join(20)
        done.append(child.exitcode == -signal.SIGTERM)
    return StringValue(value=" ".join(map(str, map(int, done))))


@agent.method(f"{SERVICE}/Threads")
def threads(request: StringValue) -> StringValue:
    """How many threads a child has before it execs."""
    reads, writes = os.pipe()

    def tell() -> None:
        os.write(writes, str(len(list(Path("/proc/self/task").iterdir()))).encode())

    subprocess.run(["true"], check=True, preexec_fn=tell)
    counted = os.read(reads, 10).decode()
    os.close(reads)
    os.close(writes)
    return StringValue(value=counted)


if __name__ == "__main__":
    # On a loop of the application's own, and of the standard library.
    asyncio.run(agent.serve())
