"""`weft conformance` as a process, and its verdicts."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from tests.support.processes import ROOT, environment


async def conformance(agent: str, *flags: str, timeout_s: float = 200) -> tuple[int, dict[str, Any]]:
    """Run the command: its exit status and its document."""
    words = ["conformance", "--json", "--agent", agent, *flags]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "weft.cli.main", *words),
        env=environment(),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, remarks = await asyncio.wait_for(process.communicate(), timeout_s)
    assert process.returncode is not None
    assert printed, remarks.decode()
    return process.returncode, json.loads(printed)


def broken(document: dict[str, Any], verdict: str = "failed") -> dict[str, str]:
    return {each["rule"]: each["says"] for each in document["rules"] if each["verdict"] == verdict}
