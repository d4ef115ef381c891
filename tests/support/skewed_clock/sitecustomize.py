"""Sets this process' wall clock off by CLOCK_OFF_S seconds: Python imports it at its start, when the folder is on its path.

`tests.support.clocks` puts it there. Monotonic time stays, as it does when an administrator sets a clock.
`time.clock_gettime(time.CLOCK_REALTIME)` stays too: tests that write down when things happened use it.
"""

from __future__ import annotations

import os
import time

_OFF_S = float(os.environ.get("CLOCK_OFF_S", "0"))
_OFF_NS = int(_OFF_S * 1e9)
_true_time, _true_time_ns = time.time, time.time_ns


def _time() -> float:
    return _true_time() + _OFF_S


def _time_ns() -> int:
    return _true_time_ns() + _OFF_NS


if _OFF_S:
    time.time = _time
    time.time_ns = _time_ns
