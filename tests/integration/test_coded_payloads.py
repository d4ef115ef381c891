"""Coded payloads through a mesh: each way of a call, both stores; and the clear text is nowhere but at the two ends."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from probe.v1 import probe_pb2, probe_pb2_grpc
from tests.support.beside import StockApp, sidecar
from tests.support.command import weft
from tests.support.mesh import PROBE_SERVICE, MeshHarness
from tests.support.redis_server import RedisServer
from weft.client import Every, Mesh, Method, TaskState, Then, connect, methods
from weft.client.sync import connect as connect_sync
from weft.rpc import errors
from weft.rpc.payloads import key_file
from weft.rpc.payloads.envelope import is_coded
from weft.rpc.payloads.payload_coder import REQUEST, RESPONSE, PayloadCoder
from weft.rpc.payloads.payload_options import Payloads
from weft.v1 import agent_pb2, agent_pb2_grpc, coordinator_pb2, errors_pb2

T = 20.0
SECRET = "Hunter2-the-clear-text"
# Larger than a message may be, and not to be compressed into one.
STORED_FROM = 64 * 1024
CALLS = ("Call", "CallSync", "CallIsolated")
Reply = probe_pb2.ProbeReply
probe: Any = methods(probe_pb2_grpc.ProbeServiceStub)


def Request(**fields: Any) -> probe_pb2.ProbeRequest:
    """A request whose text does not come back as metadata, which is not coded."""
    return probe_pb2.ProbeRequest(no_trailers=True, **fields)


class CodedMesh:
    """A mesh whose agent has keys, and the settings of its clients."""

    def __init__(self, harness: MeshHarness) -> None:
        self.harness = harness
        self.keys = harness.folder / "keys"
        self.keys.write_text(f"{key_file.new_line('k1')}\n")
        self.keys.chmod(0o600)
        self.store = harness.folder / "payloads"
        self.payloads = Payloads(
            keys_file=self.keys, compression="zstd", store=str(self.store), store_from_bytes=STORED_FROM
        )
        self.env = {
            "WEFT_PAYLOAD_KEYS_FILE": str(self.keys),
            "WEFT_PAYLOAD_COMPRESSION": "zlib",
            "WEFT_PAYLOAD_STORE": str(self.store),
            "WEFT_PAYLOAD_STORE_FROM_BYTES": str(STORED_FROM),
        }

    def client(self) -> Mesh:
        return connect(self.harness.target, payloads=self.payloads)

    def stored(self) -> list[Path]:
        return [each for each in self.store.rglob("*") if each.is_file()]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def coded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[CodedMesh]:
    async with MeshHarness(tmp_path_factory.mktemp("coded")) as harness:
        made = CodedMesh(harness)
        await harness.coordinator()
        await harness.agent("a1", slots=16, env=made.env)
        await harness.wait_serving(PROBE_SERVICE)
        await harness.close_channels()
        yield made


def found(folder: Path, text: str) -> list[str]:
    """The files that have the text."""
    files = (each for each in folder.rglob("*") if each.is_file() and each.name != "keys")
    return [str(each) for each in files if text.encode() in each.read_bytes()]


async def each_way(client: Mesh) -> None:
    """Make calls of every way and shape, with the secret in all that they send, and see that it comes back."""
    for channel in (client.channel(), client.channel(direct=True)):
        stub = probe_pb2_grpc.ProbeServiceStub(channel)
        for name in CALLS:
            reply = await getattr(stub, name)(Request(text=SECRET), timeout=T)
            assert reply.text == SECRET
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                refused = Request(text=SECRET, fail_code=9, fail_message=SECRET, fail_reason=SECRET)
                await getattr(stub, name)(refused, timeout=T)
            status = errors.status_of_call(failed.value)
            assert (failed.value.code(), failed.value.details()) == (
                grpc.StatusCode.FAILED_PRECONDITION,
                SECRET,
            )
            assert SECRET in str(status.details)
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await getattr(stub, name)(Request(text=SECRET, raise_text=SECRET), timeout=T)
            assert errors.from_call(failed.value).reason == errors_pb2.ERROR_REASON_HANDLER_FAILED
        texts = [reply.text async for reply in stub.Stream(Request(text=SECRET, stream_count=3), timeout=T)]
        assert texts == [SECRET] * 3
    stub = probe_pb2_grpc.ProbeServiceStub(client.channel(direct=True))
    asked = [Request(text=SECRET) for _ in range(3)]
    assert (await stub.Collect(iter(asked), timeout=T)).text
    assert [reply.text async for reply in stub.Chat(iter(asked), timeout=T)] == [SECRET] * 3
    call = stub.Chat(timeout=T)
    await call.write(asked[0])
    assert (await call.read()).text == SECRET
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def tasks(client: Mesh) -> None:
    """The same by the tasks API."""
    assert (await client.tasks.call(probe.Call, Request(text=SECRET), timeout_s=T)).text == SECRET
    handle = await client.tasks.submit(probe.Call, Request(text=SECRET), request_id="mine")
    again = await client.tasks.submit(probe.Call, Request(text=SECRET), request_id="mine")
    assert (again.id, again.existed) == (handle.id, True)
    with pytest.raises(errors.AlreadyExists):
        await client.tasks.submit(probe.Call, Request(text=SECRET, sleep_s=0.001), request_id="mine")
    await handle.ended(T)
    task = await handle.snapshot()
    assert (
        probe_pb2.ProbeRequest.FromString(task.request).text == Reply.FromString(task.response).text == SECRET
    )
    handle = await client.tasks.submit(probe.Stream, Request(text=SECRET, stream_count=3))
    assert [reply.text async for reply in handle.stream()] == [SECRET] * 3
    handle = await client.tasks.submit(probe.CallSync, Request(text=SECRET, raise_text=SECRET))
    task = await handle.ended(T)
    assert task.raised is not None
    assert SECRET in task.raised.message
    assert SECRET in task.raised.stack
    requests = [Request(text=f"{SECRET}{number}") for number in range(20)]
    ends = {end.index: end.result().text async for end in client.tasks.run_many(probe.Call, requests)}
    assert ends == {number: f"{SECRET}{number}" for number in range(20)}
    handles = [each async for each in client.tasks.submit_many(probe.Call, iter(requests[:3]))]
    assert [(await each.result(T)).text for each in handles] == [f"{SECRET}{number}" for number in range(3)]
    async for each in client.tasks.list(full=True, limit=3):
        assert SECRET in str(probe_pb2.ProbeRequest.FromString(each.request))


async def test_each_way_and_no_clear_text_in_files(coded: CodedMesh) -> None:
    async with coded.client() as client:
        await each_way(client)
        await tasks(client)
        await client.schedules.create("coded", probe.Call, Request(text=SECRET), Every(3600))
        ran = await client.schedules.run("coded")
        assert Reply.FromString(await ran.result(T)).text == SECRET
        asked = (await client.schedules.get("coded")).proto.spec.payload
        assert probe_pb2.ProbeRequest.FromString(asked).text == SECRET
        async with client.group("coded", then=Then(probe.Call, Request(text=SECRET))) as group:
            await group.submit(probe.Call, Request(text=SECRET))
        await group.wait(T)
    # What handlers log stays at their agents: their logs leave out what is secret, and the rest is their own.
    logs = {"a1.log"}
    assert {Path(each).name for each in found(coded.harness.folder, SECRET)} <= logs
    raw = await coded.harness.api().ListTasks(
        coordinator_pb2.ListTasksRequest(view="TASK_VIEW_FULL"), timeout=T
    )
    assert raw.tasks
    for task in raw.tasks:
        assert is_coded(task.payload)
        assert (
            task.state != TaskState.SUCCEEDED.value or is_coded(task.outcome.response) or task.progress_count
        )
        assert SECRET.encode() not in task.SerializeToString()
    await coded.harness.close_channels()


async def test_no_clear_text_in_redis(tmp_path: Path) -> None:
    async with RedisServer(tmp_path / "redis") as redis, MeshHarness(tmp_path) as harness:
        harness.store = redis.url
        made = CodedMesh(harness)
        await harness.coordinator()
        await harness.agent("a1", slots=16, env=made.env)
        async with made.client() as client:
            await tasks(client)
        await redis.command("CONFIG", "SET", "rdbcompression", "no")
        await redis.command("SAVE")
        assert [each for each in found(tmp_path, "probe.v1.ProbeService/CallSync") if each.endswith(".rdb")]
        assert not [each for each in found(tmp_path, SECRET) if not each.endswith("a1.log")]


@pytest.mark.slow
async def test_large_messages_of_every_way(coded: CodedMesh) -> None:
    blob = bytes(range(256)) * (24 * 4096)
    async with coded.client() as client:
        for direct in (False, True):
            stub = probe_pb2_grpc.ProbeServiceStub(client.channel(direct=direct))
            before = len(coded.stored())
            assert (await stub.Echo(probe_pb2.Payload(data=blob), timeout=T)).data == blob
            if not direct:
                assert len(coded.stored()) == before + 2
            reply = await stub.CallIsolated(Request(reply_size_bytes=6_000_000), timeout=T)
            assert len(reply.blob) == 6_000_000
        # Nobody else reads what a direct call has put there.
        await asyncio.wait_for(_until(lambda: len(coded.stored()) == before), T)
        ends = client.tasks.run_many(probe.Echo, [probe_pb2.Payload(data=blob)] * 3)
        assert [end.result().data == blob async for end in ends] == [True] * 3


async def _until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.01)


async def test_stock_callers_are_as_they_were(coded: CodedMesh) -> None:
    async with grpc.aio.insecure_channel(coded.harness.target) as channel:
        stub = probe_pb2_grpc.ProbeServiceStub(channel)
        assert (await stub.Call(Request(text="plain"), timeout=T)).text == "plain"
        direct = (("weft-mode", "direct"),)
        assert (await stub.Call(Request(text="plain"), timeout=T, metadata=direct)).text == "plain"
    async with coded.client() as client, connect(coded.harness.target, payloads=False) as stock:
        handle = await client.tasks.submit(probe.Call, Request(text=SECRET))
        await handle.ended(T)
        with pytest.raises(
            errors.FailedPrecondition, match=r"is coded .*AES-GCM with key k1.*this client codes nothing"
        ):
            await stock.tasks.handle(probe.Call, handle.id).result(T)
        handle = await client.tasks.submit(probe.Call, Request(fail_code=3, fail_message=SECRET))
        with pytest.raises(errors.InvalidArgument, match="the failure is coded"):
            await stock.tasks.handle(probe.Call, handle.id).result(T)
        plain = [await stock.tasks.submit(probe.Call, Request(text="plain"))]
        plain.append(await stock.tasks.submit(probe.Stream, Request(text="plain", stream_count=1)))
        assert (await client.tasks.handle(probe.Call, plain[0].id).result(T)).text == "plain"
    strict = dataclasses.replace(coded.payloads, required=True)
    async with connect(coded.harness.target, payloads=strict) as client:
        assert (await client.tasks.call(probe.Call, Request(text=SECRET), timeout_s=T)).text == SECRET
        with pytest.raises(errors.FailedPrecondition, match="is not coded, and must be"):
            await client.tasks.handle(probe.Call, plain[0].id).result(T)
        with pytest.raises(errors.FailedPrecondition, match="is not coded, and must be"):
            _ = [each async for each in client.tasks.handle(probe.Stream, plain[1].id).stream()]


async def test_the_sync_client(coded: CodedMesh) -> None:
    def call() -> tuple[str, str]:
        with connect_sync(coded.harness.target, payloads=coded.payloads) as mesh:
            stub = probe_pb2_grpc.ProbeServiceStub(mesh.channel())
            with pytest.raises(grpc.RpcError) as failed:
                stub.Call(Request(fail_code=3, fail_message=SECRET), timeout=T)
            return stub.Call(Request(text=SECRET), timeout=T).text, failed.value.details()  # type: ignore[attr-defined]

    assert await asyncio.to_thread(call) == (SECRET, SECRET)


async def test_the_command_decodes_with_the_keys(coded: CodedMesh) -> None:
    async with coded.client() as client:
        handle = await client.tasks.submit(probe.Call, Request(text=SECRET))
        await handle.ended(T)
    shown = await weft("tasks", "get", handle.id, "--json", target=coded.harness.target, env=coded.env)
    assert shown.document["request"]["text"] == shown.document["response"]["text"] == SECRET
    shown = await weft("tasks", "get", handle.id, "--json", target=coded.harness.target)
    assert shown.document["request"]["coded"] == "zstd, AES-GCM with key k1" or "AES-GCM" in shown.out
    assert SECRET not in shown.out
    called = await weft(
        *("call", f"{PROBE_SERVICE}/Call", f'{{"text": "{SECRET}"}}'),
        target=coded.harness.target,
        env=coded.env,
    )
    assert SECRET in called.out


async def test_agents_and_coordinators_that_cannot_read(coded: CodedMesh, tmp_path: Path) -> None:
    async with MeshHarness(tmp_path) as harness:
        await harness.coordinator()
        await harness.agent("stock")
        await harness.wait_serving(PROBE_SERVICE)
        async with connect(harness.target, payloads=coded.payloads) as client:
            for direct in (False, True):
                stub = probe_pb2_grpc.ProbeServiceStub(client.channel(direct=direct))
                for name in CALLS:
                    with pytest.raises(
                        grpc.aio.AioRpcError, match="this agent codes nothing: give it the keys"
                    ) as failed:
                        await getattr(stub, name)(Request(text=SECRET), timeout=T)
                    told = errors.from_call(failed.value)
                    assert told.reason == errors_pb2.ERROR_REASON_PAYLOAD_CODED
                    assert SECRET not in str(told)
                with pytest.raises(grpc.aio.AioRpcError, match="this agent codes nothing"):
                    _ = [each async for each in stub.Stream(Request(stream_count=1), timeout=T)]
            with pytest.raises(grpc.aio.AioRpcError, match="this agent codes nothing"):
                await stub.Collect(iter([Request(text=SECRET)]), timeout=T)
        await harness.agents["stock"].kill()
        required = coded.env | {"WEFT_AGENT_PAYLOAD_REQUIRED": "true"}
        await harness.agent("strict", env=required)
        async with connect(harness.target, payloads=False) as stock:
            for direct in (False, True):
                stub = probe_pb2_grpc.ProbeServiceStub(stock.channel(direct=direct))
                with pytest.raises(grpc.aio.AioRpcError, match="must be encrypted here"):
                    await stub.Call(Request(text="x"), timeout=T)


async def test_a_method_of_another_contract(coded: CodedMesh) -> None:
    # A payload is for its method alone, whoever moves it.
    async with coded.client() as client, connect(coded.harness.target, payloads=False) as stock:
        handle = await client.tasks.submit(probe.Call, Request(text=SECRET))
        raw = (await stock.tasks.get(handle.id)).request
        moved = Method.untyped(f"{PROBE_SERVICE}/CallSync")
        with pytest.raises(errors.DataLoss, match="is no request of it"):
            await stock.tasks.submit(moved, raw)


@pytest.mark.slow
async def test_a_sidecar_decodes_for_its_app(coded: CodedMesh, tmp_path: Path) -> None:
    async with MeshHarness(tmp_path) as harness:
        await harness.coordinator()
        app = StockApp(harness)
        await app.start()
        process = await sidecar(harness, app.address, env=coded.env)
        asked = Request(text=SECRET, stream_count=2)
        async with connect(harness.target, payloads=coded.payloads) as client:
            for direct in (False, True):
                stub = probe_pb2_grpc.ProbeServiceStub(client.channel(direct=direct))
                assert (await stub.Call(asked, timeout=T)).text == SECRET
                assert [reply.text async for reply in stub.Stream(asked, timeout=T)] == [SECRET] * 2
                with pytest.raises(grpc.aio.AioRpcError, match=SECRET):
                    await stub.Call(Request(fail_code=9, fail_message=SECRET), timeout=T)
            assert (await stub.Collect(iter([asked]), timeout=T)).text
            assert [reply.text async for reply in stub.Chat(iter([asked]), timeout=T)] == [SECRET]
            assert not found(tmp_path, SECRET)
            await process.kill()
            await sidecar(harness, app.address)
            for direct in (False, True):
                stub = probe_pb2_grpc.ProbeServiceStub(client.channel(direct=direct))
                with pytest.raises(grpc.aio.AioRpcError, match="this agent codes nothing"):
                    await stub.Call(asked, timeout=T, wait_for_ready=True)


async def test_callers_that_leave_and_deadlines(coded: CodedMesh) -> None:
    async with coded.client() as client:
        for direct in (False, True):
            stub = probe_pb2_grpc.ProbeServiceStub(client.channel(direct=direct))
            with pytest.raises(grpc.aio.AioRpcError) as late:
                await stub.Call(Request(sleep_s=T), timeout=0.2)
            assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            call = stub.Call(Request(sleep_s=T), timeout=T)
            ended = asyncio.Event()
            call.add_done_callback(lambda _, ended=ended: ended.set())
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await call
            await asyncio.wait_for(ended.wait(), T)
            assert call.cancelled()
            assert call.done()
            assert await call.code() is grpc.StatusCode.CANCELLED
            call = stub.Call(Request(text="x"), timeout=T)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            stream = stub.Stream(Request(stream_count=1000, sleep_s=0.01), timeout=T)
            assert (await stream.read()).index == 1
            stream.cancel()
            assert await stream.code() is grpc.StatusCode.CANCELLED
            # The same answer, however often it is asked for.
            call = stub.Call(Request(text=SECRET), timeout=T)
            assert (await call).text == (await call).text == SECRET
            assert (await call.code(), await call.details()) == (grpc.StatusCode.OK, "")
            assert dict(await call.trailing_metadata())["weft-agent"] == "a1"
        stopped = [
            task async for task in client.tasks.list(states=[TaskState.CANCELLED], method=probe.Call.name)
        ]
        assert stopped


async def test_calls_of_an_execute_stream(coded: CodedMesh) -> None:
    coder = PayloadCoder(coded.payloads)
    async with coded.client() as client:
        (agent,) = await client.fleet.agents()
    payload = coder.encode(Request(text=SECRET).SerializeToString(), REQUEST, probe.Call.name)
    made = agent_pb2.DirectCall(id=1, method=probe.Call.name, payload=payload)
    async with grpc.aio.insecure_channel(agent.advertised_address) as channel:
        stream = agent_pb2_grpc.AgentServiceStub(channel).Execute(timeout=T)
        await stream.write(agent_pb2.ExecuteRequest(calls=[made]))
        while not (answer := await stream.read()).results:
            pass
        stream.cancel()
    outcome = answer.results[0].outcome
    assert Reply.FromString(coder.decode(outcome.response, RESPONSE, (probe.Call.name,))).text == SECRET
