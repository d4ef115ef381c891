"""What the parts of `scripts/release_check.py` share: its failure, its checks of lists of files, and its processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
WORK = ROOT / "build/release"
# What no release has: tests, caches, stores, keys, settings of one's own.
FOREIGN = re.compile(
    r"(^|/)(tests?|__pycache__|\.venv[^/]*|\.fuzz|node_modules)/|\.(pyc|db|pem|key|env)$|(^|/)(test_|conftest)[^/]*\.py$"
)
# The names of files that only look like tests: the package for tests of users' programs.
NOT_FOREIGN = re.compile(r"^(examples/|docs/)")


class CheckFailed(Exception):
    """Something is not as it should be."""


def check_names(where: str, names: Sequence[str]) -> None:
    """Refuse what no release has."""
    if foreign := [name for name in names if FOREIGN.search(name) and not NOT_FOREIGN.match(name)]:
        raise CheckFailed(f"{where} has what no release has: {', '.join(foreign[:5])}")


def check_there(where: str, names: Sequence[str], wanted: Sequence[str]) -> None:
    """Refuse what is not whole."""
    if missing := sorted(set(wanted) - set(names)):
        raise CheckFailed(f"{where} lacks {', '.join(missing)}")


def tool(name: str) -> str:
    """The path of a command of this environment."""
    return str(Path(sys.executable).parent / name)


def run(command: Sequence[str], cwd: Path = ROOT) -> str:
    """What a command prints.

    Raises:
        CheckFailed: it fails.
    """
    done = subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={"UV_SYSTEM_CERTS": "1", **os.environ},
    )
    if done.returncode:
        told = (done.stderr or done.stdout).strip()[-2000:]
        raise CheckFailed(f"`{' '.join(command[:4])} …` failed:\n{told}")
    return done.stdout
