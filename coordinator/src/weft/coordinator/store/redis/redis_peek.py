"""Reads a row of a store in Redis that is not open here, by a connection of its own."""

from __future__ import annotations

from collections.abc import Mapping

from redis.exceptions import RedisError

from weft.coordinator.store.redis.encoding import unpack
from weft.coordinator.store.redis.endpoint_resolver import EndpointResolver
from weft.coordinator.store.redis.redis_keys import RedisKeys
from weft.rpc import refusals

_TIMEOUT_S = 5.0


async def peek(url: str, prefix: str, credentials: Mapping[str, str], kind: str, key: str) -> bytes | None:
    """The value of a row of the store with this prefix; None: there is none.

    Raises:
        Unavailable
    """
    keys = RedisKeys(prefix)
    client = EndpointResolver(url, tag=keys.prefix, timeout_s=_TIMEOUT_S, credentials=credentials).client()
    try:
        raw = await client.hget(keys.of("rows", kind), key)
    except (RedisError, OSError) as error:
        raise refusals.store_unavailable(f"a row cannot be read: {error}", retry_after_s=1.0) from error
    finally:
        await client.aclose()
    # As rows.lua packs it: revision, when it is due, value.
    return None if raw is None else bytes(unpack(raw)[2])
