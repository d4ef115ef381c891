"""Removes a store that nobody has open, with everything in it."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from weft.coordinator.store.store_config import StoreConfig

# What an embedded store has beside its file.
_BESIDE = ("", "-wal", "-shm", ".lock")


async def remove(config: StoreConfig) -> None:
    """Remove a store. Repeating it is harmless.

    Raises:
        Unavailable: its Redis cannot be reached; some of it may be left.
        OSError: its files cannot be removed.
    """
    if config.shared:
        from weft.coordinator.store.redis.key_removal import remove_keys

        await remove_keys(config.location, config.prefix, config.credentials)
    else:
        await asyncio.to_thread(_remove_files, Path(config.location))


def _remove_files(path: Path) -> None:
    for end in _BESIDE:
        path.with_name(path.name + end).unlink(missing_ok=True)
    # Left, if there is something else in it.
    with contextlib.suppress(OSError):
        path.parent.rmdir()
