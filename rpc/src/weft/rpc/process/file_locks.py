"""Locks of files among processes, and among the open files of one process. The kernel drops a lock with the process that holds it.

On POSIX `flock`: a POSIX lock (`lockf`) would let a second owner of the same process in. On Windows a lock of one byte, far behind the end of
what is in the file: locked bytes cannot be read there, and readers want to know the owner.
"""

from __future__ import annotations

import os

_FAR = 1 << 30


def try_lock(descriptor: int) -> bool:
    """Take the lock of an open file, without a wait: whether it was free. It is held until the file is closed."""
    try:
        import fcntl
    except ImportError:
        return _try_windows(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _try_windows(descriptor: int) -> bool:
    from importlib import import_module

    # By name: type checkers look at this file as it is on POSIX.
    msvcrt = import_module("msvcrt")
    before = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.lseek(descriptor, _FAR, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except OSError:
        return False
    finally:
        os.lseek(descriptor, before, os.SEEK_SET)
    return True
