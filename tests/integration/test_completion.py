"""Completion at Tab: bash, zsh and fish themselves are asked, with the scripts that weft gives them."""

from __future__ import annotations

import asyncio
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.mesh import MeshHarness

SHELLS = ("bash", "zsh", "fish", "powershell")
BIN = Path(sys.executable).parent


def variables(**more: str) -> dict[str, str]:
    """Those of a user whose PATH has weft."""
    kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
    return (
        kept | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "TERM": "dumb", "WEFT_CONFIG": "off"} | more
    )


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"needs {shell}")


async def by_bash(*words: str, **more: str) -> list[str]:
    """What bash offers at the end of a line of these words."""
    line = " ".join(f"'{word}'" for word in words)
    script = f"""
        eval "$(_WEFT_COMPLETE=source_bash weft)"
        complete -p weft
        COMP_WORDS=({line}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
        _weft_completion weft
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    process = await asyncio.create_subprocess_exec(
        *("bash", "--norc", "-c", script), env=variables(**more), stdout=asyncio.subprocess.PIPE
    )
    told, _ = await asyncio.wait_for(process.communicate(), 60)
    registered, *offered = told.decode().splitlines()
    assert registered.endswith("-F _weft_completion weft")
    return offered


@needs("bash")
async def test_bash() -> None:
    assert await by_bash("weft", "tasks", "li") == ["list"]


@pytest.mark.slow
@needs("bash")
async def test_bash_offers_what_the_coordinator_knows(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    await mesh.agent("a1")
    asked = await asyncio.gather(
        by_bash("weft", "tas"),
        by_bash("weft", "tasks", "list", "--state", "F"),
        by_bash("weft", "call", "", WEFT_TARGET=mesh.target),
        # Nobody answers there: no completion, and no message in the user's line.
        by_bash("weft", "call", "", WEFT_TARGET="127.0.0.1:1"),
    )
    assert asked[:2] == [["tasks"], ["FAILED"]]
    assert "probe.v1.ProbeService/Call" in asked[2]
    assert asked[3] == [""]


@pytest.mark.slow
@needs("fish")
def test_fish() -> None:
    script = '_WEFT_COMPLETE=source_fish weft | source; complete --do-complete "weft tasks li"'
    done = subprocess.run(
        ["fish", "--no-config", "-c", script],
        env=variables(HOME="/nonexistent"),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["list"]


@pytest.mark.slow
@needs("zsh")
def test_zsh(tmp_path: Path) -> None:
    """On a terminal: zsh completes nowhere else."""
    (tmp_path / ".zshrc").write_text(
        'autoload -U compinit; compinit -u -D; eval "$(_WEFT_COMPLETE=source_zsh weft)"; PROMPT="ready> "\n'
    )
    env = variables(HOME=str(tmp_path), ZDOTDIR=str(tmp_path), TERM="vt100")
    terminal, theirs = pty.openpty()
    shell = subprocess.Popen(
        ["zsh", "-i"], env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    try:
        read_until(terminal, b"ready> ")
        os.write(terminal, b"weft tasks can\t")
        read_until(terminal, b"tasks cancel")
    finally:
        shell.kill()
        shell.wait()
        os.close(terminal)


def read_until(terminal: int, wanted: bytes) -> None:
    """Read what appears; pytest's timeout is the bound."""
    seen = b""
    while wanted not in seen:
        seen += os.read(terminal, 4096)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_for_each_shell(shell: str) -> None:
    done = subprocess.run(
        [BIN / "weft"],
        env=variables(_WEFT_COMPLETE=f"source_{shell}"),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert f"complete_{shell}" in done.stdout
    assert not done.stderr
