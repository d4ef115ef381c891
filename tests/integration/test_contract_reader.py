"""Reading a server's contract: the coordinator's reflection, stock grpcio's, and servers that have none."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha import reflection_pb2 as pb

import weft.coordinator.server  # noqa: F401 - the code of the services below
from probe.v1 import probe_pb2
from tests.support.reflecting import serving
from tests.support.schema import many_files
from weft.coordinator.contracts.contract_catalogue import Contract, Contracts
from weft.rpc.contracts import contract_reader, descriptors
from weft.rpc.contracts.contract_reader import ContractReader
from weft.rpc.contracts.reflection import Reflection
from weft.rpc.errors import (
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    NotFound,
    Unavailable,
    Unimplemented,
)
from weft.v1 import fleet_pb2

OWN = [
    "weft.v1.CoordinatorService",
    "weft.v1.GroupService",
    "weft.v1.LogService",
    "weft.v1.MethodService",
    "weft.v1.ProvisionService",
    "weft.v1.ScheduleService",
    "weft.v1.StatsService",
    "weft.v1.TokenService",
    "grpc.health.v1.Health",
]
CALL = "probe.v1.ProbeService/Call"


@pytest.fixture
def contracts() -> Contracts:
    registry = Contracts()
    files = descriptors.file_descriptor_set([probe_pb2.DESCRIPTOR])
    registry.admit(Contract.load(files, [CALL]))
    return registry


@asynccontextmanager
async def reader_of(target: str, timeout_s: float = 10) -> AsyncIterator[ContractReader]:
    async with grpc.aio.insecure_channel(target) as channel:
        yield ContractReader(channel, timeout_s=timeout_s)


@pytest.fixture
async def reader(contracts: Contracts) -> AsyncIterator[ContractReader]:
    async with serving(Reflection(contracts, OWN)) as target, reader_of(target) as made:
        yield made


async def test_methods_are_listed(reader):
    entries = await reader.methods()
    assert {entry.name.partition("/")[0] for entry in entries} == {"probe.v1.ProbeService"}
    by_name = {entry.name: entry for entry in entries}
    assert by_name[CALL].durable
    assert by_name[CALL].request_type == "probe.v1.ProbeRequest"
    assert by_name[CALL].response_type == "probe.v1.ProbeReply"
    assert by_name["probe.v1.ProbeService/Chat"].kind == fleet_pb2.METHOD_KIND_BIDI_STREAMING
    assert not by_name["probe.v1.ProbeService/Chat"].durable


async def test_reserved_methods_are_listed_when_asked_for(reader):
    names = {entry.name for entry in await reader.methods(reserved=True)}
    assert {CALL, "weft.v1.CoordinatorService/SubmitTask", "grpc.health.v1.Health/Check"} <= names
    assert "grpc.reflection.v1.ServerReflection/ServerReflectionInfo" in names


async def test_a_method_is_resolved_to_messages(reader):
    method = await reader.resolve(CALL)
    assert method.durable
    payload = method.request_from_json('{"text": "x", "streamCount": 3}')
    assert probe_pb2.ProbeRequest.FromString(payload) == probe_pb2.ProbeRequest(text="x", stream_count=3)
    assert method.request_to_json(payload) == {"text": "x", "streamCount": 3}
    assert method.response_to_json(probe_pb2.ProbeReply(index=2).SerializeToString()) == {"index": 2}
    with pytest.raises(InvalidArgument, match="did you mean text"):
        method.request_from_json('{"texd": "x"}')


async def test_the_coordinators_own_methods_are_resolved_too(reader):
    method = await reader.resolve("weft.v1.CoordinatorService/SubmitTask")
    payload = method.request_from_json('{"options": {"delay": "1.5s", "limits": {"startToClose": "3s"}}}')
    assert method.request_to_json(payload)["options"]["delay"] == "1.500s"


@pytest.mark.parametrize(
    "name", ["probe.v1.ProbeService/Cal", f"/{CALL}", "Call", "probe.v1.ProbeServices/Call", "/", "Call/"]
)
async def test_an_unknown_method_is_told_with_those_near_it(reader, name):
    with pytest.raises(NotFound) as raised:
        await reader.resolve(name)
    assert raised.value.reason_name == "METHOD_UNKNOWN"
    assert CALL in str(raised.value)


async def test_a_large_contract_is_put_together_from_parts(reader, contracts):
    contracts.admit(many_files("a.v1", "Ours", size_bytes=900_000))
    contracts.admit(many_files("b.v1", "Theirs", size_bytes=900_000))
    for package, marker in (("a.v1", "Ours"), ("b.v1", "Theirs")):
        method = await reader.resolve(f"{package}.Service/Call")
        assert method.pool.FindMessageTypeByName(f"{package}.part2.{marker}2_0")
    assert "a.v1.Service/Call" in [entry.name for entry in await reader.methods()]


async def test_a_stock_server_has_v1alpha_only():
    server = grpc.aio.server()
    reflection.enable_server_reflection(["probe.v1.ProbeService", reflection.SERVICE_NAME], server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with reader_of(f"127.0.0.1:{port}") as reader:
        for _ in range(2):
            assert CALL in [entry.name for entry in await reader.methods()]
        assert (await reader.resolve(CALL)).request_from_json("{}") == b""
        with pytest.raises(NotFound, match=f"did you mean {CALL}"):
            await reader.resolve("probe.v1.ProbeService/Cal")
    await server.stop(None)


async def test_a_server_without_reflection_is_told():
    async with serving() as target, reader_of(target) as reader:
        with pytest.raises(Unimplemented, match="the server has no reflection"):
            await reader.methods()
        with pytest.raises(Unimplemented, match="the server has no reflection"):
            await reader.resolve(CALL)


async def test_no_server_at_all():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        async with reader_of(f"127.0.0.1:{bound.getsockname()[1]}") as reader:
            with pytest.raises(Unavailable):
                await reader.methods()


class Scripted(grpc.GenericRpcHandler):
    """A server whose reflection does as it is told."""

    def __init__(self, answer) -> None:
        self._handler = grpc.stream_stream_rpc_method_handler(
            answer,
            request_deserializer=pb.ServerReflectionRequest.FromString,
            response_serializer=pb.ServerReflectionResponse.SerializeToString,
        )

    def service(self, handler_call_details):
        return self._handler


async def test_a_server_that_does_not_answer():
    async def answer(questions, context):
        await asyncio.Event().wait()
        yield pb.ServerReflectionResponse()

    async with serving(Scripted(answer)) as target, reader_of(target, timeout_s=0.3) as reader:
        with pytest.raises(DeadlineExceeded):
            await reader.methods()


async def test_a_server_that_hangs_up():
    async def answer(questions, context):
        async for _ in questions:
            return
        yield

    async with serving(Scripted(answer)) as target, reader_of(target) as reader:
        with pytest.raises(Internal, match="without an answer"):
            await reader.methods()


async def test_a_server_that_stops_answering_half_way():
    async def answer(questions, context):
        number = 0
        async for _ in questions:
            number += 1
            if number > 1:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "stopping")
            listed = pb.ListServiceResponse(service=[pb.ServiceResponse(name="a.v1.Service")])
            yield pb.ServerReflectionResponse(list_services_response=listed)

    async with serving(Scripted(answer)) as target, reader_of(target) as reader:
        with pytest.raises(Unavailable, match="stopping"):
            await reader.methods()


async def test_a_server_that_answers_nonsense():
    async def answer(questions, context):
        async for _ in questions:
            yield pb.ServerReflectionResponse(
                file_descriptor_response=pb.FileDescriptorResponse(file_descriptor_proto=[b"\xff"])
            )

    async with serving(Scripted(answer)) as target, reader_of(target) as reader:
        with pytest.raises(Internal, match="not a descriptor"):
            await reader.resolve(CALL)


@pytest.mark.slow
async def test_a_server_whose_files_need_ever_more_files():
    async def answer(questions, context):
        number = 0
        async for question in questions:
            number += 1
            name = question.file_by_filename or "0.proto"
            serialized = FileDescriptorProto(name=name, dependency=[f"{number}.proto"]).SerializeToString()
            yield pb.ServerReflectionResponse(
                file_descriptor_response=pb.FileDescriptorResponse(file_descriptor_proto=[serialized])
            )

    async with serving(Scripted(answer)) as target, reader_of(target, timeout_s=60) as reader:
        with pytest.raises(Internal, match="more than 4096 files"):
            await reader.resolve(CALL)


async def test_a_server_whose_files_are_ever_larger(monkeypatch):
    monkeypatch.setattr(contract_reader, "MAX_FILES_BYTES", 3_000_000)

    async def answer(questions, context):
        number = 0
        async for question in questions:
            number += 1
            name = question.file_by_filename or "0.proto"
            file = FileDescriptorProto(name=name, package="p" * 1_000_000, dependency=[f"{number}.proto"])
            yield pb.ServerReflectionResponse(
                file_descriptor_response=pb.FileDescriptorResponse(
                    file_descriptor_proto=[file.SerializeToString()]
                )
            )

    async with serving(Scripted(answer)) as target, reader_of(target) as reader:
        with pytest.raises(Internal, match="more than 3000000 bytes"):
            await reader.resolve(CALL)
