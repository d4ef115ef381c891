"""`make` knows the environment of its own folder from one that was copied with the folder."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import ROOT


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("copied", [False, True])
def test_a_copied_environment_is_made_anew(tmp_path: Path, copied: bool) -> None:
    made_in = tmp_path / "made"
    commands = made_in / ".venv" / "bin"
    commands.mkdir(parents=True)
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy2(ROOT / name, made_in)
    (commands / "weft").write_text(f"#!{commands}/python\n")
    (made_in / ".venv" / ".installed").touch()
    folder = made_in
    if copied:
        folder = tmp_path / "copy"
        shutil.copytree(made_in, folder)
    done = subprocess.run(
        ["make", "-n", "demo"], cwd=folder, check=True, capture_output=True, text=True, timeout=30
    )
    assert ("making the environment" in done.stdout) is copied
    assert (folder / ".venv").exists() is not copied
    assert (made_in / ".venv").exists()
