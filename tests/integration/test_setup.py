"""The first `make` of a newcomer: the environment is made where uv cannot reach the package index, too."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.checkout import checkout
from tests.support.processes import environment
from tests.support.soak import soak

# Where nothing listens: what uv asks, while pip goes by its own configuration.
NOWHERE = "https://127.0.0.1:1/simple"


@soak
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_pip_installs_what_uv_cannot_fetch(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "weft")
    done = subprocess.run(
        ["make", ".venv/.installed"],
        cwd=folder,
        env=environment({"UV_DEFAULT_INDEX": NOWHERE, "UV_NO_CACHE": "1", "UV_HTTP_RETRIES": "0"}),
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "pip tries" in done.stdout
    installed = subprocess.run(
        [folder / ".venv/bin/weft", "--help"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        check=False,
    )
    assert installed.returncode == 0, installed.stderr
    assert b"task contract" in installed.stdout
