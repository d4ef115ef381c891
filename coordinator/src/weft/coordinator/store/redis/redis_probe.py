"""Looks at a Redis without changing it: for `weft doctor`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from redis.exceptions import RedisError, ResponseError

from weft.coordinator.store.open_errors import StoreError
from weft.coordinator.store.redis.endpoint_resolver import EndpointResolver
from weft.coordinator.store.redis.redis_keys import RedisKeys

_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """What a Redis says of itself.

    Args:
        policy: its `maxmemory-policy`.
        most_bytes: its `maxmemory`; 0: no limit.
        syncs: each write is on disk before it is acknowledged; None: it does not tell.
        persists: it keeps an append-only file.
        layout: the version of weft's data; empty: there is none with this prefix.
        answer_s: the time that a PING takes, the shortest of three.
    """

    version: str
    policy: str
    used_bytes: int
    most_bytes: int
    persists: bool
    syncs: bool | None
    layout: str
    answer_s: float


async def probe(
    url: str, *, prefix: str = "weft", credentials: Mapping[str, str] | None = None
) -> RedisFacts:
    """Ask a Redis about itself. Writes nothing.

    Raises:
        StoreError: the URL is malformed, or the Redis cannot be asked.
    """
    keys = RedisKeys(prefix)
    resolver = EndpointResolver(url, tag=keys.prefix, timeout_s=_TIMEOUT_S, credentials=credentials)
    client = resolver.client()
    try:
        about = await client.info()
        answers: list[float] = []
        for _ in range(3):
            began_s = time.monotonic()
            await client.ping()
            answers.append(time.monotonic() - began_s)
        try:
            syncs = (await client.config_get("appendfsync")).get("appendfsync") == "always"
        except ResponseError:
            # A managed Redis does not tell.
            syncs = None
        layout = await client.get(keys("layout"))
        return RedisFacts(
            version=str(about["redis_version"]),
            policy=str(about.get("maxmemory_policy", "noeviction")),
            used_bytes=int(about.get("used_memory", 0)),
            most_bytes=int(about.get("maxmemory", 0)),
            persists=bool(about.get("aof_enabled", 0)),
            syncs=syncs,
            layout="" if layout is None else layout.decode(errors="replace"),
            answer_s=min(answers),
        )
    except (RedisError, OSError) as error:
        reason = getattr(error.__context__, "strerror", None) or error
        raise StoreError(f"cannot use {resolver.shown}: {reason}") from None
    finally:
        await client.aclose()
