"""weft on Windows and macOS, as far as Linux can show it: every module, and a mesh, in a process that has what those have. See `foreign_process.py`."""

from __future__ import annotations

import functools
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import layout
import pytest

from tests.support import foreign_cases, platform_stubs

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="stands for the others on Linux"),
    pytest.mark.skipif(platform_stubs.stubs() is None, reason="needs mypy's stubs of the standard library"),
]

CASES = [
    name
    for name, each in vars(foreign_cases).items()
    if inspect.isfunction(each) and not name.startswith("_")
]
# macOS lacks little.
PLATFORMS = ("win32", pytest.param("darwin", marks=pytest.mark.slow))
# Nothing that runs on Windows imports these: what does says in words that it needs another system.
WITHOUT_WINDOWS = {
    "weft.cli.top.screen": "`weft top` prints one picture there",
    **dict.fromkeys(
        (
            f"weft.services.repositories.{name}"
            for name in (
                *("branches", "changes", "commits", "git_caller", "remotes", "repository_service"),
                *("tree_files", "workspace_folders", "workspaces"),
            )
        ),
        "the service says that it needs Linux or macOS",
    ),
}


def modules() -> Iterator[str]:
    """All modules of weft, but those that are run as programs."""
    for source in layout.SOURCES:
        root = layout.ROOT / source
        for file in root.rglob("*.py"):
            name = ".".join(file.relative_to(root).with_suffix("").parts)
            if not name.endswith("__main__"):
                yield name.removesuffix(".__init__")


@functools.cache
def report_of(platform: str) -> dict[str, Any]:
    """What the platform's process told."""
    order = {
        "platforms": {platform: platform_stubs.missing(platform)._asdict()},
        "modules": sorted(modules()),
        "cases": CASES,
    }
    program = Path(__file__).parents[1] / "support/foreign_process.py"
    path = [str(layout.ROOT), str(layout.ROOT / "examples/corpus/gen")]
    done = subprocess.run(
        [sys.executable, str(program)],
        input=json.dumps(order),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path), "WEFT_DEMO_LEDGER": os.devnull},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith('{"platform"'))
    report: dict[str, Any] = json.loads(line)
    return report


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_module_can_be_imported(platform: str) -> None:
    report = report_of(platform)
    failed = {name: trace for name, trace in report["failed"].items() if not name.startswith("case ")}
    cannot = WITHOUT_WINDOWS if platform == "win32" else {}
    assert len(report["done"]) > 1000
    # Also in the other direction: a list of what cannot be must not outlive its reasons.
    assert failed.keys() == cannot.keys(), "\n".join(
        failed[name] for name in failed.keys() - cannot.keys()
    ) or (cannot.keys() - failed.keys())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("platform", PLATFORMS)
def test_it_runs_there(platform: str, case: str) -> None:
    report = report_of(platform)
    assert f"case {case}" in report["done"], report["failed"][f"case {case}"]


def test_the_stand_in_lacks_what_they_lack() -> None:
    """Else it would find nothing."""
    windows, mac = platform_stubs.missing("win32"), platform_stubs.missing("darwin")
    assert {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty"} <= set(windows.modules)
    assert {"fork", "getuid", "killpg", "O_CLOEXEC", "register_at_fork"} <= set(windows.names["os"])
    assert {"SIGKILL", "SIGHUP", "SIGCHLD", "pthread_sigmask"} <= set(windows.names["signal"])
    assert "AF_UNIX" in windows.names["socket"]
    assert {"memfd_create", "pidfd_open", "sched_getaffinity"} <= set(mac.names["os"])
    assert not {"fork", "getuid", "kill"} & set(mac.names["os"])
    assert "fcntl" not in mac.modules
