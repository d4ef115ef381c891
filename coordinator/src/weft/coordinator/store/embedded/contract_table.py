"""Contracts in the file: their methods, and the time since which they are not needed."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence

from weft.coordinator.store.embedded.journal import Journal
from weft.coordinator.store.embedded.reader import Reader

# Prefix in `meta`: the time since which a contract is not needed, by digest.
_UNUSED = "unused:"


class ContractTable:
    """Contracts by digest."""

    def __init__(self, connection: sqlite3.Connection, journal: Journal, reader: Reader) -> None:
        self._journal = journal
        self._reader = reader
        self._unused: dict[str, float] = {
            name.removeprefix(_UNUSED): since
            for name, since in connection.execute(
                "SELECT name, value FROM meta WHERE name LIKE ?", (f"{_UNUSED}%",)
            )
        }

    def put(self, digest: str, file_descriptor_set: bytes, methods: Sequence[str]) -> None:
        """Store a contract and put it in force for these methods."""
        self._journal.add_statement(
            "INSERT INTO contracts (digest, file_descriptor_set) VALUES (?, ?) ON CONFLICT (digest) DO NOTHING",
            digest,
            file_descriptor_set,
        )
        for method in methods:
            self._journal.add_statement(
                "INSERT OR REPLACE INTO hosted (method, digest) VALUES (?, ?)", method, digest
            )
        self._needed(digest)

    def all(self, known: Collection[str]) -> Mapping[str, tuple[bytes, Sequence[str]]]:
        return self._reader.contracts(known)

    def forget(
        self, hosted: Collection[str], needed_methods: frozenset[str], now: float, grace_s: float
    ) -> list[str]:
        """Forget contracts that were not needed for `grace_s`. Returns their digests."""
        forgotten = []
        digests = self._reader.digests()
        for digest, (_, methods) in self._reader.contracts(digests).items():
            if digest in hosted or not needed_methods.isdisjoint(methods):
                self._needed(digest)
                continue
            since = self._unused.get(digest)
            if since is None:
                self._unused[digest] = now
                self._journal.add_statement(
                    "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", _UNUSED + digest, int(now)
                )
            elif now - since >= grace_s:
                self._needed(digest)
                self._journal.add_statement("DELETE FROM hosted WHERE digest = ?", digest)
                self._journal.add_statement("DELETE FROM contracts WHERE digest = ?", digest)
                forgotten.append(digest)
        return forgotten

    def _needed(self, digest: str) -> None:
        if self._unused.pop(digest, None) is not None:
            self._journal.add_statement("DELETE FROM meta WHERE name = ?", _UNUSED + digest)
