"""Which store the settings name."""

from __future__ import annotations

import random
from pathlib import Path

from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.base import Store
from weft.coordinator.store.embedded.embedded_store import EmbeddedLimits, EmbeddedStore
from weft.coordinator.store.open_errors import StoreError
from weft.rpc.process.extras import install_command


def store_of(settings: CoordinatorSettings) -> Store:
    """The store, not opened yet.

    Raises:
        StoreError: it is a Redis, and what that needs is not installed.
    """
    rng = random.Random()  # noqa: S311  # jitter, not secrets
    if not settings.shared_store:
        return EmbeddedStore(
            Path(settings.store),
            durability="full" if settings.durability == "full" else "process",
            recovery_grace_s=settings.recovery_grace_s,
            rng=rng,
            limits=EmbeddedLimits(
                max_queues=settings.max_queues_per_method, max_progress_bytes=settings.max_progress_bytes
            ),
        )
    try:
        from weft.coordinator.store.redis.redis_store import RedisStore
    except ImportError as error:
        raise StoreError(
            f"a Redis store needs more packages ({error}): {install_command('coordinator')}"
        ) from None
    return RedisStore(
        settings.store,
        credentials=settings.store_credentials,
        prefix=settings.store_prefix,
        durability=settings.durability or "fast",
        max_queues=settings.max_queues_per_method,
        recovery_grace_s=settings.recovery_grace_s,
        rng=rng,
        max_progress_bytes=settings.max_progress_bytes,
    )
