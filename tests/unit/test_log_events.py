"""What weft's own lines are called: read from the source, so that it holds for every line. The guide to logs has the rules and the fields."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs/how-to/logs.md"
LEVELS = ("debug", "info", "warning", "error", "exception", "log")
# Functions that log the event that they are given.
BY_FUNCTION = {"log_raised", "log_late"}
# Modules that pass on the events of others.
PASSING_ON = {"logs.py", "failure_log.py", "isolated_start.py"}
# A thing and what happened to it.
EVENT = re.compile(r"[a-z][a-z_]*\.[a-z][a-z_]*")
FIELD = re.compile(r"[a-z][a-z_]*")
# Names of what may hold a payload.
PAYLOADS = ("payload", "request", "response", "body", "metadata", "headers", "trailers", "message", "outcome")


class LogCall(NamedTuple):
    place: str
    level: str
    events: list[str]
    fields: list[str]
    values: list[str]


@functools.cache
def calls() -> list[LogCall]:
    """Every call that logs."""
    found = []
    for root in ("agent", "coordinator", "rpc", "client", "cli", "services", "testing", "compat"):
        for path in sorted((ROOT / root / "src").rglob("*.py")):
            if path.name in PASSING_ON:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and (level := _level(node)):
                    place = f"{path.relative_to(ROOT)}:{node.lineno}"
                    named = [word for word in node.keywords if word.arg not in (None, "exc_info")]
                    fields = [str(word.arg) for word in named]
                    values = [ast.unparse(word.value) for word in named]
                    found.append(LogCall(place, level, _texts(node.args[0]), fields, values))
    return found


def _level(call: ast.Call) -> str:
    """The level of a call that logs. Empty: the call is another one."""
    match call.func:
        case ast.Name(id=name) if name in BY_FUNCTION:
            return name
        case ast.Attribute(value=ast.Name(id="log" | "_log"), attr=level) if level in LEVELS:
            return level
    return ""


def _texts(node: ast.expr) -> list[str]:
    if isinstance(node, ast.IfExp):
        return _texts(node.body) + _texts(node.orelse)
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else [""]


def test_there_are_lines_to_check() -> None:
    assert len(calls()) > 80


def test_lines_keep_the_rules() -> None:
    problems = []
    for call in calls():
        for event in call.events:
            if not EVENT.fullmatch(event):
                problems.append(f"{call.place}: an event is `thing.what_happened`, not {event!r}")
        for field, value in zip(call.fields, call.values, strict=True):
            # The message of an error is no payload.
            last = re.split(r"[.\s]", value)[-1] if field != "error" else ""
            if not FIELD.fullmatch(field) or field in PAYLOADS or last in PAYLOADS:
                problems.append(f"{call.place}: {field}={value} may hold a payload")
    assert not problems


def test_an_event_has_one_level() -> None:
    """Besides debug, and error where it has an exception that nobody expects."""
    levels: dict[str, set[str]] = {}
    for call in calls():
        for event in call.events:
            levels.setdefault(event, set()).add(call.level)
    several = {event: found for event, found in levels.items() if len(found - {"exception", "debug"}) > 1}
    assert not several


def test_the_guide_has_every_field() -> None:
    used = {field for call in calls() for field in call.fields}
    table = GUIDE.read_text().split("<!-- fields -->")[1]
    told = set(
        re.findall(
            r"`([a-z_]+)`",
            "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `")),
        )
    )
    assert used - told == set(), "not in the guide"
    # Those of `**` arguments, of the context, and of the line itself.
    given = {"event", "level", "timestamp", "logger", "exception", "stack", "task_id", "attempt", "method", "agent_id", "trace_id", "span_id", "error_type", "not_shown"}  # fmt: skip
    assert told - used - given == set(), "in the guide, and used nowhere"
