"""Services in a file that Prometheus and `file://` read: written whole, under a lock, each for as long as its process lives."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from weft.rpc.network.registry_url import RegistryUrl
from weft.rpc.process.file_locks import try_lock
from weft.rpc.registries import target_groups
from weft.rpc.registries.address_source import RegistryError
from weft.rpc.registries.registrar import Entry
from weft.rpc.registries.target_groups import ENDS, ID, MAX_BYTES, SERVICE, Group

_LOCK_S = 3.0
_PAUSE_S = 0.02
_KEY = "weft_key"

Change = Callable[[list[Group]], list[Group]]


class FileRegistrar:
    """Changes the groups of its own entries, and removes those whose process is gone. Other groups are kept as they are."""

    def __init__(self, url: RegistryUrl) -> None:
        self._url = url
        self._path = Path(url.path)
        self._last: asyncio.Task[None] | None = None

    async def put(self, entries: Sequence[Entry]) -> None:
        own = {each.id: each for each in entries}
        await self._in_turn(lambda groups: [*_without(groups, own), *map(self._group, own.values())])

    async def refresh(self, entries: Sequence[Entry]) -> None:
        await self.put(entries)

    async def remove(self, entries: Sequence[Entry]) -> None:
        gone = {each.id: each for each in entries}
        await self._in_turn(lambda groups: _without(groups, gone))

    async def close(self) -> None:
        """There is nothing open."""

    async def _in_turn(self, change: Change) -> None:
        """Make a change in a thread, after the last one: a thread goes on when its caller is cancelled, and must not write after the next change."""
        if self._last is not None:
            await asyncio.wait({self._last})
            # Seen, whether or not its caller was there.
            self._last.exception()
        self._last = asyncio.create_task(asyncio.to_thread(self._change, change))
        await asyncio.shield(self._last)

    def _group(self, entry: Entry) -> Group:
        service = self._url.service or entry.service
        labels = {
            SERVICE: service,
            ID: entry.owner,
            _KEY: entry.id,
            ENDS: f"{time.time() + self._url.ttl_s:.3f}",
        }
        return {"targets": [entry.address], "labels": labels}

    def _change(self, change: Change) -> None:
        try:
            with self._locked():
                groups = self._read()
                changed = change([each for each in groups if not target_groups.has_ended(each, time.time())])
                self._write(json.dumps(changed, indent=1).encode() + b"\n")
        except OSError as error:
            raise RegistryError(f"{self._path} cannot be written: {error.strerror or error}") from None

    def _read(self) -> list[Group]:
        try:
            text = target_groups.read(self._path)
        except FileNotFoundError:
            return []
        if not text.strip():
            return []
        if not target_groups.is_json(text):
            raise RegistryError(
                f"{self._path} is a list of addresses that somebody else writes: name another file"
            )
        return target_groups.parse(text)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        # The lock has a file of its own: the other one is replaced.
        with self._path.with_name(f"{self._path.name}.lock").open("a") as file:
            ends_at_s = time.monotonic() + _LOCK_S
            while not try_lock(file.fileno()):
                if time.monotonic() > ends_at_s:
                    raise RegistryError(f"another process holds {file.name} for more than {_LOCK_S:g} s")
                time.sleep(_PAUSE_S)
            yield

    def _write(self, text: bytes) -> None:
        if len(text) > MAX_BYTES:
            raise RegistryError(f"{self._path} would have more than {MAX_BYTES} bytes")
        # Its readers find the one or the other, never a part.
        number, other = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)
        try:
            with os.fdopen(number, "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(other).chmod(0o644)
            Path(other).replace(self._path)
        except BaseException:
            Path(other).unlink(missing_ok=True)
            raise


def _without(groups: list[Group], ids: dict[str, Entry]) -> list[Group]:
    return [each for each in groups if target_groups.labels_of(each).get(_KEY) not in ids]
