"""Removes all keys of a store in Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from redis.exceptions import RedisError

from weft.coordinator.store.redis.endpoint_resolver import Client, EndpointResolver
from weft.coordinator.store.redis.redis_keys import RedisKeys
from weft.rpc import refusals

_TIMEOUT_S = 5.0
# Keys of the whole database that one command looks at.
_LOOK = 1000


async def remove_keys(url: str, prefix: str, credentials: Mapping[str, str]) -> None:
    """Remove the keys of the store with this prefix. Looks at all keys of the database, some at a time.

    Raises:
        Unavailable
    """
    keys = RedisKeys(prefix)
    servers = EndpointResolver(url, tag=keys.prefix, timeout_s=_TIMEOUT_S, credentials=credentials)
    client = servers.client()
    try:
        # None of the characters of a prefix means something in a pattern.
        async for found in _batches(client, keys("*")):
            await client.unlink(*found)
    except (RedisError, OSError) as error:
        raise refusals.store_unavailable(
            f"the keys of {prefix} cannot be removed: {error}", retry_after_s=1.0
        ) from error
    finally:
        await client.aclose()


async def _batches(client: Client, pattern: str) -> AsyncIterator[Sequence[bytes]]:
    cursor = 0
    while True:
        cursor, found = await client.scan(cursor, match=pattern, count=_LOOK)
        if found:
            yield found
        if not cursor:
            return
