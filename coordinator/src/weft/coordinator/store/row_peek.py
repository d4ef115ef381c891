"""Reads a row of a store that this coordinator does not have open. It makes, locks and changes nothing, and costs little."""

from __future__ import annotations

import asyncio
from pathlib import Path

from weft.coordinator.store.embedded.file_peek import peek as peek_file
from weft.coordinator.store.store_config import StoreConfig


async def peek_row(config: StoreConfig, kind: str, key: str) -> bytes | None:
    """The value of a row; None: there is none.

    Raises:
        Unavailable: the store must be opened to know it, or cannot be reached.
    """
    if config.shared:
        from weft.coordinator.store.redis.redis_peek import peek

        return await peek(config.location, config.prefix, config.credentials, kind, key)
    return await asyncio.to_thread(peek_file, Path(config.location), kind, key)
