"""A graph as a file of YAML or JSON: its values, and the line of each, so that every error can name it."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from weft.cli.terminal.failure import Failure, system_reason
from weft.rpc import bounded_json
from weft.rpc.process.extras import require

# The service takes no more either.
MAX_BYTES = 256 * 1024
MAX_LEVELS = 64
_PART = re.compile(r"[^.\[\]]+|\[\d+\]")
_SCALARS = {
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value")
}


class GraphFile:
    """A file that was read.

    Args:
        name: as it is told in errors.
        value: the graph as a JSON value.
        lines: the line of each value, by its path, such as "nodes[2].step.method".
    """

    def __init__(self, name: str, value: dict[str, Any], lines: dict[str, int]) -> None:
        self.name = name
        self.value = value
        self._lines = lines

    def place(self, path: str) -> str:
        """Where a path of the graph is: "order.yaml:12: nodes[2].step". Of a path that is not in the file, the line of what it is within."""
        parts = _PART.findall(path)
        for count in range(len(parts), -1, -1):
            known = "".join(part if part[0] == "[" else f".{part}" for part in parts[:count]).lstrip(".")
            if known in self._lines:
                return f"{self.name}:{self._lines[known]}{f': {path}' if path else ''}"
        return f"{self.name}{f': {path}' if path else ''}"

    def input_type(self, name: str) -> str:
        """The type that the graph declares for an input; empty: any, or there is no such input."""
        inputs = self.value.get("inputs")
        for each in inputs if isinstance(inputs, list) else ():
            if isinstance(each, dict) and each.get("name") == name:
                return str(each.get("type") or "")
        return ""


def read_graph(source: str) -> GraphFile:
    """Read a file, or standard input (-).

    Raises:
        Failure: it cannot be read, or is no YAML or JSON of JSON values.
        weft.rpc.process.extras.MissingExtra: YAML cannot be read here.
    """
    name = "standard input" if source == "-" else source
    try:
        found = sys.stdin.buffer.read(MAX_BYTES + 1) if source == "-" else _head(Path(source))
    except (OSError, ValueError, AttributeError) as error:
        raise Failure(f"cannot read {name}: {system_reason(error)}", status=2) from None
    if len(found) > MAX_BYTES:
        raise Failure(f"{name} has more than {MAX_BYTES} bytes: too many for a graph", status=2)
    try:
        return parse(found.decode("utf-8-sig"), name)
    except UnicodeDecodeError as error:
        raise Failure(f"cannot read {name}: it is not UTF-8 (byte {error.start + 1})", status=2) from None


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def parse(text: str, name: str) -> GraphFile:
    """
    Raises:
        Failure, MissingExtra: as `read_graph`.
    """
    # JSON is YAML, too.
    require("planner", "weft run")
    import yaml

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise Failure(f"{name}{line}: it is no YAML: {error.problem or error.context}", status=2) from None
    except yaml.YAMLError as error:
        raise Failure(f"{name}: it is no YAML: {str(error).splitlines()[0]}", status=2) from None
    except RecursionError:
        raise Failure(f"{name}: it is nested too deeply", status=2) from None
    if not isinstance(root, yaml.MappingNode):
        raise Failure(f"{name}: a graph is an object: `name:`, `nodes:`", status=2)
    lines: dict[str, int] = {}
    value = _Values(name, lines).value(root, "", 0)
    return GraphFile(name, value, lines)


class _Values:
    """The values of a document that was composed."""

    def __init__(self, name: str, lines: dict[str, int]) -> None:
        from yaml import SafeLoader

        self._name = name
        self._lines = lines
        self._seen: set[int] = set()
        self._loader = SafeLoader("")

    def value(self, node: Any, path: str, depth: int) -> Any:
        import yaml

        line = node.start_mark.line + 1
        self._lines.setdefault(path, line)
        if depth > MAX_LEVELS:
            raise self._failure(line, "it is nested too deeply")
        if id(node) in self._seen:
            # Of few lines they make any number of values.
            raise self._failure(line, "it has an alias (*name): write the value again")
        self._seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            return dict(self._items(node, path, depth))
        if isinstance(node, yaml.SequenceNode):
            return [self.value(each, f"{path}[{index}]", depth + 1) for index, each in enumerate(node.value)]
        return self._scalar(node, line)

    def _items(self, node: Any, path: str, depth: int) -> Iterator[tuple[str, Any]]:
        known: set[str] = set()
        for key_node, item in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value
            if not isinstance(key, str):
                raise self._failure(line, "a key must be a text")
            if key in known:
                raise self._failure(line, f"{key!r} is given twice")
            known.add(key)
            place = f"{path}.{key}" if path else key
            self._lines[place] = line
            yield key, self.value(item, place, depth + 1)

    def _scalar(self, node: Any, line: int) -> Any:
        if node.tag not in _SCALARS:
            raise self._failure(line, f"it has the tag {node.tag}: a graph has values of JSON alone")
        if node.tag.endswith((":timestamp", ":merge", ":value")):
            # A text, as protobuf's JSON has it.
            return node.value
        try:
            value = self._loader.construct_object(node)
        except Exception as error:  # of any class: Python's own for numbers
            raise self._failure(line, f"{node.value[:40]!r} cannot be read: {error}") from None
        if isinstance(value, float) and not math.isfinite(value):
            raise self._failure(
                line, f"JSON has no {node.value}; where a number is wanted, write it in quotes"
            )
        return value

    def _failure(self, line: int, why: str) -> Failure:
        return Failure(f"{self._name}:{line}: {why}", status=2)


def as_yaml(graph: dict[str, Any]) -> str:
    """A graph as the text of a file.

    Raises:
        MissingExtra: YAML cannot be written here.
    """
    require("planner", "weft plan --output")
    import yaml

    text: str = yaml.safe_dump(graph, sort_keys=False, allow_unicode=True, width=120)
    return text


def input_values(given: dict[str, str], graph: GraphFile) -> dict[str, Any]:
    """The values of `--input`: texts for inputs of type string, else JSON; for inputs of any type, what is no JSON is a text.

    Raises:
        Failure: a value is no JSON.
    """
    found = {}
    for name, text in given.items():
        kind = graph.input_type(name)
        if kind == "string":
            found[name] = text
            continue
        try:
            found[name] = bounded_json.loads(text, parse_constant=_no_constant)
        except ValueError as error:
            if kind:
                raise Failure(f"--input {name}: a value of type {kind} is JSON: {error}", status=2) from None
            found[name] = text
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"JSON has no {name}")
