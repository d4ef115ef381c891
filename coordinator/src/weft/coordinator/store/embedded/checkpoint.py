"""Moves the write-ahead log into the database file, away from the writer.

SQLite's own automatic checkpoint would sync two files inside some unlucky commit. Here a thread with its own
connection does it while commits go on. If the log keeps growing because commits never pause,
the writer finishes a checkpoint itself, between two groups.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from pathlib import Path

from weft.rpc.process.logs import get_logger

log = get_logger(__name__)

# A commit writes whole pages: this much at least.
_COMMIT_BYTES = 16 * 1024
_ROW_BYTES = 256
_CHECKPOINT_BYTES = 16 * 1024 * 1024
# In pages of 4096 bytes: 64 MiB.
_OVERGROWN_PAGES = 16 * 1024


class Checkpointer:
    """Runs a checkpoint whenever enough has been written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written_bytes = 0
        self._overgrown = False
        self._restarts = False
        self._stopping = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="weft-store-checkpoint", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def next_commit_waits(self) -> bool:
        """Whether the next commit waits for the disk: it starts the log over, or finishes a checkpoint."""
        return self._restarts or self._overgrown

    def wrote(self, rows: int, size_bytes: int) -> None:
        """A group was written. On the event loop."""
        self._written_bytes += _COMMIT_BYTES + rows * _ROW_BYTES + size_bytes
        if self._written_bytes >= _CHECKPOINT_BYTES:
            self._written_bytes = 0
            self._wake.set()

    def before_commit(self, connection: sqlite3.Connection) -> None:
        """Finish a checkpoint if the log is overgrown. On the writer's thread, between groups."""
        self._restarts = False
        if self._overgrown:
            self._overgrown = False
            # The disk may be full: the next commit reports that.
            with contextlib.suppress(sqlite3.Error):
                connection.execute("PRAGMA wal_checkpoint(RESTART)")

    def stop(self, timeout_s: float) -> None:
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        connection = sqlite3.connect(self._path, isolation_level=None)
        try:
            while self._wake.wait() and not self._stopping:
                self._wake.clear()
                try:
                    _, pages, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                except sqlite3.Error as error:
                    # The log keeps the rest; the next round tries again.
                    log.warning("store.checkpoint_failed", error=str(error))
                    continue
                if pages == moved:
                    self._restarts = True
                elif pages > _OVERGROWN_PAGES:
                    self._overgrown = True
        finally:
            connection.close()
