"""The assigner in a mesh: forecasts beside what really happens, batches that are submitted, clients that know nothing of weft."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio

from probe.v1 import probe_pb2
from tests.support.languages import Node, run
from tests.support.mesh import MeshHarness
from tests.support.processes import ROOT
from tests.support.reflecting import find_grpcurl, grpcurl
from weft.client import TaskState, connect
from weft.rpc.times import timestamp
from weft.services.assigner.v1 import assigner_pb2, assigner_pb2_grpc

SERVICE = "weft.services.assigner.v1.AssignerService"
CALL, OTHER = "probe.v1.ProbeService/Call", "probe.v1.ProbeService/CallSync"
RUN_S = 0.3


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def _hosting(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshHarness]:
    async with MeshHarness(tmp_path_factory.mktemp("assigner")) as harness:
        await harness.coordinator()
        await harness.agent("desk", program="", services="assigner")
        await harness.agent("one", slots=2, resources={"gpu": 1}, labels={"zone": "eu"})
        await harness.agent("two", slots=2)
        await harness.close_channels()
        yield harness


@pytest.fixture
async def hosting(_hosting: MeshHarness) -> AsyncIterator[MeshHarness]:
    yield _hosting
    await _hosting.close_channels()


@pytest.fixture
def stub(hosting: MeshHarness) -> Any:
    return assigner_pb2_grpc.AssignerServiceStub(hosting.channel())


async def refused(call: Any, code: grpc.StatusCode) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    assert error.value.code() == code, error.value.details()
    return str(error.value.details())


def seconds(of: Any) -> float:
    return float(of.ToTimedelta().total_seconds())


@pytest.mark.slow
async def test_a_forecast_and_what_really_happens(hosting: MeshHarness, stub: Any) -> None:
    ask = assigner_pb2.PredictStartRequest(method=CALL)
    nothing = (await stub.PredictStart(ask, timeout=10)).forecast
    assert (nothing.slots, nothing.free_slots, seconds(nothing.likely)) == (4, 4, 0)
    assert "nobody has measured its run time: it is assumed" in nothing.reasons

    request = probe_pb2.ProbeRequest(sleep_s=RUN_S)
    async with connect(hosting.target) as mesh:
        first = [await mesh.tasks.submit(CALL, request) for _ in range(4)]
        for each in first:
            await each.result(timeout_s=20)
        # Four run, and twelve wait: the next one starts after four rounds or so.
        waiting = [await mesh.tasks.submit(CALL, request) for _ in range(16)]
        forecast = (await stub.PredictStart(ask, timeout=10)).forecast
        asked_at_s = time.time()
        last = await mesh.tasks.submit(CALL, request)
        explained = await stub.Explain(assigner_pb2.ExplainRequest(task_id=last.id), timeout=10)
        await last.result(timeout_s=30)
        task = await mesh.tasks.get(last.id)
        for each in waiting:
            await each.result(timeout_s=20)
    assert forecast.queued >= 8
    assert seconds(forecast.earliest) <= seconds(forecast.likely) <= seconds(forecast.latest)
    assert RUN_S <= seconds(forecast.run_time) < 3 * RUN_S
    assert task.started_at is not None
    really_s = task.started_at.timestamp() - asked_at_s
    assert seconds(forecast.earliest) * 0.5 <= really_s, (forecast, really_s)
    assert seconds(forecast.likely) <= really_s * 2 + 1, (forecast, really_s)
    assert explained.state == "QUEUED"
    assert explained.waits_for
    assert explained.forecast.queued >= 8
    done = await stub.Explain(assigner_pb2.ExplainRequest(task_id=task.id), timeout=10)
    assert done.state == "SUCCEEDED"
    assert not done.HasField("forecast")
    assert done.reasons[0].startswith("attempt 1 at ")


async def test_a_batch_is_placed_and_submitted_once(hosting: MeshHarness, stub: Any) -> None:
    items: Any = [
        {"name": "gpu", "method": OTHER, "json": '{"text": "gpu"}', "resources": {"gpu": 1}},
        {
            "name": "late",
            "method": OTHER,
            "deadline": timestamp(time.time() + 0.001),
            "run_time": {"seconds": 5},
        },
        {"name": "nowhere", "method": OTHER, "labels": {"zone": "us"}},
        *({"name": f"n{number}", "method": OTHER, "run_time": {"seconds": 2}} for number in range(4)),
    ]
    request = assigner_pb2.AssignRequest(items=items)
    said = {each.name: each for each in (await stub.Assign(request, timeout=10)).assignments}
    assert said["gpu"].agent_id == "one"
    assert not said["late"].in_time
    assert said["n0"].in_time
    assert said["nowhere"].agent_id == ""
    assert "2 agents host" in said["nowhere"].reason
    # Six tasks for four places.
    assert (
        sorted(seconds(each.start_after) > 0 for each in said.values() if each.agent_id)
        == [False] * 4 + [True] * 2
    )
    assert not any(each.task_id for each in said.values())

    request = assigner_pb2.AssignRequest(
        items=[items[0], items[2], items[3]], submit=True, batch_id="b1", pin=True
    )
    done = await stub.Assign(request, timeout=10)
    again = await stub.Assign(request, timeout=10)
    ids = {each.name: each.task_id for each in done.assignments}
    assert ids == {each.name: each.task_id for each in again.assignments}
    assert ids["gpu"]
    assert not ids["nowhere"]
    async with connect(hosting.target) as mesh:
        (task,) = await mesh.tasks.wait([ids["gpu"]], timeout_s=20)
        # It is no child of the call, which is over by now.
        assert task.state is TaskState.SUCCEEDED
        assert task.agent_id == "one"
        assert probe_pb2.ProbeRequest.FromString((await mesh.tasks.get(ids["gpu"])).request).text == "gpu"


async def test_what_cannot_be_is_refused(stub: Any) -> None:
    nobody = assigner_pb2.PredictStartRequest(method=CALL, labels={"zone": "us"})
    text = await refused(stub.PredictStart(nobody, timeout=10), grpc.StatusCode.NOT_FOUND)
    assert "2 agents host probe.v1.ProbeService/Call, none has these labels" in text
    unknown = assigner_pb2.PredictStartRequest(method="acme.v1.No/Such")
    text = await refused(stub.PredictStart(unknown, timeout=10), grpc.StatusCode.NOT_FOUND)
    assert "no agent that takes work hosts acme.v1.No/Such" in text
    await refused(
        stub.Explain(assigner_pb2.ExplainRequest(task_id="none"), timeout=10), grpc.StatusCode.NOT_FOUND
    )
    item: Any = {"name": "x", "method": CALL, "json": '{"no_such": 1}'}
    for items, says in (
        ([], "items: must contain at least 1"),
        ([item, item], "items: each has a name of its own"),
        ([item], "x: "),
        ([{"name": "x", "method": "a/b", "json": "{}"}], "x: "),
        ([{"name": "x", "method": "nothing"}], "items[0].method: does not match regex"),
    ):
        wrong = assigner_pb2.AssignRequest(items=items, submit=True)
        assert says in await refused(stub.Assign(wrong, timeout=10), grpc.StatusCode.INVALID_ARGUMENT)


async def test_grpcurl_calls_it(hosting: MeshHarness) -> None:
    find_grpcurl()
    code, printed = await grpcurl(
        hosting.target, [f"{SERVICE}/PredictStart"], ["-d", json.dumps({"method": CALL})]
    )
    assert code == 0, printed
    assert json.loads(printed)["forecast"]["reasons"]


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_node_calls_it_without_weft(hosting: MeshHarness) -> None:
    modules = Node().built / "examples" / "node" / "node_modules"
    places = [str(ROOT / each) for each in ("protos", "third_party/protovalidate", "third_party/googleapis")]
    words = [hosting.target, "weft/services/assigner/v1/assigner.proto", SERVICE, "PredictStart"]
    named = ["env", f"NODE_PATH={modules}", "node", str(ROOT / "tests" / "support" / "any_call.js"), *words]

    def call(request: str) -> Any:
        return json.loads(run([*named, request, *places], ROOT))

    assert call(json.dumps({"method": CALL}))["forecast"]["slots"] == 4
    assert call('{"method": "nothing"}')["code"] == grpc.StatusCode.INVALID_ARGUMENT.value[0]
