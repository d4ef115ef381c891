"""Opens the store's file: checks that it is a store and is whole, and migrates it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from weft.coordinator.store.embedded import schema
from weft.coordinator.store.open_errors import StoreError, StoreForeign

_MAGIC = b"SQLite format 3\0"
# A file up to this size is checked page by page: about 0.2 s.
_CHECK_BYTES = 64 * 1024 * 1024


def open_writer(path: Path, *, sync: bool) -> sqlite3.Connection:
    """The writing connection to a whole store of the present version. Makes a new store if there is none.

    Raises:
        StoreForeign: it is not a store of weft, or damaged.
        StoreTooNew: a newer weft wrote it.
        StoreError: it cannot be opened.
    """
    _check_header(path)
    try:
        connection = sqlite3.connect(
            path, isolation_level=None, cached_statements=512, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise StoreError(f"cannot open {path}: {error}") from error
    try:
        # Only another program, such as a database shell, can hold the lock. The event loop must not wait for it.
        connection.execute("PRAGMA busy_timeout = 100")
        version = schema.check(connection)
        # A commit writes whole pages: small ones are quicker for the few small rows of a lone call. For new files only.
        connection.execute("PRAGMA page_size = 2048")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA cache_size = -32768")
        # After a crash the log may hold changes. Move them into the file, so that its size can be checked.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        _check_whole(path, connection)
        schema.prepare(connection, version)
    except StoreError as error:
        connection.close()
        raise type(error)(f"{path} cannot be used: {error}") from error
    except sqlite3.OperationalError as error:
        connection.close()
        raise StoreError(f"cannot use {path}: {error}") from error
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        # What SQLite says of a damaged file has the file's own bytes in it.
        connection.close()
        raise StoreForeign(f"{path} is damaged, or not a store of weft: {error}") from error
    return connection


def _check_header(path: Path) -> None:
    """Refuse a file of another kind before SQLite touches it."""
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    if not header:
        return
    if not header.startswith(_MAGIC) or len(header) < 100:
        raise StoreForeign(f"{path} is not a store of weft: move it away, or choose another --store")


def _check_whole(path: Path, connection: sqlite3.Connection) -> None:
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    page_bytes = connection.execute("PRAGMA page_size").fetchone()[0]
    size_bytes = path.stat().st_size
    if size_bytes < pages * page_bytes:
        raise StoreForeign(f"it is truncated: {size_bytes} bytes of {pages * page_bytes} are there")
    if size_bytes <= _CHECK_BYTES:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise StoreForeign(f"it is damaged: {verdict}")
