"""Modules are loaded without garbage collection: what they make stays, and to look at it again and again took a sixth of a start."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def loading(*, for_long: bool = False) -> Iterator[None]:
    """No collection while the block runs.

    Args:
        for_long: this process will run for long: what is there at the end is never looked at again.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if for_long:
            gc.freeze()
        if enabled:
            gc.enable()
