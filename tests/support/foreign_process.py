"""A process that takes this machine for another platform: `python foreign_process.py` with its order on standard input.

    {"platforms": {"win32": {"modules": […], "names": {"os": […]}}}, "modules": ["weft.agent", …], "helps": [["agent"], …]}

    native: all modules once ─► weft's own are forgotten ─► fork per platform ─► weft's modules again, and the scenarios

The standard library and other packages are loaded before, as this machine has them: they stay whole. What weft loads afterwards
finds no POSIX modules, and `os`, `signal`, `socket` and others without the names that the platform lacks; the event loop refuses signal handlers and
unix sockets as there. Each platform's child writes a line of JSON: {"platform": …, "failed": {"what": "traceback"}, "done": […]}.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import importlib
import json
import os
import subprocess
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any

_REAL = {"fcntl": fcntl}
# Generated code stays: a descriptor pool takes each file once.
_GENERATED = ("weft.v1", "weft.hooks", "weft.rules", "weft.conformance")


def main() -> None:
    gc.disable()
    order = json.loads(sys.stdin.read())
    for name in order["modules"]:
        importlib.import_module(name)
    for name in [name for name in sys.modules if _is_own(name)]:
        del sys.modules[name]
    for platform, missing in order["platforms"].items():
        if (child := os.fork()) == 0:
            _as(platform, missing, order)
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(child, 0)


def _is_own(name: str) -> bool:
    return name.partition(".")[0] in ("weft", "weft_pytest") and not (
        name.startswith(_GENERATED) or ".v1" in name or name == "weft"
    )


def _as(platform: str, missing: dict[str, Any], order: dict[str, Any]) -> None:
    report: dict[str, Any] = {"platform": platform, "failed": {}, "done": []}

    def attempt(what: str, run: Callable[[], object]) -> None:
        try:
            run()
        except BaseException:
            report["failed"][what] = traceback.format_exc()
        else:
            report["done"].append(what)

    become(platform, missing)
    for name in order["modules"]:
        attempt(name, lambda name=name: importlib.import_module(name))
    cases = importlib.import_module("tests.support.foreign_cases")
    for given in order["cases"]:
        attempt(f"case {given}", lambda given=given: getattr(cases, given)(platform))
    print(json.dumps(report), flush=True)


def become(platform: str, missing: dict[str, Any]) -> None:
    """Let modules that are loaded from now on find what `platform` has."""
    windows = platform == "win32"
    for name in [*missing["modules"], "uvloop"] if windows else missing["modules"]:
        # An import of it raises ModuleNotFoundError.
        sys.modules[name] = None  # type: ignore[assignment]
    for name, lacks in missing["names"].items():
        real = sys.modules[name]
        reduced = types.ModuleType(name, real.__doc__)
        vars(reduced).update({key: value for key, value in vars(real).items() if key not in lacks})
        if name == "os" and windows:
            reduced.name = "nt"  # type: ignore[attr-defined]
        sys.modules[name] = reduced
    sys.platform = platform
    if windows:
        sys.modules["msvcrt"] = _msvcrt()
        _without_posix_calls()


def _msvcrt() -> types.ModuleType:
    """What weft uses of Windows' own module: a lock of bytes from the file's position on, exclusive among open files."""
    made = types.ModuleType("msvcrt")
    fcntl: Any = _REAL["fcntl"]

    def locking(descriptor: int, mode: int, size_bytes: int) -> None:
        assert (mode, size_bytes) == (2, 1)
        # Windows forbids to read locked bytes: those of the content must stay free.
        assert os.lseek(descriptor, 0, os.SEEK_CUR) > os.fstat(descriptor).st_size
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    vars(made).update(LK_NBLCK=2, locking=locking)
    return made


def _without_posix_calls() -> None:
    """Let calls of the standard library refuse what they refuse on Windows."""

    def refuse(*_: object, **__: object) -> None:
        raise NotImplementedError

    for loop in (asyncio.BaseEventLoop, asyncio.SelectorEventLoop):
        for name in (
            "add_signal_handler",
            "remove_signal_handler",
            "create_unix_server",
            "create_unix_connection",
        ):
            setattr(loop, name, refuse)
    for name in ("start_unix_server", "open_unix_connection"):
        delattr(asyncio, name)
    start = subprocess.Popen.__init__

    def started(self: Any, *words: Any, **options: Any) -> None:
        if options.get("preexec_fn") is not None or options.get("pass_fds"):
            raise ValueError("preexec_fn and pass_fds are not supported on Windows platforms")
        start(self, *words, **options)

    subprocess.Popen.__init__ = started  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
