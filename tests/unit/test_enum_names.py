"""Numbers of enums that only a newer peer knows cost nobody an error."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

import weft.client
import weft.v1
from weft.client import task_snapshot
from weft.rpc.enum_names import enum_name
from weft.v1 import task_pb2

ROOT = Path(__file__).parents[2]
SOURCES = ("agent", "cli", "client", "compat", "coordinator", "rpc", "services", "testing", "bench")
# These have a `Name` that is none of an enum.
OTHERS = {"ast", "x509"}
NEWER = 1_000_000
# Deeper messages of messages are not filled.
DEPTH = 5


def _names_asked(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "Name"
            and ast.unparse(node.func.value) not in OTHERS
        ):
            yield node


def test_one_function_asks_for_names_of_numbers() -> None:
    asking = {
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for room in SOURCES
        for path in (ROOT / room).rglob("*.py")
        if path.name != "enum_names.py" and ".Name(" in (text := path.read_text())
        for call in _names_asked(ast.parse(text))
    }
    assert not asking, f"use enum_name: a newer peer's number raises ValueError there: {asking}"


def test_names() -> None:
    assert enum_name(task_pb2.TaskState, task_pb2.TASK_STATE_QUEUED, "TASK_STATE_") == "QUEUED"
    assert enum_name(task_pb2.TaskState, NEWER, "TASK_STATE_") == str(NEWER)


def _messages() -> dict[str, Descriptor]:
    """All messages of the contract by their short names."""
    found: dict[str, Descriptor] = {}
    for module in pkgutil.iter_modules(weft.v1.__path__):
        if module.name.endswith("_pb2"):
            file = importlib.import_module(f"weft.v1.{module.name}").DESCRIPTOR
            found |= file.message_types_by_name
    return found


def _views() -> dict[str, tuple[Callable[[Message], object], Descriptor]]:
    """Whatever the client makes of one message: `CLASS.of(message)`."""
    messages, found = _messages(), {}
    for module in pkgutil.iter_modules(weft.client.__path__):
        members = vars(importlib.import_module(f"weft.client.{module.name}"))
        for name, member in members.items():
            of = getattr(member, "of", None)
            if not (inspect.isclass(member) and inspect.ismethod(of)):
                continue
            given = list(inspect.signature(of).parameters.values())
            kind = str(given[0].annotation).rpartition(".")[2]
            if len(given) == 1 and kind in messages:
                found[name] = (of, messages[kind])
    found["Task"] = (task_snapshot.Task, messages["Task"])  # type: ignore[assignment]
    return found


def _filled(kind: Descriptor, depth: int = 0) -> Message:
    """A message in which each enum has a number that nobody knows."""
    made: Any = message_factory.GetMessageClass(kind)()
    if kind.full_name in ("google.protobuf.Duration", "google.protobuf.Timestamp"):
        made.seconds = 60
    for field in kind.fields:
        if field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated:
            setattr(made, field.name, "some")
        elif field.enum_type is not None:
            if field.is_repeated:
                getattr(made, field.name).append(NEWER)
            else:
                setattr(made, field.name, NEWER)
        elif field.message_type is not None and depth < DEPTH and not _is_map(field):
            part = _filled(field.message_type, depth + 1)
            if field.is_repeated:
                getattr(made, field.name).append(part)
            elif field.containing_oneof is None or made.WhichOneof(field.containing_oneof.name) is None:
                getattr(made, field.name).CopyFrom(part)
    return made  # type: ignore[no-any-return]


def _is_map(field: FieldDescriptor) -> bool:
    entry = field.message_type
    return entry is not None and bool(entry.GetOptions().map_entry)


def test_what_the_client_makes_of_a_newer_coordinators_answer() -> None:
    views = _views()
    assert len(views) > 20
    failed: dict[str, str] = {}
    for name, (of, kind) in views.items():
        try:
            view = of(_filled(kind))
            for attribute in (each for each in dir(view) if not each.startswith("_")):
                getattr(view, attribute)
        except Exception as error:
            failed[name] = repr(error)
    assert not failed
