"""Two pods, each an app with its sidecar, in the orders in which Kubernetes starts and ends containers: no call is lost that could be kept.

The pods are processes. Their calls come from stock clients, durable and direct ones, all the while.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import grpc.aio
import pytest

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import ProbeRequest
from tests.support.beside import DIRECT, DURABLE, StockApp, available, sidecar
from tests.support.mesh import MeshHarness
from tests.support.processes import Process, until

WAIT_S = 30.0
CALL_S = 0.15
CALLERS = 6


class Pod:
    """An app and its sidecar."""

    def __init__(self, mesh: MeshHarness, name: str) -> None:
        self._mesh = mesh
        self.name = name
        self.app = StockApp(mesh, name)
        self.side: Process | None = None

    async def start(self, *, app_first: bool = True, drains: bool = True) -> None:
        flags = ["--drains"] if drains else []
        if app_first:
            await self.app.start(*flags)
        self.side = await sidecar(self._mesh, self.app.address, agent_id=f"side-{self.name}", wait=app_first)
        if not app_first:
            side = self.side
            await until(lambda: "app.unreachable" in side.output(), "it has looked for its app in vain")
            await self.app.start(*flags)
            await available(self._mesh, f"side-{self.name}")

    @property
    def processes(self) -> tuple[Process, Process]:
        assert self.app.process is not None
        assert self.side is not None
        return self.app.process, self.side


@dataclasses.dataclass
class Outcome:
    """What callers saw, by the mode of their calls."""

    answered: Counter[str] = dataclasses.field(default_factory=Counter)
    failed: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    def lost(self, mode: str) -> list[str]:
        return [why for how, why in self.failed if how == mode]


@contextlib.asynccontextmanager
async def calling(mesh: MeshHarness) -> AsyncIterator[Outcome]:
    """Stock unary calls until the end of the block, some of them durable, some direct, through the coordinator."""
    outcome, done = Outcome(), asyncio.Event()

    async def caller(mode: tuple[str, str], number: int) -> None:
        made = 0
        stub = probe_pb2_grpc.ProbeServiceStub(mesh.channel())
        while not done.is_set():
            made += 1
            text = f"{mode[1]}-{number}-{made}"
            request = ProbeRequest(text=text, sleep_s=CALL_S, ledger=mesh.ledger().path)
            try:
                reply = await stub.Call(request, metadata=(mode,), timeout=WAIT_S)
            except grpc.aio.AioRpcError as error:
                outcome.failed.append((mode[1], f"{text}: {error.code().name} {error.details()}"))
            else:
                assert reply.text == text
                outcome.answered[mode[1]] += 1

    callers = [
        asyncio.create_task(caller(mode, number)) for mode in (DURABLE, DIRECT) for number in range(CALLERS)
    ]
    try:
        await asyncio.sleep(3 * CALL_S)
        yield outcome
        await asyncio.sleep(3 * CALL_S)
    finally:
        done.set()
        await asyncio.gather(*callers)


async def all_at_once(pod: Pod) -> None:
    """Containers beside each other: each gets SIGTERM at the same moment."""
    await asyncio.gather(*(process.terminate(timeout_s=30) for process in pod.processes))


async def app_first(pod: Pod) -> None:
    """A native sidecar: it gets SIGTERM when the app has ended."""
    for process in pod.processes:
        await process.terminate(timeout_s=30)


async def sidecar_first(pod: Pod) -> None:
    """An app with a preStop hook that waits for the sidecar's end."""
    for process in reversed(pod.processes):
        await process.terminate(timeout_s=30)


async def after_a_sleep(pod: Pod) -> None:
    """A preStop hook of the app that sleeps: the sidecar is told before, and the app a second later."""
    app, side = pod.processes
    told = asyncio.create_task(side.terminate(timeout_s=30))
    await asyncio.sleep(1)
    await app.terminate(timeout_s=30)
    await told


ENDS: list[Callable[[Pod], Awaitable[None]]] = [all_at_once, app_first, sidecar_first, after_a_sleep]


@pytest.mark.slow
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
async def test_no_call_is_lost_when_a_pod_ends_and_another_begins(
    mesh: MeshHarness, end: Callable[[Pod], Awaitable[None]]
) -> None:
    await mesh.coordinator()
    old, other, new = (Pod(mesh, name) for name in ("old", "other", "new"))
    await old.start()
    await other.start()
    async with calling(mesh) as outcome:
        await end(old)
        await new.start(app_first=False)
    assert not outcome.failed
    assert min(outcome.answered.values()) > CALLERS
    assert all("Traceback" not in process.output() for process in old.processes)
    runs = Counter(fact.text for fact in mesh.ledger().facts("end"))
    assert set(runs.values()) == {1}


@pytest.mark.slow
@pytest.mark.parametrize("drains", [True, False], ids=["SIGKILL", "SIGTERM to an app that dies of it"])
async def test_an_app_that_dies_costs_the_direct_calls_that_it_ran(mesh: MeshHarness, drains: bool) -> None:
    """No durable call, and no direct call that had not begun there."""
    await mesh.coordinator()
    old, other = Pod(mesh, "old"), Pod(mesh, "other")
    await old.start(drains=drains)
    await other.start()
    async with calling(mesh) as outcome:
        app, side = old.processes
        if drains:
            await app.kill()
        else:
            await asyncio.gather(*(process.terminate(timeout_s=30) for process in (app, side)))
    ledger = mesh.ledger()
    begun = {fact.text for fact in ledger.facts("start") if fact.agent_id == "old"}
    cut = begun - {fact.text for fact in ledger.facts("end")}
    assert not outcome.lost("durable")
    lost = outcome.lost("direct")
    assert {why.partition(":")[0] for why in lost} <= cut
    assert len(lost) <= CALLERS


@pytest.mark.slow
async def test_who_outlives_the_grace_is_killed_and_its_tasks_run_elsewhere(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    old, other = Pod(mesh, "old"), Pod(mesh, "other")
    await old.start()
    ledger = mesh.ledger()
    stub = probe_pb2_grpc.ProbeServiceStub(mesh.channel())
    request = ProbeRequest(text="long", sleep_s=4, ledger=ledger.path)
    call = asyncio.ensure_future(stub.Call(request, metadata=(DURABLE,), timeout=WAIT_S))
    await ledger.until("start", "long")
    await other.start()
    ends = asyncio.gather(
        *(process.terminate(timeout_s=30) for process in old.processes), return_exceptions=True
    )
    await asyncio.sleep(1)
    for process in old.processes:
        assert process.alive
        await process.kill()
    await ends
    assert (await call).agent_id == "other"
