"""Servicers and functions as hosted methods: valid ones are hosted unchanged, others are refused with advice."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, struct_pb2
from google.protobuf.wrappers_pb2 import BytesValue, StringValue

from probe.v1 import probe_pb2, probe_pb2_grpc
from tests.support.probe import IsolatedProbeService, ProbeService
from weft.agent import Agent, HostingError
from weft.agent.hosting.functions import function_method
from weft.agent.hosting.hosted_methods import servicer_methods
from weft.agent.hosting.hosted_policies import contract_of
from weft.rpc.contracts import descriptors

ADD = probe_pb2_grpc.add_ProbeServiceServicer_to_server


def test_an_unchanged_servicer_gives_its_methods_with_shapes() -> None:
    methods = {each.name.partition("/")[2]: each for each in servicer_methods(ADD, ProbeService())}

    assert set(methods) == {"Call", "CallSync", "Echo", "Stream", "Collect", "Chat"}
    assert [methods[name].is_async for name in ("Call", "CallSync", "Stream")] == [True, False, True]
    assert [methods[name].response_streaming for name in ("Call", "Stream", "Chat")] == [False, True, True]
    assert [methods[name].request_streaming for name in ("Call", "Collect", "Chat")] == [False, True, True]
    request = methods["Echo"].deserialize(probe_pb2.Payload(data=b"x").SerializeToString())
    assert request == probe_pb2.Payload(data=b"x")
    assert methods["Echo"].serialize(request) == request.SerializeToString()


def test_methods_left_to_the_generated_base_class_are_not_hosted() -> None:
    (only,) = servicer_methods(ADD, IsolatedProbeService(), isolate=True, slot_cost=3)

    assert only.name == "probe.v1.ProbeService/CallIsolated"
    assert only.slot_cost == 3
    assert only.isolated is not None


def test_two_servicers_share_one_service() -> None:
    agent = Agent("a")
    agent.add_servicer(ADD, ProbeService())
    agent.add_servicer(ADD, IsolatedProbeService(), isolate=True)

    assert len(agent.methods) == 7


def test_code_generated_before_registered_methods_is_hosted_too() -> None:
    def add_as_older_plugins_did(servicer: Any, server: Any) -> None:
        class Server:
            def add_generic_rpc_handlers(self, handlers: Any) -> None:
                server.add_generic_rpc_handlers(handlers)

            def add_registered_method_handlers(self, *_: Any) -> None:
                """Not known then."""

        ADD(servicer, Server())

    assert len(servicer_methods(add_as_older_plugins_did, ProbeService())) == 6


async def unary(request: StringValue) -> BytesValue: ...


def with_context(request: StringValue, context: object) -> BytesValue: ...


def named_context(request: StringValue, context: object = None) -> BytesValue: ...


async def streams(request: dict[str, Any]) -> AsyncIterator[StringValue]:
    yield StringValue()


def streams_sync(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {}


@pytest.mark.parametrize(
    ("function", "is_async", "streaming", "types"),
    [
        (unary, True, False, ("google.protobuf.StringValue", "google.protobuf.BytesValue")),
        (with_context, False, False, ("google.protobuf.StringValue", "google.protobuf.BytesValue")),
        (named_context, False, False, ("google.protobuf.StringValue", "google.protobuf.BytesValue")),
        (streams, True, True, ("google.protobuf.Struct", "google.protobuf.StringValue")),
        (streams_sync, False, True, ("google.protobuf.Struct", "google.protobuf.Struct")),
    ],
)
def test_a_functions_annotations_are_its_contract(
    function: Callable[..., Any], is_async: bool, streaming: bool, types: tuple[str, str]
) -> None:
    hosted = function_method("acme.v1.Thing/Do", function)

    assert (hosted.is_async, hosted.response_streaming) == (is_async, streaming)
    assert tuple(each.full_name for each in hosted.types) == types


def test_dicts_travel_as_structs() -> None:
    hosted = function_method("acme.v1.Thing/Do", streams_sync)
    given = {"name": "x", "count": 3, "deep": {"list": [1, "two", None, True]}}

    data = hosted.serialize(given)
    assert struct_pb2.Struct.FromString(data)["name"] == "x"
    assert hosted.deserialize(data) == given


def no_annotations(request): ...  # type: ignore[no-untyped-def]
def no_return(request: StringValue): ...  # type: ignore[no-untyped-def]
def plain_types(request: str) -> str: ...
def three(request: StringValue, context: object, more: object) -> StringValue: ...
def none() -> StringValue: ...
def yields_one(request: StringValue) -> StringValue:  # type: ignore[misc]
    yield StringValue()


async def no_yield(request: StringValue) -> AsyncIterator[StringValue]: ...  # type: ignore[empty-body]
def unresolvable(request: Missing) -> StringValue: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("name", "function", "says"),
    [
        ("acme.v1.Thing/Do", no_annotations, "has no annotation"),
        ("acme.v1.Thing/Do", no_return, "return value has no annotation"),
        ("acme.v1.Thing/Do", plain_types, "annotate it with protobuf messages, dict or pydantic models"),
        ("acme.v1.Thing/Do", three, "must take the request"),
        ("acme.v1.Thing/Do", none, "must take the request"),
        ("acme.v1.Thing/Do", yields_one, "must return an iterator"),
        ("acme.v1.Thing/Do", no_yield, "must yield"),
        ("acme.v1.Thing/Do", unresolvable, "cannot be resolved"),
        ("acme.v1.Thing.Do", unary, "not a full method name"),
        ("/acme.v1.Thing/Do", unary, "not a full method name"),
        ("Thing/", unary, "not a full method name"),
        ("probe.v1.ProbeService/Nothing", unary, "has no method Nothing; it has Call"),
        ("probe.v1.ProbeService/Call", unary, "takes probe.v1.ProbeRequest by its descriptor"),
        ("weft.v1.Thing/Do", unary, "name of weft's own servers"),
    ],
)
def test_a_wrong_function_is_refused_at_once_with_advice(
    name: str, function: Callable[..., Any], says: str
) -> None:
    with pytest.raises(HostingError, match=says):
        Agent("a").method(name)(function)


def test_a_functions_shape_must_be_the_descriptors() -> None:
    async def call(request: probe_pb2.ProbeRequest) -> AsyncIterator[probe_pb2.ProbeReply]:
        yield probe_pb2.ProbeReply()

    with pytest.raises(HostingError, match="returns one response by its descriptor"):
        function_method("probe.v1.ProbeService/Call", call)


def test_what_cannot_go_to_another_process_is_refused_when_it_is_added() -> None:
    class Local(probe_pb2_grpc.ProbeServiceServicer):
        def Call(self, request: Any, context: Any) -> Any: ...

    class WithLock(ProbeService):
        def __init__(self) -> None:
            self.lock = threading.Lock()

    with pytest.raises(HostingError, match="picklable"):
        servicer_methods(ADD, Local(), isolate=True)
    with pytest.raises(HostingError, match="picklable"):
        servicer_methods(ADD, WithLock(), isolate=True)

    def local(request: StringValue) -> StringValue: ...

    with pytest.raises(HostingError, match="top level of a module"):
        function_method("acme.v1.Thing/Do", local, isolate=True)


def test_what_is_not_a_servicer_or_comes_twice_is_refused() -> None:
    agent = Agent("a", slots=2)
    agent.add_servicer(ADD, ProbeService())

    with pytest.raises(HostingError, match="hosted already"):
        agent.add_servicer(ADD, ProbeService())
    with pytest.raises(HostingError, match="implements none"):
        agent.add_servicer(ADD, probe_pb2_grpc.ProbeServiceServicer())
    with pytest.raises(HostingError, match="registered no service"):
        agent.add_servicer(lambda servicer, server: None, object())
    with pytest.raises(HostingError, match="slot_cost must be at least 1"):
        agent.method("acme.v1.Thing/Do", slot_cost=0)(unary)
    with pytest.raises(HostingError, match="hosts nothing"):
        Agent("b").run()
    agent.method("acme.v1.Thing/Do", slot_cost=3)(unary)
    with pytest.raises(HostingError, match="takes 3 slots; the agent has 2"):
        agent.run()


def test_the_contract_has_generated_and_synthesized_services() -> None:
    methods = servicer_methods(ADD, ProbeService())
    methods.append(function_method("acme.v1.Thing/Do", unary))
    methods.append(function_method("acme.v1.Thing/Stream", streams))
    methods.append(function_method("NoPackage/Do", unary))
    data = contract_of({each.name: each for each in methods})

    pool = descriptors.build_pool(descriptor_pb2.FileDescriptorSet.FromString(data).file)
    for method in methods:
        found = descriptors.find_method(pool, method.name)
        assert found is not None
        assert found.input_type.full_name == method.types[0].full_name
        assert found.server_streaming == method.response_streaming
    again = contract_of({each.name: each for each in reversed(methods)})
    assert descriptors.digest(again) == descriptors.digest(data)
