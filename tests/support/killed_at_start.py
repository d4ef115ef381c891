"""A handler whose first process is killed before it takes tasks, as by an operator: WEFT_TEST_KILLED names a file that it leaves."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

_marker = Path(os.environ.get("WEFT_TEST_KILLED", "/nowhere/none"))
if multiprocessing.parent_process() is not None and _marker.parent.is_dir() and not _marker.exists():
    _marker.touch()
    os.kill(os.getpid(), signal.SIGKILL)


def number(request: dict[str, Any]) -> dict[str, Any]:
    return {"pid": os.getpid()}
