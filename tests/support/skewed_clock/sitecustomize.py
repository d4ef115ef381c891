"""Sets this process' wall clock off by CLOCK_OFF_S seconds: Python imports it at its start, when the folder is on its path.

`tests.support.clocks` puts it there. Monotonic time stays, as it does when an administrator sets a clock.
`time.clock_gettime(time.CLOCK_REALTIME)` stays too: tests that write down when things happened use it.

gRPC's core reads the system's clock itself, where nothing can be set from here, and its Python half passes deadlines to it
by that clock. A clock that is really off is off for both: the Python half is given the time that the core has.
"""

from __future__ import annotations

import os
import sys
import time
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_OFF_S = float(os.environ.get("CLOCK_OFF_S", "0"))
_OFF_NS = int(_OFF_S * 1e9)


class _GrpcKeepsTime(MetaPathFinder):
    """Gives modules of gRPC the module `time` as it was."""

    def __init__(self) -> None:
        self._kept = ModuleType("time")
        self._kept.__dict__.update(time.__dict__)

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if not fullname.startswith("grpc."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return spec
        loader: Any = spec.loader
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            if getattr(module, "time", None) is time:
                module.__dict__["time"] = self._kept

        loader.exec_module = exec_module
        return spec


def _set_off() -> None:
    true_time, true_time_ns = time.time, time.time_ns
    sys.meta_path.insert(0, _GrpcKeepsTime())
    time.time = lambda: true_time() + _OFF_S
    time.time_ns = lambda: true_time_ns() + _OFF_NS


if _OFF_S:
    _set_off()
