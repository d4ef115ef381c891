"""Imports without garbage collection: imported objects stay, and scanning them took a sixth of the start."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def loading(*, for_long: bool = False) -> Iterator[None]:
    """Disable garbage collection while the block runs.

    Args:
        for_long: the process will run for long: objects that exist at the end of the block are never scanned again.
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
