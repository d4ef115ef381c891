"""Runs a function when a module is imported, without importing the module itself."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


def after_import(name: str, then: Callable[[], None]) -> None:
    """Call `then` when the module has been imported, or now if it already is. Exceptions of a later call are ignored."""
    if name in sys.modules:
        then()
        return
    # A module has one such function: the newest.
    sys.meta_path[:] = [
        each for each in sys.meta_path if not (isinstance(each, _Finder) and each.name == name)
    ]
    sys.meta_path.insert(0, _Finder(name, then))


class _Finder:
    def __init__(self, name: str, then: Callable[[], None]) -> None:
        self.name = name
        self._then = then

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
        /,
    ) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_then(module: ModuleType) -> None:
                execute(module)
                with contextlib.suppress(Exception):
                    self._then()

            spec.loader.exec_module = execute_and_then  # type: ignore[method-assign]
        return spec
