"""The demo's work: the source files of the running interpreter's standard library, and where the example is."""

from __future__ import annotations

import os
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from weft.cli.terminal.failure import Failure

_HERE = Path(__file__).resolve()
# In a checkout the example is where people look for it; an installed weft carries a copy.
_ROOTS = (_HERE.parents[5], _HERE.parent / "bundle")
_NOT_THE_LIBRARY = frozenset({"site-packages", "dist-packages", "__pycache__"})


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file: its path below the library's folder is its name."""

    name: str
    path: Path


def example_root() -> Path:
    """The folder from which `examples.corpus` can be imported.

    Raises:
        Failure: it is nowhere.
    """
    for root in _ROOTS:
        if (root / "examples" / "corpus" / "agent.py").exists():
            return root
    raise Failure("the example is missing from this installation", "run `make demo` in a checkout of weft")


def import_paths() -> tuple[Path, Path]:
    """The folders that make the example and its generated messages importable, here and for children."""
    root = example_root()
    paths = (root, root / "examples" / "corpus" / "gen")
    sys.path.extend(path for path in map(str, paths) if path not in sys.path)
    return paths


def standard_library(limit: int | None = None) -> list[SourceFile]:
    """Every Python file of the standard library, by name; at most `limit` of them, spread evenly."""
    root = Path(sysconfig.get_path("stdlib"))
    found: list[SourceFile] = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(set(folders) - _NOT_THE_LIBRARY)
        paths = [Path(folder, name) for name in names if name.endswith(".py")]
        found += [SourceFile(path.relative_to(root).as_posix(), path) for path in paths if path.is_file()]
    if not found:
        raise Failure(f"there are no Python files in {root}")
    found.sort(key=lambda file: file.name)
    if limit is None or limit >= len(found):
        return found
    return [found[index * len(found) // limit] for index in range(limit)]
