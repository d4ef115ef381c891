"""The runner of schedules: it waits without I/O, and finds out when the store's clock is set."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.support.processes import until
from weft.coordinator.pass_runner import LOOK_S, PassRunner
from weft.rpc.refusals import store_unavailable


class Passes:
    """Stands for a store's clock, and for the passes over its schedules."""

    shared = True

    def __init__(self) -> None:
        self.clock = 1000.0
        self.next_at: float | None = None
        self.count = 0
        self.failures: list[BaseException] = []

    def now(self) -> float:
        return self.clock

    async def run(self) -> float | None:
        self.count += 1
        if self.failures:
            raise self.failures.pop()
        if self.next_at is not None and self.next_at <= self.clock:
            self.next_at = None
        return self.next_at


@pytest.fixture
async def passes() -> Passes:
    return Passes()


@contextlib.asynccontextmanager
async def running(passes: Passes) -> AsyncIterator[PassRunner]:
    runner = PassRunner(passes, passes.run, "passes")  # type: ignore[arg-type]
    runner.start()
    try:
        await until(lambda: passes.count > 0, "the first pass")
        yield runner
    finally:
        await runner.stop()


async def test_without_a_time_it_waits_until_schedules_change(passes: Passes) -> None:
    async with running(passes) as runner:
        before = passes.count
        passes.clock += 3600.0
        await asyncio.sleep(2 * LOOK_S)
        assert passes.count == before
        runner.changed()
        await until(lambda: passes.count > before, "a pass after a change")


async def test_it_sees_that_the_clock_was_set_forward(passes: Passes) -> None:
    passes.next_at = passes.clock + 1800.0
    async with running(passes):
        before = passes.count
        passes.clock += 3600.0
        await until(lambda: passes.count > before, "a pass after the clock was set", timeout_s=10 * LOOK_S)
        assert passes.next_at is None


@pytest.mark.parametrize(
    "error", [store_unavailable("away", 1.0), RuntimeError("a fault")], ids=["away", "fault"]
)
async def test_a_pass_that_fails_is_followed_by_another(passes: Passes, error: BaseException) -> None:
    passes.failures = [error]
    async with running(passes):
        await until(lambda: passes.count >= 2, "another pass")
