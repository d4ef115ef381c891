"""`weft bench`: it measures, and says it in the agreed form."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.processes import ROOT, environment

AGREED = {
    "raw_unary_p50_ms",
    "raw_unary_per_s",
    "direct_per_s_ratio",
    *(f"direct_{figure}" for figure in ("p50_ms", "p99_ms", "p50_ratio", "per_s")),
    *(f"sidecar_{ends}_{figure}" for ends in ("one", "both") for figure in ("p50_ms", "p50_ratio")),
    *(
        f"embedded_{durability}_{figure}"
        for durability in ("process", "full")
        for figure in ("tasks_per_s", "p50_ms", "p99_ms")
    ),
}


@pytest.mark.slow
def test_quick_json(tmp_path: Path) -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "weft.cli.main", "bench", "--quick", "--json"],
        cwd=ROOT,
        env=environment({"TMPDIR": str(tmp_path)}),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert set(figures) >= AGREED
    assert all(value > 0 for value in figures.values())
    # The agreed bound is 50 s on two idle cores; other tests may be running.
    assert time.monotonic() - began < 100
    assert list(tmp_path.iterdir()) == []
