"""An agent with functions beside its handlers, which write each event into the file HOOKS_LEDGER. HOOKS_FAULT names the
fault."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path
from typing import Any

from weft.agent import Agent

ECHO = "hooked.v1.Hooked/Echo"
FAULT = os.environ.get("HOOKS_FAULT", "")

agent = Agent()


def note(line: str) -> None:
    with Path(os.environ["HOOKS_LEDGER"]).open("a") as ledger:
        ledger.write(f"{line}\n")


@agent.on_start
async def first() -> None:
    note(f"first; connected: {agent.connected}")
    if FAULT == "start raises":
        raise ValueError("no database here")
    if FAULT == "start hangs":
        await asyncio.Event().wait()


@agent.on_start
def second() -> None:
    note(f"second; in a thread: {threading.current_thread() is not threading.main_thread()}")


@agent.on_stop
def close_first() -> None:
    note("close first")
    if FAULT == "stop hangs":
        time.sleep(60)


@agent.on_stop
async def close_last() -> None:
    note("close last")
    if FAULT == "stop raises":
        raise ValueError("already closed")


@agent.background
async def refresh() -> None:
    note("refresh")
    if FAULT == "background raises":
        raise ValueError("no prices today")
    try:
        await agent.mesh.fleet.agents()
        note("asked the mesh")
        await asyncio.Event().wait()
    finally:
        note("refresh ends")


@agent.background
def poll(stopping: threading.Event) -> None:
    if FAULT == "background stays":
        time.sleep(60)
    stopping.wait()
    note("poll ends")


@agent.method(ECHO)
async def echo(request: dict[str, Any]) -> dict[str, Any]:
    note("call")
    await asyncio.sleep(request.get("sleep_s", 0))
    note("call ends")
    return request
