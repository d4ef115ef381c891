"""Addresses in a file. It is read again when it changes, which is looked for each second.

A file has an address a line, with remarks behind "#"; or it is JSON as Prometheus reads it (file_sd), which is also what `--discovery file://` writes.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from weft.rpc.network.registry_url import COORDINATORS, RegistryUrl
from weft.rpc.registries import target_groups
from weft.rpc.registries.address_source import RegistryError, checked

LOOK_S = 1.0


class FileSource:
    """Reads the file."""

    def __init__(self, url: RegistryUrl) -> None:
        self._text = b""
        self._path = Path(url.path)
        self._service = url.service or COORDINATORS

    async def sets(self) -> AsyncIterator[Sequence[str]]:
        seen: object = None
        known: frozenset[str] | None = None
        while True:
            stamp = await asyncio.to_thread(self._stamp)
            # What processes write ends by itself.
            if stamp != seen or target_groups.can_end(self._text):
                seen = stamp
                self._text = await asyncio.to_thread(self._read)
                found = self._addresses(self._text)
                if frozenset(found) != known:
                    known = frozenset(found)
                    yield random.sample(found, len(found))
            await asyncio.sleep(LOOK_S)

    def _stamp(self) -> object:
        try:
            found = self._path.stat()
        except OSError as error:
            raise _unread(self._path, error) from None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> bytes:
        try:
            return target_groups.read(self._path)
        except OSError as error:
            raise _unread(self._path, error) from None

    def _addresses(self, text: bytes) -> tuple[str, ...]:
        if target_groups.is_json(text):
            groups = target_groups.parse(text)
            return checked(target_groups.addresses(groups, self._service, time.time()))
        try:
            lines = text.decode().splitlines()
        except UnicodeDecodeError:
            raise RegistryError(f"{self._path} is no UTF-8") from None
        words = [line.partition("#")[0].strip() for line in lines]
        return checked([target_groups.one_address(word) for word in words if word])


def _unread(path: Path, error: OSError) -> RegistryError:
    return RegistryError(f"{path} cannot be read: {error.strerror or error}")
