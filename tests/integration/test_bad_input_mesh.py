"""Bad input to the mesh: servers that are no apps, callers that vanish, too much metadata, addresses without an agent.

Each gets a clear answer, and the next request is served. What only one part is about is tested with that part: see
`test_sidecar_app` (no reflection, descriptors, contracts), `test_reachability`, `test_direct_server_service` (ports).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2 as pb

from probe.v1 import probe_pb2, probe_pb2_grpc
from probe.v1.probe_pb2 import Payload, ProbeRequest
from tests.support import tasks
from tests.support.beside import StockApp, available, direct_address, free_address, sidecar
from tests.support.command import weft
from tests.support.mesh import PROBE_SERVICE, MeshHarness
from tests.support.processes import Process, until
from weft.rpc.errors import from_call
from weft.rpc.network.channel import MAX_METADATA_BYTES
from weft.v1 import coordinator_pb2

REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
HEALTH = "/grpc.health.v1.Health/Watch"
ECHO = f"/{PROBE_SERVICE}/Echo"
RUBBISH = b"\xff\xff\xff rubbish"
# gRPC's own hard limit is 16 KiB.
TOO_MUCH = "x" * MAX_METADATA_BYTES
WAIT_S = 20.0

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Door:
    """A way into the mesh: where to dial, and what a call says there."""

    address: str
    metadata: Metadata = ()


class MeshOfAll:
    """A coordinator, a Python agent "a1", and a stock app behind the sidecar "side", which has an egress."""

    def __init__(self, harness: MeshHarness) -> None:
        self.harness = harness
        self.doors: dict[str, Door] = {}

    async def start(self) -> None:
        harness, egress = self.harness, free_address()
        await harness.coordinator()
        await harness.agent("a1", program=tasks.PLAIN, slots=8)
        app = StockApp(harness)
        await app.start()
        await sidecar(harness, app.address, egress=egress)
        coordinator = harness.target
        self.doors = {
            "durable": Door(coordinator),
            "direct": Door(coordinator, (("weft-mode", "direct"),)),
            "agent": Door(await direct_address(harness, "a1")),
            "ingress": Door(await direct_address(harness, "side")),
            "egress": Door(egress),
        }

    @contextlib.asynccontextmanager
    async def stub(self, door: str) -> AsyncIterator[tuple[probe_pb2_grpc.ProbeServiceStub, Metadata]]:
        """A stock client at a door, and the metadata of its calls."""
        async with grpc.aio.insecure_channel(self.doors[door].address) as channel:
            yield probe_pb2_grpc.ProbeServiceStub(channel), self.doors[door].metadata

    async def serves(self, door: str) -> None:
        """A new caller is answered there."""
        async with self.stub(door) as (stub, metadata):
            answer = await stub.Echo(Payload(data=b"x"), timeout=WAIT_S, metadata=metadata)
            assert answer.data == b"x"

    async def idle(self) -> None:
        """Until no agent has a slot in use."""

        async def seen() -> bool:
            answer = await self.harness.api().ListAgents(coordinator_pb2.ListAgentsRequest(), timeout=5)
            return not any(agent.used_slots for agent in answer.agents)

        await self.harness.eventually(seen, "every slot is free")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def _all(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshOfAll]:
    async with MeshHarness(tmp_path_factory.mktemp("all")) as harness:
        made = MeshOfAll(harness)
        await made.start()
        await harness.close_channels()
        yield made


@pytest.fixture
async def all_doors(_all: MeshOfAll) -> AsyncIterator[MeshOfAll]:
    """The mesh, shared by the tests here."""
    yield _all
    await _all.harness.close_channels()


each_door = pytest.mark.parametrize("door", ["durable", "direct", "agent", "ingress", "egress"])


# -- callers ------------------------------------------------------------------------------------------------------


@each_door
async def test_metadata_over_the_limit(all_doors: MeshOfAll, door: str) -> None:
    """Asked and answered with too much of it: refused by gRPC itself, and the same connection goes on."""
    async with all_doors.stub(door) as (stub, metadata):
        for request, more in (
            (ProbeRequest(text="x"), (("x-large", TOO_MUCH),)),
            # It comes back as a trailer.
            (ProbeRequest(text=TOO_MUCH), ()),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Call(request, timeout=WAIT_S, metadata=(*metadata, *more))
            error = caught.value
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, error
            assert "metadata" in (error.details() or ""), error
            reply = await stub.Call(ProbeRequest(text="next"), timeout=WAIT_S, metadata=metadata)
            assert reply.text == "next"


@pytest.mark.parametrize("door", ["direct", "egress"])
async def test_options_of_tasks_on_a_direct_call(all_doors: MeshOfAll, door: str) -> None:
    """Nothing would heed them: whoever sends them is told, in the same words at both doors."""
    async with all_doors.stub(door) as (stub, metadata):
        given = (*metadata, ("weft-priority", "9"))
        for call in (
            stub.Call(ProbeRequest(), timeout=WAIT_S, metadata=given),
            stub.Collect(iter([ProbeRequest()]), timeout=WAIT_S, metadata=given),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            error = from_call(caught.value)
            assert error.code is grpc.StatusCode.INVALID_ARGUMENT
            assert error.message.startswith("weft-priority is for durable calls")
        assert (await stub.Call(ProbeRequest(text="next"), timeout=WAIT_S, metadata=metadata)).text == "next"


VANISHING = """
import sys, threading
import grpc
from probe.v1 import probe_pb2, probe_pb2_grpc

address, ledger, *words = sys.argv[1:]
metadata = [tuple(word.split("=")) for word in words]
stub = probe_pb2_grpc.ProbeServiceStub(grpc.insecure_channel(address))
asked = {"text": "left", "ledger": ledger}
slow = probe_pb2.ProbeRequest(sleep_s=60, **asked)
calls = [stub.Call.future(slow, metadata=metadata) for _ in range(2)]
calls.append(stub.Stream(probe_pb2.ProbeRequest(sleep_s=0.05, stream_count=1000, **asked), metadata=metadata))
threading.Event().wait()
"""


@each_door
async def test_callers_that_half_close_and_vanish(all_doors: MeshOfAll, door: str) -> None:
    """What runs for them is cancelled, and its slots are free again."""
    ledger = all_doors.harness.ledger(f"vanish-{door}")
    at = all_doors.doors[door]
    words = [f"{key}={value}" for key, value in at.metadata]
    client = Process(
        "client",
        [sys.executable, "-c", VANISHING, at.address, ledger.path, *words],
        log=all_doors.harness.folder / f"client-{door}.log",
    )
    try:
        await ledger.until("start", "left", count=3)
        await client.kill()
        await ledger.until("cancelled", "left", count=3, timeout_s=5)
    finally:
        client.cleanup()
    await all_doors.serves(door)
    await all_doors.idle()


@pytest.mark.parametrize("door", ["agent", "ingress", "egress"])
async def test_callers_that_speak_no_grpc(all_doors: MeshOfAll, door: str) -> None:
    """As `test_bad_input_wire` has it for a coordinator."""
    host, _, port = all_doors.doors[door].address.rpartition(":")
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for content in (
        RUBBISH,
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        preface,
        preface + b"\x00" * 9,
        preface[:7],
    ):
        with socket.create_connection((host, int(port)), timeout=WAIT_S) as caller:
            caller.sendall(content)
            caller.shutdown(socket.SHUT_WR)
        await all_doors.serves(door)


# -- apps ---------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def app_that_answers(
    answers: Mapping[str, Callable[[bytes], bytes]], address: str = "127.0.0.1:0"
) -> AsyncIterator[str]:
    """A gRPC server here that has these methods, and answers each message with what a function makes of it."""

    class Answering(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
            answer = answers.get(handler_call_details.method)

            async def respond(requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
                assert answer is not None
                async for request in requests:
                    yield answer(request)

            return None if answer is None else grpc.stream_stream_rpc_method_handler(respond)

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((Answering(),))
    port = server.add_insecure_port(address)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def reflecting(service: str, *files: FileDescriptorProto) -> Callable[[bytes], bytes]:
    """Reflection that lists one service, and answers every other question with these files."""

    def answer(request: bytes) -> bytes:
        made = pb.ServerReflectionResponse()
        if pb.ServerReflectionRequest.FromString(request).HasField("list_services"):
            made.list_services_response.service.add(name=service)
        else:
            serialized = [file.SerializeToString() for file in files]
            made.file_descriptor_response.file_descriptor_proto.extend(serialized)
        return made.SerializeToString()

    return answer


def refusing(request: bytes) -> bytes:
    """Reflection that lists a service and does not know it."""
    made = pb.ServerReflectionResponse()
    if pb.ServerReflectionRequest.FromString(request).HasField("list_services"):
        made.list_services_response.service.add(name=PROBE_SERVICE)
    else:
        made.error_response.error_code = 5
        made.error_response.error_message = "what service?"
    return made.SerializeToString()


def probe_file() -> FileDescriptorProto:
    return FileDescriptorProto.FromString(probe_pb2.DESCRIPTOR.serialized_pb)


def importing() -> FileDescriptorProto:
    file = probe_file()
    file.dependency.append("nowhere.proto")
    return file


@pytest.mark.parametrize(
    ("reflection", "says"),
    [
        (lambda _: RUBBISH, "no answer of reflection"),
        (refusing, "what service?"),
        (reflecting("ghost.v1.Ghost", probe_file()), "ghost.v1.Ghost"),
        (reflecting(PROBE_SERVICE), PROBE_SERVICE),
        (reflecting(PROBE_SERVICE, importing()), "nowhere.proto"),
    ],
    ids=["rubbish", "an error", "another file", "no file", "an import that is nowhere"],
)
async def test_an_app_whose_reflection_is_wrong(reflection: Callable[[bytes], bytes], says: str) -> None:
    async with app_that_answers({REFLECTION: reflection}) as address:
        found = await weft("agent", "--app", address, "--egress", "off", "--target", "127.0.0.1:1")
    assert found.status == 1
    assert says in found.err
    assert "--descriptors FILE" in found.err


async def test_an_app_whose_health_is_rubbish(all_doors: MeshOfAll) -> None:
    """It counts as an app without health, and serves."""
    answers = {
        REFLECTION: reflecting(PROBE_SERVICE, probe_file()),
        HEALTH: lambda _: RUBBISH,
        ECHO: lambda _: Payload(data=b"odd").SerializeToString(),
    }
    mesh = all_doors.harness
    async with app_that_answers(answers) as address:
        side = await sidecar(mesh, address, agent_id="odd")
        await until(lambda: "app.health_invalid" in side.output(), "it says so")
        async with grpc.aio.insecure_channel(await direct_address(mesh, "odd")) as channel:
            stub = probe_pb2_grpc.ProbeServiceStub(channel)
            assert (await stub.Echo(Payload(), timeout=WAIT_S)).data == b"odd"
            # What it does not have after all is its own answer.
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Call(ProbeRequest(), timeout=WAIT_S)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
            assert (await stub.Echo(Payload(), timeout=WAIT_S)).data == b"odd"
        assert await side.terminate() == 0
        assert "Traceback" not in side.output()


@contextlib.contextmanager
def deaf() -> Iterator[str]:
    """Takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@contextlib.asynccontextmanager
async def http1() -> AsyncIterator[str]:
    """A web server."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 505 no\r\ncontent-length: 2\r\n\r\nno")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}"


async def test_what_is_no_app_is_waited_for(all_doors: MeshOfAll) -> None:
    """A web server, and one that says nothing, at the app's address: said, and served once the app is there."""
    mesh = all_doors.harness
    async with http1() as web:
        with deaf() as silent:
            sides = [
                await sidecar(mesh, address, agent_id=f"none{number}", wait=False)
                for number, address in enumerate((web, silent))
            ]
            for side in sides:
                await until(
                    lambda side=side: "app.unreachable" in side.output(),  # type: ignore[misc]
                    "it says that it waits",
                )
                assert side.alive
    assert await sides[0].terminate(timeout_s=5) == 0
    app = StockApp(mesh, "late", address=silent)
    await app.start()
    await mesh.wait_agent("none1")
    await available(mesh, "none1")
    assert await sides[1].terminate() == 0
    await app.kill()


async def test_an_app_that_comes_back_incompatible(all_doors: MeshOfAll) -> None:
    """Its sidecar ends with the coordinator's words, and who else has those methods serves on."""
    mesh = all_doors.harness
    app = StockApp(mesh, "turning")
    await app.start()
    side = await sidecar(mesh, app.address, agent_id="turning")
    await app.kill()
    file = probe_file()
    (payload,) = (message for message in file.message_type if message.name == "Payload")
    payload.field[0].type = payload.field[0].TYPE_INT32
    async with app_that_answers({REFLECTION: reflecting(PROBE_SERVICE, file)}, app.address):
        assert await side.wait() == 1
    assert "CONTRACT_INCOMPATIBLE" in side.output()
    assert "field Payload.data" in side.output()
    assert "Traceback" not in side.output()
    await all_doors.serves("durable")


# -- addresses ----------------------------------------------------------------------------------------------------


async def test_agents_that_cannot_be_reached_cost_no_call(all_doors: MeshOfAll) -> None:
    """Their addresses lead nowhere, to another agent, and to a server that is none: each says so, and gets no calls."""
    mesh = all_doors.harness
    app = StockApp(mesh, "stock")
    await app.start()
    addresses = {
        "nowhere": (free_address(), "cannot connect to"),
        "astray": (all_doors.doors["agent"].address, "agent 'a1' answers"),
        "plain": (app.address, "is not a weft agent"),
    }

    async def call() -> set[str]:
        """Calls all the while: by which door is the same."""
        answered = set()
        async with all_doors.stub("egress") as (stub, _):
            while not joined.is_set() or len(answered) < 2:
                answered.add((await stub.Call(ProbeRequest(), timeout=WAIT_S)).agent_id)
        return answered

    joined = asyncio.Event()
    calling = asyncio.create_task(call())
    try:
        for name, (address, says) in addresses.items():
            env = {"WEFT_AGENT_ADVERTISED_ADDRESS": address}
            process = await mesh.agent(name, program=tasks.PLAIN, env=env)
            await until(lambda process=process, says=says: says in process.output(), says)  # type: ignore[misc]
    finally:
        joined.set()
    assert not await calling & addresses.keys()
    listed = await weft("agents", "list", "--target", mesh.target)
    for name, (_, says) in addresses.items():
        assert any(line.startswith(f"{name}: ") and says in line for line in listed.err.splitlines()), listed
        await mesh.agents[name].kill()
    await app.kill()


async def test_a_descriptors_file_of_another_app(all_doors: MeshOfAll, tmp_path: Path) -> None:
    """What the app does not have is its own UNIMPLEMENTED, and what it has is served."""
    from corpus.v1 import corpus_pb2
    from weft.rpc.contracts.descriptors import file_descriptor_set

    mesh = all_doors.harness
    path = tmp_path / "both.binpb"
    path.write_bytes(file_descriptor_set([corpus_pb2.DESCRIPTOR, probe_pb2.DESCRIPTOR]))
    app = StockApp(mesh, "half")
    await app.start("--reflection", "no")
    side = await sidecar(mesh, app.address, "--descriptors", str(path), agent_id="half")
    (service,) = corpus_pb2.DESCRIPTOR.services_by_name.values()
    (method, *_) = (each for each in service.methods if not each.client_streaming)
    async with grpc.aio.insecure_channel(await direct_address(mesh, "half")) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(f"/{service.full_name}/{method.name}")(b"", timeout=WAIT_S)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        stub = probe_pb2_grpc.ProbeServiceStub(channel)
        assert (await stub.Echo(Payload(data=b"x"), timeout=WAIT_S)).data == b"x"
    assert await side.terminate() == 0
    await app.kill()
