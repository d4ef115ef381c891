"""`weft demo` as people run it: complete and right, and nothing is left behind, whatever way it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.support.left_behind import processes_of
from tests.support.processes import ROOT, environment, until
from tests.support.soak import soak

KEYS = [
    "tasks",
    "succeeded",
    "lost",
    "duplicates",
    "tasks_per_s",
    "recovered_agent_s",
    "recovered_coordinator_s",
    "crashes_overlapped",
]


def start(folder: Path, *args: str) -> subprocess.Popen[str]:
    """The demo, with its own folder below `folder`."""
    return subprocess.Popen(
        [sys.executable, "-m", "weft.cli.main", "demo", *args],
        cwd=ROOT,
        env=environment({"TMPDIR": str(folder)}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Not as this process inherited it: what a shell runs in the background ignores Ctrl-C.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )


@pytest.mark.slow
def test_json(tmp_path: Path) -> None:
    process = start(tmp_path, "--limit", "40", "--json")
    stdout, stderr = process.communicate(timeout=90)
    assert process.returncode == 0, stderr
    figures = json.loads(stdout)
    assert list(figures) == KEYS
    assert (figures["tasks"], figures["succeeded"], figures["lost"]) == (40, 40, 0)
    assert figures["recovered_agent_s"] > 0
    assert figures["recovered_coordinator_s"] > 0
    assert "killed agent b (SIGKILL)" in stderr
    assert "the coordinator is back after" in stderr
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path, "--json")
    ledgers = lambda: list(tmp_path.glob("weft-demo-*/ledger"))  # noqa: E731
    try:
        await until(lambda: bool(ledgers()) or process.poll() is not None, "an agent works")
        assert len(processes_of(tmp_path)) >= 5
        process.send_signal(number)
        _, stderr = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode not in {0, None}
    assert "Traceback" not in stderr
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone")
async def test_killed_itself_it_leaves_no_process(tmp_path: Path) -> None:
    process = start(tmp_path, "--json")
    try:
        await until(lambda: any(tmp_path.glob("weft-demo-*/ledger")), "an agent works")
    finally:
        process.kill()
        process.communicate(timeout=20)
    await until(lambda: processes_of(tmp_path) == [], "its children are gone")


@pytest.mark.slow
def test_keep_leaves_store_and_logs(tmp_path: Path) -> None:
    process = start(tmp_path, "--limit", "30", "--keep")
    stdout, stderr = process.communicate(timeout=90)
    assert process.returncode == 0, stderr
    assert "Right: all 30 results" in stdout
    # So few files are done before the first crash is over: it says why the figure is not the usual one.
    assert "the coordinator was killed meanwhile" in stdout
    (folder,) = tmp_path.iterdir()
    assert str(folder) in stderr
    assert {"weft.db", "coordinator.log", "a.log", "b.log", "c.log"} <= {
        each.name for each in folder.iterdir()
    }


@soak
@pytest.mark.slow
def test_the_whole_standard_library(tmp_path: Path) -> None:
    process = start(tmp_path, "--json")
    stdout, stderr = process.communicate(timeout=115)
    assert process.returncode == 0, stderr
    figures = json.loads(stdout)
    assert figures["tasks"] == figures["succeeded"] > 500
    assert figures["crashes_overlapped"] == 0
    assert figures["recovered_agent_s"] < 3
    assert figures["recovered_coordinator_s"] < 5
