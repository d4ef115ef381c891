"""Runs `weft ...` as people do: a process, its output and its exit status."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.fork_server import ForkedChild, serves
from tests.support.processes import environment, fork_server


@dataclass(frozen=True, slots=True)
class Finished:
    """A command's output and exit status."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Its output as one JSON document."""
        return json.loads(self.out)

    @property
    def documents(self) -> list[Any]:
        """Its output as one JSON document a line."""
        return [json.loads(text) for text in self.out.splitlines()]


async def weft(
    *args: str,
    target: str | None = None,
    stdin: str = "",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float = 60.0,
    encoding: str = "utf-8",
) -> Finished:
    """Run a command to its end; its output is in `encoding`. A traceback is never a way to end."""
    extra = dict(env or {})
    if target is not None:
        extra["WEFT_TARGET"] = target
    status, out, err = await _run(args, extra, str(cwd or Path.cwd()), stdin.encode(), timeout_s)
    finished = Finished(status, out.decode(encoding), err.decode(encoding))
    assert "Traceback" not in finished.err, finished.err
    return finished


async def _run(
    args: Sequence[str], extra: Mapping[str, str], cwd: str, stdin: bytes, timeout_s: float
) -> tuple[int, bytes, bytes]:
    # Not by asyncio's own subprocesses: a task that is cancelled while it starts one waits for ever (of Python 3.11 to 3.13).
    pipes = [os.pipe() for _ in range(3)]
    (read_in, write_in), (read_out, write_out), (read_err, write_err) = pipes
    theirs, ours = [read_in, write_out, write_err], [write_in, read_out, read_err]
    try:
        child = _start(args, extra, cwd, theirs)
    except BaseException:
        for number in ours:
            os.close(number)
        raise
    finally:
        for number in theirs:
            os.close(number)

    def give() -> None:
        with contextlib.suppress(BrokenPipeError), os.fdopen(write_in, "wb") as pipe:
            pipe.write(stdin)

    def take(number: int) -> bytes:
        with os.fdopen(number, "rb") as pipe:
            return pipe.read()

    try:
        async with asyncio.timeout(timeout_s):
            _, out, err = await asyncio.gather(
                asyncio.to_thread(give),
                asyncio.to_thread(take, read_out),
                asyncio.to_thread(take, read_err),
            )
            while (status := child.poll()) is None:
                await asyncio.sleep(0.003)
    finally:
        child.kill()
        child.wait(timeout=10)
    return status, out, err


def _start(
    args: Sequence[str], extra: Mapping[str, str], cwd: str, files: Sequence[int]
) -> ForkedChild | subprocess.Popen[bytes]:
    env = environment(extra)
    if serves(args, extra):
        return fork_server().start(args, env=env, cwd=cwd, files=files, leads=False)
    stdin, stdout, stderr = files
    command = [sys.executable, "-m", "weft.cli.main", *args]
    return subprocess.Popen(command, env=env, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr)
