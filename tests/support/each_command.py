"""Runs many `weft ...` commands, each in a fork of one process that has imported everything: a tenth of a second each.

`python -m tests.support.each_command < runs.json`, where each run is {"args": [...], "streams": ["file", "full", "closed"]}
(standard input, output and error); prints the result of each.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.fork_server import load_all
from weft.cli import main as command
from weft.cli.command_line.lazy_group import LazyGroup, load

PATIENCE_S = 60.0


def leaves() -> Iterator[tuple[str, ...]]:
    """Every command that can be called, as words."""
    for name, entry in command._Commands.entries.items():
        loaded = load(name, entry.path)
        below = getattr(loaded, "commands", {}) if not isinstance(loaded, LazyGroup) else {}
        yield from ((name, each) for each in below) if below else ((name,),)


def arguments_of(leaf: tuple[str, ...]) -> int:
    """How many arguments a command cannot do without."""
    loaded: Any = load(leaf[0], command._Commands.entries[leaf[0]].path)
    found = loaded if len(leaf) == 1 else loaded.commands[leaf[1]]
    return sum(each.required for each in found.params if each.param_type_name == "argument")


def run(args: list[str], streams: list[str], folder: Path) -> dict[str, Any]:
    """One command in a fork."""
    files = [folder / name for name in ("in", "out", "err", "raised")]
    for file in files:
        file.write_bytes(b"")
    pid = os.fork()
    if pid == 0:
        os._exit(_as_child(args, streams, files))
    ends_at = time.monotonic() + PATIENCE_S
    while not (found := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > ends_at:
            os.kill(pid, 9)
        time.sleep(0.005)
    out, err, raised = (file.read_text(errors="replace") for file in files[1:])
    status = os.waitstatus_to_exitcode(found[1])
    return {"args": args, "streams": streams, "status": status, "out": out, "err": err, "raised": raised}


def _as_child(args: list[str], streams: list[str], files: list[Path]) -> int:
    for number, kind in enumerate(streams):
        _lead(number, kind, files[number])
    sys.stdin = None if streams[0] == "closed" else open(0, closefd=False)  # noqa: SIM115
    sys.stdout = None if streams[1] == "closed" else open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = None if streams[2] == "closed" else open(2, "w", closefd=False)  # noqa: SIM115
    sys.argv = ["weft", *args]
    try:
        command.main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        files[3].write_text(traceback.format_exc())
        return 70
    else:
        status = 0
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        files[3].write_text(traceback.format_exc())
    return status


def _lead(number: int, kind: str, file: Path) -> None:
    if kind == "closed":
        os.close(number)
        return
    if kind == "no_reader":
        read, opened = os.pipe()
        os.close(read)
    elif kind == "full":
        opened = os.open("/dev/full", os.O_RDWR)
    else:
        opened = os.open(file, os.O_RDWR)
    os.dup2(opened, number)
    os.close(opened)


def main() -> None:
    load_all()
    list(leaves())
    gc.collect()
    gc.freeze()
    with tempfile.TemporaryDirectory() as folder:
        done = [run(each["args"], each["streams"], Path(folder)) for each in json.load(sys.stdin)]
    json.dump(done, sys.stdout)


if __name__ == "__main__":
    main()
