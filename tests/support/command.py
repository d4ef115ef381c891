"""Runs `weft ...` as people do: a process, its output and its exit status."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.processes import environment


@dataclass(frozen=True, slots=True)
class Finished:
    """What a command printed and how it ended."""

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
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "weft.cli.main",
        *args,
        env=environment(extra),
        cwd=cwd,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate(stdin.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    finished = Finished(process.returncode, out.decode(encoding), err.decode(encoding))
    assert "Traceback" not in finished.err, finished.err
    return finished
