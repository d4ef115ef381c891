"""Agents and calls that come and go for half a minute, or two with TEST_SOAK=1: nothing of them stays in the coordinator."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable

import grpc
import grpc.aio
import psutil
import pytest

from probe.v1.probe_pb2 import Payload
from tests.support.lightweight import CALL, ECHO, STREAM, LightAgent, never
from tests.support.mesh import MeshHarness
from tests.support.soak import SOAKS, soak
from weft.v1 import coordinator_pb2 as api

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

MIB = 1024 * 1024
SOAK_S = 120.0 if SOAKS else 30.0
WARM_UP_S = 20.0 if SOAKS else 10.0
# Allocators keep some; what grows by a little a call would be far above this after thousands.
GROWTH_MIB = 30 if SOAKS else 20
AT_A_TIME = 4


class Churn:
    """Everything that comes and goes, counted."""

    def __init__(self, mesh: MeshHarness, seed: int) -> None:
        self._mesh = mesh
        self._rng = random.Random(seed)
        self.done = 0

    async def run(self, ends_at_s: float) -> None:
        kinds: list[Callable[[], Awaitable[None]]] = [
            self.agent,
            self.watch,
            self.cancelled_call,
            self.cancelled_stream,
            self.dropped_bulk,
            self.given_up_wait,
            self.echo,
        ]
        while time.monotonic() < ends_at_s:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await self._rng.choice(kinds)()
            self.done += 1

    async def agent(self) -> None:
        name = f"passing-{self._rng.getrandbits(40):x}"
        agent = LightAgent(self._mesh.channel(), name, labels={"name": name})
        await agent.open()
        await asyncio.sleep(self._rng.random() * 0.05)
        await agent.close(goodbye=self._rng.random() < 0.5)

    async def _submit(self, method: str) -> str:
        request = api.SubmitTaskRequest(method=method)
        return (await self._mesh.api().SubmitTask(request, timeout=5)).task.id

    async def watch(self) -> None:
        call = self._mesh.api().WatchTask(api.WatchTaskRequest(task_id=await self._submit(STREAM)))
        await call.read()
        call.cancel()

    async def cancelled_call(self) -> None:
        call = self._mesh.channel().unary_unary(f"/{CALL}")(b"")
        await asyncio.sleep(self._rng.random() * 0.02)
        call.cancel()

    async def cancelled_stream(self) -> None:
        call = self._mesh.channel().unary_stream(f"/{STREAM}")(b"")
        await asyncio.sleep(self._rng.random() * 0.02)
        call.cancel()

    async def dropped_bulk(self) -> None:
        call = self._mesh.api().SubmitTasks()
        tasks = [api.SubmitTaskRequest(method=ECHO, payload=b"\x0a\x01x")] * 20
        await call.write(api.SubmitTasksRequest(tasks=tasks, deliver_results=True))
        await call.read()
        call.cancel()

    async def given_up_wait(self) -> None:
        ids = [await self._submit(STREAM) for _ in range(3)]
        call = self._mesh.api().WaitTasks(api.WaitTasksRequest(task_ids=ids), timeout=0.01)
        with contextlib.suppress(grpc.aio.AioRpcError):
            async for _ in call:
                pass
        for task_id in ids:
            await self._mesh.api().CancelTask(api.CancelTaskRequest(task_id=task_id), timeout=5)

    async def echo(self) -> None:
        await self._mesh.probe().Echo(Payload(data=bytes(self._rng.randrange(10_000))), timeout=5)


@soak
async def test_coming_and_going_leaves_nothing(mesh: MeshHarness) -> None:
    coordinator = await mesh.coordinator(
        reconnect_grace_s=0.5, forget_agents_s=2, cancel_grace_s=0.1, result_ttl_s=5, failure_ttl_s=5
    )
    seen = psutil.Process(coordinator.pid)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    async with (
        LightAgent(mesh.own_channel(), "echo", slots=16),
        LightAgent(mesh.own_channel(), "never", slots=16, methods=(CALL, STREAM), answer=never),
    ):
        await mesh.wait_serving()
        began_s = time.monotonic()
        churns = [Churn(mesh, seed + number) for number in range(AT_A_TIME)]
        running = [asyncio.create_task(churn.run(began_s + SOAK_S)) for churn in churns]
        await asyncio.sleep(WARM_UP_S)
        warm_mib, warm_done = seen.memory_info().rss / MIB, sum(churn.done for churn in churns)
        await asyncio.gather(*running)
        done = sum(churn.done for churn in churns)

        async def forgotten() -> bool:
            return set(await mesh.agent_states()) == {"echo", "never"}

        await mesh.eventually(forgotten, "agents that passed by are forgotten", timeout_s=30)
        used_mib = seen.memory_info().rss / MIB
        print(f"{done} things came and went; {warm_mib:.0f} MiB after {warm_done}, {used_mib:.0f} at the end")
        assert used_mib - warm_mib < GROWTH_MIB
        assert seen.num_fds() < 60
        assert seen.num_threads() < 40
        assert await mesh.probe().Echo(Payload(data=b"on"), timeout=5) == Payload(data=b"on")
    assert "Traceback" not in coordinator.output()
