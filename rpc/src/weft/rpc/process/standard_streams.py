"""Sees that descriptors 0 to 2 lead somewhere.

A process may be started with any of them closed. What it opens next would then take their numbers: an event loop's own
descriptor, which libuv refuses by ending the process, or a store's file, which somebody's `print` would be written to.
"""

from __future__ import annotations

import os
import sys


def fill_missing() -> None:
    """Let those that are closed lead to nowhere. To be called before anything is opened.

    `sys.stdin` stays None where there is no standard input: who reads it must see that there is none.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            # The lowest free number is this one, but for threads that open something meanwhile.
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            os.set_inheritable(descriptor, True)
    # Python makes none for a descriptor that was closed when it started.
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
