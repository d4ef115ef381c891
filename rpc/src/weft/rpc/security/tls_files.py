"""The files of a process' certificates: read and checked at first, and again when they have changed.

    changed? ─► read ─► checked ─┬─► in use; `version` grows
                                 └─► wrong: the last good ones stay in use, and the log says why, once a change

Ports and connections of a process share one object. The first reading raises what is wrong; a later one logs it.
"""

from __future__ import annotations

import os
import ssl
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from weft.rpc import refusals
from weft.rpc.errors import InvalidArgument
from weft.rpc.process.logs import get_logger
from weft.rpc.security.own_certificate import OwnCertificate, UnusableCertificate, examined
from weft.rpc.security.tls import SYSTEM, VARIABLES, Tls

_log = get_logger("weft.tls")

# How often the files are looked at, at most.
LOOK_S = 1.0
# Far more than the certificates of any system.
_MAX_BYTES = 4 * 1024 * 1024
# From this time before its end, each reading of a certificate warns of it.
_ENDS_SOON_S = 7 * 86400.0
# Or from this part of its life, if that is shorter.
_ENDS_SOON_PART = 8
_DAY_S = 86400.0

_Stamp = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """What the files hold. None: there is no such file, or gRPC's own authorities are to be used."""

    ca: bytes | None
    cert: bytes | None
    key: bytes | None
    client_ca: bytes | None
    own: OwnCertificate | None


class TlsFiles:
    """The present content of the files.

    Args:
        tls: which files.
        now: seconds since 1970.

    Raises:
        InvalidArgument: a file cannot be used; the message names it and says what to do.
    """

    def __init__(self, tls: Tls, now: Callable[[], float] = time.time) -> None:
        self.tls = tls
        # Grows with each change.
        self.version = 1
        self._now = now
        self._looking = threading.Lock()
        self._next_look_s = time.monotonic() + LOOK_S
        self._warned_s = 0.0
        self._stamp = self._stamped()
        self.material = read(tls, now())
        self._warn()

    def look(self) -> int:
        """Read the files again if they have changed, once a second at most. Returns the version. From any thread."""
        if time.monotonic() < self._next_look_s or not self._looking.acquire(blocking=False):
            return self.version
        try:
            self._next_look_s = time.monotonic() + LOOK_S
            stamp = self._stamped()
            if stamp != self._stamp:
                self._read_again(stamp)
            elif self.material.own is not None and self._now() - self._warned_s > _DAY_S:
                self._warn()
        finally:
            self._looking.release()
        return self.version

    def read_now(self) -> int:
        """Read the files again now, as who has written them asks. Returns the version."""
        with self._looking:
            self._read_again(self._stamped())
        return self.version

    def _read_again(self, stamp: _Stamp) -> None:
        try:
            material = read(self.tls, self._now())
        except InvalidArgument as error:
            self._stamp = stamp
            _log.error(
                "tls.not_reloaded", error=error.message, effect="the last good certificates stay in use"
            )
            return
        if self._stamped() != stamp:
            # They change at this moment: the next look reads them in whole.
            return
        self._stamp = stamp
        if material != self.material:
            self.material = material
            self.version += 1
            own = material.own
            _log.info("tls.reloaded", certificate=self.tls.cert, ends=_day(own.ends_s) if own else "")
            self._warn()

    def _stamped(self) -> _Stamp:
        """What changes with a file's content."""
        return tuple(_stamp_of(name) for name in _names(self.tls))

    def _warn(self) -> None:
        """Warn of a key that others may read, and of a certificate that ends soon."""
        own, self._warned_s = self.material.own, self._now()
        if own is None:
            return
        if (mode := _mode(self.tls.key)) & 0o077:
            _log.warning(
                "tls.key_readable",
                file=self.tls.key,
                mode=f"{mode:o}",
                effect="other users of this machine can take this process' identity",
                do=f"chmod 600 {self.tls.key}",
            )
        left_s = own.ends_s - self._warned_s
        # One of a short life ends soon all the time, and is renewed.
        if left_s < min(_ENDS_SOON_S, (own.ends_s - own.begins_s) / _ENDS_SOON_PART):
            _log.warning(
                "tls.ends_soon" if left_s > 0 else "tls.ended",
                file=self.tls.cert,
                ends=_day(own.ends_s),
                do="weft certs renew, or a new file in its place: it is read without a restart",
            )


def read(tls: Tls, now_s: float) -> TlsMaterial:
    """Read and check the files.

    Raises:
        InvalidArgument: a file cannot be used.
    """
    ca = _authorities(tls.ca, "ca", now_s) if tls.ca else None
    client_ca = _authorities(tls.client_ca, "client_ca", now_s) if tls.client_ca else None
    if not tls.cert:
        return TlsMaterial(ca, None, None, client_ca, None)
    cert, key = _content(tls.cert, "cert"), _content(tls.key, "key")
    return TlsMaterial(ca, cert, key, client_ca, _own(tls, now_s))


def _own(tls: Tls, now_s: float) -> OwnCertificate:
    try:
        own = examined(Path(tls.cert), Path(tls.key))
    except UnusableCertificate as error:
        raise _fault("cert", tls.cert, str(error)) from None
    except OSError as error:
        raise _fault("cert", tls.cert, error.strerror or str(error)) from None
    if own.ends_s <= now_s:
        raise _fault(
            "cert",
            tls.cert,
            f"the certificate has ended on {_day(own.ends_s)}: renew it (`weft certs renew`)",
        )
    if own.begins_s > now_s:
        raise _fault(
            "cert",
            tls.cert,
            f"the certificate begins on {_day(own.begins_s)}, which is {(own.begins_s - now_s) / 60:.0f} minutes from"
            " now: is this machine's clock right?",
        )
    return own


def _authorities(name: str, setting: str, now_s: float) -> bytes | None:
    if name == SYSTEM:
        return _of_system()
    content = _content(name, setting)
    # The kind does not matter: it only parses them.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=content.decode("ascii", "replace"))
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", "") or error
        raise _fault(setting, name, f"there is no certificate in PEM form in it ({reason})") from None
    ends_s = [ssl.cert_time_to_seconds(str(each["notAfter"])) for each in context.get_ca_certs()]
    if ends_s and max(ends_s) <= now_s:
        raise _fault(
            setting,
            name,
            f"the authority has ended on {_day(max(ends_s))}: make a new one (`weft certs init`)",
        )
    return content


def _of_system() -> bytes | None:
    """The authorities of the system; None: gRPC's own list, where the system has no file of them."""
    found = ssl.get_default_verify_paths().cafile
    try:
        return Path(found).read_bytes() if found else None
    except OSError:
        return None


def _content(name: str, setting: str) -> bytes:
    try:
        with Path(name).open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise _fault(setting, name, error.strerror or str(error)) from None
    if not content.strip():
        raise _fault(setting, name, "the file is empty")
    if len(content) > _MAX_BYTES:
        raise _fault(setting, name, f"the file has more than {_MAX_BYTES} bytes")
    return content


def _fault(setting: str, name: str, why: str) -> InvalidArgument:
    return refusals.invalid_field(
        f"tls_{setting} ({VARIABLES[setting]}): cannot use {name}: {why}", field=f"tls_{setting}"
    )


def _names(tls: Tls) -> list[str]:
    return [name for name in (tls.ca, tls.cert, tls.key, tls.client_ca) if name and name != SYSTEM]


def _stamp_of(name: str) -> tuple[int, ...]:
    try:
        found = os.stat(name)  # noqa: PTH116 - once a second
    except OSError as error:
        return (error.errno or 0,)
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev


def _mode(name: str) -> int:
    try:
        return stat.S_IMODE(Path(name).stat().st_mode) if os.name == "posix" else 0
    except OSError:
        return 0


def _day(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
