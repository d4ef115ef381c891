"""Guards the layout: `python scripts/layout.py` prints what breaks it and fails.

One distribution from six source roots that share the namespace `weft`, with imports that run one way. Nothing else
would notice when this erodes: a `weft/__init__.py` hides the other roots from some installs and not from others.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("gen", "coordinator/src", "agent/src", "client/src", "rpc/src", "cli/src")

# Package -> the packages of weft that it may import, besides itself.
MAY_IMPORT: dict[str, frozenset[str]] = {
    "cli": frozenset({"coordinator", "agent", "client", "rpc", "v1", "conformance"}),
    "coordinator": frozenset({"rpc", "v1"}),
    "agent": frozenset({"client", "rpc", "v1"}),
    "client": frozenset({"rpc", "v1"}),
    "rpc": frozenset({"v1"}),
    "v1": frozenset(),
    "conformance": frozenset(),
}

# Functions of other libraries -> the one module that may name them, since it adds what must hold everywhere.
# A name with a dot is that of one module alone.
ONLY_IN: dict[str, str] = dict.fromkeys(
    ("insecure_channel", "secure_channel"), "weft/rpc/network/channel.py"
) | dict.fromkeys(
    ("logging.getLogger", "structlog.get_logger", "structlog.getLogger"), "weft/rpc/process/logs.py"
)

# Words that say nothing about what a module is for.
EMPTY_WORDS = frozenset({"common", "util", "utils", "helper", "helpers", "manager", "managers", "misc"})


def modules(root: Path) -> Iterator[tuple[Path, Path]]:
    """Every Python file of the sources, with its path below the source root."""
    for source in SOURCES:
        base = root / source
        for path in sorted(base.rglob("*.py")):
            yield path, path.relative_to(base)


def namespace_problems(root: Path) -> Iterator[str]:
    """`weft` is a namespace; below it, packages are regular ones, typed, and known to this file."""
    for source in SOURCES:
        weft = root / source / "weft"
        if not weft.is_dir():
            yield f"{source}: has no folder weft"
            continue
        if (weft / "__init__.py").exists():
            yield f"{source}/weft/__init__.py: weft is a namespace package and must not have one"
        for package in sorted(path for path in weft.iterdir() if any(path.rglob("*.py"))):
            place = package.relative_to(root)
            if package.name not in MAY_IMPORT:
                yield f"{place}: unknown package; say in scripts/layout.py what it may import"
            if not any(package.rglob("py.typed")):
                yield f"{place}: has no py.typed"
    folders = {path.parent for path, below in modules(root) if len(below.parts) > 2}
    for folder in sorted(folders - set((root / "gen").rglob("*"))):
        if not (folder / "__init__.py").exists():
            yield f"{folder.relative_to(root)}: has modules, but no __init__.py"


def name_problems(root: Path) -> Iterator[str]:
    """Module and package names say what is in them."""
    for path, below in modules(root):
        words = {word for part in below.with_suffix("").parts for word in part.split("_")}
        for word in sorted(words & EMPTY_WORDS):
            yield f"{path.relative_to(root)}: {word!r} does not say what it is for"


def import_problems(root: Path) -> Iterator[str]:
    """Imports run one way: cli -> coordinator, agent, client -> rpc -> the generated contract; agent -> client."""
    for path, below in modules(root):
        if len(below.parts) < 3:
            continue
        package = below.parts[1]
        allowed = MAY_IMPORT.get(package, frozenset()) | {package}
        for line, name in imports(ast.parse(path.read_text(), str(path)), below):
            parts = name.split(".")
            if parts[0] != "weft":
                continue
            if len(parts) == 1:
                yield f"{path.relative_to(root)}:{line}: imports the namespace weft itself"
            elif parts[1] not in allowed:
                yield f"{path.relative_to(root)}:{line}: weft.{package} must not import weft.{parts[1]}"


def door_problems(root: Path) -> Iterator[str]:
    """Some functions are named in one module alone, by which everybody else goes."""
    for path, below in modules(root):
        # Generated code is not ours.
        if below.parts[:2] == ("weft", "v1"):
            continue
        for line, name in names(ast.parse(path.read_text(), str(path))):
            door = ONLY_IN.get(name, "")
            if door and below.as_posix() != door:
                yield f"{path.relative_to(root)}:{line}: {name} is for {door} alone: use what that offers"


def names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The names that a module reads from other modules, by `x.name` or by `from x import name`: bare, and as "x.name"."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.lineno, node.attr
            if isinstance(node.value, ast.Name):
                yield node.lineno, f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, alias.name
                yield node.lineno, f"{node.module}.{alias.name}"


def imports(tree: ast.Module, below: Path) -> Iterator[tuple[int, str]]:
    """The full names that a module imports anywhere, with their lines; `from weft import x` is weft.x."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*below.parts[: -node.level]] if node.level else []
            base += node.module.split(".") if node.module else []
            if base == ["weft"]:
                yield from ((node.lineno, f"weft.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, ".".join(base)


def install_problems(root: Path) -> Iterator[str]:
    """The editable install that runs this exposes all six roots as one namespace."""
    weft = importlib.import_module("weft")
    found = {Path(path).resolve() for path in weft.__path__}
    for source in SOURCES:
        if (root / source / "weft") not in found:
            yield f"{source}/weft: not in the installed namespace (run `make clean`, then any target)"
            return
    contract = Path(str(importlib.import_module("weft.v1.coordinator_pb2").__file__)).resolve()
    if not contract.is_relative_to(root / "gen"):
        yield f"weft.v1 comes from {contract}, not from gen/"


def problems(root: Path) -> Iterable[str]:
    yield from namespace_problems(root)
    yield from name_problems(root)
    yield from import_problems(root)
    yield from door_problems(root)


def main() -> int:
    found = [*problems(ROOT), *install_problems(ROOT)]
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
