"""The hardware service in a mesh: hosted by name, found and called by clients that know nothing of weft."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from typing import Any

import grpc
import psutil
import pytest
import pytest_asyncio
from google.protobuf.json_format import MessageToJson

from tests.support.languages import Node, run
from tests.support.mesh import PROBE_SERVICE, MeshHarness
from tests.support.processes import ROOT
from tests.support.reflecting import find_grpcurl, grpcurl
from weft.services.hardware.v1 import hardware_pb2, hardware_pb2_grpc

SERVICE = "weft.services.hardware.v1.HardwareService"
SHORT = {"nanos": 100_000_000}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def _hosting(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshHarness]:
    """A mesh with the service beside a program, and alone."""
    async with MeshHarness(tmp_path_factory.mktemp("hardware")) as harness:
        await harness.coordinator()
        harness.agent_env = {
            "WEFT_HARDWARE_SAMPLE_INTERVAL_S": "1",
            "WEFT_HARDWARE_MAX_WATCHES": "1",
            "DOCKER_HOST": "unix:///nowhere.sock",
            "KUBECONFIG": "/nowhere",
        }
        await harness.agent("alone", program="", services="hardware")
        await harness.agent("beside", services="hardware", resources={"cpu": 77})
        # Each has a contract of its own, which is vetted: on a busy machine that takes its time.
        for each in (SERVICE, PROBE_SERVICE):
            await harness.wait_serving(each, timeout_s=60)
        await harness.close_channels()
        yield harness


@pytest.fixture
async def hosting(_hosting: MeshHarness) -> AsyncIterator[MeshHarness]:
    yield _hosting
    await _hosting.close_channels()


@pytest.fixture
def stub(hosting: MeshHarness) -> Any:
    return hardware_pb2_grpc.HardwareServiceStub(hosting.channel())


async def direct(hosting: MeshHarness, agent_id: str) -> Any:
    """A stub at an agent's own port."""
    (agent,) = [each for each in await listed(hosting) if each.id == agent_id]
    channel = grpc.aio.insecure_channel(agent.advertised_address)
    hosting._channels.append(channel)
    return hardware_pb2_grpc.HardwareServiceStub(channel)


async def listed(hosting: MeshHarness) -> Any:
    from weft.v1 import coordinator_pb2

    return (await hosting.api().ListAgents(coordinator_pb2.ListAgentsRequest(), timeout=5)).agents


@pytest.mark.slow
@pytest.mark.parametrize("agent_id", ["alone", "beside"])
async def test_beside_a_program_and_alone(stub: Any, agent_id: str) -> None:
    answer = await stub.GetSnapshot(
        hardware_pb2.GetSnapshotRequest(measure_over=SHORT), timeout=10, metadata=(("weft-agent", agent_id),)
    )
    assert answer.snapshot.host.agent_id == agent_id
    assert answer.snapshot.processor.logical_cores > 0


async def test_requests_that_break_rules_are_refused(stub: Any) -> None:
    wrong = [
        (stub.GetSnapshot, hardware_pb2.GetSnapshotRequest(max_processes=101), "max_processes: must be less"),
        (stub.GetSnapshot, hardware_pb2.GetSnapshotRequest(measure_over={}), "measure_over: must be greater"),
        (stub.WhatIf, hardware_pb2.WhatIfRequest(), "changes: must contain at least 1 item"),
        (
            stub.WhatIf,
            hardware_pb2.WhatIfRequest(changes=[{}]),
            r"changes[0].kind: exactly one field is required",
        ),
        (
            stub.Suggest,
            hardware_pb2.SuggestRequest(thresholds={"disk_ratio": float("nan")}),
            "thresholds.disk_ratio",
        ),
        (stub.AskWhatIf, hardware_pb2.AskWhatIfRequest(), "question: must be at least 1 character"),
        (stub.ListPods, hardware_pb2.ListPodsRequest(namespace="a,b=c"), "namespace: does not match regex"),
    ]
    for call, request, says in wrong:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(request, timeout=10)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT, says
        assert says in str(refused.value.details())


async def test_suggestions_are_about_the_last_samples(hosting: MeshHarness, stub: Any) -> None:
    everything = {"disk_ratio": 0.0, "memory_ratio": 0.0}
    answers: list[Any] = []

    async def has_history() -> bool:
        request = hardware_pb2.SuggestRequest(thresholds=everything)
        answers.append(await stub.Suggest(request, timeout=10, metadata=(("weft-agent", "alone"),)))
        return answers[-1].samples >= 3

    await hosting.eventually(has_history, "samples are kept")
    topics = {each.topic for each in answers[-1].suggestions}
    assert {hardware_pb2.TOPIC_DISK_FULL, hardware_pb2.TOPIC_MEMORY_FULL} <= topics
    assert answers[-1].over.ToMilliseconds() >= 1000


async def test_a_watch_sends_and_is_bounded(hosting: MeshHarness) -> None:
    stub = await direct(hosting, "beside")
    request = hardware_pb2.WatchRequest(interval={"seconds": 1})
    first = stub.Watch(request, timeout=30)
    snapshots = [(await first.read()).snapshot for _ in range(3)]
    assert [each.host.agent_id for each in snapshots] == ["beside"] * 3
    assert snapshots[0].read_at.ToNanoseconds() < snapshots[2].read_at.ToNanoseconds()
    assert 900 < snapshots[2].measured_over.ToMilliseconds() < 10_000

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Watch(request, timeout=10).read()
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "is watched 1 times already" in str(refused.value.details())

    # When the caller leaves, its place is free again.
    first.cancel()

    async def ends() -> bool:
        try:
            call = stub.Watch(
                hardware_pb2.WatchRequest(max_samples=1, thresholds={"disk_ratio": 0}), timeout=10
            )
            found = [each async for each in call]
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            return False
        assert len(found) == 1
        assert found[0].suggestions[0].topic
        return True

    await hosting.eventually(ends, "the first watch is gone")


async def test_what_if(stub: Any) -> None:
    memory = psutil.virtual_memory().total + psutil.swap_memory().total
    request = hardware_pb2.WhatIfRequest(changes=[{"add_work": {"memory_bytes": memory}}])
    answer = await stub.WhatIf(request, timeout=10)
    assert not answer.fits
    assert hardware_pb2.TOPIC_MEMORY_FULL in {each.topic for each in answer.suggestions_then}
    assert answer.present.memory.available_bytes > answer.predicted.memory.available_bytes

    own = hardware_pb2.WhatIfRequest(changes=[{"end_process": {"process_id": os.getpid()}}])
    assert f"The end of process {os.getpid()} (" in (await stub.WhatIf(own, timeout=10)).reasons[0]
    nobody = hardware_pb2.WhatIfRequest(changes=[{"end_process": {"process_id": 2**32 - 1}}])
    with pytest.raises(grpc.aio.AioRpcError, match="there is no process 4294967295") as refused:
        await stub.WhatIf(nobody, timeout=10)
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND


async def told(stub: Any, question: str, timeout: float = 20, **more: Any) -> hardware_pb2.AskWhatIfResponse:
    request = hardware_pb2.AskWhatIfRequest(question=question, **more)
    answer: hardware_pb2.AskWhatIfResponse = await stub.AskWhatIf(request, timeout=timeout)
    return answer


@pytest.mark.slow
async def test_a_model_answers_what_if_and_rules_where_it_does_not(hosting: MeshHarness, stub: Any) -> None:
    rules, model = hardware_pb2.ANSWER_SOURCE_RULES, hardware_pb2.ANSWER_SOURCE_MODEL
    work = [{"add_work": {"memory_bytes": 1 << 50}}]
    answer = await told(stub, "is there room for secret-plans?", changes=work)
    assert (answer.source, answer.model) == (rules, "")
    assert "There is no room for it." in answer.answer
    assert "so rules answered" in answer.notes[0]
    await hosting.agent("double", program="tests.support.foretelling_models:agent")
    await hosting.wait_serving("weft.services.models.v1.ModelService")

    answer = await told(stub, "is there room for secret-plans?", model="m")
    assert (answer.source, answer.model, answer.answer) == (model, "m", "There is none.")
    # The change that it has named was computed, the wrong one is told.
    assert [each.add_work.memory_bytes for each in answer.changes] == [1 << 50]
    assert not answer.what_if.fits
    assert "add_work.cpu_cores" in answer.notes[0]
    # A change of the request counts, and so does a machine that is given.
    given = hardware_pb2.Snapshot(memory={"size_bytes": 1 << 52, "available_bytes": 1 << 51})
    answer = await told(stub, "is there room?", changes=work, snapshot_json=MessageToJson(given))
    assert (answer.source, len(answer.changes), answer.what_if.fits) == (model, 0, True)
    assert answer.what_if.predicted.memory.available_bytes == 1 << 50

    answer = await told(stub, "what if it is gone?")
    assert (answer.source, answer.what_if.fits, len(answer.changes)) == (model, True, 0)
    assert "there is no process 4294967295" in answer.notes[0]
    for question, timeout, note in (
        ("nonsense", 20.0, "The model's reply had no answer"),
        ("any other", 20.0, "does not take the key"),
        ("slow", 3.0, "so rules answered"),
    ):
        answer = await told(stub, question, timeout)
        assert (answer.source, answer.answer[:22]) == (rules, "No change was computed"), question
        assert note in answer.notes[0]
    answer = await told(stub, "room", rules_only=True)
    assert (answer.source, answer.notes) == (rules, ["No model was asked, as the request says."])

    for more, code in (
        ({"snapshot_json": '{"processor": {"use_ratio": "NaN"}}'}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"snapshot_json": '{"processor": 7}'}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"changes": [{"end_process": {"process_id": 2**32 - 1}}]}, grpc.StatusCode.NOT_FOUND),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await told(stub, "room", **more)
        assert refused.value.code() == code
    assert "secret-plans" not in hosting.logs()


async def test_without_an_engine_and_a_cluster(stub: Any) -> None:
    """It is no fault of the agent: nothing is retried."""
    for call, request, says in (
        (stub.ListContainers, hardware_pb2.ListContainersRequest(), "the Docker engine at unix:///nowhere"),
        (stub.ListPods, hardware_pb2.ListPodsRequest(), "KUBECONFIG leads to none"),
    ):
        running = call(request, timeout=15)
        with pytest.raises(grpc.aio.AioRpcError, match=says) as refused:
            await running
        assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert ("weft-attempt", "1") in tuple(await running.trailing_metadata())


async def test_grpcurl_finds_and_calls_it(hosting: MeshHarness) -> None:
    find_grpcurl()
    code, printed = await grpcurl(hosting.target, ["list"])
    assert code == 0, printed
    assert SERVICE in printed.split()
    code, printed = await grpcurl(hosting.target, ["describe", f"{SERVICE}.Suggest"])
    assert code == 0, printed
    assert "rpc Suggest ( .weft.services.hardware.v1.SuggestRequest )" in printed
    code, printed = await grpcurl(hosting.target, [f"{SERVICE}/GetSnapshot"], ["-d", '{"max_processes": 1}'])
    assert code == 0, printed
    assert json.loads(printed)["snapshot"]["host"]["agent_id"] in {"alone", "beside"}
    asked = '{"question": "is there room?", "rules_only": true}'
    code, printed = await grpcurl(hosting.target, [f"{SERVICE}/AskWhatIf"], ["-d", asked])
    assert code == 0, printed
    assert json.loads(printed)["source"] == "ANSWER_SOURCE_RULES"


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_node_calls_it_without_weft(hosting: MeshHarness) -> None:
    modules = Node().built / "examples" / "node" / "node_modules"
    words = [hosting.target, "weft/services/hardware/v1/hardware.proto", SERVICE, "GetSnapshot"]
    places = [str(ROOT / each) for each in ("protos", "third_party/protovalidate", "third_party/googleapis")]
    script = ROOT / "tests" / "support" / "any_call.js"

    def call(request: str) -> Any:
        named = ["env", f"NODE_PATH={modules}", "node", str(script), *words]
        out = run([*named, request, *places], ROOT)
        return json.loads(out)

    assert call('{"max_processes": 1}')["snapshot"]["memory"]["size_bytes"] == psutil.virtual_memory().total
    refused = call('{"max_processes": 1000}')
    assert refused["code"] == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert "max_processes" in refused["details"]


async def test_tasks_can_ask_for_what_the_machine_is(hosting: MeshHarness) -> None:
    agents = {each.id: each for each in await listed(hosting)}
    assert agents["alone"].resources["memory_bytes"] <= psutil.virtual_memory().total
    assert agents["alone"].resources["cpu"] > 0
    # What the agent was given counts.
    assert agents["beside"].resources["cpu"] == 77
    stub = hardware_pb2_grpc.HardwareServiceStub(hosting.channel())
    request = hardware_pb2.GetSnapshotRequest(measure_over=SHORT)
    answer = await stub.GetSnapshot(request, timeout=10, metadata=(("weft-require", "cpu>=70"),))
    assert answer.snapshot.host.agent_id == "beside"
