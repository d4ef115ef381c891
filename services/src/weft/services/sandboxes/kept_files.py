"""Files of sandboxes that are kept: archives without names on the agent's disk, which are gone with the agent, however it goes."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import AsyncIterator
from typing import IO

import grpc

from weft.services.sandboxes.sandbox_provider import CHUNK_BYTES, BoxError


class Snapshots:
    """The kept archives.

    Args:
        most_bytes: of all together.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._kept: dict[str, tuple[IO[bytes], int]] = {}
        # With those that are being written.
        self._used_bytes = 0

    async def keep(self, archive: AsyncIterator[bytes]) -> tuple[str, int]:
        """Keep an archive. Returns its id and its size.

        Raises:
            BoxError: there is no room for it, or it breaks off.
        """
        file = tempfile.TemporaryFile(prefix="weft-snapshot-")  # noqa: SIM115 - it is kept
        size = 0
        try:
            async for data in archive:
                size += len(data)
                self._used_bytes += len(data)
                if self._used_bytes > self._most_bytes:
                    raise BoxError(
                        grpc.StatusCode.RESOURCE_EXHAUSTED,
                        f"all snapshots of this agent may take {self._most_bytes >> 20} MiB (WEFT_SANDBOXES_SNAPSHOTS_MB):"
                        " delete some with DeleteSnapshot",
                    )
                file.write(data)
        except BaseException as error:
            self._used_bytes -= size
            file.close()
            if isinstance(error, OSError):
                raise BoxError(
                    grpc.StatusCode.RESOURCE_EXHAUSTED, f"the agent cannot keep it: {error.strerror}"
                ) from error
            raise
        made = uuid.uuid4().hex
        self._kept[made] = (file, size)
        return made, size

    async def read(self, snapshot_id: str) -> AsyncIterator[bytes]:
        """An archive that is kept.

        Raises:
            BoxError: there is none.
        """
        found = self._kept.get(snapshot_id)
        if found is None:
            raise _no_such(snapshot_id)
        file, size = found
        for begin in range(0, size, CHUNK_BYTES):
            if file.closed:
                raise _no_such(snapshot_id)
            # Several may read it.
            file.seek(begin)
            yield file.read(CHUNK_BYTES)

    def check(self, snapshot_id: str) -> None:
        """Raises BoxError unless it is kept."""
        if snapshot_id not in self._kept:
            raise _no_such(snapshot_id)

    def delete(self, snapshot_id: str) -> None:
        """Forget one.

        Raises:
            BoxError: there is none.
        """
        self.check(snapshot_id)
        file, size = self._kept.pop(snapshot_id)
        self._used_bytes -= size
        file.close()

    def close(self) -> None:
        """Forget all."""
        for snapshot_id in list(self._kept):
            self.delete(snapshot_id)


def _no_such(snapshot_id: str) -> BoxError:
    return BoxError(
        grpc.StatusCode.NOT_FOUND,
        f"there is no snapshot {snapshot_id!r} at this agent: it was deleted, or is at another agent",
    )
