"""Reads a row of a store's file that is not open here. It makes, locks and changes nothing."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from urllib.parse import quote

from weft.rpc import refusals
from weft.rpc.errors import Unavailable


def peek(path: Path, kind: str, key: str) -> bytes | None:
    """The value of a row; None: there is none, or no store.

    Raises:
        Unavailable: the store must be opened to know it.
    """
    log = path.with_name(f"{path.name}-wal")
    try:
        if not path.exists():
            return None
        if log.exists() and log.stat().st_size:
            raise _unknown("it was not closed")
        # Without locks: whoever opens it meanwhile is not disturbed.
        connection = sqlite3.connect(f"file:{quote(str(path))}?immutable=1", uri=True)
        try:
            found = connection.execute(
                "SELECT value FROM table_rows WHERE kind = ? AND key = ?", (kind, key)
            ).fetchone()
        finally:
            connection.close()
    except (OSError, sqlite3.Error) as error:
        raise _unknown(str(error)) from error
    return None if found is None else bytes(found[0])


def _unknown(why: str) -> Unavailable:
    return refusals.store_unavailable(f"the store is to be opened: {why}", retry_after_s=1.0)
