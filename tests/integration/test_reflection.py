"""Reflection of what is hosted, on a real server: with raw streams of both versions, and with grpcurl."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc.aio
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2 as pb

from probe.v1 import probe_pb2
from tests.support.reflecting import grpcurl, serving
from tests.support.schema import METHOD, contract, file, file_set, many_files
from weft.coordinator.contracts.contract_catalogue import Contract, Contracts
from weft.rpc.contracts import descriptors
from weft.rpc.contracts.reflection import Reflection
from weft.v1 import (
    coordinator_pb2,
    group_pb2,
    method_pb2,
    provision_pb2,
    schedule_pb2,
    security_pb2,
    stats_pb2,
)

# By their descriptors, which puts their files into the pool that reflection reads.
OWN = [
    file.DESCRIPTOR.services_by_name[name].full_name
    for file, name in (
        (coordinator_pb2, "CoordinatorService"),
        (group_pb2, "GroupService"),
        (method_pb2, "MethodService"),
        (provision_pb2, "ProvisionService"),
        (schedule_pb2, "ScheduleService"),
        (stats_pb2, "StatsService"),
        (security_pb2, "TokenService"),
        (health_pb2, "Health"),
    )
]
VERSIONS = ["grpc.reflection.v1", "grpc.reflection.v1alpha"]
NOT_FOUND, INVALID_ARGUMENT = 5, 3

Question = pb.ServerReflectionRequest


@pytest.fixture
def contracts() -> Contracts:
    """One contract of every shape that reflection is asked for: the probe service."""
    registry = Contracts()
    registry.admit(
        Contract.load(
            descriptors.file_descriptor_set([probe_pb2.DESCRIPTOR]),
            ["probe.v1.ProbeService/Call", "probe.v1.ProbeService/Stream"],
        )
    )
    return registry


@pytest.fixture
async def target(contracts: Contracts) -> AsyncIterator[str]:
    async with serving(Reflection(contracts, OWN)) as address:
        yield address


async def ask(
    target: str, *questions: Question, version: str = VERSIONS[0]
) -> list[pb.ServerReflectionResponse]:
    """Put questions on one stream, one after the other."""
    async with grpc.aio.insecure_channel(target) as channel:
        call = channel.stream_stream(
            f"/{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=Question.SerializeToString,
            response_deserializer=pb.ServerReflectionResponse.FromString,
        )(iter(questions), timeout=10)
        return [answer async for answer in call]


def files(answer: pb.ServerReflectionResponse) -> list[str]:
    return [
        FileDescriptorProto.FromString(serialized).name
        for serialized in answer.file_descriptor_response.file_descriptor_proto
    ]


@pytest.mark.parametrize("version", VERSIONS)
async def test_services_are_listed(target, version):
    (answer,) = await ask(target, Question(list_services="*", host="h"), version=version)
    assert [service.name for service in answer.list_services_response.service] == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "probe.v1.ProbeService",
        "weft.v1.CoordinatorService",
        "weft.v1.GroupService",
        "weft.v1.MethodService",
        "weft.v1.ProvisionService",
        "weft.v1.ScheduleService",
        "weft.v1.StatsService",
        "weft.v1.TokenService",
    ]
    assert answer.original_request == Question(list_services="*", host="h")
    assert answer.valid_host == "h"


async def test_what_is_hosted_is_listed_as_it_changes(target, contracts):
    contracts.admit(contract())
    (answer,) = await ask(target, Question(list_services="*"))
    assert "t.v1.Service" in [service.name for service in answer.list_services_response.service]
    (answer,) = await ask(target, Question(file_containing_symbol="t.v1.Service.Call"))
    assert files(answer) == ["t.proto"]


@pytest.mark.parametrize(
    ("symbol", "first"),
    [
        ("probe.v1.ProbeService", "probe/v1/probe.proto"),
        ("probe.v1.ProbeService.Stream", "probe/v1/probe.proto"),
        ("probe.v1.ProbeReply", "probe/v1/probe.proto"),
        ("probe.v1.ProbeReply.text", "probe/v1/probe.proto"),
        ("weft.v1.CoordinatorService", "weft/v1/coordinator.proto"),
        ("weft.v1.TaskState", "weft/v1/task.proto"),
        ("weft.v1.TASK_STATE_QUEUED", "weft/v1/task.proto"),
        ("weft.v1.Requirements.LabelsEntry", "weft/v1/options.proto"),
        ("google.rpc.Status", "google/rpc/status.proto"),
        ("grpc.health.v1.HealthCheckResponse.ServingStatus", "grpc_health/v1/health.proto"),
        ("grpc.reflection.v1.ServerReflection", "grpc_reflection/v1/reflection.proto"),
        ("grpc.reflection.v1alpha.ServerReflection", "grpc_reflection/v1alpha/reflection.proto"),
    ],
)
async def test_a_symbol_comes_with_its_file_and_imports(target, symbol, first):
    (answer,) = await ask(target, Question(file_containing_symbol=symbol))
    found = files(answer)
    assert found[0] == first
    assert len(found) == len(set(found))
    described = map(FileDescriptorProto.FromString, answer.file_descriptor_response.file_descriptor_proto)
    descriptors.build_pool(described)  # nothing is missing


@pytest.mark.parametrize(
    ("question", "code"),
    [
        (Question(file_by_filename="gone.proto"), NOT_FOUND),
        (Question(file_by_filename=""), NOT_FOUND),
        (Question(file_containing_symbol="gone.v1.Service"), NOT_FOUND),
        (Question(file_containing_symbol="probe.v1"), NOT_FOUND),
        (Question(file_containing_symbol="."), NOT_FOUND),
        (Question(file_containing_symbol=""), NOT_FOUND),
        (Question(file_containing_symbol="x" * 100_000), NOT_FOUND),
        (
            Question(
                file_containing_extension=pb.ExtensionRequest(
                    containing_type="probe.v1.ProbeReply", extension_number=1
                )
            ),
            NOT_FOUND,
        ),
        (Question(all_extension_numbers_of_type="gone.v1.Message"), NOT_FOUND),
        (Question(), INVALID_ARGUMENT),
    ],
    ids=range(10),
)
async def test_a_wrong_question_is_answered_and_the_stream_goes_on(target, question, code):
    wrong, right = await ask(target, question, Question(file_by_filename="probe/v1/probe.proto"))
    assert wrong.error_response.error_code == code
    assert wrong.error_response.error_message
    assert files(right) == ["probe/v1/probe.proto"]


async def test_nothing_that_is_not_hosted_is_shown(target):
    # This process has the module, but no contract brought it.
    from google.type import money_pb2

    (answer,) = await ask(target, Question(file_by_filename=money_pb2.DESCRIPTOR.name))
    assert answer.error_response.error_code == NOT_FOUND


async def test_extensions_of_proto2_messages(target, contracts):
    extended = file()
    extended.message_type[0].extension_range.add(start=100, end=200)
    for number in (150, 120):
        extended.extension.add(name=f"e{number}", number=number, type=5, label=1, extendee=".t.v1.Request")
    contracts.admit(Contract.load(file_set(extended), [METHOD]))
    numbers, where, none = await ask(
        target,
        Question(all_extension_numbers_of_type="t.v1.Request"),
        Question(
            file_containing_extension=pb.ExtensionRequest(
                containing_type="t.v1.Request", extension_number=120
            )
        ),
        Question(all_extension_numbers_of_type="probe.v1.ProbeReply"),
    )
    assert list(numbers.all_extension_numbers_response.extension_number) == [120, 150]
    assert files(where) == ["t.proto"]
    assert none.all_extension_numbers_response.base_type_name == "probe.v1.ProbeReply"
    assert not none.all_extension_numbers_response.extension_number


async def test_a_large_contract_comes_in_parts_and_from_one_contract(target, contracts):
    contracts.admit(many_files("a.v1", "Ours", size_bytes=900_000))
    contracts.admit(many_files("b.v1", "Theirs", size_bytes=900_000))
    for package, marker in (("a.v1", "Ours"), ("b.v1", "Theirs"), ("a.v1", "Ours")):
        first, part = await ask(
            target,
            Question(file_containing_symbol=f"{package}.Service"),
            Question(file_by_filename="part2.proto"),
        )
        assert first.ByteSize() < 4 * 1024 * 1024
        assert files(first)[0] == f"{package}.proto"
        assert "part2.proto" not in files(first)
        described = FileDescriptorProto.FromString(part.file_descriptor_response.file_descriptor_proto[0])
        assert any(message.name.startswith(marker) for message in described.message_type)


async def test_a_service_is_shown_by_the_contract_in_force_for_it(target, contracts):
    contracts.admit(contract({"Request": "int32 old = 1"}))
    contracts.admit(contract({"Request": "int32 new = 1"}))
    # Newer still, with an older copy of the service's file, of which it hosts nothing.
    stale = file(messages={"Request": "int32 stale = 1"})
    other = file("other.proto", package="other.v1", imports=["t.proto"])
    contracts.admit(Contract.load(file_set(stale, other), ["other.v1.Service/Call"]))
    for symbol in ("t.v1.Service", "t.v1.Service.Call"):
        (answer,) = await ask(target, Question(file_containing_symbol=symbol))
        described = FileDescriptorProto.FromString(answer.file_descriptor_response.file_descriptor_proto[0])
        assert described.message_type[0].field[0].name == "new"


async def test_a_client_that_does_not_read_holds_up_nobody(target):
    async with grpc.aio.insecure_channel(target) as channel:
        call = channel.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            request_serializer=Question.SerializeToString,
        )(iter([Question(file_containing_symbol="weft.v1.CoordinatorService")] * 10_000), timeout=30)
        (answer,) = await ask(target, Question(list_services="*"))
        assert answer.list_services_response.service
        call.cancel()


# -- grpcurl ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["list"], ["probe.v1.ProbeService\n", "weft.v1.CoordinatorService\n", "grpc.health.v1.Health\n"]),
        (["list", "probe.v1.ProbeService"], ["probe.v1.ProbeService.Call\n"]),
        (
            ["describe"],
            ["probe.v1.ProbeService is a service", "rpc SubmitTask ( .weft.v1.SubmitTaskRequest )"],
        ),
        (
            ["describe", "probe.v1.ProbeService"],
            ["rpc Stream ( .probe.v1.ProbeRequest ) returns ( stream .probe.v1.ProbeReply );"],
        ),
        (["describe", "probe.v1.ProbeService.Call"], ["is a method:"]),
        (["describe", "probe.v1.ProbeRequest"], ["is a message:", "string text = 1;"]),
        (["describe", "weft.v1.TaskState"], ["TASK_STATE_QUEUED = 2;"]),
        (["describe", "grpc.reflection.v1.ServerReflection"], ["is a service:"]),
    ],
    ids=" ".join,
)
async def test_grpcurl_shows(target, words, wanted):
    code, printed = await grpcurl(target, words)
    assert code == 0, printed
    for text in wanted:
        assert text in printed


async def test_grpcurl_says_what_is_not_there(target):
    code, printed = await grpcurl(target, ["describe", "probe.v1.Gone"])
    assert code != 0
    assert "probe.v1.Gone" in printed


@pytest.mark.slow
async def test_grpcurl_takes_a_large_contract_in_parts(target, contracts):
    contracts.admit(many_files("a.v1", "Ours", size_bytes=900_000))
    code, printed = await grpcurl(target, ["describe", "a.v1.Service"])
    assert code == 0, printed
    assert "rpc Call ( .a.v1.Request ) returns ( .a.v1.Response );" in printed


async def test_grpcurl_shows_proto2_extensions(target, contracts):
    extended = file()
    extended.message_type[0].extension_range.add(start=100, end=200)
    contracts.admit(Contract.load(file_set(extended), [METHOD]))
    code, printed = await grpcurl(target, ["describe", "t.v1.Request"])
    assert code == 0, printed
    assert "extensions 100 to 199;" in printed
