"""The files of a certificate that a process has got by itself: in a folder for its user alone, which is removed at its end.

Files, since all that uses certificates follows files: what renews them needs to tell nobody.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from weft.rpc.security.tls import Tls


class IdentityFolder:
    """The folder.

    Args:
        path: an existing folder, which stays. None: a new one, in memory if the system has a place for that.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or _temporary()
        self._stays = path is not None
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
        if not self._stays:
            shutil.rmtree(self.path, ignore_errors=True)

    def tls(self, *, server_name: str = "", serves: bool) -> Tls:
        """The files as settings.

        Args:
            server_name: the name of the servers that are dialled.
            serves: for ports, too, which want a certificate of their callers.
        """
        ca, identity = str(self.authorities), str(self.identity)
        return Tls(ca, identity, identity, server_name, ca if serves else "")


def _write(path: Path, content: bytes) -> None:
    """Replace a file so that no reader sees a part of it."""
    partial = path.with_suffix(".partial")
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123
        file.write(content)
    partial.replace(path)


def _temporary() -> Path:
    """A new folder for this user alone."""
    in_memory = os.environ.get("XDG_RUNTIME_DIR", "")
    parent = in_memory if in_memory and os.access(in_memory, os.W_OK) else None
    made, owner = Path(tempfile.mkdtemp(prefix="weft-identity-", dir=parent)), os.getpid()

    def remove() -> None:
        # Child processes use the same files.
        if os.getpid() == owner:
            shutil.rmtree(made, ignore_errors=True)

    atexit.register(remove)
    return made
