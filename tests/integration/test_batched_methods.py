"""Batches in a mesh: tasks and direct calls of one method share a batch, and each keeps its own end."""

from __future__ import annotations

import asyncio

import pytest

from weft.agent import Agent, Batch, InvalidArgument
from weft.client import DeadlineExceeded, WeftError
from weft.client import InvalidArgument as Refused
from weft.testing import mesh_of

agent = Agent(slots=16)
sizes: list[int] = []
cancelled = asyncio.Event()


@agent.method("batched.v1.Lengths/Measure", batch=Batch(max_size=8, wait_s=0.5))
async def measure(requests: list[dict]) -> list[dict | Exception]:  # type: ignore[type-arg]
    sizes.append(len(requests))
    if any(each.get("hangs") for each in requests):
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
    return [
        {"length": len(each["text"])} if "text" in each else InvalidArgument("no text") for each in requests
    ]


async def test_calls_of_a_mesh_are_batched() -> None:
    async with mesh_of(agent) as mesh:
        texts = ["a" * number for number in range(7)]
        results = await asyncio.gather(
            *(measure.call(mesh, {"text": each}) for each in texts),
            measure.call(mesh, {}),
            return_exceptions=True,
        )
        assert [each["length"] for each in results[:7] if isinstance(each, dict)] == list(range(7))
        assert isinstance(results[7], Refused)
        assert "no text" in str(results[7])
        assert max(sizes) > 1
        assert sum(sizes) == 8

        with pytest.raises((DeadlineExceeded, WeftError)):
            await measure.call(mesh, {"hangs": True}, timeout_s=1.5)
        async with asyncio.timeout(10):
            await cancelled.wait()
