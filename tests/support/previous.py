"""weft as it was at an earlier commit, to run beside this one: its sources alone, from the history of the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from tests.support.processes import ROOT, Process

# The last one before coordinators could be replaced. At a release, that of the release takes its place.
COMMIT = "c3a97efb77779fb602716f65f347907b5f9a23e9"
_ROOTS = ("agent/src", "cli/src", "client/src", "coordinator/src", "gen", "rpc/src", "services/src")


class PreviousVersion:
    """The sources of that commit in a folder.

    Skips the test if the history of this checkout does not have it.
    """

    def __init__(self, folder: Path) -> None:
        archived = subprocess.run(
            ["git", "archive", COMMIT, *_ROOTS], cwd=ROOT, capture_output=True, check=False
        )
        if archived.returncode:
            pytest.skip(f"the history of this checkout does not have commit {COMMIT} (git fetch --unshallow)")
        with tarfile.open(fileobj=BytesIO(archived.stdout)) as tree:
            tree.extractall(folder, filter="data")
        # Before what is installed: the packages of this checkout.
        self._path = os.pathsep.join(str(folder / root) for root in _ROOTS)

    def coordinator(self, listen: str, store: str, log: Path) -> Process:
        """Its `weft coordinator`."""
        args = ["coordinator", "--listen", listen, "--store", store]
        return Process(
            "previous",
            [sys.executable, "-m", "weft.cli.main", *args],
            log=log,
            env={"PYTHONPATH": self._path},
        )
