"""The keys of payloads: a file with a key a line, which is read again when it changes.

# the first key encrypts, all of them decrypt
2026-12  kq0m…=
2026-06  9bXz…=
"""

from __future__ import annotations

import base64
import os
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from weft.rpc import refusals
from weft.rpc.errors import InvalidArgument
from weft.rpc.process.logs import get_logger

log = get_logger(__name__)

KEY_BYTES = 32
# How often the file is looked at.
LOOK_S = 0.5
_MOST_BYTES = 64 * 1024
_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


class PayloadKey(NamedTuple):
    """A key; it does not print."""

    id: str
    secret: bytes

    def __repr__(self) -> str:
        return f"PayloadKey({self.id!r})"


class KeyFile:
    """The keys of a file. From any thread.

    Raises:
        InvalidArgument: the file cannot be read, or has no keys. The message quotes none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] = ()
        self._look_at_s = 0.0
        self._keys: Mapping[str, PayloadKey] = {}
        try:
            self._read()
        except OSError as error:
            raise refusals.invalid_field(
                f"cannot read the key file {path}: {error.strerror}", field="payload_keys_file"
            ) from None

    def newest(self) -> PayloadKey:
        """The key that encrypts."""
        if time.monotonic() >= self._look_at_s:
            self._look()
        return next(iter(self._keys.values()))

    def find(self, key_id: str) -> PayloadKey | None:
        """The key of an id; None: the file has none."""
        if time.monotonic() >= self._look_at_s or key_id not in self._keys:
            self._look()
        return self._keys.get(key_id)

    def _look(self) -> None:
        with self._lock:
            self._look_at_s = time.monotonic() + LOOK_S
            try:
                self._read()
            except (OSError, InvalidArgument) as error:
                # It may be being replaced. The last keys are the best there are.
                log.warning("payload_keys.file_not_read", file=str(self.path), error=str(error))

    def _read(self) -> None:
        state = self.path.stat()
        seen = (state.st_mtime_ns, state.st_size, state.st_ino)
        if seen == self._seen:
            return
        if not self._seen and os.name == "posix" and state.st_mode & 0o077:
            log.warning(
                "payload_keys.file_is_open_to_others", file=str(self.path), mode=oct(state.st_mode & 0o777)
            )
        # Before it is read: an unreadable file is mentioned once for each of its states.
        self._seen = seen
        with self.path.open("rb") as opened:
            text = opened.read(_MOST_BYTES).decode("ascii", errors="replace")
        self._keys = keys_of(text, str(self.path))


def keys_of(text: str, place: str) -> Mapping[str, PayloadKey]:
    """The keys in a file's text, by id, the encrypting one first.

    Raises:
        InvalidArgument: a line has no id and key, an id comes twice, or there are none.
    """
    found: dict[str, PayloadKey] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 2 or not _ID.fullmatch(words[0]):
            raise _bad(
                f"line {number} of {place} is not an id and a key: `weft payloads key` writes such lines"
            )
        try:
            secret = base64.b64decode(words[1], validate=True)
        except ValueError:
            secret = b""
        if len(secret) != KEY_BYTES:
            raise _bad(f"line {number} of {place}: the key {words[0]} is not {KEY_BYTES} bytes in base64")
        if words[0] in found:
            raise _bad(f"line {number} of {place}: the key {words[0]} is there twice")
        found[words[0]] = PayloadKey(words[0], secret)
    if not found:
        raise _bad(f"{place} has no keys: `weft payloads key >> FILE` adds one")
    return found


def new_line(key_id: str) -> str:
    """A line with a new key.

    Raises:
        InvalidArgument: it is no id.
    """
    if not _ID.fullmatch(key_id):
        raise _bad(
            f"{key_id[:80]!r} is no id of a key: it has 1 to 64 letters, digits, '.', '_', ':' and '-'"
        )
    return f"{key_id}  {base64.b64encode(os.urandom(KEY_BYTES)).decode()}"


def _bad(message: str) -> InvalidArgument:
    return refusals.invalid_field(message, field="payload_keys_file")
