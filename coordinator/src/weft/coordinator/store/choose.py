"""Makes the store that a configuration names."""

from __future__ import annotations

import random
from dataclasses import asdict
from pathlib import Path

from weft.coordinator.store.base import Store
from weft.coordinator.store.embedded.embedded_store import EmbeddedLimits, EmbeddedStore
from weft.coordinator.store.open_errors import StoreError
from weft.coordinator.store.store_config import StoreConfig
from weft.rpc.process.extras import install_command


def store_of(config: StoreConfig) -> Store:
    """The store, not opened yet.

    Raises:
        StoreError: it is a Redis, and the packages for that are not installed.
    """
    rng = random.Random()  # noqa: S311  # jitter, not secrets
    if not config.shared:
        limits = config.limits
        return EmbeddedStore(
            Path(config.location),
            durability="full" if config.durability == "full" else "process",
            recovery_grace_s=config.recovery_grace_s,
            rng=rng,
            limits=EmbeddedLimits(**asdict(limits)),
        )
    try:
        from weft.coordinator.store.redis.redis_store import RedisOptions, RedisStore
    except ImportError as error:
        raise StoreError(
            f"a Redis store needs more packages ({error}): {install_command('coordinator')}"
        ) from None
    return RedisStore(
        config.location,
        prefix=config.prefix,
        durability=config.durability or "fast",
        rng=rng,
        limits=config.limits,
        options=RedisOptions(credentials=config.credentials, recovery_grace_s=config.recovery_grace_s),
    )
