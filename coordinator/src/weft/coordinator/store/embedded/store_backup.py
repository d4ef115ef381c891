"""Copies an embedded store while its coordinator runs, by SQLite's online backup (https://sqlite.org/backup.html).

A copy is the store as it was at one moment: all that was acknowledged before the copy began is in it. Stores of namespaces are copied one
after another, so each of them is of a moment of its own. A coordinator starts on a copy as on any other store.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from weft.coordinator.store.embedded import schema
from weft.coordinator.store.open_errors import StoreError

# The name of the file in a backup's folder.
FILE = "weft.db"


def backup(store: Path, folder: Path) -> Iterator[tuple[str, int]]:
    """Copy a store and those of its namespaces into a new folder; tells each copy when it is whole.

    Yields:
        the namespace, empty for the default one, and the copy's size in bytes.

    Raises:
        StoreError: the folder exists, or a store cannot be read or written. What was written so far is left for a look.
    """
    if not store.is_file():
        raise StoreError(f"there is no store {store}")
    try:
        folder.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {folder}: {error.strerror}") from error
    yield "", _copy(store, folder / FILE)
    for each in sorted(Path(f"{store}.namespaces").glob(f"*/{FILE}")):
        to = Path(folder, f"{FILE}.namespaces", each.parent.name)
        try:
            to.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise StoreError(f"cannot make the folder {to}: {error.strerror}") from error
        yield each.parent.name, _copy(each, to / FILE)


def _copy(store: Path, to: Path) -> int:
    part = to.with_name(f"{to.name}.part")
    try:
        # Before SQLite makes it, which would let others read it.
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with (
            contextlib.closing(sqlite3.connect(f"{store.absolute().as_uri()}?mode=rw", uri=True)) as source,
            contextlib.closing(sqlite3.connect(part)) as copy,
        ):
            source.execute("PRAGMA query_only = 1")
            source.execute("PRAGMA busy_timeout = 5000")
            schema.check(source)
            # All pages in one step: in one read of the log, which does not keep the coordinator from writing.
            source.backup(copy)
            (verdict,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
            if verdict != "ok":
                raise StoreError(f"the copy of {store} is damaged: {verdict}")
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.rename(to)
        return to.stat().st_size
    except StoreError as error:
        raise type(error)(f"{store} cannot be copied: {error}") from error
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"cannot copy {store} to {to}: {error}") from error
