"""The release before this one, to run beside it: its wheel, which is kept here. A release puts its own wheel in the place of the one before."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

from tests.support.processes import Process

# As of commit c3a97efb, the last one before coordinators could be replaced.
(WHEEL,) = (Path(__file__).parent / "previous_wheel").glob("weft-*.whl")


class PreviousVersion:
    """That release, unpacked into a folder. What it needs is what this one has installed."""

    def __init__(self, folder: Path) -> None:
        with zipfile.ZipFile(WHEEL) as wheel:
            wheel.extractall(folder)
        # Before what is installed: the packages of this checkout.
        self._path = str(folder)

    def coordinator(self, listen: str, store: str, log: Path) -> Process:
        """Its `weft coordinator`."""
        args = ["coordinator", "--listen", listen, "--store", store]
        return Process(
            "previous",
            [sys.executable, "-m", "weft.cli.main", *args],
            log=log,
            env={"PYTHONPATH": self._path},
        )
