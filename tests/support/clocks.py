"""Processes whose wall clocks are off: an environment for them, without a knob in what they run.

Process.weft("c1", "coordinator", log=log, env=clock_off(3600))
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from tests.support.processes import environment

_FOLDER = Path(__file__).parent / "skewed_clock"


def clock_off(off_s: float) -> Mapping[str, str]:
    """What a child's environment needs so that its wall clock is `off_s` ahead; negative: behind."""
    if not off_s:
        return {}
    path = os.pathsep.join([str(_FOLDER), environment()["PYTHONPATH"]])
    return {"PYTHONPATH": path, "CLOCK_OFF_S": str(off_s)}
