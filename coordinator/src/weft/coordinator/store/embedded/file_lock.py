"""One owner for a store file: an advisory lock on a second file. The kernel drops it when the owner dies."""

from __future__ import annotations

import os
from pathlib import Path

from weft.coordinator.store.open_errors import StoreError, StoreLocked
from weft.rpc.process.file_locks import try_lock


class OwnerLock:
    """Held from construction to `release`. The lock file stays: its removal would let two owners in.

    Raises:
        StoreLocked: another process, or another store in this process, has the lock.
        StoreError: the lock file cannot be made.
    """

    def __init__(self, store_path: Path) -> None:
        if not store_path.parent.is_dir():
            raise StoreError(
                f"the directory {store_path.parent} does not exist: make it, or choose another --store"
            )
        path = store_path.with_name(store_path.name + ".lock")
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreError(f"cannot make {path}: {error.strerror}") from error
        if not try_lock(self._fd):
            owner = os.read(self._fd, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise StoreLocked(
                f"{store_path} is in use by another coordinator (pid {owner}). "
                "Stop that one, or give this one another --store."
            )
        try:
            os.ftruncate(self._fd, 0)
            os.write(self._fd, f"{os.getpid()}\n".encode())
        except OSError:
            # The disk is full: the lock holds without the pid.
            pass

    def release(self) -> None:
        os.close(self._fd)
