"""Background tasks that swallow their cancellation end all the same."""

from __future__ import annotations

import asyncio

import pytest

from weft.rpc.process import background_tasks
from weft.rpc.process.background_tasks import end_tasks


async def test_a_swallowed_cancellation_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_tasks, "AGAIN_S", 0.01)
    swallowed: list[None] = []
    begun = asyncio.Event()

    async def loop() -> None:
        while True:
            try:
                begun.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if len(swallowed) == 2:
                    raise
                swallowed.append(None)

    async def failing() -> None:
        raise ValueError("its own affair")

    tasks = [asyncio.create_task(each) for each in (loop(), failing())]
    await begun.wait()
    async with asyncio.timeout(5):
        await end_tasks(*tasks)
    assert all(each.done() for each in tasks)
    assert len(swallowed) == 2
    # Those that have ended, and none at all.
    await end_tasks(*tasks)
    await end_tasks()


async def test_the_one_that_waits_can_be_cancelled() -> None:
    ends = asyncio.Event()

    async def loop() -> None:
        while not ends.is_set():
            try:
                await ends.wait()
            except asyncio.CancelledError:
                continue

    task = asyncio.create_task(loop())
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await end_tasks(task)
    ends.set()
    await task
