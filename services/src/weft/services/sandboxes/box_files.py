"""The files of a sandbox, by what its process 1 is asked to do."""

from __future__ import annotations

import abc
from collections.abc import AsyncIterator
from typing import Any

from weft.services.sandboxes.box_answers import read_folder, read_sized
from weft.services.sandboxes.sandbox_provider import FileFacts


class BoxFiles(abc.ABC):
    """The calls of `Box` about files; a provider says how work is done in its boxes."""

    @abc.abstractmethod
    async def _work(self, do: str, given: bytes | AsyncIterator[bytes] = b"", **what: Any) -> bytes:
        """Do one thing in the sandbox, and give what it wrote.

        Raises:
            BoxError: it failed.
        """

    async def read_file(self, path: str, offset: int, most: int) -> tuple[bytes, int]:
        data, size = read_sized(await self._work("read", path=path, offset=offset, most=most))
        return data[:most], size

    async def write_file(self, path: str, data: bytes, offset: int, *, executable: bool) -> int:
        told = await self._work("write", data, path=path, offset=offset, executable=executable)
        return read_sized(told)[1]

    async def list_files(self, path: str, most: int) -> tuple[list[FileFacts], bool]:
        return read_folder(await self._work("list", path=path, most=most), most)

    async def remove_file(self, path: str) -> None:
        await self._work("remove", path=path)
