"""An agent of `bench/placement_run.py`: its handlers sleep, for a time that BENCH_FACTORS makes longer by method."""

from __future__ import annotations

import asyncio
import json
import os

from weft.agent import Agent

agent = Agent()
factors: dict[str, float] = json.loads(os.environ["BENCH_FACTORS"])


@agent.method("bench.v1.Worker/Render")
async def render(request: dict) -> dict:
    await asyncio.sleep(request["work_s"] * factors["Render"])
    return {}


@agent.method("bench.v1.Worker/Index")
async def index(request: dict) -> dict:
    await asyncio.sleep(request["work_s"] * factors["Index"])
    return {}
