"""Type checkers on users' programs: right ones pass, and each wrong line is refused, and no other."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "tests" / "support" / "typed"
SOURCES = [
    str(ROOT / folder)
    for folder in (
        "gen",
        "tests/support/gen",
        "client/src",
        "agent/src",
        "rpc/src",
        "coordinator/src",
        "cli/src",
        "testing/src",
        "services/src",
    )
]
BIN = Path(sys.executable).parent


def wrong_lines() -> set[tuple[str, int]]:
    return {
        (path.name, number)
        for path in PROGRAMS.glob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if line.endswith("# wrong")
    }


def mypy(folder: Path) -> Iterator[tuple[str, int]]:
    flags = ["--strict", "--config-file=", "--namespace-packages", "--explicit-package-bases"]
    # Its cache is kept, for speed: what it holds is checked against the sources.
    cache = f"--cache-dir={ROOT / '.mypy_cache' / 'programs'}"
    done = subprocess.run(
        [str(BIN / "mypy"), *flags, cache, "--no-error-summary", *map(str, sorted(folder.glob("*.py")))],
        env=os.environ | {"MYPYPATH": os.pathsep.join(SOURCES)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    for line in done.stdout.splitlines():
        if found := re.match(r"(?:.*/)?(\w+\.py):(\d+): error:", line):
            yield found[1], int(found[2])


def pyright(folder: Path) -> Iterator[tuple[str, int]]:
    settings = {
        "include": ["."],
        "extraPaths": SOURCES,
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        "reportMissingModuleSource": False,
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [str(BIN / "pyright"), "--outputjson", "--pythonpath", sys.executable, "-p", str(folder)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    for each in json.loads(done.stdout)["generalDiagnostics"]:
        if each["severity"] == "error":
            yield Path(each["file"]).name, each["range"]["start"]["line"] + 1


@pytest.mark.slow
@pytest.mark.parametrize("checker", [mypy, pyright])
def test_programs(checker, tmp_path: Path) -> None:
    # Away from this repository's own settings.
    for path in PROGRAMS.glob("*.py"):
        (tmp_path / path.name).write_text(path.read_text())
    refused = set(checker(tmp_path))
    assert refused - wrong_lines() == set(), "right lines that are refused"
    assert wrong_lines() - refused == set(), "wrong lines that pass"
