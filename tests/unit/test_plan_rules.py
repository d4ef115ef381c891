"""Plans by rules over words, and plans by a model whose answers are checked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from google.protobuf import json_format

from weft.rpc.contracts.descriptors import PlainFileSet, file_descriptor_set
from weft.services.hardware.v1 import hardware_pb2
from weft.services.planner.graph_checks import Fault, faults_of
from weft.services.planner.mesh_contracts import MeshContracts
from weft.services.planner.model_plan import ModelTurn, plan_by_model, read_answer
from weft.services.planner.plan_words import alike, clauses_of, words_of
from weft.services.planner.planning import rule_faults
from weft.services.planner.rule_plan import NoPlan, RulePlan
from weft.services.planner.tool_list import listed_tools, step_methods
from weft.services.planner.v1 import graph_pb2

SERVICE = "weft.services.hardware.v1.HardwareService"


@pytest.fixture(scope="module")
def contracts() -> MeshContracts:
    files = list(PlainFileSet.FromString(file_descriptor_set([hardware_pb2.DESCRIPTOR])).file)
    return MeshContracts({SERVICE: files})


@pytest.mark.parametrize(
    ("goal", "clauses"),
    [
        (
            "Reserve item=desk, then charge card=4711",
            [(0, ["reserve"], {"item": "desk"}), (1, ["charge"], {"card": "4711"})],
        ),
        (
            "charge card=1 and send to='ann and bob'",
            [(0, ["charge"], {"card": "1"}), (0, ["send"], {"to": "'ann and bob'"})],
        ),
        ("charge card=1 and cents=5", [(0, ["charge"], {"card": "1", "cents": "5"})]),
        ("a; b;; the", [(0, ["b"], {})]),
        ("list=[1, 2] sort it. print it", [(0, ["sort"], {"list": "[1, 2]"}), (1, ["print"], {})]),
        ("charge cents=${steps.a.b}", [(0, ["charge"], {"cents": "${steps.a.b}"})]),
        ("please", []),
        ("", []),
    ],
)
def test_a_goal_has_clauses(goal: str, clauses: list[Any]) -> None:
    assert [(each.stage, each.words, each.arguments) for each in clauses_of(goal)] == clauses


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("reserve", "reservation", True),
        ("charge", "charged", True),
        ("card", "cards", True),
        ("release", "reserve", False),
        ("if", "iffy", False),
        ("send", "sender", True),
    ],
)
def test_words_of_one_stem(one: str, other: str, same: bool) -> None:
    assert alike(one, other) is alike(other, one) is same


def test_names_have_words() -> None:
    assert words_of("GetHTTPSnapshot2 max_processes") == ["get", "http", "snapshot", "2", "max", "processes"]


def test_a_plan_by_rules(contracts: MeshContracts) -> None:
    plan = RulePlan(list(step_methods(contracts)))
    graph = plan.graph_of(
        "get a snapshot max_processes=3, then suggest over=5s and list containers all=true nothing=1"
    )
    assert [each["name"] for each in graph["nodes"]] == ["get_snapshot", "suggest", "list_containers"]
    assert [each.get("after") for each in graph["nodes"]] == [None, ["get_snapshot"], ["get_snapshot"]]
    assert graph["nodes"][2]["step"]["request"] == {"all": True}
    assert "nothing=1 is no field" in graph["nodes"][2]["reason"]
    assert len(plan.reasons) == 3
    made = json_format.ParseDict(graph, graph_pb2.Graph())
    assert [*faults_of(made, contracts), *rule_faults(made)] == []


@pytest.mark.parametrize(
    ("goal", "says"), [("please", "no words"), ("paint the house", "no method fits “paint the house”")]
)
def test_a_goal_that_no_method_fits(contracts: MeshContracts, goal: str, says: str) -> None:
    with pytest.raises(NoPlan, match=says):
        RulePlan(list(step_methods(contracts))).graph_of(goal)


def test_tools_are_listed(contracts: MeshContracts) -> None:
    listed = listed_tools(contracts, "Suggest")
    (tool,) = listed.tools
    assert (tool.method, tool.may_run_twice) == (f"{SERVICE}/Suggest", True)
    assert "over" in json.dumps(json.loads(tool.request_schema_json))
    # A stream is no step.
    assert f"{SERVICE}/Watch" not in [each.method for each in listed_tools(contracts, "").tools]


GOOD = {"nodes": [{"name": "a", "step": {"method": f"{SERVICE}/Suggest"}}]}


@pytest.mark.parametrize(
    ("answers", "rounds", "made"),
    [
        ([json.dumps(GOOD)], 1, True),
        (["Here it is:\n```json\n" + json.dumps(GOOD) + "\n```"], 1, True),
        (["no idea", json.dumps({"nodes": [{"nam": 1}]}), json.dumps(GOOD)], 3, True),
        ([json.dumps({"nodes": [{"name": "a", "step": {"method": "a.B/C"}}]}), json.dumps(GOOD)], 2, True),
        (["{", "[]", "{}"], 3, False),
    ],
)
async def test_a_model_is_told_what_is_wrong(
    contracts: MeshContracts, answers: list[str], rounds: int, made: bool
) -> None:
    told: list[Sequence[ModelTurn]] = []

    async def ask(turns: Sequence[ModelTurn]) -> str:
        told.append(list(turns))
        return answers[len(told) - 1]

    def check(graph: graph_pb2.Graph) -> list[Fault]:
        return rule_faults(graph) or faults_of(graph, contracts)

    methods = list(step_methods(contracts))
    graph, reasons = await plan_by_model(ask, "suggest what to do", methods, check, 3)
    assert (graph is not None) is made
    assert len(told) == len(answers) == rounds
    assert told[0][1].text.index("Suggest") < told[0][1].text.index("GetSnapshot"), "what fits comes first"
    assert [turn.role for turn in told[-1]] == ["system", "user", *["assistant", "user"] * (rounds - 1)]
    assert len(reasons) == (rounds if made else 3)


def test_an_answer_is_read() -> None:
    graph, faults = read_answer('{"nodes": [{"nmae": "a"}]}')
    assert graph is None
    assert "nmae" in faults[0].place + faults[0].message
