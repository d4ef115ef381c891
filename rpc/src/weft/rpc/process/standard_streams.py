"""Opens descriptors 0 to 2 if they are closed.

A process may be started with any of them closed. The next files that it opens would take their numbers: an event loop's own
descriptor (libuv then ends the process), or a store's file (a `print` would then be written into it).
"""

from __future__ import annotations

import os
import sys


def fill_missing() -> None:
    """Open the closed descriptors on the null device. Call it before any file is opened.

    If there is no standard input, `sys.stdin` stays None, so that a reader sees that there is none.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            # The lowest free number is this one, unless another thread opens a file meanwhile.
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            os.set_inheritable(descriptor, True)
    # Python makes no stream for a descriptor that was closed at its start.
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
