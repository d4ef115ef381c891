"""A process' own token: given, or read from a file, and read again when the file changes."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Protocol

from weft.rpc import refusals
from weft.rpc.errors import InvalidArgument
from weft.rpc.process.logs import get_logger
from weft.rpc.security import tokens
from weft.rpc.security.jwt_form import MAX_CHARS, is_jwt
from weft.rpc.security.secret_text import SecretText

log = get_logger(__name__)

# How often the file is looked at.
LOOK_S = 0.5
# A file with a token is short. A longer one is something else.
_MOST_BYTES = 2 * MAX_CHARS


class Shown(Protocol):
    """What the calls of a connection show."""

    @property
    def is_bearer(self) -> bool:
        """Whether it is of use for everybody who has it, everywhere: it must not be read on its way."""
        ...

    @property
    def renewable(self) -> bool:
        """Whether another text may come."""
        ...

    def text(self) -> str:
        """The text, for the next call; empty: it shows nothing."""
        ...


class TokenSource:
    """Where a process' token comes from. From any thread.

    Args:
        text: the token.
        file: the file that has it, if no text is given.

    Raises:
        InvalidArgument: the file cannot be read, or has no token. The message does not quote it.
    """

    def __init__(self, text: SecretText | None = None, file: Path | None = None) -> None:
        self._file = None if text else file
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] = ()
        self._look_at_s = 0.0
        self._text = text or SecretText("")
        if text:
            _check(text.reveal(), "the token")
        elif file is not None:
            try:
                self._read(file)
            except OSError as error:
                raise refusals.invalid_field(
                    f"cannot read the token file {file}: {error.strerror}", field="token_file"
                ) from None

    @property
    def is_bearer(self) -> bool:
        return True

    @property
    def origin(self) -> str:
        """What tells it from others: its file, or a hash of its text."""
        return tokens.digest(self._text.reveal()).hex() if self._file is None else str(self._file)

    @property
    def renewable(self) -> bool:
        """Whether another token may come: the file may change."""
        return self._file is not None

    def text(self) -> str:
        """The token now."""
        if self._file is not None and time.monotonic() >= self._look_at_s:
            self._look(self._file)
        return self._text.reveal()

    def _look(self, file: Path) -> None:
        if not self._lock.acquire(blocking=False):
            return
        try:
            self._look_at_s = time.monotonic() + LOOK_S
            self._read(file)
        except (OSError, InvalidArgument) as error:
            # It may be being replaced. The last token is the best there is.
            log.warning("token.file_not_read", file=str(file), error=str(error))
        finally:
            self._lock.release()

    def _read(self, file: Path) -> None:
        state = file.stat()
        seen = (state.st_mtime_ns, state.st_size, state.st_ino)
        if seen == self._seen:
            return
        if not self._seen and _is_open(state):
            log.warning("token.file_is_open_to_others", file=str(file), mode=oct(state.st_mode & 0o777))
        # Before it is read: an unreadable file is mentioned once for each of its states.
        self._seen = seen
        with file.open("rb") as opened:
            text = opened.read(_MOST_BYTES).decode("ascii", errors="replace").strip()
        _check(text, f"the token in {file}")
        self._text = SecretText(text)


def _is_open(state: os.stat_result) -> bool:
    """Whether others may read a file of this process. One of another user is read by the group: that of a pod has its secrets so."""
    if os.name != "posix":
        return False
    return bool(state.st_mode & (0o077 if state.st_uid == os.geteuid() else 0o007))


def token_source(given: str | Path | None = None) -> TokenSource | None:
    """The source of a program's token. None: it has none.

    Args:
        given: the token, or the path of a file that has it. None: by the environment (WEFT_TOKEN, or WEFT_TOKEN_FILE).

    Raises:
        InvalidArgument: it is no token, or the file cannot be read.
    """
    if given is None:
        given = os.environ.get("WEFT_TOKEN") or Path(os.environ.get("WEFT_TOKEN_FILE") or "")
    if isinstance(given, Path):
        return None if given == Path() else TokenSource(file=given)
    return TokenSource(SecretText(given.strip()))


def _check(text: str, what: str) -> None:
    if is_jwt(text):
        return
    try:
        tokens.id_of(text)
    except tokens.BadToken as error:
        raise refusals.invalid_field(f"{what} is not one: {error}", field="token") from None
