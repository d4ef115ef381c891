"""One trace from the caller to the handler, as a real receiver gets it from real processes; embedded, and with two coordinators on Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc.aio
import pytest
import pytest_asyncio
from opentelemetry import trace
from opentelemetry.metrics import _internal as metrics_api
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import ProbeReply, ProbeRequest
from tests.support.beside import DIRECT, StockApp, free_address, sidecar, until_reached
from tests.support.mesh import MeshHarness
from tests.support.otlp_receiver import OtlpReceiver, ReceivedSpan, otlp_receiver
from tests.support.shared_redis import two_coordinators
from tests.support.spanning_agent import METHODS
from tests.support.trace_tree import Caller, drawn, exporting, of_trace
from weft.client import call_options, connect
from weft.v1 import coordinator_pb2, task_pb2

METHOD = "probe.v1.ProbeService/Call"
RPC = {"rpc.system.name": "grpc", "rpc.method": METHOD}
TASK = {"messaging.system": "weft", "messaging.destination.name": METHOD}


@pytest.fixture(scope="module")
def _receiver() -> Iterator[OtlpReceiver]:
    with otlp_receiver() as made:
        yield made


@pytest.fixture
def receiver(_receiver: OtlpReceiver) -> OtlpReceiver:
    _receiver.spans.clear()
    return _receiver


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["embedded", "redis"])
async def _doors(
    _receiver: OtlpReceiver, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[MeshHarness, MeshHarness]]:
    """Two doors to one mesh: on Redis two coordinators, else the same one twice. Agents are at the first one."""
    env = exporting(_receiver)
    folder: Path = tmp_path_factory.mktemp("traces")
    async with MeshHarness(folder) as mesh:
        mesh.env = env
        if request.param == "embedded":
            await mesh.coordinator()
            await mesh.agent("a1", env=env)
            await mesh.close_channels()
            yield mesh, mesh
            return
        async with two_coordinators(mesh, folder, env) as both:
            await mesh.agent("a1", env=env)
            for each in both:
                await each.wait_serving()
                await each.close_channels()
            yield both


@pytest.fixture
def caller() -> Caller:
    return Caller()


@pytest.fixture
async def doors(
    _doors: tuple[MeshHarness, MeshHarness],
) -> AsyncIterator[tuple[MeshHarness, MeshHarness]]:
    yield _doors
    for each in _doors:
        await each.close_channels()


def named(spans: list[ReceivedSpan], start: str) -> list[ReceivedSpan]:
    found = [span for span in spans if f"{span.kind} {span.name}".startswith(start)]
    return sorted(found, key=lambda span: span.start_ns)


async def call(door: MeshHarness, request: ProbeRequest, *metadata: tuple[str, str]) -> ProbeReply:
    reply: ProbeReply = await door.probe().Call(request, timeout=20, metadata=metadata or None)
    return reply


def of_task(receiver: OtlpReceiver, task_id: str) -> list[ReceivedSpan]:
    """The spans of the trace that this task's call has begun."""

    def found(spans: list[ReceivedSpan]) -> list[ReceivedSpan]:
        server = [span for span in spans if span.attributes.get("weft.task.id") == task_id]
        return of_trace(spans, server[0].trace_id) if server else []

    return found(receiver.wait(lambda spans: len(found(spans)) >= 4))


async def test_a_durable_call_is_one_tree(
    doors: tuple[MeshHarness, MeshHarness], receiver: OtlpReceiver, caller: Caller
) -> None:
    await call(doors[1], ProbeRequest(text="a"), *caller.trace)
    spans = caller.wait(receiver, 4)
    assert drawn(spans, caller.span_id) == [
        f"SERVER {METHOD}",
        f"  PRODUCER submit {METHOD}",
        f"    INTERNAL wait {METHOD}",
        f"    CONSUMER process {METHOD}",
    ]
    server, submit, wait, process = (
        named(spans, kind)[0] for kind in ("SERVER", "PRODUCER", "INTERNAL", "CONSUMER")
    )
    task_id = submit.attributes["messaging.message.id"]
    assert server.attributes == RPC | {"rpc.response.status_code": "OK", "weft.task.id": task_id}
    assert [name for name, _ in server.events] == ["weft.result.stored"]
    assert submit.attributes == RPC | TASK | {
        "messaging.operation.name": "submit",
        "messaging.operation.type": "send",
        "messaging.message.id": task_id,
    }
    store = "embedded" if doors[0] is doors[1] else "redis"
    assert submit.events == [("weft.task.stored", {"weft.store": store})]
    attempt = {"messaging.message.id": task_id, "weft.task.attempt": 1, "weft.agent.id": "a1"}
    assert wait.attributes == RPC | TASK | attempt
    assert process.attributes == RPC | TASK | attempt | {
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "rpc.response.status_code": "OK",
    }
    assert {span.trace_state for span in spans} == {"vendor=x"}
    assert {span.status for span in spans} == {"UNSET"}
    assert [span.service for span in (server, process)] == ["weft-coordinator", "weft-agent"]
    assert process.process["service.instance.id"] == "a1"


async def test_without_a_caller_it_is_a_trace_of_its_own(
    doors: tuple[MeshHarness, MeshHarness], receiver: OtlpReceiver
) -> None:
    reply = await call(doors[0], ProbeRequest(text="a"))
    spans = of_task(receiver, reply.task_id)
    assert len(spans) == 4
    assert drawn(spans)[0] == f"SERVER {METHOD}"


async def test_an_unsampled_trace_has_no_spans(
    doors: tuple[MeshHarness, MeshHarness], receiver: OtlpReceiver, caller: Caller
) -> None:
    await call(doors[0], ProbeRequest(text="a"), *caller.unsampled)
    # Spans of a later call come later.
    reply = await call(doors[0], ProbeRequest(text="b"))
    of_task(receiver, reply.task_id)
    assert not of_trace(receiver.spans, caller.trace_id)


async def test_a_retry_says_why(
    doors: tuple[MeshHarness, MeshHarness], receiver: OtlpReceiver, caller: Caller
) -> None:
    request = ProbeRequest(text="a", fail_code=14, fail_attempts=1, fail_message="busy")
    await call(doors[1], request, *caller.trace, ("weft-retry", "initial_backoff=0.01s"))
    spans = caller.wait(receiver, 6)
    assert drawn(spans, caller.span_id) == [
        f"SERVER {METHOD}",
        f"  PRODUCER submit {METHOD}",
        f"    INTERNAL wait {METHOD}",
        f"    CONSUMER process {METHOD}",
        f"    INTERNAL wait {METHOD}",
        f"    CONSUMER process {METHOD}",
    ]
    why = {
        "weft.rerun.cause": "failed",
        "weft.rerun.last_agent.id": "a1",
        "weft.rerun.last_status_code": "UNAVAILABLE",
    }
    for kind in ("INTERNAL", "CONSUMER"):
        first, second = named(spans, kind)
        assert not why.keys() & first.attributes.keys()
        assert why.items() <= second.attributes.items()
    failed = named(spans, "CONSUMER")[0]
    assert (failed.status, failed.status_message) == ("ERROR", "busy")
    assert failed.attributes["error.type"] == failed.attributes["rpc.response.status_code"] == "UNAVAILABLE"


async def test_a_direct_call_through_a_coordinator(
    doors: tuple[MeshHarness, MeshHarness], receiver: OtlpReceiver, caller: Caller
) -> None:
    await call(doors[1], ProbeRequest(text="a"), *caller.trace, DIRECT)
    spans = caller.wait(receiver, 3)
    assert drawn(spans, caller.span_id) == [f"SERVER {METHOD}", f"  CLIENT {METHOD}", f"    SERVER {METHOD}"]
    assert named(spans, "SERVER")[1].attributes == RPC | {
        "weft.agent.id": "a1",
        "rpc.response.status_code": "OK",
    }


async def test_a_refused_call_has_its_code(
    doors: tuple[MeshHarness, MeshHarness], receiver: OtlpReceiver, caller: Caller
) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await call(doors[0], ProbeRequest(text="a", fail_code=5, fail_message="none"), *caller.trace)
    with pytest.raises(grpc.aio.AioRpcError):
        await call(doors[0], ProbeRequest(text="a"), *caller.trace, ("weft-priority", "77"))
    spans = caller.wait(receiver, 5)
    served = named(spans, "SERVER")
    assert [span.attributes["rpc.response.status_code"] for span in served] == [
        "NOT_FOUND",
        "INVALID_ARGUMENT",
    ]
    # They are the caller's faults, and the attempt's own.
    assert [span.status for span in served] == ["UNSET", "UNSET"]
    assert named(spans, "CONSUMER")[0].status == "ERROR"


@pytest.mark.parametrize("mode", [(), (DIRECT,)], ids=["durable", "direct"])
async def test_a_stream_is_one_span_a_hop(
    doors: tuple[MeshHarness, MeshHarness],
    receiver: OtlpReceiver,
    caller: Caller,
    mode: tuple[tuple[str, str], ...],
) -> None:
    stream = (
        doors[0].probe().Stream(ProbeRequest(stream_count=3), timeout=20, metadata=(*caller.trace, *mode))
    )
    assert len([reply async for reply in stream]) == 3
    spans = caller.wait(receiver, 3 if mode else 4)
    name = "probe.v1.ProbeService/Stream"
    if mode:
        assert drawn(spans, caller.span_id) == [f"SERVER {name}", f"  CLIENT {name}", f"    SERVER {name}"]
    else:
        assert drawn(spans, caller.span_id)[-1] == f"    CONSUMER process {name}"
    assert {span.status for span in spans} == {"UNSET"}


async def test_tasks_submitted_together(
    doors: tuple[MeshHarness, MeshHarness], receiver: OtlpReceiver, caller: Caller
) -> None:
    other = Caller()
    own = other.trace_id
    context = task_pb2.CallContext(traceparent=f"00-{own}-{'2' * 16}-01")
    tasks = [
        coordinator_pb2.SubmitTaskRequest(method=METHOD, options=task_pb2.TaskOptions(context=each))
        for each in (None, None, context)
    ]
    message = coordinator_pb2.SubmitTasksRequest(tasks=tasks, deliver_results=True)
    async for _ in doors[1].api().SubmitTasks(iter([message]), timeout=20, metadata=caller.trace):
        pass
    together, alone = caller.wait(receiver, 5), other.wait(receiver, 2)
    assert sorted(drawn(together, caller.span_id)) == sorted(
        [f"PRODUCER submit {METHOD}", *2 * [f"  INTERNAL wait {METHOD}", f"  CONSUMER process {METHOD}"]]
    )
    batch = named(together, "PRODUCER")[0]
    assert batch.attributes["messaging.batch.message_count"] == 3
    assert sorted(drawn(alone, "2" * 16)) == [f"CONSUMER process {METHOD}", f"INTERNAL wait {METHOD}"]
    for span in alone:
        assert span.links == [(batch.trace_id, batch.span_id)]


async def test_a_submitted_task(
    doors: tuple[MeshHarness, MeshHarness], receiver: OtlpReceiver, caller: Caller
) -> None:
    options = task_pb2.TaskOptions(
        context=task_pb2.CallContext(traceparent=caller.trace[0][1], baggage="k=v")
    )
    request = coordinator_pb2.SubmitTaskRequest(method=METHOD, options=options)
    await doors[1].api().SubmitTask(request, timeout=20)
    spans = caller.wait(receiver, 4)
    assert drawn(spans, caller.span_id) == [
        "SERVER weft.v1.CoordinatorService/SubmitTask",
        f"  PRODUCER submit {METHOD}",
        f"    INTERNAL wait {METHOD}",
        f"    CONSUMER process {METHOD}",
    ]


async def test_handlers_have_their_span_and_the_baggage(
    doors: tuple[MeshHarness, MeshHarness], receiver: OtlpReceiver, caller: Caller
) -> None:
    await doors[0].agent("spanning", program="tests.support.spanning_agent:agent", env=doors[0].env)
    await doors[1].wait_serving("span.v1.Spans")
    modes: list[tuple[tuple[str, str], ...]] = [(), (DIRECT,)]
    for method in METHODS:
        for mode in modes:
            metadata = (*caller.trace, ("baggage", "tenant=acme"), *mode)
            answer = (
                await doors[1]
                .channel()
                .unary_unary(f"/{method}")(b"\x0a\x01x", timeout=20, metadata=metadata)
            )
            assert answer == b"\x0a\x04acme"
    await doors[0].agents["spanning"].terminate()
    # A durable one has five, a direct one four.
    spans = caller.wait(receiver, 3 * (5 + 4))
    by_id = {span.span_id: span for span in spans}
    for span in named(spans, "INTERNAL inside"):
        outer = by_id[span.parent_id]
        assert (outer.kind in {"CONSUMER", "SERVER"}, outer.attributes["weft.agent.id"]) == (True, "spanning")
        assert span.process == outer.process
        if outer.attributes["rpc.method"] != METHODS[2]:
            assert outer.attributes["app.seen"] == "x"


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """This process has set OpenTelemetry up."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    # As `set_tracer_provider` does, which does so only once in a process.
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return exporter


@pytest.mark.parametrize("direct", [False, True], ids=["durable", "direct"])
async def test_a_program_s_meter_times_its_calls(
    doors: tuple[MeshHarness, MeshHarness], caller: Caller, monkeypatch: pytest.MonkeyPatch, direct: bool
) -> None:
    reader = InMemoryMetricReader()
    monkeypatch.setattr(metrics_api, "_METER_PROVIDER", MeterProvider([reader]))
    async with connect(doors[1].target) as mesh:
        stub = probe_pb2_grpc.ProbeServiceStub(mesh.channel(direct=direct))
        await stub.Call(ProbeRequest(text="a"), timeout=20, metadata=caller.unsampled)
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Call(
                ProbeRequest(fail_code=5, fail_message="none"), timeout=20, metadata=caller.unsampled
            )
    collected = reader.get_metrics_data()
    assert collected is not None
    ((metric,),) = [scope.metrics for scope in collected.resource_metrics[0].scope_metrics]
    assert (metric.name, metric.unit) == ("rpc.client.call.duration", "s")
    counts = {
        str((point.attributes or {})["rpc.response.status_code"]): point for point in metric.data.data_points
    }
    assert dict(counts["OK"].attributes or {}) == RPC | {"rpc.response.status_code": "OK"}
    assert counts.keys() == {"OK", "NOT_FOUND"}


@pytest.mark.parametrize("direct", [False, True], ids=["durable", "direct"])
async def test_a_call_by_the_library_begins_at_the_caller(
    doors: tuple[MeshHarness, MeshHarness],
    receiver: OtlpReceiver,
    program: InMemorySpanExporter,
    direct: bool,
) -> None:
    async with connect(doors[1].target) as mesh:
        stub = probe_pb2_grpc.ProbeServiceStub(mesh.channel(direct=direct))
        with trace.get_tracer("test").start_as_current_span("program"):
            await stub.Call(ProbeRequest(text="a"), timeout=20)
            # A stock channel's way to say options, which have the active span.
            await stub.Call(ProbeRequest(text="a"), timeout=20, metadata=call_options())
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Call(ProbeRequest(fail_code=5, fail_message="none"), timeout=20)
    first, second, failed, root = program.get_finished_spans()
    for span in (first, second, failed):
        assert (span.name, span.kind) == (METHOD, trace.SpanKind.CLIENT)
        assert span.parent == root.context
    assert dict(first.attributes or {}) == RPC | {"rpc.response.status_code": "OK"}
    assert dict(failed.attributes or {}) == RPC | {
        "rpc.response.status_code": "NOT_FOUND",
        "error.type": "NOT_FOUND",
    }
    assert (failed.status.status_code, failed.status.description) == (trace.StatusCode.ERROR, "none")
    ids = [f"{span.context.span_id:016x}" for span in (first, second, failed)]
    spans = receiver.wait(lambda spans: {span.parent_id for span in spans} >= set(ids))
    assert [span.parent_id for span in named(spans, "SERVER")] == ids


async def test_tasks_of_a_program_stay_in_its_trace(
    doors: tuple[MeshHarness, MeshHarness], receiver: OtlpReceiver, program: InMemorySpanExporter
) -> None:
    async with connect(doors[1].target) as mesh:
        method = probe_pb2_grpc.ProbeServiceStub(mesh.channel()).Call
        with trace.get_tracer("test").start_as_current_span("program"):
            assert [r async for r in mesh.tasks.run_many(method, [ProbeRequest(text=each) for each in "ab"])]
    (root,) = program.get_finished_spans()
    trace_id = f"{root.context.trace_id:032x}"
    spans = of_trace(receiver.wait(lambda spans: len(of_trace(spans, trace_id)) >= 5), trace_id)
    batch = named(spans, "PRODUCER")[0]
    assert {span.parent_id for span in spans} == {f"{root.context.span_id:016x}"}
    for span in named(spans, "CONSUMER"):
        assert span.links == [(batch.trace_id, batch.span_id)]


async def test_a_program_without_opentelemetry_hands_nothing_on(
    doors: tuple[MeshHarness, MeshHarness], receiver: OtlpReceiver, caller: Caller
) -> None:
    async with connect(doors[1].target) as mesh:
        stub = probe_pb2_grpc.ProbeServiceStub(mesh.channel())
        reply = await stub.Call(ProbeRequest(text="a"), timeout=20)
    assert drawn(of_task(receiver, reply.task_id))[0] == f"SERVER {METHOD}"


@pytest.mark.slow
async def test_a_sidecars_app_and_its_child_call_are_in_the_tree(
    doors: tuple[MeshHarness, MeshHarness], receiver: OtlpReceiver, caller: Caller
) -> None:
    """The last test: what its sidecar and its agents host, other tests' calls would reach.

    caller → coordinator → sidecar's app → egress → coordinator → Python agent; with a retry, and an agent killed in the middle."""
    mesh, outer = doors[0], "probe.v1.ProbeService/CallIsolated"
    egress = free_address()
    app = StockApp(mesh)
    await app.start("--egress", egress)
    # One slot: the child call goes to another agent.
    await sidecar(mesh, app.address, slots=1, egress=egress, env=mesh.env)
    await until_reached(egress)
    await mesh.agent("kept", slots=1, env=mesh.env)
    await mesh.agents["a1"].kill()
    ledger = mesh.ledger("tree")
    request = ProbeRequest(
        text="t", sleep_s=0.3, fail_code=14, fail_attempts=1, fail_reason="durable", ledger=ledger.path
    )
    calling = asyncio.ensure_future(
        doors[1]
        .probe()
        .CallIsolated(
            request,
            timeout=30,
            metadata=(
                *caller.trace,
                ("weft-require", "agent.id=side"),
                ("weft-retry", "initial_backoff=0.01s"),
            ),
        )
    )
    await ledger.until("start", "t")
    await mesh.agents["kept"].kill()
    await mesh.agent("a1", env=mesh.env)
    await calling
    spans = caller.wait(receiver, 16)
    assert drawn(spans, caller.span_id) == [
        f"SERVER {outer}",
        f"  PRODUCER submit {outer}",
        f"    INTERNAL wait {outer}",
        f"    CONSUMER process {outer}",
        f"      CLIENT {outer}",
        f"    INTERNAL wait {outer}",
        f"    CONSUMER process {outer}",
        f"      CLIENT {outer}",
        f"        SERVER {METHOD}",
        f"          CLIENT {METHOD}",
        f"            SERVER {METHOD}",
        f"              PRODUCER submit {METHOD}",
        f"                INTERNAL wait {METHOD}",
        f"                CONSUMER process {METHOD}",
        f"                INTERNAL wait {METHOD}",
        f"                CONSUMER process {METHOD}",
    ]
    *begun, lost, last = named(spans, "CONSUMER")
    attempts = [*begun, last]
    assert [span.process["service.instance.id"] for span in attempts] == ["side", "side", "a1"]
    assert [span.attributes.get("weft.rerun.cause") for span in attempts] == [None, "failed", "lost"]
    # The agent of the attempt that was lost tells nothing of it: the coordinator does.
    assert lost.process["service.name"] == "weft-coordinator"
    assert lost.attributes["weft.agent.id"] == "kept"
    assert lost.attributes["weft.task.attempt"] == 1
    assert lost.attributes["error.type"] == "agent_lost"
    assert lost.status == "ERROR"
    for span in (named(spans, "INTERNAL")[3], attempts[2]):
        assert span.attributes["weft.rerun.cause"] == "lost"
        assert span.attributes["weft.rerun.last_agent.id"] == "kept"
        assert span.attributes["weft.task.attempt"] == 2
    assert [span.status for span in named(spans, "CLIENT")] == ["ERROR", "UNSET", "UNSET"]
    assert {span.trace_state for span in spans} == {"vendor=x"}
