"""What is wrong with a graph is said, all at once, each with its place."""

from __future__ import annotations

from typing import Any

import pytest

from probe.v1 import probe_pb2
from tests.support.graphs import graph_of
from weft.rpc.contracts.descriptors import PlainFileSet, file_descriptor_set
from weft.services.hardware.v1 import hardware_pb2
from weft.services.planner.graph_checks import faults_of
from weft.services.planner.mesh_contracts import MeshContracts

HARDWARE = "weft.services.hardware.v1.HardwareService"
PROBE = "probe.v1.ProbeService"


def files_of(file: Any) -> Any:
    return list(PlainFileSet.FromString(file_descriptor_set([file])).file)


@pytest.fixture(scope="module")
def contracts() -> MeshContracts:
    return MeshContracts({HARDWARE: files_of(hardware_pb2.DESCRIPTOR), PROBE: files_of(probe_pb2.DESCRIPTOR)})


def call(name: str, method: str, request: Any = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "step": {"method": f"{HARDWARE}/{method}", "request": request or {}}, **more}


SNAP = call("snap", "GetSnapshot", {"maxProcesses": 3})


def test_a_graph_without_problems(contracts: MeshContracts) -> None:
    graph = graph_of(
        [
            SNAP,
            call("suggest", "Suggest", {"thresholds": {"disk_ratio": "${inputs.ratio}"}, "over": "3s"}),
            {
                "name": "disks",
                "when": "steps.snap.snapshot.processor.logical_cores > 0u",
                "map": {
                    "items": "steps.snap.snapshot.disks",
                    "as": "disk",
                    "output": "${steps.free.fits}",
                    "nodes": [
                        call(
                            "free",
                            "WhatIf",
                            {"changes": [{"free_disk": {"mount": "${disk.mount}", "freed_bytes": 1}}]},
                            undo={
                                "method": f"{HARDWARE}/Suggest",
                                "request": {"over": "${string(steps.free.predicted.host.agent_id)}s"},
                            },
                        )
                    ],
                },
            },
            {"name": "ask", "after": ["disks"], "approval": {"question": "free ${steps.suggest.samples}?"}},
        ],
        inputs=[{"name": "ratio", "type": "number"}],
        output={"disks": "${steps.disks}"},
    )
    assert faults_of(graph, contracts) == []


@pytest.mark.parametrize(
    ("nodes", "more", "place", "says"),
    [
        ([SNAP, SNAP], {}, "nodes[0].name", "there are 2 nodes 'snap'"),
        ([{**SNAP, "name": "in"}], {}, "nodes[0].name", "is a word of expressions"),
        (
            [{**SNAP, "after": ["sanp"]}],
            {},
            "nodes[0].after[0]",
            "there is no node 'sanp': did you mean snap?",
        ),
        ([{**SNAP, "after": ["snap"]}], {}, "nodes[0].after[0]", "names itself"),
        (
            [call("a", "Suggest", after=["b"]), call("b", "Suggest", after=["a"])],
            {},
            "nodes",
            "in a circle",
        ),
        (
            [{"name": "p", "parallel": {"nodes": [{**SNAP, "after": ["p"]}]}}],
            {},
            "nodes[0].parallel.nodes[0].after[0]",
            "it is within p",
        ),
        ([{**SNAP, "when": "inputs.x > 1"}], {}, "nodes[0].when", "there is no input 'x'"),
        ([{**SNAP, "when": "1 + 1"}], {}, "nodes[0].when", "gives INT, and must be a condition"),
        ([{**SNAP, "when": "1 +"}], {}, "nodes[0].when", "Syntax error"),
        ([{**SNAP, "when": "[1].exists(x, x > 0)"}], {}, "nodes[0].when", "goes through a list"),
        ([{**SNAP, "when": "true // don't"}], {}, "nodes[0].when", "it has a comment"),
        (
            [SNAP, {"name": "ask", "approval": {"question": "${steps.snap.nothing}"}}],
            {},
            "nodes[1].approval.question",
            "undefined field 'nothing'",
        ),
        (
            [{"name": "ask", "approval": {"question": "${open"}}],
            {},
            "nodes[0].approval.question",
            "not closed",
        ),
        ([call("a", "Sugest")], {}, "nodes[0].step.method", "did you mean"),
        ([call("a", "Watch")], {}, "nodes[0].step.method", "has a stream"),
        (
            [call("a", "Suggest", {"tresholds": {}})],
            {},
            "nodes[0].step.request.tresholds",
            "did you mean thresholds",
        ),
        ([call("a", "Suggest", {"over": "soon"})], {}, "nodes[0].step.request.over", "does not fit"),
        ([call("a", "WhatIf", {"changes": []})], {}, "nodes[0].step.request.changes", "breaks a rule"),
        (
            [SNAP, call("a", "GetSnapshot", {"max_processes": "${steps.snap.snapshot.host.agent_id}"})],
            {},
            "nodes[1].step.request.max_processes",
            "it gives STRING, and the field is a number",
        ),
        (
            [call("a", "WhatIf", {"changes": "${inputs.n}"})],
            {"inputs": [{"name": "n", "type": "integer"}]},
            "nodes[0].step.request.changes",
            "it gives INT, and the field is a LIST",
        ),
        (
            [{"name": "m", "map": {"items": "steps.snap", "nodes": [call("i", "Suggest")]}}, SNAP],
            {},
            "nodes[0].map.items",
            "must be a list",
        ),
        (
            [{"name": "m", "map": {"items": "[1]", "nodes": [SNAP]}}],
            {"output": "${steps.snap}"},
            "output",
            "outside of that, name steps.m",
        ),
        (
            [{"name": "m", "map": {"items": "[1]", "as": "steps", "nodes": [SNAP]}}],
            {},
            "nodes[0].map.as",
            "is a word of expressions",
        ),
        (
            [SNAP],
            {"inputs": [{"name": "i", "type": "integer", "default": "x"}]},
            "inputs[0].default",
            "not string",
        ),
        ([SNAP], {"output": {"a": "${item}"}}, "output.a", "undeclared reference to 'item'"),
    ],
)
def test_a_problem_has_its_place(
    contracts: MeshContracts, nodes: list[Any], more: dict[str, Any], place: str, says: str
) -> None:
    found = faults_of(graph_of(nodes, **more), contracts)
    assert [each for each in found if each.place == place and says in each.message], found


def test_all_problems_at_once(contracts: MeshContracts) -> None:
    nodes = [
        call(f"n{n}", "WhatIf", {"changes": [], "thresholds": {"disk_ratio": 4}, "x": 1}) for n in range(200)
    ]
    found = faults_of(graph_of(nodes), contracts)
    assert len(found) == 100
    assert {each.place for each in found[:2]} == {"nodes[0].step.request.x", "nodes[1].step.request.x"}


def deep(levels: int) -> dict[str, Any]:
    node: dict[str, Any] = call("bottom", "Suggest")
    for level in range(levels):
        node = {"name": f"level{level}", "parallel": {"nodes": [node]}}
    return node


@pytest.mark.parametrize(("levels", "well"), [(5, True), (6, False), (30, False)])
def test_levels_are_bounded(contracts: MeshContracts, levels: int, well: bool) -> None:
    found = faults_of(graph_of([deep(levels)]), contracts)
    assert (found == []) is well, found
    assert well or "6 levels" in found[0].message


def test_nodes_and_bytes_are_bounded(contracts: MeshContracts) -> None:
    many = graph_of([call(f"n{n}", "Suggest") for n in range(201)])
    assert "the most are 200" in faults_of(many, contracts)[0].message
    large = graph_of([{"name": "n", "approval": {"question": "x" * 300_000}}])
    assert "bytes; the most are" in faults_of(large, contracts)[0].message


def test_services_with_different_files_of_one_name_are_not_used_together() -> None:
    files, other = files_of(hardware_pb2.DESCRIPTOR), files_of(hardware_pb2.DESCRIPTOR)
    next(each for each in other if each.name == "weft/v1/options.proto").message_type.add(name="Other")
    contracts = MeshContracts({"a.v1.First": files, HARDWARE: other})
    assert contracts.conflicts == {HARDWARE: "weft/v1/options.proto"}
    (fault,) = faults_of(graph_of([SNAP]), contracts)
    assert fault.place == "nodes[0].step.method"
    assert "cannot be used together" in fault.message
