"""What the standard library has on one platform and not on another, by the stubs of typeshed that mypy brings."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# The modules whose missing names are taken away: those by which POSIX is used.
_NAMES_OF = ("os", "signal", "socket", "select", "time")


class Missing(NamedTuple):
    """What a platform lacks that this one has.

    Args:
        modules: that cannot be imported there.
        names: by module.
    """

    modules: list[str]
    names: dict[str, list[str]]


def stubs() -> Path | None:
    """The folder of the stubs. None: mypy is not installed."""
    found = importlib.util.find_spec("mypy")
    return None if found is None or found.origin is None else Path(found.origin).parent / "typeshed/stdlib"


@functools.cache
def missing(platform: str) -> Missing:
    """What `platform`, a value of sys.platform, lacks."""
    folder = stubs()
    assert folder is not None
    modules = []
    for stub in sorted(folder.glob("*.pyi")):
        text = stub.read_text()
        # Most have nothing of platforms, and are not worth a parse.
        if "sys.platform" in text and _public(text, sys.platform) and not _public(text, platform):
            modules.append(stub.stem)
    names = {}
    for module in _NAMES_OF:
        stub = folder / f"{module}.pyi"
        text = (stub if stub.exists() else folder / module / "__init__.pyi").read_text()
        lacks = _defined(text, sys.platform) - _defined(text, platform)
        names[module] = sorted(lacks & vars(importlib.import_module(module)).keys())
    return Missing(modules, names)


def _public(text: str, platform: str) -> set[str]:
    return {name for name in _defined(text, platform) if not name.startswith("_")}


def _defined(text: str, platform: str) -> set[str]:
    return set(_names(ast.parse(text).body, platform))


def _names(body: list[ast.stmt], platform: str) -> Iterator[str]:
    for each in body:
        match each:
            case ast.If():
                yield from _names(each.body if _holds(each.test, platform) else each.orelse, platform)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield each.name
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.Assign():
                yield from (target.id for target in each.targets if isinstance(target, ast.Name))
            case ast.ImportFrom():
                # In a stub, `x as x` says that the module has it.
                yield from (alias.name for alias in each.names if alias.asname == alias.name)
            case _:
                pass


def _holds(test: ast.expr, platform: str) -> bool:
    """Whether a condition of a stub is true, for this version of Python."""
    code = compile(ast.Expression(test), "<stub>", "eval")

    class System:
        version_info = sys.version_info

    System.platform = platform  # type: ignore[attr-defined]
    return bool(eval(code, {"sys": System, "TYPE_CHECKING": True}))
