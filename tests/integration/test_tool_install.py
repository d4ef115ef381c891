"""The wheel as a tool: `uv tool install` makes an environment of its own, with the command, what it needs, and the manual."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkout import checkout
from tests.support.processes import environment

BIN = Path(sys.executable).parent


def run(*words: str | Path, cwd: Path, **env: str) -> str:
    done = subprocess.run(
        words, cwd=cwd, env=environment(env), capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_uv_installs_the_wheel_as_a_tool(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "weft")
    run(sys.executable, "scripts/man_pages.py", cwd=folder)
    run(BIN / "uv", "build", "--quiet", "--out-dir", tmp_path / "dist", cwd=folder, UV_SYSTEM_CERTS="1")
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    tools, programs = tmp_path / "tools", tmp_path / "bin"
    run(
        *(BIN / "uv", "tool", "install", "--quiet", "--python", sys.executable),
        f"weft[agent,cli,coordinator] @ {wheel.as_uri()}",
        cwd=tmp_path,
        UV_SYSTEM_CERTS="1",
        UV_TOOL_DIR=str(tools),
        UV_TOOL_BIN_DIR=str(programs),
    )
    assert [each.name for each in programs.iterdir()] == ["weft"]
    assert run(programs / "weft", "version", cwd=tmp_path).startswith("weft ")
    for command in ("agent", "coordinator"):
        assert "Usage: weft " in run(programs / "weft", command, "--help", cwd=tmp_path)
    pages = tools / "weft/share/man/man1"
    assert (pages / "weft-tasks.1").is_file()
    if shutil.which("man"):
        shown = run("man", "-M", pages.parent, "weft", cwd=tmp_path, MANPAGER="cat")
        assert "A service mesh for tasks" in shown
