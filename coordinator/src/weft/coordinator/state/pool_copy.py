"""A pool of an export as a pool of another mesh: what it should be, without members. Pure."""

from __future__ import annotations

from weft.coordinator.pools.pool_codec import check_size
from weft.coordinator.pools.pool_plan import MAX_METHOD_CHARS, MAX_METHODS
from weft.coordinator.request_checks import check_reason
from weft.rpc import refusals
from weft.rpc.times import checked_time
from weft.v1 import pool_pb2

# The others are about its members, or begin anew.
_KEPT = (
    *("name", "spec", "version", "last_version", "rolling", "percent", "scaled", "methods"),
    *("previous_version", "previous_template", "rolled_back"),
    *("paused", "pause_reason", "pause_time", "stopped"),
)
_MOST_ROLLED_BACK = 1024


def is_exported(pool: pool_pb2.Pool) -> bool:
    """Whether it outlives its members."""
    return not (pool.deleting or pool.spec.ephemeral)


def copy_of(given: pool_pb2.Pool) -> pool_pb2.Pool:
    """What is exported of a pool, and imported. Its spec and templates are checked where it is stored.

    Raises:
        InvalidArgument: naming the field.
    """
    pool = pool_pb2.Pool()
    for field, value in given.ListFields():
        if field.name not in _KEPT:
            continue
        if field.is_repeated:
            getattr(pool, field.name).extend(value)
        elif field.message_type is not None:
            getattr(pool, field.name).CopyFrom(value)
        else:
            setattr(pool, field.name, value)
    check_reason(pool.pause_reason, "pool.pause_reason")
    checked_time(pool.pause_time, "pool.pause_time")
    check_size(pool.scaled, "pool.scaled")
    if pool.spec.ephemeral:
        raise refusals.invalid_field("an ephemeral pool is not imported", field="pool.spec.ephemeral")
    if not 0 < pool.version <= pool.last_version or not pool.previous_version <= pool.last_version:
        raise refusals.invalid_field("the pool's versions cannot be", field="pool.version")
    if pool.percent > 99:
        raise refusals.invalid_field("percent is at most 99", field="pool.percent")
    if len(pool.methods) > MAX_METHODS or any(len(each) > MAX_METHOD_CHARS for each in pool.methods):
        raise refusals.invalid_field("the pool has too many methods", field="pool.methods")
    pool.rolled_back = pool.rolled_back[:_MOST_ROLLED_BACK]
    return pool
