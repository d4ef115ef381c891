"""An environment for processes with wrong wall clocks. The processes' code has no setting for it.

Process.weft("c1", "coordinator", log=log, env=clock_off(3600))
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from tests.support.processes import environment

_FOLDER = Path(__file__).parent / "skewed_clock"


def clock_off(off_s: float) -> Mapping[str, str]:
    """The variables that set a child's wall clock `off_s` ahead; negative: behind."""
    if not off_s:
        return {}
    path = os.pathsep.join([str(_FOLDER), environment()["PYTHONPATH"]])
    return {"PYTHONPATH": path, "CLOCK_OFF_S": str(off_s)}
