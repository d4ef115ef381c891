"""Checks the layout: `python scripts/layout.py` prints violations and fails.

One distribution from nine source roots that share the namespace `weft`, with imports that run one way. Nothing else
would notice a violation: a `weft/__init__.py`, for example, hides the other roots in some installs and not in others.
"""

from __future__ import annotations

import ast
import functools
import graphlib
import importlib
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from layout_owners import OWNERS

ROOT = Path(__file__).resolve().parent.parent
SOURCES = (
    "gen",
    "coordinator/src",
    "agent/src",
    "client/src",
    "rpc/src",
    "cli/src",
    "testing/src",
    "services/src",
    "compat/src",
)

# Package -> the packages of weft that it may import, besides itself.
MAY_IMPORT: dict[str, frozenset[str]] = {
    "services": frozenset({"agent", "client", "rpc", "v1", "rules"}),
    "compat": frozenset({"agent", "client", "rpc", "v1", "celery"}),
    "cli": frozenset({"coordinator", "agent", "client", "compat", "rpc", "v1", "conformance"}),
    "testing": frozenset({"coordinator", "agent", "client", "rpc", "v1"}),
    "coordinator": frozenset({"rpc", "v1", "hooks", "keda", "xds"}),
    "agent": frozenset({"client", "rpc", "v1"}),
    "client": frozenset({"rpc", "v1"}),
    "rpc": frozenset({"v1"}),
    "protos": frozenset(),
    "hooks": frozenset({"v1"}),
    "celery": frozenset(),
    "keda": frozenset(),
    "xds": frozenset(),
    "v1": frozenset(),
    "conformance": frozenset(),
    "rules": frozenset(),
}
# The namespace of services, which has no modules of its own: each service is a package, and knows others by their contracts alone.
SERVICES = "weft.services"
# A service's generated contract, such as weft.services.models.v1.
CONTRACT_NAME = re.compile(r"weft\.services\.\w+\.v\d+(\.|$)")

# Functions of other libraries -> the one module that may name them, with the options that must hold everywhere; with a dot: of one module.
ONLY_IN: dict[str, str] = (
    dict.fromkeys(("insecure_channel", "secure_channel"), "weft/rpc/network/channel.py")
    | dict.fromkeys(("add_insecure_port", "add_secure_port"), "weft/rpc/network/ports.py")
    | dict.fromkeys(
        ("logging.getLogger", "structlog.get_logger", "structlog.getLogger"), "weft/rpc/process/logs.py"
    )
)

# Classes of errors that the catalogue of refusals alone makes, so that each has its reason. Elsewhere they are caught, or subclassed.
MADE_IN_REFUSALS = frozenset(
    [
        "WeftError",
        "RetryLater",
        "FixRequest",
        "Failed",
        "InvalidArgument",
        "NotFound",
        "AlreadyExists",
        "FailedPrecondition",
        "Unauthenticated",
        "PermissionDenied",
        "ResourceExhausted",
        "Overloaded",
        "TooLarge",
        "LimitReached",
        "Unavailable",
        "Unimplemented",
        "Aborted",
        "Cancelled",
        "DeadlineExceeded",
        "DataLoss",
        "Unknown",
        "Internal",
    ]
)
REFUSALS = "weft/rpc/refusals"

# Rooms with a boundary inside their root: a package -> the modules and packages of its own root that it may import.
INSIDE: dict[str, tuple[str, ...]] = {
    "weft.coordinator.store": ("weft.coordinator.store",),
}
# Roots whose rooms do not import each other both ways.
ONE_WAY_ROOTS = frozenset({"agent", "cli", "coordinator", "rpc", "services"})
# Files with these names are found in several roots: each root has its own settings and errors.
REPEATED_STEMS = frozenset({"__init__", "__main__", "settings", "errors"})

# Words that do not name a module's purpose.
EMPTY_WORDS = frozenset({"common", "util", "utils", "helper", "helpers", "manager", "managers", "misc"})


def modules(root: Path) -> Iterator[tuple[Path, Path]]:
    """Every Python file of the sources, with its path below the source root."""
    for source in SOURCES:
        base = root / source
        for path in sorted(base.rglob("*.py")):
            yield path, path.relative_to(base)


def namespace_problems(root: Path) -> Iterator[str]:
    """Check that `weft` is a namespace, and that the packages below it are regular, typed, and known to this file."""
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
    folders = {path.parent for path, below in own_modules(root) if len(below.parts) > 2}
    # That of services is a namespace, too.
    for folder in sorted(folders - {root / "services/src/weft/services"}):
        if not (folder / "__init__.py").exists():
            yield f"{folder.relative_to(root)}: has modules, but no __init__.py"


def name_problems(root: Path) -> Iterator[str]:
    """Check that names of modules and packages say their purpose and are unique, and that names of public classes are
    unique."""
    stems: dict[str, list[str]] = defaultdict(list)
    classes: dict[str, list[str]] = defaultdict(list)
    for path, below in own_modules(root):
        place = str(path.relative_to(root))
        stems[below.stem].append(place)
        for node in nodes(path):
            if isinstance(node, ast.ClassDef) and not (node.col_offset or node.name.startswith("_")):
                classes[node.name].append(f"{place}:{node.lineno}")
    for stem, places in stems.items():
        if len(places) > 1 and stem not in REPEATED_STEMS:
            yield f"{', '.join(places)}: files of one name; a search for it must lead to one place"
    for name, places in classes.items():
        if len(places) > 1:
            yield f"{', '.join(places)}: classes named {name}; a search for it must lead to one place"
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
        for line, name in imports(nodes(path), below):
            parts = name.split(".")
            if parts[0] != "weft":
                continue
            if len(parts) == 1:
                yield f"{path.relative_to(root)}:{line}: imports the namespace weft itself"
            elif parts[1] not in allowed:
                yield f"{path.relative_to(root)}:{line}: weft.{package} must not import weft.{parts[1]}"


def service_problems(root: Path) -> Iterator[str]:
    """Services are packages of a namespace, and know each other by contracts alone."""
    if (root / "services/src/weft/services/__init__.py").exists():
        yield "services/src/weft/services/__init__.py: weft.services is a namespace package and must not have one"
    for path, below in own_modules(root):
        parts = below.parts
        if parts[:2] != ("weft", "services"):
            continue
        place = path.relative_to(root)
        if len(parts) < 4 and parts[-1] != "__init__.py":
            yield f"{place}: weft.services has packages alone, one a service"
        if len(parts) < 4:
            continue
        own = f"{SERVICES}.{parts[2]}"
        for line, name in imports(nodes(path), below):
            if is_in(name, SERVICES) and not is_in(name, own) and not CONTRACT_NAME.match(name):
                yield f"{place}:{line}: {own} must not import {name}, only the contract of another service"


def owner_problems(root: Path) -> Iterator[str]:
    """A package of others is imported in the rooms that own it, and nowhere else."""
    for path, below in own_modules(root):
        for line, name in imports(nodes(path), below):
            package = name.split(".")[0]
            if package == "weft":
                continue
            place = f"{path.relative_to(root)}:{line}"
            if package in OWNERS:
                if not any(is_in(below.with_suffix("").as_posix(), owner, "/") for owner in OWNERS[package]):
                    yield f"{place}: {package} is for {' and '.join(OWNERS[package])} alone"
            elif package not in sys.stdlib_module_names:
                yield f"{place}: {package} has no owner; say in scripts/layout.py which room may import it"


def graph_problems(root: Path) -> Iterator[str]:
    """Modules do not import each other in circles, and neither do the rooms of some roots; rooms keep to their boundaries."""
    edges = import_graph(root)
    for module, imported in edges.items():
        for room, allowed in INSIDE.items():
            own_root = ".".join(room.split(".")[:2])
            if is_in(module, room):
                for name in sorted(imported):
                    if is_in(name, own_root) and not any(is_in(name, each) for each in allowed):
                        yield f"{module}: imports {name}; {room} may import {' and '.join(allowed)} alone"
    yield from (f"imports go in a circle: {' -> '.join(circle)}" for circle in circles(edges))
    rooms: dict[str, set[str]] = defaultdict(set)
    for module, imported in edges.items():
        room = room_of(module)
        rooms[room] |= {room_of(name) for name in imported} - {room, ""}
    rooms.pop("", None)
    yield from (f"rooms import each other in a circle: {' -> '.join(circle)}" for circle in circles(rooms))


def import_graph(root: Path) -> dict[str, set[str]]:
    """Each module of weft -> the modules that it imports anywhere: also late, and for types alone."""
    sources = {module_name(below): (path, below) for path, below in own_modules(root)}
    graph: dict[str, set[str]] = {}
    for module, (path, below) in sources.items():
        found = {name for _, name in imported_names(nodes(path), below)}
        # A name that is imported from a module belongs to that module.
        owners = {name if name in sources else name.rpartition(".")[0] for name in found}
        graph[module] = (owners & sources.keys()) - {module}
    return graph


def circles(edges: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """The circles of a graph. One edge of each is removed, until no circle is left."""
    left = {node: set(after) for node, after in edges.items()}
    while True:
        try:
            graphlib.TopologicalSorter(left).prepare()
        except graphlib.CycleError as error:
            # It lists each node before the one that leads to it.
            circle: list[str] = error.args[1][:0:-1]
            first = circle.index(min(circle))
            circle = [*circle[first:], *circle[:first], circle[first]]
            yield circle
            left[circle[0]].discard(circle[1])
        else:
            return


def own_modules(root: Path) -> Iterator[tuple[Path, Path]]:
    """The modules that are not generated."""
    return ((path, below) for path, below in modules(root) if not is_generated(root, path, below))


def is_generated(root: Path, path: Path, below: Path) -> bool:
    return path.is_relative_to(root / "gen") or bool(CONTRACT_NAME.match(".".join(below.parts[:-1])))


def module_name(below: Path) -> str:
    """The name by which a module is imported; a package's for its `__init__`."""
    return ".".join(below.with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    """The package that a module of a one-way root is in; empty for other modules."""
    parts = module.split(".")
    return ".".join(parts[:3]) if len(parts) > 3 and parts[1] in ONE_WAY_ROOTS else ""


def is_in(name: str, room: str, separator: str = ".") -> bool:
    return name == room or name.startswith(room + separator)


def door_problems(root: Path) -> Iterator[str]:
    """Check that some functions are named in one module only; all others use that module."""
    for path, below in modules(root):
        # Generated code is not checked.
        if below.parts[:2] == ("weft", "v1"):
            continue
        found = nodes(path)
        for line, name in names(found):
            door = ONLY_IN.get(name, "")
            if door and below.as_posix() != door:
                yield f"{path.relative_to(root)}:{line}: {name} is for {door} alone: use what that offers"
        for line, name in called(found):
            if name in MADE_IN_REFUSALS and below.parent.as_posix() != REFUSALS:
                yield f"{path.relative_to(root)}:{line}: {name} is made in {REFUSALS} alone: use the function of its reason"


def nodes(path: Path) -> Sequence[ast.AST]:
    """The imports, calls, classes and reads of attributes in a module."""
    return _nodes(path.read_text(), str(path))


# Several checks look at each module.
@functools.lru_cache(maxsize=4096)
def _nodes(code: str, place: str) -> Sequence[ast.AST]:
    kinds = (ast.Import, ast.ImportFrom, ast.Call, ast.ClassDef, ast.Attribute)
    return [node for node in ast.walk(ast.parse(code, place)) if isinstance(node, kinds)]


def names(found: Sequence[ast.AST]) -> Iterator[tuple[int, str]]:
    """The names that a module reads from other modules, by `x.name` or by `from x import name`: bare, and as "x.name"."""
    for node in found:
        if isinstance(node, ast.Attribute):
            yield node.lineno, node.attr
            if isinstance(node.value, ast.Name):
                yield node.lineno, f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, alias.name
                yield node.lineno, f"{node.module}.{alias.name}"


def called(found: Sequence[ast.AST]) -> Iterator[tuple[int, str]]:
    """The names of the functions that a module calls, without the parts before a dot."""
    for node in found:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            yield node.lineno, node.func.id if isinstance(node.func, ast.Name) else node.func.attr


def imports(found: Sequence[ast.AST], below: Path) -> Iterator[tuple[int, str]]:
    """The full names that a module imports anywhere, with their lines; `from weft import x` is weft.x."""
    for node in found:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = base_of(node, below)
            if base == "weft":
                yield from ((node.lineno, f"weft.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, base


def imported_names(found: Sequence[ast.AST], below: Path) -> Iterator[tuple[int, str]]:
    """As `imports`, and each name that is imported from a module: `from a import b` is a.b, which may be a module."""
    for node in found:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{base_of(node, below)}.{alias.name}") for alias in node.names)


def base_of(node: ast.ImportFrom, below: Path) -> str:
    """The module that `from ... import` names, in full."""
    base = [*below.parts[: -node.level]] if node.level else []
    return ".".join(base + (node.module.split(".") if node.module else []))


def install_problems(root: Path) -> Iterator[str]:
    """The editable install that runs this exposes all roots as one namespace."""
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
    yield from service_problems(root)
    yield from owner_problems(root)
    yield from graph_problems(root)
    yield from door_problems(root)


def main() -> int:
    found = [*problems(ROOT), *install_problems(ROOT)]
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
