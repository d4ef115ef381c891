"""Reads units with systemd's own programs: what they think of a unit, and what they take it for."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_MANAGER = Path("/lib/systemd/systemd")
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
# A manager of users refuses to run as root.
_NOBODY = 65534

_PROXY = Path("/lib/systemd/systemd-socket-proxyd")

can_verify = shutil.which("systemd-analyze") is not None
can_read = _MANAGER.exists() and os.geteuid() == 0 and shutil.which("setpriv") is not None


can_pass_sockets = _PROXY.exists()


def proxy(listener: socket.socket, target: str) -> list[str]:
    """The command of a proxy that accepts at a socket, as systemd would start it; the socket is to be inherited."""
    start = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ |= {'LISTEN_FDS': '1', 'LISTEN_PID': str(os.getpid())};"
        " os.execv(sys.argv[2], sys.argv[2:])"
    )
    return [sys.executable, "-c", start, str(listener.fileno()), str(_PROXY), target]


class UnitRead(NamedTuple):
    """What systemd makes of a unit: the words that it runs, and the variables."""

    words: list[str]
    variables: dict[str, str]


def verify(unit: Path, *more: str) -> None:
    """Let systemd-analyze verify a unit; warnings are faults, too."""
    done = subprocess.run(
        ["systemd-analyze", "verify", *more, str(unit)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(unit.parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    # Those of the machine's own units are not of this one.
    told = [
        line for line in (done.stdout + done.stderr).splitlines() if unit.name in line or str(unit) in line
    ]
    assert not told, told
    assert done.returncode == 0, done.stderr


def exposure(unit: Path) -> float:
    """How exposed a service is, from 0 to 10."""
    command = ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    (found,) = re.findall(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    return float(found)


def read(text: str, name: str) -> UnitRead:
    """What the manager of a user reads in a unit; nothing is started."""
    with tempfile.TemporaryDirectory() as folder:
        (run := Path(folder) / "run").mkdir()
        unit = Path(folder) / name
        unit.write_text(text)
        os.chown(run, _NOBODY, _NOBODY)
        run.chmod(0o700)
        Path(folder).chmod(0o755)
        unit.chmod(0o644)
        done = subprocess.run(
            [
                *("setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--"),
                *(str(_MANAGER), "--test", "--user", f"--unit={name}"),
            ],
            env={
                "XDG_RUNTIME_DIR": str(run),
                "HOME": "/tmp",
                "SYSTEMD_UNIT_PATH": f"{folder}:",
                "LC_ALL": "C.UTF-8",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    lines = list(_of_unit(done.stdout.splitlines(), name))
    assert lines, done.stderr
    (command,) = (line.removeprefix("Command Line: ") for line in lines if line.startswith("Command Line: "))
    variables = (line.removeprefix("Environment: ") for line in lines if line.startswith("Environment: "))
    words = [re.sub(r"\\(.)", r"\1", quoted) or plain for quoted, plain in _WORD.findall(command)]
    # What is replaced when it starts.
    return UnitRead(
        [word.replace("$$", "$") for word in words], dict(each.split("=", 1) for each in variables)
    )


def _of_unit(lines: list[str], name: str) -> Iterator[str]:
    inside = False
    for line in lines:
        text = line.strip()
        if text.startswith("-> Unit "):
            inside = text == f"-> Unit {name}:"
        elif inside:
            yield text
