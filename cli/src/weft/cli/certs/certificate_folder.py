"""A folder with an authority and the certificates that it has signed.

    ca.pem, ca-key.pem              the authority
    NAME.pem, NAME-key.pem          one process: a coordinator, an agent, a client

The folder is for its user alone (0700), and so is each key (0600). A file is written in whole, or not at all.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path

from weft.cli.terminal.failure import Failure, system_reason
from weft.rpc.process.extras import require

require("security")

from weft.rpc.security.certificates import (  # noqa: E402 - says what to install before
    CertificateFacts,
    CertificateFault,
    KeyPair,
    Names,
    facts,
    issue,
    new_authority,
    renewed,
)

AUTHORITY = "ca"
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_KEY_SUFFIX = "-key.pem"


class CertificateFolder:
    """The folder. Errors are `Failure`s, which say what to do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, name: str, now: datetime, days: float) -> CertificateFacts:
        """Make the folder and its authority."""
        try:
            self.path.mkdir(mode=0o700, exist_ok=True)
            mode = stat.S_IMODE(self.path.stat().st_mode)
        except OSError as error:
            raise Failure(f"cannot make the folder {self.path}: {system_reason(error)}") from None
        if mode & 0o022:
            raise Failure(
                f"others may write to {self.path} (mode {mode:o}), and could put their own authority there",
                f"chmod 700 {self.path}, or name another folder",
            )
        self._refuse_existing(AUTHORITY)
        return self._keep(AUTHORITY, _made(lambda: new_authority(name, now, days)))

    def issue(self, name: str, names: Names, now: datetime, days: float) -> CertificateFacts:
        """Make the certificate of one process."""
        if not _NAME.fullmatch(name) or name == AUTHORITY:
            raise Failure(
                f"{name!r} is not a name of 1 to 64 characters of A-Z a-z 0-9 . _ @ -, other than {AUTHORITY}",
                status=2,
            )
        self._refuse_existing(name)
        authority = self._pair(AUTHORITY)
        return self._keep(name, _made(lambda: issue(authority, names, now, days)))

    def renew(self, name: str, now: datetime) -> CertificateFacts:
        """Replace a certificate by one with the same names, a new key and a new end."""
        if name == AUTHORITY:
            raise Failure(
                "an authority is not renewed: all that trust it would have to know the new one",
                "make another in a new folder, trust both by one file that holds both, then renew everything with the new one",
                status=2,
            )
        certificate, _ = self._files(name)
        authority, before = self._pair(AUTHORITY), _read(certificate)
        return self._keep(name, _made(lambda: renewed(authority, before, now)))

    def names(self) -> Sequence[str]:
        """The names of the certificates that have their keys here, without the authority."""
        found = (path.name.removesuffix(_KEY_SUFFIX) for path in self._listed(f"*{_KEY_SUFFIX}"))
        return sorted(name for name in found if name != AUTHORITY and (self.path / f"{name}.pem").exists())

    def show(self) -> Sequence[tuple[Path, CertificateFacts]]:
        """All certificates in the folder, the authority first."""
        files = [path for path in self._listed("*.pem") if not path.name.endswith(_KEY_SUFFIX)]
        if not files:
            raise Failure(
                f"there is no certificate in {self.path}", "`weft certs init` makes an authority there"
            )
        files.sort(key=lambda path: (path.stem != AUTHORITY, path.name))
        return [(path, shown(path)) for path in files]

    def _listed(self, pattern: str) -> Iterable[Path]:
        if not self.path.is_dir():
            raise Failure(f"there is no folder {self.path}", "`weft certs init` makes it, with an authority")
        return self.path.glob(pattern)

    def _files(self, name: str) -> tuple[Path, Path]:
        return self.path / f"{name}.pem", self.path / f"{name}{_KEY_SUFFIX}"

    def _pair(self, name: str) -> KeyPair:
        certificate, key = self._files(name)
        if name == AUTHORITY and not certificate.exists():
            raise Failure(f"there is no authority in {self.path}", f"weft certs init {self.path}")
        return KeyPair(_read(certificate), _read(key))

    def _refuse_existing(self, name: str) -> None:
        for path in self._files(name):
            if path.exists():
                renew = "" if name == AUTHORITY else f"`weft certs renew {self.path} {name}` replaces it; or "
                raise Failure(f"{path} exists already: it is not overwritten", f"{renew}name another folder")

    def _keep(self, name: str, made: KeyPair) -> CertificateFacts:
        certificate, key = self._files(name)
        # Written at once, one after the other: processes that read them between the two keep what they have.
        write_file(key, made.key, 0o600)
        write_file(certificate, made.certificate, 0o644)
        return facts(made.certificate)


def shown(path: Path) -> CertificateFacts:
    """What the first certificate of a file says."""
    try:
        return facts(_read(path))
    except CertificateFault as error:
        raise Failure(f"{path}: {error}") from None


def _made(make: Callable[[], KeyPair]) -> KeyPair:
    try:
        return make()
    except CertificateFault as error:
        raise Failure(str(error)) from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Failure(f"cannot read {path}: {system_reason(error)}") from None


def write_file(path: Path, content: bytes, mode: int) -> None:
    """Write a file so that no reader sees a part of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise Failure(f"cannot write {path}: {system_reason(error)}") from None
