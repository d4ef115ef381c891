"""Checks whether a Redis can be trusted with tasks. Messages name it without credentials."""

from __future__ import annotations

from redis.exceptions import AuthenticationError, RedisError, ResponseError

from weft.coordinator.store.open_errors import StoreError, StoreForeign, StoreTooNew
from weft.coordinator.store.redis.endpoint_resolver import Client
from weft.coordinator.store.redis.redis_keys import LAYOUT, RedisKeys

# Far from small numbers, which come from a lost counter or from a test.
FIRST_EPOCH = 1 << 32
_OLDEST = (6, 2)


async def check(client: Client, keys: RedisKeys, where: str, durability: str) -> int:
    """Refuse a Redis that would lose tasks or holds other data. Returns the version of the layout.

    Raises:
        StoreError: it cannot be reached, is too old, or evicts.
        StoreForeign: the prefix holds something else.
        StoreTooNew: a newer weft wrote it.
    """
    try:
        about = await client.info("server")
        version = tuple(int(part) for part in str(about["redis_version"]).split(".")[:2])
        if version < _OLDEST:
            raise StoreError(
                f"{where} is Redis {about['redis_version']}; weft needs {'.'.join(map(str, _OLDEST))} or newer"
            )
        memory = await client.info("memory")
        policy = str(memory.get("maxmemory_policy", "noeviction"))
        if policy != "noeviction":
            raise StoreError(
                f"{where} may evict keys (maxmemory-policy {policy}), which would lose tasks:"
                " set maxmemory-policy noeviction"
            )
        await client.set(keys("layout"), LAYOUT, nx=True)
        await client.set(keys("epochs"), FIRST_EPOCH, nx=True)
        layout = await client.get(keys("layout"))
        if durability == "durable":
            await _check_syncs(client, where)
    except AuthenticationError as error:
        if error.status_code == "NOAUTH":
            raise StoreError(
                f"{where} asks for credentials: give them as WEFT_STORE_USERNAME and WEFT_STORE_PASSWORD, or in the URL"
            ) from None
        raise StoreError(f"{where} refuses the credentials: {error}") from None
    except (RedisError, OSError) as error:
        # redis-py's text names the address again; the system's reason does not.
        reason = getattr(error.__context__, "strerror", None) or error
        raise StoreError(f"cannot use {where}: {reason}{_tls_advice(where, f'{error} {reason}')}") from None
    try:
        found = int(layout)
    except (TypeError, ValueError):
        raise StoreForeign(f"{keys('layout')} at {where} is not a store of weft") from None
    if found > LAYOUT:
        raise StoreTooNew(f"{where} was written by a newer weft (layout {found}, this one knows {LAYOUT})")
    return found


def _tls_advice(where: str, reason: str) -> str:
    """What to set, if the connection fails because of TLS."""
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return ": set WEFT_STORE_TLS_CA to the authority of its certificate"
    if "CERTIFICATE_REQUIRED" in reason:
        return ": it wants a certificate: set WEFT_STORE_TLS_CERT and WEFT_STORE_TLS_KEY"
    if where.startswith("rediss") and ("reset" in reason or "closed" in reason):
        # The refusal of a certificate that is missing may be lost on its way.
        return ": if it wants a certificate, set WEFT_STORE_TLS_CERT and WEFT_STORE_TLS_KEY"
    return ""


async def _check_syncs(client: Client, where: str) -> None:
    """Refuse a Redis that acknowledges writes before they are on its disk."""
    try:
        found = await client.config_get("append*")
    except ResponseError:
        # A managed Redis does not tell: its owner must know.
        return
    if found.get("appendonly") != "yes" or found.get("appendfsync") != "always":
        raise StoreError(
            f"{where} does not sync every write, as durability durable needs: set appendonly yes and"
            " appendfsync always, or take durability fast"
        )
