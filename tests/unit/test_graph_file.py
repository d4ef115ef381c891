"""Files of graphs: values with the lines that they stand in, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from weft.cli.graphs.graph_file import GraphFile, input_values, parse, read_graph
from weft.cli.graphs.run_view import steps_of
from weft.cli.terminal.failure import Failure

TEXT = """\
name: g
inputs:
  - {name: s, type: string}
  - name: n
    type: integer
  - name: any
nodes:
- name: a
  when: 2026-01-01
  step:
    method: a.B/C
    request: {x: 1.5, y: [null, true, "on"], z: 9007199254740993}
"""


def graph() -> GraphFile:
    return parse(TEXT, "g.yaml")


def test_values_and_lines() -> None:
    found = graph()
    assert found.value["nodes"][0]["when"] == "2026-01-01"
    assert found.value["nodes"][0]["step"]["request"] == {
        "x": 1.5,
        "y": [None, True, "on"],
        "z": 9007199254740993,
    }
    assert found.place("nodes[0].step.request.y[2]") == "g.yaml:12: nodes[0].step.request.y[2]"
    assert found.place("nodes[0].step.request.nothing.within[3]").startswith("g.yaml:12: ")
    assert found.place("nodes[0].after") == "g.yaml:8: nodes[0].after"
    assert found.place("") == "g.yaml:1"
    assert parse('{"name": "g",\n "nodes": [{}]}', "g.json").place("nodes[0]") == "g.json:2: nodes[0]"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "g.yaml: a graph is an object"),
        ("- 1", "g.yaml: a graph is an object"),
        ("a: [1", "g.yaml:1: it is no YAML"),
        ("a: 1\nb: 2\na: 3", "g.yaml:3: 'a' is given twice"),
        ("a: &x [1]\nb: *x", "g.yaml:1: it has an alias"),
        ("a: !!python/object:os.system x", "g.yaml:1: it has the tag"),
        ("a: .nan", "g.yaml:1: JSON has no .nan"),
        ("a: 1\n? [1]\n: 2", "g.yaml:2: a key must be a text"),
        ("a: " + "[" * 5000, "nested too deeply"),
        ("a: \x01", "it is no YAML"),
    ],
)
def test_what_is_no_graph_is_told_with_its_line(text: str, says: str) -> None:
    with pytest.raises(Failure) as refused:
        parse(text, "g.yaml")
    assert says in str(refused.value)
    assert refused.value.status == 2


def test_inputs_are_texts_or_json() -> None:
    given = {"s": "1", "n": "1", "any": "[1]"}
    assert input_values(given, graph()) == {"s": "1", "n": 1, "any": [1]}
    assert input_values({"any": "a b", "unknown": "x"}, graph()) == {"any": "a b", "unknown": "x"}
    with pytest.raises(Failure, match="--input n: a value of type integer is JSON"):
        input_values({"n": "one"}, graph())


def test_files_are_bounded(tmp_path: Any) -> None:
    large = tmp_path / "large.yaml"
    large.write_text("a: " + "x" * 300_000)
    with pytest.raises(Failure, match="too many for a graph"):
        read_graph(str(large))
    with pytest.raises(Failure, match="cannot read"):
        read_graph(str(tmp_path))
    (tmp_path / "odd.yaml").write_bytes(b"a: \xff")
    with pytest.raises(Failure, match="it is not UTF-8"):
        read_graph(str(tmp_path / "odd.yaml"))


@pytest.mark.parametrize(
    ("nodes", "steps"),
    [
        ([{"name": "a", "step": {}}, {"name": "p", "parallel": {"nodes": [{"name": "b", "step": {}}]}}], 2),
        ([{"name": "m", "map": {"nodes": []}}], None),
        ("no list", 0),
    ],
)
def test_how_many_steps_a_graph_has(nodes: Any, steps: int | None) -> None:
    assert steps_of(nodes) == steps
