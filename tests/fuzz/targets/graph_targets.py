"""Graphs of the planner: files that people write, and messages of any client."""

from __future__ import annotations

import functools

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from tests.fuzz.target import target, text_of
from weft.cli.graphs import graph_file as files
from weft.cli.terminal.failure import Failure
from weft.rpc.contracts.descriptors import PlainFileSet, file_descriptor_set
from weft.services.hardware.v1 import hardware_pb2
from weft.services.planner import graph_checks, graph_drawing, model_plan, rule_plan, tool_list
from weft.services.planner.mesh_contracts import MeshContracts
from weft.services.planner.v1 import graph_pb2

_SERVICE = "weft.services.hardware.v1.HardwareService"
_GRAPH = {
    "name": "g",
    "inputs": [{"name": "n", "type": "number", "default": 1}],
    "nodes": [
        {"name": "a", "step": {"method": f"{_SERVICE}/Suggest", "request": {"over": "${string(inputs.n)}s"}}},
        {
            "name": "m",
            "map": {
                "items": "steps.a.suggestions",
                "nodes": [{"name": "p", "approval": {"question": "${item}"}}],
            },
        },
        {
            "name": "c",
            "after": ["m"],
            "condition": {"choices": [{"when": "true", "nodes": [{"name": "x", "approval": {}}]}]},
        },
    ],
    "output": {"a": "${steps.a.samples} of ${steps.m}"},
}


@functools.cache
def _contracts() -> MeshContracts:
    files_ = PlainFileSet.FromString(file_descriptor_set([hardware_pb2.DESCRIPTOR])).file
    return MeshContracts({_SERVICE: list(files_)})


@target(
    "weft/cli/graphs/graph_file",
    seeds=lambda: [
        json_format.MessageToJson(json_format.ParseDict(_GRAPH, graph_pb2.Graph())).encode(),
        b"name: a\nnodes:\n- &x {name: b, when: 2026-01-01}\n- *x\n",
        b"a: .inf\nb: 0x1F\nc: !!binary aGk=\n? [1]\n: 2\n",
        b"a: " + b"[" * 500,
    ],
    raises=(Failure,),
    max_bytes=4096,
)
def graph_file(data: bytes) -> None:
    read = files.parse(text_of(data), "g.yaml")
    assert read.place("nodes[0].step").startswith("g.yaml")
    files.input_values({"a": text_of(data)}, read)


@target(
    "weft/services/planner/graph_checks",
    "weft/services/planner/templates",
    seeds=lambda: [json_format.ParseDict(_GRAPH, graph_pb2.Graph()).SerializeToString()],
    raises=(DecodeError,),
    max_bytes=4096,
)
def graph(data: bytes) -> None:
    found = graph_pb2.Graph.FromString(data)
    graph_checks.faults_of(found, _contracts())
    graph_drawing.as_text(found)
    graph_drawing.as_mermaid(found)


@target(
    "weft/services/planner/rule_plan",
    "weft/services/planner/model_plan",
    seeds=lambda: [
        b"suggest over=5s, then list containers all=[1, 2] and what if",
        b'{"nodes": [{"name": "a"}]}',
    ],
    raises=(rule_plan.NoPlan,),
    max_bytes=2048,
)
def plan(data: bytes) -> None:
    model_plan.read_answer(text_of(data))
    methods = list(tool_list.step_methods(_contracts()))
    made = rule_plan.RulePlan(methods).graph_of(text_of(data).encode("utf-8", "replace").decode())
    graph_checks.faults_of(json_format.ParseDict(made, graph_pb2.Graph()), _contracts())
