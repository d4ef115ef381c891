"""One trace from the caller to the handler, as a real receiver gets it from real processes; embedded, and with two coordinators on Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from probe.v1.probe_pb2 import ProbeRequest
from tests.support.mesh import MeshHarness
from tests.support.otlp_receiver import OtlpReceiver, ReceivedSpan, otlp_receiver
from tests.support.shared_redis import two_coordinators
from tests.support.trace_tree import CALLER, TRACE, TRACE_ID, UNSAMPLED, drawn, exporting, of_trace

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
async def doors(
    _doors: tuple[MeshHarness, MeshHarness],
) -> AsyncIterator[tuple[MeshHarness, MeshHarness]]:
    yield _doors
    for each in _doors:
        await each.close_channels()


def complete(count: int, trace_id: str = TRACE_ID) -> object:
    return lambda spans: len(of_trace(spans, trace_id)) >= count


def named(spans: list[ReceivedSpan], start: str) -> list[ReceivedSpan]:
    found = [span for span in spans if f"{span.kind} {span.name}".startswith(start)]
    return sorted(found, key=lambda span: span.start_ns)


async def call(door: MeshHarness, request: ProbeRequest, *metadata: tuple[str, str]) -> None:
    await door.probe().Call(request, timeout=20, metadata=metadata or None)


async def test_a_durable_call_is_one_tree(
    doors: tuple[MeshHarness, MeshHarness], receiver: OtlpReceiver
) -> None:
    await call(doors[1], ProbeRequest(text="a"), *TRACE)
    spans = of_trace(receiver.wait(complete(4)), TRACE_ID)
    assert drawn(spans, CALLER) == [
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
    await call(doors[0], ProbeRequest(text="a"))
    spans = receiver.wait(lambda spans: len(spans) >= 4)
    assert len({span.trace_id for span in spans}) == 1
    assert drawn(spans)[0] == f"SERVER {METHOD}"


async def test_an_unsampled_trace_has_no_spans(
    doors: tuple[MeshHarness, MeshHarness], receiver: OtlpReceiver
) -> None:
    await call(doors[0], ProbeRequest(text="a"), *UNSAMPLED)
    # Spans of a later call come later.
    await call(doors[0], ProbeRequest(text="b"))
    spans = receiver.wait(lambda spans: len(spans) >= 4)
    assert not of_trace(spans, TRACE_ID)


async def test_a_retry_says_why(doors: tuple[MeshHarness, MeshHarness], receiver: OtlpReceiver) -> None:
    request = ProbeRequest(text="a", fail_code=14, fail_attempts=1, fail_message="busy")
    await call(doors[1], request, *TRACE, ("weft-retry", "initial_backoff=0.01s"))
    spans = of_trace(receiver.wait(complete(6)), TRACE_ID)
    assert drawn(spans, CALLER) == [
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


async def test_an_attempt_after_its_agents_death_says_why(
    doors: tuple[MeshHarness, MeshHarness], receiver: OtlpReceiver
) -> None:
    await doors[0].agent("dies", labels={"role": "dies"}, env=doors[0].env)
    request = ProbeRequest(text="a", crash_attempts=1)
    task = call(doors[1], request, *TRACE, ("weft-require", "role=dies"))
    running = __import__("asyncio").ensure_future(task)
    await doors[0].agents["dies"].wait()
    await doors[0].agent("dies", labels={"role": "dies"}, env=doors[0].env)
    await running
    spans = of_trace(receiver.wait(complete(5)), TRACE_ID)
    # The span of the attempt that was lost died with its agent.
    assert drawn(spans, CALLER) == [
        f"SERVER {METHOD}",
        f"  PRODUCER submit {METHOD}",
        f"    INTERNAL wait {METHOD}",
        f"    INTERNAL wait {METHOD}",
        f"    CONSUMER process {METHOD}",
    ]
    for span in (named(spans, "INTERNAL")[1], *named(spans, "CONSUMER")):
        assert span.attributes["weft.rerun.cause"] == "lost"
        assert span.attributes["weft.rerun.last_agent.id"] == "dies"
        assert span.attributes["weft.task.attempt"] == 2
