"""Kill -9 of a sidecar, and of its coordinator: the app stays, and no call of it is lost."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import grpc
import grpc.aio
import pytest

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import Payload, ProbeRequest
from tests.support import tasks
from tests.support.beside import StockApp, available, free_address, sidecar
from tests.support.mesh import MeshHarness
from tests.support.watching import Seen, Watching
from weft.v1 import fleet_pb2

WAIT_S = 20.0


async def test_a_killed_sidecar_comes_back_to_its_app(mesh: MeshHarness, tmp_path: Path) -> None:
    """What the app ran for it runs again; the socket that it left is taken over."""
    await mesh.coordinator()
    egress = f"unix:{tmp_path}/run/mesh.sock"
    app = StockApp(mesh)
    await app.start()
    process = app.process
    side = await sidecar(mesh, app.address, egress=egress)
    ledger = mesh.ledger()
    task_id = await tasks.submit(mesh, ProbeRequest(text="cut", sleep_s=2, ledger=ledger.path))
    await ledger.until("start", "cut")

    await side.kill()
    # The app is told that nobody waits any more.
    await ledger.until("cancelled", "cut", timeout_s=2)
    killed_s = time.monotonic()
    await sidecar(mesh, app.address, egress=egress)
    print("serves again after", round(time.monotonic() - killed_s, 3))
    task = await tasks.end(mesh, task_id)
    assert (tasks.reply(task).text, task.attempt, task.crashes) == ("cut", 2, 1), tasks.describe(task)
    assert process is not None
    assert process.alive
    async with grpc.aio.insecure_channel(egress) as channel:
        stub = probe_pb2_grpc.ProbeServiceStub(channel)
        answer = await stub.Echo(Payload(data=b"x"), timeout=WAIT_S, wait_for_ready=True)
        assert answer.data == b"x"


async def test_the_coordinator_is_killed_under_a_sidecar(mesh: MeshHarness) -> None:
    """What the app runs goes on and counts; its own direct calls do not notice; its durable ones resume."""
    await mesh.coordinator()
    egress = free_address()
    app = StockApp(mesh)
    await app.start()
    await sidecar(mesh, app.address, egress=egress)
    ledger = mesh.ledger()
    async with grpc.aio.insecure_channel(egress) as channel:
        stub = probe_pb2_grpc.ProbeServiceStub(channel)
        await stub.Echo(Payload(), timeout=WAIT_S, wait_for_ready=True)
        durable = (("weft-mode", "durable"), ("weft-request-id", "once"))
        own_request = ProbeRequest(text="own", sleep_s=2, ledger=ledger.path)
        own = stub.Call(own_request, metadata=durable)
        await ledger.until("start", "own")
        # Its acknowledgement says that what came before is stored, too.
        task_id = await tasks.submit(mesh, ProbeRequest(text="long", sleep_s=2, ledger=ledger.path))
        await ledger.until("start", count=2)

        away = asyncio.Event()

        async def direct_calls() -> int:
            """Calls of the app while the coordinator is away, and after."""
            made = 0
            while not away.is_set() or not made:
                await stub.Echo(Payload(), timeout=WAIT_S)
                made += 1
            return made

        assert mesh.coordinator_process is not None
        await mesh.coordinator_process.kill()
        calling = asyncio.create_task(direct_calls())
        # What it waited at is gone; the task is not, and the same request id finds it.
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await own
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await mesh.restart_coordinator()
        await mesh.wait_agent("side")
        away.set()
        assert await calling > 0

        task = await tasks.end(mesh, task_id)
        assert (tasks.reply(task).text, task.attempt, task.crashes) == ("long", 1, 0), tasks.describe(task)
        replies = []

        async def resumed() -> bool:
            # The egress may wait a moment before it dials again.
            replies.append(await stub.Call(own_request, metadata=durable))
            return True

        await mesh.eventually(resumed, "its durable calls find the coordinator again", timeout_s=5)
        assert [(reply.text, reply.attempt) for reply in replies] == [("own", 1)]
        assert len(ledger.facts("start")) == 2

        # Discovery goes on: who comes now is found.
        await mesh.agent("new", program=tasks.PLAIN)

        answered: set[str] = set()
        ends_at = time.monotonic() + WAIT_S
        while "new" not in answered:
            # Some at a time, fewer than one has slots: of agents that have nothing to do, a new one is not the first
            # to be asked.
            calls = [stub.Call(ProbeRequest(sleep_s=0.1), timeout=WAIT_S) for _ in range(6)]
            answered |= {reply.agent_id for reply in await asyncio.gather(*calls)}
            assert time.monotonic() < ends_at, f"only {answered} are called\n{mesh.logs()}"


async def test_a_coordinator_that_comes_back_while_the_app_is_away(mesh: MeshHarness) -> None:
    """Not for a moment does anybody believe that the app takes calls."""
    await mesh.coordinator()
    app = StockApp(mesh)
    await app.start()
    await sidecar(mesh, app.address)
    await app.kill()
    await available(mesh, "side", wanted=False)
    async with Watching(mesh.own_channel()) as watching:
        since = len(watching.updates)
        await mesh.restart_coordinator()
        await watching.until(
            lambda agents: "side" in agents and agents["side"].epoch > watching.updates[0][1]["side"].epoch,
            "its new session",
            since=since,
        )
        started_s = time.monotonic()
        await app.start()
        await available(mesh, "side")
        first_s = await watching.until(takes_calls, "it takes calls")
        assert first_s > started_s


def takes_calls(agents: Seen) -> bool:
    """Whether the sidecar's agent takes calls, as a watcher sees it."""
    side = agents.get("side")
    return (
        side is not None
        and side.state == fleet_pb2.AGENT_STATE_ACTIVE
        and not all(method.unavailable for method in side.methods)
    )


@pytest.mark.slow
async def test_sidecar_and_app_are_killed_together(mesh: MeshHarness) -> None:
    """As when their machine goes: others have the work, and they are back when they are back."""
    await mesh.coordinator()
    app, other = StockApp(mesh, "gone"), StockApp(mesh, "other")
    await app.start()
    await other.start()
    side = await sidecar(mesh, app.address, agent_id="gone")
    ledger = mesh.ledger()
    task_id = await tasks.submit(mesh, ProbeRequest(text="moved", sleep_s=1, ledger=ledger.path))
    await ledger.until("start", "moved")
    await asyncio.gather(side.kill(), app.kill())
    await sidecar(mesh, other.address, agent_id="other")
    task = await tasks.end(mesh, task_id)
    assert (tasks.reply(task).agent_id, task.attempt, task.crashes) == ("other", 2, 1), tasks.describe(task)
    await mesh.wait_agent("gone", fleet_pb2.AGENT_STATE_LOST)
    await app.start()
    await sidecar(mesh, app.address, agent_id="gone")
