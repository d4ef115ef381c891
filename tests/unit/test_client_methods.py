"""Methods from stubs, and options as messages and as metadata."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from probe.v1 import probe_pb2, probe_pb2_grpc
from weft.client import Method, RetryPolicy, call_options, connect, methods, sync
from weft.client.methods import as_method
from weft.client.options import task_options
from weft.rpc.errors import InvalidArgument


def test_methods_of_a_stub() -> None:
    probe = methods(probe_pb2_grpc.ProbeServiceStub)
    assert probe.Echo == Method.of("probe.v1.ProbeService/Echo", probe_pb2.Payload, probe_pb2.Payload)
    assert probe.Echo.parse(probe.Echo.serialize(probe_pb2.Payload(data=b"x"))).data == b"x"
    assert (probe.Echo.streaming, probe.Stream.streaming) == (False, True)
    assert as_method(probe.Stream) is probe.Stream
    with pytest.raises(AttributeError, match="Ecko"):
        probe.Ecko  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(TypeError, match=r"mesh.tasks.submit\(methods\(Stub\).Echo"):
        probe.Echo(probe_pb2.Payload())


def test_what_cannot_be_a_task() -> None:
    probe = methods(probe_pb2_grpc.ProbeServiceStub)
    with pytest.raises(InvalidArgument, match="ProbeService/Chat takes a stream of requests"):
        as_method(probe.Chat)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"7 is not a method: pass methods\(Stub\)"):
        as_method(7)  # type: ignore[call-overload]


@pytest.mark.parametrize("name", ["", "Echo", "/", "a/", "/b", "a/b/c", "/a/b/c"])
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(InvalidArgument, match=r"acme\.v1\.Analyst/Analyze"):
        Method.untyped(name)


def test_a_name_alone_takes_bytes_and_messages() -> None:
    method = as_method("/probe.v1.ProbeService/Echo")
    assert method.name == "probe.v1.ProbeService/Echo"
    message = probe_pb2.Payload(data=b"x")
    assert method.serialize(message) == method.serialize(message.SerializeToString())


def test_options_as_a_message() -> None:
    options = task_options(
        {
            "priority": 0,
            "delay_s": 1.5,
            "start_to_close_s": 2,
            "retry": RetryPolicy(max_attempts=1, retryable_codes=[grpc.StatusCode.ABORTED], max_crashes=0),
            "require_labels": {"zone": "eu"},
            "require_resources": {"gpu": 1},
            "metadata": [("x-a", "1"), ("x-b-bin", b"\xff"), ("x-a", "2"), ("grpc-timeout", "1S")],
            "result_ttl_s": 60,
        }
    )
    assert options is not None
    assert options.HasField("priority")
    assert options.priority == 0
    assert options.delay.ToMilliseconds() == 1500
    assert options.limits.start_to_close.ToMilliseconds() == 2000
    assert not options.limits.HasField("schedule_to_close")
    assert (options.retry.max_attempts, list(options.retry.retryable_codes)) == (1, [10])
    assert options.retry.HasField("max_crashes")
    assert options.requirements.labels["zone"] == "eu"
    assert options.requirements.resources["gpu"] == 1.0
    assert [(entry.key, entry.value) for entry in options.context.metadata] == [
        ("x-a", b"1"),
        ("x-b-bin", b"\xff"),
        ("x-a", b"2"),
    ], "in order, without gRPC's own"
    assert options.result_ttl.seconds == 60
    assert task_options({}) is None


@pytest.mark.parametrize("policy", [{"max_attempts": 0}, {"max_attempts": -1}, {"backoff_multiplier": 0.5}])
def test_a_retry_policy_that_is_none(policy: dict[str, float]) -> None:
    with pytest.raises(InvalidArgument):
        RetryPolicy(**policy)  # type: ignore[arg-type]


def test_options_as_metadata() -> None:
    assert call_options() == ()
    assert dict(
        call_options(
            request_id="r1",
            priority=9,
            delay_s=1.5,
            require={"zone": "eu", "gpu": 1},
            detach=True,
            metadata=[("x-tenant", "acme")],
        )
    ) == {
        "x-tenant": "acme",
        "weft-request-id": "r1",
        "weft-priority": "9",
        "weft-delay": "1.500000",
        "weft-require": "zone=eu,gpu>=1",
        "weft-detach": "true",
    }


def test_the_active_span_travels_along() -> None:
    tracer = TracerProvider().get_tracer("test")
    with tracer.start_as_current_span("caller") as span:
        trace_id = trace.format_trace_id(span.get_span_context().trace_id)
        assert trace_id in str(dict(call_options())["traceparent"])
        options = task_options({})
        assert options is not None
        assert trace_id in options.context.traceparent
    assert "traceparent" not in dict(call_options())


@pytest.mark.parametrize(
    ("name", "says"),
    [("require_label", "did you mean 'require_labels'"), ("zone", "'zone' is not an option")],
)
def test_an_option_that_does_not_exist(name: str, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        task_options({name: 1})  # type: ignore[misc]


def check_stub(channel: Any) -> None:
    """Nobody is connected: a stub alone names its methods."""
    stub = probe_pb2_grpc.ProbeServiceStub(channel)
    for name, streaming in (("Echo", False), ("Stream", True)):
        found = as_method(getattr(stub, name))
        assert (found.name, found.streaming) == (f"probe.v1.ProbeService/{name}", streaming)
    assert as_method(stub.Echo).serialize(probe_pb2.Payload(data=b"x")) == b"\n\x01x"
    for name in ("Collect", "Chat"):
        with pytest.raises(InvalidArgument, match=f"ProbeService/{name} takes a stream of requests"):
            as_method(getattr(stub, name))


async def test_a_method_of_a_stub_on_each_channel_of_a_mesh_is_one() -> None:
    async with connect("127.0.0.1:1") as mesh:
        for direct in (False, True):
            check_stub(mesh.channel(direct=direct))


def test_a_method_of_a_stub_on_each_channel_without_asyncio_is_one() -> None:
    with sync.connect("127.0.0.1:1") as mesh:
        for direct in (False, True):
            check_stub(mesh.channel(direct=direct))
