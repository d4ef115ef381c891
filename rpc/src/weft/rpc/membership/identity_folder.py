"""The files of a certificate that a process has got by itself: in a folder for its user alone, which is removed at its end.

Files, since all that uses certificates follows files: what renews them needs to tell nobody.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path

from weft.rpc.process.file_locks import try_lock
from weft.rpc.security.tls import Tls

_PREFIX = "weft-identity-"
_LOCK = "lock"


class IdentityFolder:
    """The folder.

    Args:
        path: an existing folder, which stays. None: a new one, in memory if the system has a place for that.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or _temporary()
        self._end: Callable[[], object] = _nothing
        if path is None:
            # At the end of the process, too.
            self._end = weakref.finalize(self, _remove, self.path, _locked(self.path / _LOCK), os.getpid())
        self.authorities = self.path / "ca.pem"
        # Certificate and key are one file: both change at the same moment.
        self.identity = self.path / "identity.pem"

    def put(self, certificate: bytes, key: bytes, authorities: bytes) -> None:
        """Replace what is there."""
        _write(self.authorities, authorities)
        _write(self.identity, certificate + key)

    def trust(self, authorities: bytes) -> None:
        """Replace the authorities alone."""
        _write(self.authorities, authorities)

    def remove(self) -> None:
        """Remove the folder, unless it was there before."""
        self._end()

    def tls(self, *, server_name: str = "", serves: bool) -> Tls:
        """The files as settings.

        Args:
            server_name: the name of the servers that are dialled.
            serves: for ports, too, which want a certificate of their callers.
        """
        ca, identity = str(self.authorities), str(self.identity)
        return Tls(ca, identity, identity, server_name, ca if serves else "")


def _nothing() -> None:
    """The folder stays."""


def _write(path: Path, content: bytes) -> None:
    """Replace a file so that no reader sees a part of it."""
    partial = path.with_suffix(".partial")
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123
        file.write(content)
    partial.replace(path)


def _temporary() -> Path:
    """A new folder for this user alone."""
    in_memory = os.environ.get("XDG_RUNTIME_DIR", "")
    parent = Path(in_memory if in_memory and os.access(in_memory, os.W_OK) else tempfile.gettempdir())
    _sweep(parent)
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))


def _remove(path: Path, lock: int | None, owner: int) -> None:
    # Child processes use the same files.
    if os.getpid() != owner:
        return
    if lock is not None:
        # Before: Windows removes no open file. A sweep that comes in between removes the same.
        os.close(lock)
    shutil.rmtree(path, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Remove the folders of processes that were killed."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            # One without a lock is being made.
            lock = _locked(folder / _LOCK) if (folder / _LOCK).exists() else None
            if lock is not None:
                _remove(folder, lock, os.getpid())


def _locked(path: Path) -> int | None:
    """Hold a file: the descriptor. None: another process holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    if not try_lock(descriptor):
        os.close(descriptor)
        return None
    return descriptor
