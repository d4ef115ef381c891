"""The pure rules of graphs: templates, which node is next, in which order nodes are undone, inputs, drawings."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.graphs import graph_of
from weft.services.planner import templates
from weft.services.planner.graph_drawing import as_mermaid, as_text
from weft.services.planner.graph_tree import parents_of
from weft.services.planner.input_values import input_problems, input_variables
from weft.services.planner.node_order import circle_of, decide, in_order, needs_of, undo_order
from weft.services.planner.templates import Expression, TemplateFault
from weft.services.planner.v1 import planner_pb2

OK = planner_pb2.NODE_STATE_SUCCEEDED
FAILED = planner_pb2.NODE_STATE_FAILED
SKIPPED = planner_pb2.NODE_STATE_SKIPPED
RECOVERED = planner_pb2.NODE_STATE_RECOVERED


def step(name: str, request: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "step": {"method": "a.B/C", "request": request or {}}, **more}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        ("plain $ {text}", ["plain $ {text}"]),
        ("${a}", [Expression("a")]),
        ("${ a.b } and ${c}", [Expression("a.b"), " and ", Expression("c")]),
        ("$${a}", ["${a}"]),
        ("${ {'a': 1}.a }", [Expression("{'a': 1}.a")]),
        ("${ '}' + \"}\" }x", [Expression("'}' + \"}\""), "x"]),
        (r"${ r'\' }", [Expression(r"r'\'")]),
        (r"${ '\'}' }", [Expression(r"'\'}'")]),
    ],
)
def test_a_text_has_parts(text: str, parts: list[Any]) -> None:
    assert templates.parts(text) == parts


@pytest.mark.parametrize("text", ["${", "a ${b", "${}", "${ }"])
def test_a_text_that_is_no_template(text: str) -> None:
    with pytest.raises(TemplateFault):
        templates.parts(text)


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("steps.a.b + steps . c", {"a", "c"}),
        ("'steps.a' + \"steps.b\"", set()),
        ("steps.fetch.steps.count", {"fetch"}),
        ("f(x).steps.a", set()),
        ("[1][0].steps.a", set()),
        (".steps.a", {"a"}),
        ("mysteps.a", set()),
        ("r'\\' + steps.a + '\\''", {"a"}),
    ],
)
def test_the_nodes_that_an_expression_names(expression: str, names: set[str]) -> None:
    assert templates.named(expression) == names


def test_values_are_put_into_a_template() -> None:
    values = {"a": [1, {"b": None}], "n": 3.0, "h": 0.5, "t": "x"}
    template = {"whole": "${a}", "in": ["n=${n} h=${h} ${t} ${a}"], "plain": 7}
    assert templates.render(template, values.__getitem__) == {
        "whole": [1, {"b": None}],
        "in": ['n=3 h=0.5 x [1, {"b": null}]'],
        "plain": 7,
    }


@given(st.text())
def test_any_text_is_a_template_or_a_fault(text: str) -> None:
    try:
        found = templates.parts(text)
    except TemplateFault:
        return
    if not any(isinstance(each, Expression) for each in found):
        assert "".join(map(str, found)) == text.replace("$${", "${")


NEEDS = {"a": [], "b": ["a"], "c": ["b"], "d": [], "e": ["c", "d"]}


@pytest.mark.parametrize(
    ("states", "wanted"),
    [
        ({}, (["a", "d"], [], [])),
        ({"a": None, "d": None}, ([], [], [])),
        ({"a": OK, "d": None}, (["b"], [], [])),
        ({"a": RECOVERED, "d": OK}, (["b"], [], [])),
        ({"a": SKIPPED, "d": None}, ([], ["b", "c", "e"], [])),
        ({"a": FAILED, "d": None}, ([], [], ["b", "c", "e"])),
        # Once something has failed, that counts, and not that something else was skipped.
        ({"a": OK, "b": OK, "c": SKIPPED, "d": FAILED}, ([], [], ["e"])),
        ({"a": OK, "b": OK, "c": OK, "d": OK}, (["e"], [], [])),
    ],
)
def test_which_node_is_next(states: dict[str, int | None], wanted: Any) -> None:
    assert decide(NEEDS, states) == wanted


def test_what_a_node_within_names_is_needed_by_the_node_around() -> None:
    graph = graph_of(
        [
            step("last", {"x": "${steps.inner}"}, after=["first"]),
            {"name": "block", "parallel": {"nodes": [step("inner", {"x": "${steps.first.y}"})]}},
            step("first"),
        ]
    )
    needs = needs_of(graph.nodes, parents_of(graph))
    assert needs == {"last": {"block", "first"}, "block": {"first"}, "first": set()}
    assert in_order(needs) == ["first", "block", "last"]
    assert circle_of(needs) == []
    assert circle_of({"a": ["b"], "b": ["a"]}) in (["a", "b", "a"], ["b", "a", "b"])


@pytest.mark.parametrize(
    ("done", "order"),
    [
        ([("a", (0,)), ("b", (1,)), ("c", (2,))], ["c", "b", "a"]),
        # Items of a map, the last first; what needs the map comes before.
        (
            [("m[0]", (1, 0, 0, 0)), ("m[1]", (1, 0, 1, 0)), ("z", (2,)), ("a", (0,))],
            ["z", "m[1]", "m[0]", "a"],
        ),
        # A node before those within it.
        ([("inner", (1, 0, 0)), ("block", (1,)), ("a", (0,))], ["block", "inner", "a"]),
    ],
)
def test_the_order_in_which_nodes_are_undone(done: Any, order: list[str]) -> None:
    assert undo_order(done) == order
    assert undo_order(reversed(done)) == order


INPUTS = [
    {"name": "n", "type": "integer"},
    {"name": "x", "type": "number", "default": 2},
    {"name": "s", "type": "string", "default": "s"},
    {"name": "any", "default": None},
]


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({"n": 1.0}, []),
        ({"n": 1, "x": 2.5, "s": "", "any": [1]}, []),
        ({}, ["inputs.n"]),
        ({"n": 1.5}, ["inputs.n"]),
        ({"n": True}, ["inputs.n"]),
        ({"n": 1e300}, ["inputs.n"]),
        ({"n": 1, "s": 1, "y": 1}, ["inputs.y", "inputs.s"]),
    ],
)
def test_inputs_fit_what_is_declared(values: dict[str, Any], wrong: list[str]) -> None:
    graph = graph_of([step("a")], inputs=INPUTS)
    assert [place for place, _ in input_problems(graph, values)] == wrong
    if not wrong:
        found = input_variables(graph, values)
        assert isinstance(found["inputs.n"], int)
        assert isinstance(found["inputs.x"], float)


def test_a_graph_is_drawn() -> None:
    graph = graph_of(
        [
            step("b", after=["a"], when='steps.a.x > 1.0 && "#" != "<"', undo={"method": "a.B/Undo"}),
            step("a", on_failure={"instead": {"name": "c", "approval": {"question": "go on?"}}}),
            {"name": "m", "map": {"items": "[1]", "nodes": [step("i")]}},
            {
                "name": "k",
                "condition": {"choices": [{"when": "true", "nodes": [step("y")]}], "otherwise": [step("n")]},
            },
        ],
        name="g",
    )
    text = as_text(graph)
    assert text.index("  a  a.B/C") < text.index("  b  a.B/C  after a")
    assert "if it fails\n      c  waits for a person: go on?" in text
    assert "undone by a.B/Undo" in text
    assert "otherwise\n      n  a.B/C" in text
    drawn = as_mermaid(graph)
    assert drawn.startswith("flowchart TD\n")
    assert 'n_a -->|"steps.a.x #gt; 1.0 #amp;#amp; #quot;#35;#quot; != #quot;#lt;#quot;"| n_b' in drawn
    assert drawn.count("subgraph") == drawn.count("end\n") + drawn.endswith("end")
