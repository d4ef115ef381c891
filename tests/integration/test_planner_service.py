"""The planner in a mesh: graphs are checked, run to their ends, undone, waited for, cancelled; and called by clients that know nothing of weft."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
import yaml
from google.protobuf import json_format

from tests.support.command import weft
from tests.support.graphs import graph_of
from tests.support.languages import Node, run
from tests.support.mesh import MeshHarness
from tests.support.processes import ROOT
from tests.support.reflecting import find_grpcurl, grpcurl
from weft.client import Mesh, TaskState, connect
from weft.rpc.errors import error_info, status_of_call
from weft.services.planner.v1 import graph_pb2, planner_pb2, planner_pb2_grpc

SERVICE = "weft.services.planner.v1.PlannerService"
RUN = f"{SERVICE}/RunGraph"
RESERVE = {"name": "a", "step": {"method": "shop.v1.Stock/Reserve", "request": {"item": "desk"}}}
ORDER = ROOT / "examples" / "graphs" / "order.yaml"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def _hosting(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshHarness]:
    async with MeshHarness(tmp_path_factory.mktemp("planner")) as harness:
        await harness.coordinator()
        await harness.agent("shop", program="examples.graphs.shop:agent", services="planner")
        await harness.wait_serving(SERVICE)
        await harness.close_channels()
        yield harness


@pytest.fixture
async def hosting(_hosting: MeshHarness) -> AsyncIterator[MeshHarness]:
    yield _hosting
    await _hosting.close_channels()


@pytest.fixture
def stub(hosting: MeshHarness) -> Any:
    return planner_pb2_grpc.PlannerServiceStub(hosting.channel())


def order() -> graph_pb2.Graph:
    return json_format.ParseDict(yaml.safe_load(ORDER.read_text()), graph_pb2.Graph())


async def run_graph(stub: Any, graph: graph_pb2.Graph, **inputs: Any) -> tuple[Any, dict[str, str]]:
    """The response of a run, and the states of its nodes."""
    response = await stub.RunGraph(planner_pb2.RunGraphRequest(graph=graph, inputs=inputs), timeout=30)
    return response, states_of(response)


def states_of(response: planner_pb2.RunGraphResponse) -> dict[str, str]:
    return {
        each.name: planner_pb2.NodeState.Name(each.state).removeprefix("NODE_STATE_")
        for each in response.nodes
    }


def output_of(response: planner_pb2.RunGraphResponse) -> Any:
    return json_format.MessageToDict(response.output)


async def test_a_graph_runs_to_its_output(stub: Any) -> None:
    response, states = await run_graph(stub, order(), card="4711")
    assert response.state == planner_pb2.RUN_STATE_SUCCEEDED
    assert output_of(response) == {"receipt": "13000 cents of card 4711", "parcel": "2 items by courier"}
    assert list(states) == [
        *("reserve", "reserved[0]", "reserved[1]", "total", "check", "approve", "charge", "send", "post")
    ]
    assert [name for name, state in states.items() if state == "SKIPPED"] == ["approve", "post"]
    charge = next(each for each in response.nodes if each.name == "charge")
    assert charge.method == "shop.v1.Cards/Charge"
    assert (charge.agent_id, charge.attempts) == ("shop", 1)
    assert charge.submitted_at.ToNanoseconds() <= charge.ended_at.ToNanoseconds()


async def test_what_has_succeeded_is_undone(hosting: MeshHarness, stub: Any) -> None:
    response, states = await run_graph(stub, order(), card="expired")
    assert response.state == planner_pb2.RUN_STATE_FAILED
    assert response.error.message == "charge: the card has expired"
    assert not response.HasField("output")
    assert (states["reserved[0]"], states["charge"], states["send"]) == ("UNDONE", "FAILED", "NOT_REACHED")
    assert list(states)[-2:] == ["undo/reserved[1]", "undo/reserved[0]"]
    undone = next(each for each in response.nodes if each.name == "undo/reserved[1]")
    async with connect(hosting.target) as mesh:
        task = await mesh.tasks.get(undone.task_id)
    assert b"reserved chair" in task.response


async def test_another_node_runs_instead(stub: Any) -> None:
    response, states = await run_graph(stub, order(), card="1", day="sunday")
    assert output_of(response)["parcel"] == "2 items by post"
    assert (states["send"], states["post"]) == ("RECOVERED", "SUCCEEDED")
    send = next(each for each in response.nodes if each.name == "send")
    assert send.attempts == 2
    assert "Sundays" in send.error.message


async def test_independent_nodes_run_to_their_ends(stub: Any) -> None:
    bad = {"name": "bad", "step": {"method": "shop.v1.Stock/Reserve", "request": {"item": "gold"}}}
    good = [
        {
            "name": f"good{n}",
            "step": {"method": "shop.v1.Stock/Reserve", "request": {"item": "desk"}},
            "after": [f"good{n - 1}"] if n else [],
            "undo": {
                "method": "shop.v1.Stock/Release",
                "request": {"reservation": "${steps.good0.reservation}"},
            },
        }
        for n in range(3)
    ]
    response, states = await run_graph(stub, graph_of([bad, *good]))
    assert response.error.code == 5
    assert [name for name in states if name.startswith("undo/")] == ["undo/good2", "undo/good1", "undo/good0"]
    went_on = {**bad, "on_failure": {"output": {"reservation": "none"}, "codes": [5]}}
    then = {
        "name": "then",
        "step": {"method": "shop.v1.Stock/Release", "request": {"reservation": "${steps.bad.reservation}"}},
    }
    response, states = await run_graph(stub, graph_of([went_on, then]))
    assert output_of(response) == {"then": {"released": "none"}}
    assert states == {"bad": "RECOVERED", "then": "SUCCEEDED"}
    other_code = {**went_on, "on_failure": {"output": 1, "codes": [4]}}
    response, states = await run_graph(stub, graph_of([other_code, then]))
    assert states == {"bad": "FAILED", "then": "NOT_REACHED"}


async def test_maps_within_maps_and_skipped_nodes(stub: Any) -> None:
    inner = {
        "name": "one",
        "when": "item != 'lamp'",
        "step": {"method": "shop.v1.Stock/Reserve", "request": {"item": "${item}"}},
    }
    graph = graph_of(
        [
            {
                "name": "rows",
                "map": {
                    "items": "inputs.rows",
                    "as": "row",
                    "nodes": [
                        {
                            "name": "cells",
                            "map": {
                                "items": "row",
                                "nodes": [inner],
                                "output": "${index} ${steps.one.cents}",
                            },
                        }
                    ],
                },
            }
        ],
        inputs=[{"name": "rows", "type": "array"}],
        output="${steps.rows}",
    )
    response, states = await run_graph(stub, graph, rows=[["desk", "lamp"], [], ["chair"]])
    assert output_of(response) == [["0 30000", "1 null"], [], ["0 9000"]]
    assert {name: state for name, state in states.items() if name.startswith("one")} == {
        "one[0,0]": "SUCCEEDED",
        "one[0,1]": "SKIPPED",
        "one[2,0]": "SUCCEEDED",
    }
    response, states = await run_graph(stub, graph, rows=[["desk"], 7])
    assert "rows: cells[1]: map.items gives" in response.error.message


async def test_problems_are_refused_with_their_places(stub: Any) -> None:
    graph = order()
    graph.nodes[0].map.items = "inputs.itms"
    graph.nodes[3].step.method = "shop.v1.Cards/Chrge"
    found = (await stub.Validate(planner_pb2.ValidateRequest(graph=graph), timeout=10)).problems
    assert [each.place for each in found] == ["nodes[0].map.items", "nodes[3].step.method"]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await run_graph(stub, graph, card="1")
    status = status_of_call(refused.value)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    info = error_info(status)
    assert info is not None
    assert (info.domain, info.reason) == ("weft.services.planner", "GRAPH_INVALID")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await run_graph(stub, order(), crd="1")
    assert "did you mean card?" in str(refused.value.details())
    for wrong in (graph_of([{"name": "No"}]), graph_of([{"name": "a"}]), graph_pb2.Graph()):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Validate(planner_pb2.ValidateRequest(graph=wrong), timeout=10)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def until_it_waits(hosting: MeshHarness, mesh: Mesh, run_id: str, text: str) -> None:
    async def waits() -> bool:
        return text in (await mesh.tasks.get(run_id)).waits_for

    await hosting.eventually(waits, f"the run waits for {text}")


ASK = {"name": "ask", "approval": {"question": "send ${inputs.what}?"}}


@pytest.mark.parametrize(
    ("answer", "state", "says"),
    [
        (None, "SUCCEEDED", ""),
        ({"by": "ann"}, "SUCCEEDED", ""),
        ({"approved": False, "reason": "too much"}, "FAILED", "ask: too much"),
    ],
)
async def test_a_person_is_asked(hosting: MeshHarness, answer: Any, state: str, says: str) -> None:
    request = planner_pb2.RunGraphRequest(
        graph=graph_of([ASK], inputs=[{"name": "what"}]), inputs={"what": "it"}
    )
    async with connect(hosting.target) as mesh:
        run_ = await mesh.tasks.submit(RUN, request)
        await until_it_waits(hosting, mesh, run_.id, "signal ask")
        asked = [step async for step in mesh.tasks.steps(run_.id) if step.name == "ask/ask"]
        assert json.loads(asked[0].value) == "send it?"
        await mesh.tasks.signal(run_.id, "ask", answer)
        response = planner_pb2.RunGraphResponse.FromString(await run_.result(20))
    assert planner_pb2.RunState.Name(response.state) == f"RUN_STATE_{state}"
    assert response.error.message == says
    if not says:
        assert output_of(response) == {"ask": answer}


async def test_a_cancelled_run_cancels_its_tasks_and_undoes_nothing(hosting: MeshHarness) -> None:
    reserve = {
        "name": "reserve",
        "step": {"method": "shop.v1.Stock/Reserve", "request": {"item": "desk"}},
        "undo": {
            "method": "shop.v1.Stock/Release",
            "request": {"reservation": "${steps.reserve.reservation}"},
        },
    }
    # A task that waits for an agent that is not there.
    waiting = {
        "name": "waiting",
        "after": ["reserve"],
        "step": {
            "method": "shop.v1.Stock/Total",
            "request": {"reservations": []},
            "options": {"labels": {"zone": "nowhere"}},
        },
    }
    async with connect(hosting.target) as mesh:
        run_ = await mesh.tasks.submit(RUN, planner_pb2.RunGraphRequest(graph=graph_of([reserve, waiting])))
        below: list[Any] = []

        async def submitted() -> bool:
            below[:] = [each async for each in mesh.tasks.list(root_id=run_.id)]
            return len(below) == 2

        await hosting.eventually(submitted, "both steps are submitted")
        await run_.cancel()
        assert (await run_.ended(20)).state is TaskState.CANCELLED
        (child,) = [each for each in below if each.method.endswith("Total")]
        assert (await mesh.tasks.ended(child.id, 20)).state is TaskState.CANCELLED
        assert len([each async for each in mesh.tasks.list(root_id=run_.id)]) == 2


async def test_bounds_of_a_run(stub: Any) -> None:
    over = graph_of(
        [
            {
                "name": "m",
                "map": {
                    "items": "inputs.items",
                    "nodes": [
                        {
                            "name": "a",
                            "step": {"method": "shop.v1.Stock/Total", "request": {"reservations": []}},
                        }
                    ],
                },
            }
        ],
        inputs=[{"name": "items"}],
    )
    response, _ = await run_graph(stub, over, items=[0] * 1001)
    assert response.error.message == "m: map.items has 1001 items; the most are 1000"
    response, states = await run_graph(stub, over, items=[0] * 60)
    assert response.state == planner_pb2.RUN_STATE_SUCCEEDED
    assert len(states) == 61


async def test_a_direct_call_cannot_be_durable(hosting: MeshHarness) -> None:
    async with connect(hosting.target) as mesh:
        direct = planner_pb2_grpc.PlannerServiceStub(mesh.channel(direct=True))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await direct.RunGraph(
                planner_pb2.RunGraphRequest(graph=order(), inputs={"card": "1"}), timeout=10
            )
    assert "direct" in str(refused.value.details())
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION


# -- plans ------------------------------------------------------------------------------------------------------------


async def test_a_plan_by_rules_runs(stub: Any) -> None:
    tools = (await stub.ListTools(planner_pb2.ListToolsRequest(match="shop.v1.Cards"), timeout=10)).tools
    assert [each.method for each in tools] == ["shop.v1.Cards/Charge", "shop.v1.Cards/Refund"]
    goal = "reserve item=desk, then charge card='4711' cents=${steps.reserve.cents}"
    made = await stub.Plan(planner_pb2.PlanRequest(goal=goal), timeout=20)
    assert made.source == planner_pb2.PLAN_SOURCE_RULES
    assert made.reasons[0].startswith("No agent hosts the models service")
    response, _ = await run_graph(stub, made.graph)
    assert output_of(response) == {"charge": {"receipt": "30000 cents of card 4711"}}
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Plan(planner_pb2.PlanRequest(goal="paint the house"), timeout=20)
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    info = error_info(status_of_call(refused.value))
    assert info is not None
    assert info.reason == "NO_PLAN"


async def test_another_plan_after_a_failure(stub: Any) -> None:
    node = {
        "name": "send",
        "step": {
            "method": "shop.v1.Parcels/Send",
            "request": {"day": "sunday", "reservations": []},
            "options": {"max_attempts": 1},
        },
    }
    first = {
        "name": "reserve",
        "step": RESERVE["step"],
        "undo": {"method": "shop.v1.Stock/Release", "request": {"reservation": "x"}},
    }
    again = {"goal": "post reservations=[]", "max_plans": 2, "methods": ["shop.v1.Parcels"]}
    request = planner_pb2.RunGraphRequest(graph=graph_of([first, node]), replan=again)
    response = await stub.RunGraph(request, timeout=30)
    states = states_of(response)
    assert states["send"] == "FAILED"
    assert states["reserve"] == "UNDONE"
    assert states["plan2/post"] == "SUCCEEDED"
    assert response.state == planner_pb2.RUN_STATE_SUCCEEDED
    assert output_of(response) == {"post": {"parcel": "0 items by post"}}
    # What has failed is not tried again.
    request.replan.goal = "send reservations=[]"
    response = await stub.RunGraph(request, timeout=30)
    assert response.state == planner_pb2.RUN_STATE_FAILED
    assert "no other plan: no method fits" in response.error.message


@pytest.mark.slow
async def test_a_plan_by_a_model(hosting: MeshHarness, stub: Any) -> None:
    """The model's service is a double that follows its contract: a random model makes no plans."""
    await hosting.agent("models", program="tests.support.scripted_models:agent")
    await hosting.wait_serving("weft.services.models.v1.ModelService")
    made = await stub.Plan(planner_pb2.PlanRequest(goal="reserve a desk", methods=["shop.v1"]), timeout=30)
    assert made.source == planner_pb2.PLAN_SOURCE_MODEL, made
    assert [each.name for each in made.graph.nodes] == ["desk"]
    assert len(made.reasons) == 2
    made = await stub.Plan(
        planner_pb2.PlanRequest(goal="reserve babble item=desk", methods=["shop.v1"]), timeout=30
    )
    assert made.source == planner_pb2.PLAN_SOURCE_RULES
    made = await stub.Plan(
        planner_pb2.PlanRequest(goal="reserve fail item=desk", methods=["shop.v1"]), timeout=30
    )
    assert made.source == planner_pb2.PLAN_SOURCE_RULES
    assert "could not be asked" in made.reasons[0]
    await hosting.agents["models"].kill()


@pytest.mark.slow
async def test_the_command_plans(hosting: MeshHarness, tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    words = ["plan", "reserve item=desk", "--rules", "--target", hosting.target]
    done = await weft(*words, "--output", str(file))
    assert done.status == 0, done.err
    assert "reserve  shop.v1.Stock/Reserve" in done.out
    assert yaml.safe_load(file.read_text())["nodes"][0]["step"]["request"] == {"item": "desk"}
    done = await weft(*words, "--yes", "--json")
    assert json.loads(done.out.splitlines()[-1])["state"] == "RUN_STATE_SUCCEEDED"
    done = await weft(*words)
    assert done.status == 2
    assert "--dry-run" in done.err


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_the_command_runs_follows_and_checks(hosting: MeshHarness, tmp_path: Path) -> None:
    done = await weft("run", str(ORDER), "--input", "card=1", "--target", hosting.target)
    assert done.status == 0
    assert json.loads(done.out[done.out.index("{") :])["parcel"] == "2 items by courier"
    done = await weft("run", str(ORDER), "--input", "card=expired", "--json", "--target", hosting.target)
    assert done.status == 1
    assert json.loads(done.out)["error"]["message"] == "charge: the card has expired"
    run_id = json.loads(done.out)["task_id"]
    done = await weft("run", "--follow", run_id, "--target", hosting.target)
    assert "undo/reserved[0]" in done.out
    bad = tmp_path / "bad.yaml"
    bad.write_text(
        ORDER.read_text().replace("inputs.items", "inputs.itms").replace("Cards/Charge", "Cards/Chrge")
    )
    line = bad.read_text().splitlines().index("      items: inputs.itms") + 1
    done = await weft("run", str(bad), "--input", "card=1", "--target", hosting.target)
    assert done.status == 1
    assert f"{bad}:{line}: nodes[0].map.items: there is no input 'itms': did you mean items?" in done.err
    bad.write_text(ORDER.read_text().replace("after: [charge]", "aftr: [charge]"))
    done = await weft("run", str(bad), "--check", "--target", hosting.target)
    assert done.status == 2
    assert ": nodes[4].aftr: " in done.err
    assert f"{bad}:{bad.read_text().splitlines().index('    aftr: [charge]') + 1}:" in done.err


# -- other clients ----------------------------------------------------------------------------------------------------


async def test_grpcurl_finds_and_calls_it(hosting: MeshHarness) -> None:
    find_grpcurl()
    code, printed = await grpcurl(hosting.target, ["list"])
    assert code == 0, printed
    assert SERVICE in printed.split()
    request = json.dumps({"graph": {"nodes": [RESERVE]}})
    code, printed = await grpcurl(hosting.target, [RUN], ["-d", request])
    assert code == 0, printed
    assert json.loads(printed)["output"]["a"]["reservation"] == "reserved desk"


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_node_calls_it_without_weft(hosting: MeshHarness) -> None:
    modules = Node().built / "examples" / "node" / "node_modules"
    places = [str(ROOT / each) for each in ("protos", "third_party/protovalidate", "third_party/googleapis")]
    words = [hosting.target, "weft/services/planner/v1/planner.proto", SERVICE, "Draw"]
    request = json.dumps(
        {"graph": {"name": "g", "nodes": [{"name": "a", "approval": {"question": "go on?"}}]}}
    )
    named = ["env", f"NODE_PATH={modules}", "node", str(ROOT / "tests" / "support" / "any_call.js"), *words]
    drawn = json.loads(run([*named, request, *places], ROOT))["drawing"]
    assert "a  waits for a person: go on?" in drawn
