"""Deletes large payloads whose time in their store has passed, every hour. The coordinator needs the store for nothing else."""

from __future__ import annotations

import asyncio
import random
import time

from weft.rpc import refusals
from weft.rpc.payloads.payload_store import NotStored, PayloadStore
from weft.rpc.process.background_tasks import end_tasks
from weft.rpc.process.extras import require
from weft.rpc.process.logs import get_logger

log = get_logger(__name__)

EVERY_S = 3600.0
# The first sweep comes soon: a coordinator may be started again more often than every hour.
FIRST_S = 60.0


class PayloadSweeps:
    """Sweeps a store of payloads. Several coordinators may: each finds what the others have left.

    Args:
        url: a folder or a URL of fsspec; empty: nothing is swept.

    Raises:
        InvalidArgument: there is no such kind of store.
        weft.rpc.process.extras.MissingExtra: fsspec is missing.
    """

    def __init__(self, url: str, *, first_s: float = FIRST_S) -> None:
        self._first_s = first_s
        self._store: PayloadStore | None = None
        self._task: asyncio.Task[None] | None = None
        if url:
            require("payloads")
            try:
                self._store = PayloadStore(url)
            except NotStored as error:
                raise refusals.invalid_field(
                    f"the store of payloads cannot be used: {error}", field="payload_store"
                ) from None

    def start(self) -> None:
        if self._store is not None:
            self._task = asyncio.get_running_loop().create_task(self._run(self._store))

    async def stop(self) -> None:
        if self._task is not None:
            await end_tasks(self._task)

    async def _run(self, store: PayloadStore) -> None:
        wait_s = self._first_s
        while True:
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not secrets
            wait_s = EVERY_S
            try:
                deleted = await asyncio.to_thread(store.sweep, time.time())
            except NotStored as error:
                log.warning("payloads.not_swept", error=str(error))
            else:
                if deleted:
                    log.info("payloads.swept", count=deleted)
