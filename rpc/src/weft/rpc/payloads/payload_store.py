"""The store of large payloads (claim check): a folder, or whatever else fsspec knows, such as an S3-compatible store.

A name begins with the hour from which on the payload may be deleted, so that a sweep reads names alone, and deletes whole folders.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from weft.rpc.process.redaction import redacted_text
from weft.rpc.raised import line_of
from weft.v1 import payload_pb2

READ_BYTES = 1024 * 1024
_NAME = re.compile(r"\d{8}T\d{2}/[0-9a-f]{32}")
_HOUR = re.compile(r"\d{8}T\d{2}")
_HOUR_FORM = "%Y%m%dT%H"
# Written so long ago, a part of a payload that was never finished is of a process that is gone.
_HOUR_S = 3600.0


class NotStored(Exception):
    """The store cannot be read or written, or does not have the payload; the text says why."""


class Changed(Exception):
    """What the store has is not what was put there."""


class PayloadStore:
    """A place for bodies of payloads. From any thread; its methods wait for the store.

    Args:
        url: a path, or a URL of fsspec, such as "s3://bucket/prefix".
    """

    def __init__(self, url: str) -> None:
        import fsspec  # type: ignore[import-untyped]

        # For messages: it may have a password.
        self.url = redacted_text(url)
        try:
            found: tuple[Any, str] = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise NotStored(f"{self.url}: {redacted_text(str(error))}") from None
        self._files, self._root = found
        self._local = "file" in self._protocols()

    def _protocols(self) -> tuple[str, ...]:
        given = self._files.protocol
        return (given,) if isinstance(given, str) else tuple(given)

    def write(self, pieces: Iterable[bytes], expires_at: float) -> payload_pb2.StoredPayload:
        """Store a body; returns how to find it. A failure leaves nothing behind.

        Args:
            expires_at: it may be deleted after this time, by this machine's clock.

        Raises:
            NotStored: the store cannot be written.
        """
        # The next full hour after it.
        hour = time.strftime(_HOUR_FORM, time.gmtime(expires_at + _HOUR_S))
        name = f"{hour}/{secrets.token_hex(16)}"
        size, digest = 0, hashlib.sha256()
        path = self._path(name)
        try:
            self._make_folder(hour)
            with self._files.open(path, "wb") as opened:
                for piece in pieces:
                    opened.write(piece)
                    digest.update(piece)
                    size += len(piece)
        except BaseException as error:
            with suppress(Exception):
                self._files.rm(path)
            if isinstance(error, Exception) and not isinstance(error, NotStored):
                raise NotStored(f"{self.url} cannot be written: {_reason(error)}") from None
            raise
        return payload_pb2.StoredPayload(name=name, size=size, sha256=digest.digest())

    def read(self, stored: payload_pb2.StoredPayload) -> Iterator[bytes]:
        """The body, piece by piece. It is checked when it ends.

        Raises:
            NotStored: the store cannot be read, or does not have it.
            Changed: it is another one.
        """
        left, digest, path = stored.size, hashlib.sha256(), self._checked(stored.name)
        try:
            with self._files.open(path, "rb", cache_type="readahead") as opened:
                while piece := opened.read(READ_BYTES):
                    left -= len(piece)
                    if left < 0:
                        break
                    digest.update(piece)
                    yield piece
        except FileNotFoundError:
            raise NotStored(
                f"{self.url} does not have {stored.name}: it was deleted, or is in another store"
            ) from None
        except Exception as error:  # of any class: each kind of store has its own
            raise NotStored(f"{self.url} cannot be read: {_reason(error)}") from None
        if left or digest.digest() != stored.sha256:
            raise Changed

    def delete(self, name: str) -> None:
        """Delete a body. Harmless if it is gone.

        Raises:
            NotStored: the store cannot be written.
        """
        path = self._checked(name)
        try:
            self._files.rm(path)
        except FileNotFoundError:
            pass
        except Exception as error:
            raise NotStored(f"{self.url} cannot be written: {_reason(error)}") from None

    def sweep(self, now: float) -> int:
        """Delete all bodies whose time has passed; returns how many.

        Raises:
            NotStored: the store cannot be read or written.
        """
        present = time.strftime(_HOUR_FORM, time.gmtime(now))
        deleted = 0
        try:
            self._files.invalidate_cache()
            if not self._files.exists(self._root):
                return 0
            for found in self._files.ls(self._root, detail=False):
                hour = str(found).rstrip("/").rpartition("/")[2]
                if _HOUR.fullmatch(hour) and hour < present:
                    deleted += len(self._files.find(found))
                    self._files.rm(found, recursive=True)
        except Exception as error:
            raise NotStored(f"{self.url} cannot be swept: {_reason(error)}") from None
        return deleted

    def _make_folder(self, hour: str) -> None:
        if self._local:
            # For the own user alone, as far as this makes it.
            from pathlib import Path

            folder = Path(self._root) / hour
            if not folder.is_dir():
                Path(self._root).mkdir(mode=0o700, parents=True, exist_ok=True)
                folder.mkdir(mode=0o700, exist_ok=True)

    def _checked(self, name: str) -> str:
        # A reference comes from another process: it must not lead out of the store.
        if not _NAME.fullmatch(name):
            raise Changed
        return self._path(name)

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"


def _reason(error: Exception) -> str:
    told = getattr(error, "strerror", None) or line_of(error)
    return redacted_text(str(told)[:300])
