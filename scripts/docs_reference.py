"""Makes the reference pages of the docs site: from the command's help, the errors, the contract and the Python API.

Each page is Markdown; links in it are relative to docs/, like those of the pages that are written by hand.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import tempfile
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc_tools
import typer.main
from google.protobuf import descriptor_pb2
from grpc_tools import protoc

from weft.cli.command_line.lazy_group import LazyGroup, load
from weft.cli.main import app
from weft.rpc import errors, refusals

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
SERVICES = PROTOS / "weft" / "services"
CONTRACT = (
    "task",
    "options",
    "coordinator",
    "fleet",
    "method",
    "schedule",
    "pool",
    "event",
    "hook",
    "lifecycle",
    "group",
    "logs",
    "step",
    "command",
    "post",
    "stats",
    "session",
    "agent",
    "access",
    "security",
    "audit",
    "certificate",
    "namespace",
    "provision",
    "payload",
    "state",
    "usage",
    "sticky",
    "keyed_state",
)
# The modules that users import.
PYTHON = ("weft.client", "weft.client.sync", "weft.agent", "weft.testing", "weft.rpc.errors")

HELP_WIDTH = 100
WHAT_TO_DO: dict[type[errors.WeftError], str] = {
    errors.RetryLater: "tries again later; weft's own clients do, within the call's time",
    errors.FixRequest: "changes the call, or what it relies on",
    errors.DeadlineExceeded: "gives it more time",
    errors.Failed: "decides whether another try makes sense",
}

ERRORS = """\
# Errors

Every error of weft's own has a gRPC code, a message, and a `google.rpc.ErrorInfo` with domain `weft` and one of these reasons.
`BadRequest` details name a wrong field; `RetryInfo` says when to try again. A handler's own status passes unchanged.

| reason | code, and what happened | class | what a caller does |
|---|---|---|---|
{rows}

## In Python

The libraries raise these classes of [`weft.rpc.errors`](python.md), sorted by what a caller does about them:

```text
{tree}
```
"""
CONTRACT_HEAD = """\
# The contract

Made from the comments of [`protos/weft/v1`](../../protos/weft/v1/coordinator.proto), which are the specification. The reasons
are explained in [Errors](errors.md), the order of a session's messages in [The session](../protocol.md).
"""

SERVICES_HEAD = """\
# The contracts of services

Made from the comments of the contracts of [the services that come with weft](../systems.md): `protos/weft/services/NAME/v1`. Any gRPC client calls them.
"""

Comments = Mapping[tuple[int, ...], str]
_SCALARS = {
    value: name.removeprefix("TYPE_").lower()
    for name, value in descriptor_pb2.FieldDescriptorProto.Type.items()
}


def pages() -> dict[str, str]:
    """Every generated page, by its path in the site."""
    files = descriptors()
    return {
        "reference/command.md": command_page(),
        "reference/errors.md": errors_page(files["weft/v1/errors.proto"]),
        "reference/python.md": python_page(),
        "reference/contract.md": contract_page([files[f"weft/v1/{name}.proto"] for name in CONTRACT]),
        "reference/services.md": contract_page(
            [file for name, file in files.items() if name.startswith("weft/services/")], SERVICES_HEAD
        ),
    }


def command_page() -> str:
    """The help of every command, as a terminal shows it."""
    root = typer.main.get_command(app)
    parts = ["# The command\n\nThe help of each command, as `weft COMMAND --help` prints it.\n"]
    for context in commands(root, "weft", None):
        level = "#" * max(2, len(context.command_path.split()))
        parts.append(f"{level} {context.command_path}\n\n```text\n{context.command.get_help(context)}\n```\n")
    return "\n".join(parts)


def commands(command: Any, name: str, parent: Any) -> Iterator[Any]:
    """The context of every command, groups before their commands."""
    context = typer.Context(
        command, info_name=name, parent=parent, terminal_width=HELP_WIDTH, max_content_width=HELP_WIDTH
    )
    yield context
    if isinstance(command, LazyGroup):
        for each, entry in command.entries.items():
            yield from commands(load(each, entry.path), each, context)
    else:
        for each, below in getattr(command, "commands", {}).items():
            yield from commands(below, each, context)


def errors_page(file: descriptor_pb2.FileDescriptorProto) -> str:
    """Every reason, with its code and meaning; and the classes of the library."""
    comments = comments_of(file)
    rows = []
    for index, value in enumerate(file.enum_type[0].value):
        if value.number:
            name = value.name.removeprefix("ERROR_REASON_")
            classes = refusal_classes(name)
            shown = " or ".join(f"`{each.__name__}`" for each in classes)
            what = next(
                iter(
                    {
                        WHAT_TO_DO[action]
                        for each in classes
                        for action in WHAT_TO_DO
                        if issubclass(each, action)
                    }
                ),
                "",
            )
            rows.append(f"| `{name}` | {cell(comments.get((5, 0, 2, index), ''))} | {shown} | {what} |")
    tree = re.search(r"\n((?: {4}.*\n)+)", str(errors.__doc__))
    assert tree, "weft.rpc.errors draws its tree of classes in its docstring"
    return ERRORS.format(rows="\n".join(rows), tree=tree[1].rstrip())


def refusal_function(reason: str) -> Any:
    """The function of a reason, in the catalogue of refusals or in that of refusals."""
    return getattr(refusals, reason.lower())


def refusal_classes(reason: str) -> tuple[type[errors.WeftError], ...]:
    """The classes that an error of a reason has, by its function in the catalogue; none for a detail of other errors."""
    made = typing.get_type_hints(refusal_function(reason))["return"]
    classes = typing.get_args(made) or (made,)
    return tuple(each for each in classes if issubclass(each, errors.WeftError))


def python_page() -> str:
    """The names of `__all__` of each public module, with their docstrings; each name once."""
    parts = ["# Python\n"]
    shown: set[int] = set()
    for name in filter(_is_there, PYTHON):
        module = importlib.import_module(name)
        listed = getattr(module, "__all__", ())
        options = "   :members:\n   :undoc-members:\n" + ("   :imported-members:\n" if listed else "")
        elsewhere = [
            each
            for each in listed
            if id(getattr(module, each)) in shown
            or (getattr(module, each).__module__ in PYTHON and getattr(module, each).__module__ != name)
        ]
        shown |= {id(getattr(module, each)) for each in listed}
        if elsewhere:
            options += f"   :exclude-members: {', '.join(elsewhere)}\n"
        parts.append(f"## {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n{options}```\n")
    return "\n".join(parts)


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def descriptors() -> dict[str, descriptor_pb2.FileDescriptorProto]:
    """The contract's files, with their comments."""
    folders = (PROTOS / "weft" / "v1", *SERVICES.glob("*/*"))
    names = sorted(str(path.relative_to(PROTOS)) for folder in folders for path in folder.glob("*.proto"))
    handle, target = tempfile.mkstemp(suffix=".binpb")
    os.close(handle)
    try:
        outside = (ROOT / "third_party" / "googleapis", ROOT / "third_party" / "protovalidate")
        includes = (PROTOS, *outside, Path(grpc_tools.__file__).parent / "_proto")
        code = protoc.main(
            [
                "protoc",
                *(f"-I{path}" for path in includes),
                "--include_source_info",
                f"--descriptor_set_out={target}",
                *names,
            ]
        )
        if code != 0:
            raise SystemExit(code)
        found = descriptor_pb2.FileDescriptorSet.FromString(Path(target).read_bytes())
    finally:
        Path(target).unlink()
    return {file.name: file for file in found.file}


def comments_of(file: descriptor_pb2.FileDescriptorProto) -> Comments:
    """Each element's comment, by its path in the descriptor."""
    return {tuple(place.path): place.leading_comments for place in file.source_code_info.location}


def contract_page(files: list[descriptor_pb2.FileDescriptorProto], head: str = CONTRACT_HEAD) -> str:
    parts = [head]
    for file in files:
        comments = comments_of(file)
        title = re.sub(r"^.*/", "", file.name)
        parts.append(f"## {title}\n\n{paragraphs(_syntax_comment(file))}")
        for index, service in enumerate(file.service):
            parts.append(f"### {service.name}\n\n{paragraphs(comments.get((6, index), ''))}")
            for number, method in enumerate(service.method):
                parts.append(
                    f"#### {method.name}\n\n{_rpc(method)}{paragraphs(comments.get((6, index, 2, number), ''))}"
                )
        for index, message in enumerate(file.message_type):
            parts.append(_message(message, (4, index), comments))
        for index, enum in enumerate(file.enum_type):
            rows = [
                f"| `{value.name}` | {value.number} | {cell(comments.get((5, index, 2, number), ''))} |"
                for number, value in enumerate(enum.value)
            ]
            head = "| value | number | |\n|---|---|---|\n"
            parts.append(
                f"### {enum.name}\n\n{paragraphs(comments.get((5, index), ''))}{head}"
                + "\n".join(rows)
                + "\n"
            )
    return "\n".join(parts)


def _rpc(method: descriptor_pb2.MethodDescriptorProto) -> str:
    request = ("stream " if method.client_streaming else "") + _short(method.input_type)
    response = ("stream " if method.server_streaming else "") + _short(method.output_type)
    return f"```protobuf\nrpc {method.name}({request}) returns ({response})\n```\n\n"


def _message(message: descriptor_pb2.DescriptorProto, path: tuple[int, ...], comments: Comments) -> str:
    text = f"### {message.name}\n\n{paragraphs(comments.get(path, ''))}"
    if not message.field:
        return text
    entries = {f".{nested.name}": nested for nested in message.nested_type if nested.options.map_entry}
    rows = []
    for index, field in enumerate(message.field):
        entry = next((found for end, found in entries.items() if field.type_name.endswith(end)), None)
        if entry:
            kind = f"map<{_type(entry.field[0])}, {_type(entry.field[1])}>"
        else:
            kind = ("repeated " if field.label == field.LABEL_REPEATED else "") + _type(field)
        rows.append(f"| `{field.name}` | `{kind}` | {cell(comments.get((*path, 2, index), ''))} |")
    return f"{text}| field | type | |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def _type(field: descriptor_pb2.FieldDescriptorProto) -> str:
    return _short(field.type_name) if field.type_name else _SCALARS[field.type]


def _short(name: str) -> str:
    return re.sub(r"^\.?(weft\.v1\.|weft\.services\.\w+\.v\d+\.)?", "", name)


def _syntax_comment(file: descriptor_pb2.FileDescriptorProto) -> str:
    return comments_of(file).get((12,), "")


def paragraphs(comment: str) -> str:
    """A comment as Markdown: its lines without the space after the slashes."""
    return (
        escaped("\n".join(line.removeprefix(" ") for line in comment.splitlines())).strip() + "\n\n"
        if comment.strip()
        else ""
    )


def cell(comment: str) -> str:
    """A comment within a table."""
    return escaped(" ".join(comment.split())).replace("|", "\\|")


def escaped(text: str) -> str:
    """The text with Markdown's own characters escaped, outside of code."""
    parts = re.split(r"(`[^`]*`)", text)
    parts[::2] = [re.sub(r"([*_<\[])", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)
