"""Import path of a program: its folder comes before installed packages, but after the modules that Python and weft
need.

A program may have a file such as `queue.py` or `uvloop.py` beside it. Such a file must not replace the module of Python
or weft with that name. So the folder is last on `sys.path`, also in the processes of isolated handlers. After weft's
own modules are imported, a finder looks for all other names in the folder first.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

# Modules that an agent imports only when it runs.
_NEEDED_LATER = ("uvloop",)


class _InFolder(MetaPathFinder):
    """Finds modules in a folder, except those with the name of a standard module."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is not None or fullname in sys.stdlib_module_names:
            return None
        spec = PathFinder.find_spec(fullname, [self.folder], target)
        # The parts of a namespace package may be in several folders: `sys.path` finds them.
        return spec if spec is not None and spec.loader is not None else None


def add(folder: Path) -> None:
    """Make the folder's modules importable, except those whose names Python and weft need themselves."""
    for name in _NEEDED_LATER:
        with suppress(ImportError):
            importlib.import_module(name)
    here = str(folder)
    if here in sys.path and here not in os.environ.get("PYTHONPATH", "").split(os.pathsep):
        # `python -m` puts it before all others.
        sys.path.remove(here)
    if here not in sys.path and not _hides_a_namespace(folder):
        sys.path.append(here)
    if here not in added():
        sys.meta_path.insert(0, _InFolder(here))


def added() -> list[str]:
    """The folders that were added."""
    return [finder.folder for finder in sys.meta_path if isinstance(finder, _InFolder)]


def _hides_a_namespace(folder: Path) -> bool:
    """Whether a file in the folder hides a namespace package, as `google.py` would: at any place on `sys.path`."""
    spaces = [
        name
        for name, module in list(sys.modules.items())
        if "." not in name and hasattr(module, "__path__") and getattr(module, "__file__", None) is None
    ]
    return any(
        file.is_file() for name in spaces for file in (folder / f"{name}.py", folder / name / "__init__.py")
    )


def taken(name: str, folder: Path) -> str:
    """The file of another module with the same name as a module in the folder. Empty if there is none."""
    top = name.partition(".")[0]
    mine = [folder / f"{top}.py", folder / top / "__init__.py"]
    if not any(file.is_file() for file in mine):
        return ""
    found = sys.modules.get(top)
    if found is None and top not in sys.stdlib_module_names:
        return ""
    place = getattr(found or importlib.import_module(top), "__file__", None)
    return "" if place and Path(place).parent in (folder, folder / top) else place or "built into Python"
