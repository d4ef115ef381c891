"""The release before this one, to run beside it: its wheel, which is kept here. A release puts its own wheel in the place of the one before."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

from tests.support.processes import Process

# Of 2026-12-01, the first one whose place can be taken: there has been no release yet.
(WHEEL,) = (Path(__file__).parent / "previous_wheel").glob("weft-*.whl")


class PreviousVersion:
    """That release, unpacked into a folder. What it needs is what this one has installed."""

    def __init__(self, folder: Path) -> None:
        with zipfile.ZipFile(WHEEL) as wheel:
            wheel.extractall(folder)
        # Before what is installed: the packages of this checkout.
        self._path = str(folder)

    def coordinator(self, listen: str, store: str, log: Path, *flags: str, **settings: object) -> Process:
        """Its `weft coordinator`.

        Args:
            settings: by their names, such as `drain_s=10`.
        """
        args = ["coordinator", "--listen", listen, "--store", store, *flags]
        return Process(
            "previous",
            [sys.executable, "-m", "weft.cli.main", *args],
            log=log,
            env={"PYTHONPATH": self._path}
            | {f"WEFT_{name.upper()}": str(value) for name, value in settings.items()},
        )
