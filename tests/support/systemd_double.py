"""`systemd-run` and `systemctl` without systemd, as far as pools use them: units are files that name real processes. The machine of tests has no
systemd as process 1."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

_PROGRAM = """#!{python}
import fnmatch, json, os, pathlib, signal, subprocess, sys, time

units = pathlib.Path({units!r})
name = os.path.basename(sys.argv[0])
words = [word for word in sys.argv[1:] if word not in ("--user", "--quiet")]


def state(pid):
    try:
        return pathlib.Path(f"/proc/{{pid}}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def alive(pid):
    return state(pid) not in ("", "Z")


def fail(text):
    print(text, file=sys.stderr)
    sys.exit(1)


if name == "systemd-run":
    cut = words.index("--")
    options, command = words[:cut], words[cut + 1 :]
    unit = next(word for word in options if word.startswith("--unit=")).partition("=")[2]
    if (units / unit).exists():
        fail(f"Failed to start transient service unit: Unit {{unit}} was already loaded or has a fragment file.")
    env = {{word.partition("=")[2]: os.environ[word.partition("=")[2]] for word in options if word.startswith("--setenv=")}}
    process = subprocess.Popen(command, env=env, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (units / unit).write_text(str(process.pid))
elif words[0] == "show":
    blocks = []
    for path in sorted(units.glob(words[1])):
        pid = path.read_text()
        sub = "running" if alive(pid) else "exited"
        freezer = "frozen" if state(pid) == "T" else "running"
        blocks.append(f"Id={{path.name}}\\nActiveState=active\\nSubState={{sub}}\\nMainPID={{pid if sub == 'running' else 0}}\\nResult=success\\nExecMainStatus=0\\nFreezerState={{freezer}}\\n")
    print("\\n".join(blocks))
else:
    path = units / words[-1]
    if not path.exists():
        fail(f"Unit {{words[-1]}} not loaded.")
    pid = int(path.read_text())
    if words[0] == "kill":
        if not alive(pid):
            fail("No such process")
        os.kill(pid, getattr(signal, "SIG" + words[1].partition("=")[2]))
    elif words[0] in ("freeze", "thaw"):
        if not alive(pid) or (state(pid) == "T") == (words[0] == "freeze"):
            fail(f"Failed to {{words[0]}} unit {{words[-1]}}: Unit is not in the state for it.")
        os.kill(pid, signal.SIGSTOP if words[0] == "freeze" else signal.SIGCONT)
    elif words[0] == "stop":
        path.unlink()
"""


def install(folder: Path) -> None:
    """Write both programs into a folder, which is to be on the path."""
    units = folder / "units"
    units.mkdir(parents=True)
    for name in ("systemd-run", "systemctl"):
        path = folder / name
        path.write_text(_PROGRAM.format(python=sys.executable, units=str(units)))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)


def end(folder: Path, member_id: str) -> None:
    """End a member's process from outside."""
    (path,) = (folder / "units").glob(f"*-{member_id}.service")
    os.kill(int(path.read_text()), 9)
