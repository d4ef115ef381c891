"""Programs of others that tests need: without one a test is skipped, but in CI, which must have it, it fails."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest


def missing(reason: str) -> NoReturn:
    """Skip the test, or fail it in CI."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def find_go_tool(name: str, module: str) -> str:
    """Where a program is that `go install` brings.

    Args:
        module: with its version, for who has to install it.
    """
    found = shutil.which(name) or shutil.which(name, path=str(Path.home() / "go" / "bin"))
    return found or missing(f"{name} is not installed: go install {module}")
