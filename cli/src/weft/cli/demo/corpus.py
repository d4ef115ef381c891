"""The demo's input: the source files of this interpreter's standard library; and the location of the example."""

from __future__ import annotations

import os
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from weft.cli.terminal.failure import Failure

_HERE = Path(__file__).resolve()
# A checkout has the example in its top folder; an installed weft has a copy.
_ROOTS = (_HERE.parents[5], _HERE.parent / "bundle")
_NOT_THE_LIBRARY = frozenset({"site-packages", "dist-packages", "__pycache__"})


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file. Its name is its path below the library's folder."""

    name: str
    path: Path


def example_root() -> Path:
    """The folder from which `examples.corpus` can be imported.

    Raises:
        Failure: this installation does not have the example.
    """
    for root in _ROOTS:
        if (root / "examples" / "corpus" / "agent.py").exists():
            return root
    raise Failure("this installation does not have the example", "run `make demo` in a checkout of weft")


def import_paths() -> tuple[Path, Path]:
    """Make the example and its generated messages importable here. Returns the folders, for child processes."""
    root = example_root()
    paths = (root, root / "examples" / "corpus" / "gen")
    sys.path.extend(path for path in map(str, paths) if path not in sys.path)
    return paths


def standard_library(limit: int | None = None) -> list[SourceFile]:
    """The Python files of the standard library, sorted by name; at most `limit` of them, evenly spread."""
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
