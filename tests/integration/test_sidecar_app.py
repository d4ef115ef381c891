"""The app behind a sidecar comes, goes, is ill, is another one; the sidecar stays, and takes no work that cannot be done."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from probe.v1.probe_pb2 import ProbeRequest
from tests.support import tasks
from tests.support.beside import StockApp, available, direct_address, probe_at, sidecar
from tests.support.command import weft
from tests.support.mesh import PROBE_SERVICE, MeshHarness
from tests.support.processes import until
from tests.support.watching import Seen, Watching
from weft.rpc.contracts.descriptors import file_descriptor_set
from weft.v1 import fleet_pb2, task_pb2

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """Follows the probe service's health at an address, with the times of what it said."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.said: list[tuple[float, int]] = []
        self._following = asyncio.create_task(self._follow(channel))

    async def until(self, status: int, since: int = 0) -> float:
        """When it said this, after the first `since` that it said."""

        def when() -> float | None:
            return next((at_s for at_s, said in self.said[since:] if said == status), None)

        await until(lambda: when() is not None, f"its health is {status}; said: {self.said}")
        found = when()
        assert found is not None
        return found

    async def close(self) -> None:
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)

    async def _follow(self, channel: grpc.aio.Channel) -> None:
        call = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=PROBE_SERVICE))
        async for answer in call:
            self.said.append((time.monotonic(), answer.status))


async def test_a_killed_app_is_missed_at_once_and_back_at_once(mesh: MeshHarness) -> None:
    """By everybody who can know: the coordinator's health, the agent's own, and discovery."""
    await mesh.coordinator()
    app = StockApp(mesh)
    await app.start()
    side = await sidecar(mesh, app.address)
    assert (await mesh.probe().Call(ProbeRequest(text="before"), timeout=20)).agent_id == "app"

    def taken(agents: Seen) -> bool:
        return "side" in agents and not any(method.unavailable for method in agents["side"].methods)

    def not_taken(agents: Seen) -> bool:
        return "side" not in agents or all(method.unavailable for method in agents["side"].methods)

    direct = grpc.aio.insecure_channel(await direct_address(mesh, "side"))
    async with direct, Watching(mesh.own_channel()) as watching:
        healths = [Health(mesh.own_channel()), Health(direct)]
        for health in healths:
            await health.until(SERVING)
        since, saids = len(watching.updates), [len(health.said) for health in healths]

        killed_s = time.monotonic()
        await app.kill()
        missed_s = [
            await health.until(NOT_SERVING, said) for health, said in zip(healths, saids, strict=True)
        ]
        missed_s.append(await watching.until(not_taken, "its methods take no calls", since=since))
        print("missed after", [round(at_s - killed_s, 3) for at_s in missed_s])
        assert max(missed_s) - killed_s < 1.0
        # Nothing is taken that cannot be done: the task waits.
        waiting = await tasks.submit(mesh, ProbeRequest(text="meanwhile"))

        since, saids = len(watching.updates), [len(health.said) for health in healths]
        await app.start()
        back_s = time.monotonic()
        seen_s = [await health.until(SERVING, said) for health, said in zip(healths, saids, strict=True)]
        seen_s.append(await watching.until(taken, "it is back", since=since))
        print("back after", [round(at_s - back_s, 3) for at_s in seen_s])
        assert max(seen_s) - back_s < 2.0
        for health in healths:
            await health.close()
    task = await tasks.end(mesh, waiting)
    assert (tasks.reply(task).text, task.crashes) == ("meanwhile", 0), tasks.describe(task)
    assert side.alive
    agent = await tasks.agent(mesh, "side")
    assert agent.state == fleet_pb2.AGENT_STATE_ACTIVE


@pytest.mark.slow
async def test_attempts_that_an_app_took_with_it_run_elsewhere(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    dying, other = StockApp(mesh, "dying"), StockApp(mesh, "other")
    for app in (dying, other):
        await app.start()
        await sidecar(mesh, app.address, agent_id=f"beside-{app.name}")
    ledger = mesh.ledger()
    requests = [ProbeRequest(text=str(n), sleep_s=3, ledger=ledger.path) for n in range(8)]
    ids = await tasks.submit_all(mesh, requests)
    begun = await ledger.until("start", count=8)
    await dying.kill()
    taken = {fact.text for fact in begun if fact.agent_id == "dying"}
    assert taken
    ended = await tasks.ended(mesh, ids)
    for task in (ended[task_id] for task_id in ids):
        reply = tasks.reply(task)
        assert reply.agent_id == "other"
        lost = reply.text in taken
        assert (task.attempt, task.crashes) == ((2, 1) if lost else (1, 0)), tasks.describe(task)


async def test_a_method_that_kills_its_app_is_given_up(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    app = StockApp(mesh)
    await app.start()
    await sidecar(mesh, app.address)
    task_id = await tasks.submit(mesh, ProbeRequest(text="poison", crash_attempts=100))
    for _ in range(4):
        assert app.process is not None
        await app.process.wait()
        await app.start()
    task = await tasks.end(mesh, task_id)
    assert tasks.reason(task) == "CRASH_LOOP", tasks.describe(task)
    assert (await mesh.probe().Call(ProbeRequest(text="well"), timeout=20)).text == "well"


async def test_an_app_that_says_it_does_not_serve_gets_no_calls(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    app = StockApp(mesh)
    await app.start("--health")
    await sidecar(mesh, app.address)
    channel, here = probe_at(app.address)
    with channel:
        await asyncio.to_thread(here.Call, ProbeRequest(text=f"health {PROBE_SERVICE} NOT_SERVING"))
        assert await available(mesh, "side", wanted=False) < 1.0
        waiting = await tasks.submit(mesh, ProbeRequest(text="later"))
        await asyncio.to_thread(here.Call, ProbeRequest(text=f"health {PROBE_SERVICE} SERVING"))
        assert tasks.reply(await tasks.end(mesh, waiting)).text == "later"


async def test_what_waits_for_a_slot_is_handed_back_when_the_app_goes(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    app = StockApp(mesh)
    await app.start("--health")
    await sidecar(mesh, app.address, "--prefetch", "4", slots=1)
    ledger = mesh.ledger()
    first = await tasks.submit(mesh, ProbeRequest(text="runs", sleep_s=1.5, ledger=ledger.path))
    await ledger.until("start", "runs")
    waiting = [await tasks.submit(mesh, ProbeRequest(text="waits")) for _ in range(3)]
    channel, here = probe_at(app.address)
    with channel:
        await asyncio.to_thread(here.Call, ProbeRequest(text=f"health {PROBE_SERVICE} NOT_SERVING"))
        await available(mesh, "side", wanted=False)
        # What runs may end: the app is there.
        assert (await tasks.end(mesh, first)).attempt == 1
        for task_id in waiting:
            task = await tasks.look(mesh, task_id)
            assert task.state == task_pb2.TASK_STATE_QUEUED, tasks.describe(task)
        await asyncio.to_thread(here.Call, ProbeRequest(text=f"health {PROBE_SERVICE} SERVING"))
    for task in (await tasks.ended(mesh, waiting)).values():
        assert task.crashes == 0, tasks.describe(task)


async def test_an_app_that_comes_back_with_more_services_offers_them(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    app = StockApp(mesh)
    await app.start()
    side = await sidecar(mesh, app.address)
    before = await tasks.agent(mesh, "side")
    ledger = mesh.ledger()
    await app.kill()
    await app.start("--corpus")
    await mesh.wait_serving("corpus.v1.CorpusService")
    await available(mesh, "side")
    after = await tasks.agent(mesh, "side")
    assert after.instance_id == before.instance_id
    assert len(after.methods) > len(before.methods)
    assert (
        await mesh.probe().Call(ProbeRequest(text="still", ledger=ledger.path), timeout=20)
    ).text == "still"
    assert side.alive


async def test_a_sidecar_waits_for_its_app(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    app = StockApp(mesh)
    side = await sidecar(mesh, app.address, wait=False)
    await until(lambda: "app.unreachable" in side.output(), "it says that it waits")
    await app.start()
    await mesh.wait_serving()
    assert (await mesh.probe().Call(ProbeRequest(text="x"), timeout=20)).text == "x"


async def test_a_sidecar_that_waits_for_its_app_ends_when_told(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    side = await sidecar(mesh, StockApp(mesh).address, wait=False)
    await until(lambda: "app.unreachable" in side.output(), "it says that it waits")
    assert await side.terminate(timeout_s=5) == 0
    assert "Traceback" not in side.output()


async def test_a_sidecar_drains(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    app = StockApp(mesh)
    await app.start()
    side = await sidecar(mesh, app.address)
    ledger = mesh.ledger()
    task_id = await tasks.submit(mesh, ProbeRequest(text="t", sleep_s=1, ledger=ledger.path))
    await ledger.until("start", "t")
    assert await side.terminate() == 0
    task = await tasks.look(mesh, task_id)
    assert (tasks.reply(task).text, task.attempt) == ("t", 1)
    assert "Traceback" not in side.output()


async def test_an_app_on_a_unix_socket(mesh: MeshHarness, tmp_path: Path) -> None:
    await mesh.coordinator()
    app = StockApp(mesh, address=f"unix:{tmp_path}/app.sock")
    await app.start()
    await sidecar(mesh, app.address)
    assert (await mesh.probe().Call(ProbeRequest(text="x"), timeout=20)).text == "x"
    await app.kill()
    assert await available(mesh, "side", wanted=False) < 1.0
    await app.start()
    assert await available(mesh, "side") < 2.0


# -- without reflection, and with bad answers --------------------------------------------------------------------


async def said_at_the_end(mesh: MeshHarness, *flags: str) -> str:
    """What a sidecar that ends by itself has said; its status is 1."""
    found = await weft("agent", "--target", mesh.target, "--egress", "off", *flags)
    assert found.status == 1, found
    return found.err.strip().splitlines()[-1]


async def test_an_app_without_reflection_is_told_what_to_do(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    app = StockApp(mesh)
    await app.start("--reflection", "no")
    said = await said_at_the_end(mesh, "--app", app.address)
    assert "no server reflection" in said
    assert "--descriptors" in said


async def test_an_app_without_reflection_is_hosted_by_its_descriptors(
    mesh: MeshHarness, tmp_path: Path
) -> None:
    from probe.v1 import probe_pb2

    await mesh.coordinator()
    app = StockApp(mesh)
    await app.start("--reflection", "no")
    path = tmp_path / "app.binpb"
    path.write_bytes(file_descriptor_set([probe_pb2.DESCRIPTOR]))
    await sidecar(mesh, app.address, "--descriptors", str(path))
    assert (await mesh.probe().Call(ProbeRequest(text="x"), timeout=20)).text == "x"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read"),
        (b"\xff\xff no descriptors", "not a FileDescriptorSet"),
        (b"", "no service"),
    ],
)
async def test_descriptors_that_are_none(
    mesh: MeshHarness, tmp_path: Path, content: bytes | None, says: str
) -> None:
    await mesh.coordinator()
    path = tmp_path / "app.binpb"
    if content is not None:
        path.write_bytes(content)
    assert says in await said_at_the_end(mesh, "--app", "127.0.0.1:1", "--descriptors", str(path))


async def test_an_app_whose_reflection_answers_garbage(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    app = StockApp(mesh)
    await app.start("--reflection", "garbage")
    said = await said_at_the_end(mesh, "--app", app.address)
    assert "reflection answers with" in said
    assert "--descriptors" in said


async def test_a_server_that_offers_nothing(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    app = StockApp(mesh)
    await app.start("--reflection", "empty")
    assert "no service" in await said_at_the_end(mesh, "--app", app.address)


async def test_an_app_that_is_no_grpc_server_is_waited_for(mesh: MeshHarness) -> None:
    await mesh.coordinator()

    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 100)
        writer.close()

    server = await asyncio.start_server(shout, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server:
        side = await sidecar(mesh, f"{host}:{port}", wait=False)
        await until(lambda: "app.unreachable" in side.output(), "it says that it waits")
        assert side.alive
        assert await side.terminate(timeout_s=5) == 0


async def test_an_incompatible_app_ends_with_the_coordinators_words(
    mesh: MeshHarness, tmp_path: Path
) -> None:
    from google.protobuf import descriptor_pb2

    await mesh.coordinator()
    await mesh.agent("a1", program=tasks.PLAIN)
    file = descriptor_pb2.FileDescriptorProto(
        name="probe/v1/probe.proto", package="probe.v1", syntax="proto3"
    )
    file.message_type.add(name="Payload").field.add(name="data", number=1, label=1, type=5)
    file.service.add(name="ProbeService").method.add(
        name="Echo", input_type=".probe.v1.Payload", output_type=".probe.v1.Payload"
    )
    path = tmp_path / "other.binpb"
    path.write_bytes(descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString())
    app = StockApp(mesh)
    await app.start()
    began_at = time.monotonic()
    said = await weft(
        "agent", "--target", mesh.target, "--egress", "off", "--app", app.address, "--descriptors", str(path)
    )
    assert said.status == 1
    assert "CONTRACT_INCOMPATIBLE" in said.err
    assert "data" in said.err
    assert time.monotonic() - began_at < 20
    assert (await mesh.probe().Call(ProbeRequest(text="still"), timeout=10)).text == "still"


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1", "127.0.0.1:1,127.0.0.1:2", "127.0.0.1:99999"])
async def test_an_address_that_is_none(mesh: MeshHarness, address: str) -> None:
    found = await weft("agent", "--app", address)
    assert found.status == 2
    assert "sidecar setting app" in found.err
