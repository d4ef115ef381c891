"""Reading agents and contracts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from weft.coordinator.store.records import AgentRecord
from weft.coordinator.store.redis.keys import Keys
from weft.coordinator.store.redis.places import Client
from weft.coordinator.store.redis.records import unpack

# weft.v1.DesiredState: active.
_ACTIVE = 1


async def agents(client: Client, keys: Keys) -> list[AgentRecord]:
    """Every agent that is connected or was, until forgotten."""
    known = await client.hgetall(keys("agents"))
    if not known:
        return []
    about = await client.hgetall(keys("about"))
    desired = await client.hgetall(keys("desired"))
    views = await client.mget([keys.of("view", raw_id.decode()) for raw_id in known])
    found = []
    for (raw_id, raw), view in zip(known.items(), views, strict=True):
        record = unpack(raw)
        found.append(
            AgentRecord(
                raw_id.decode(),
                record[b"i"].decode(),
                record[b"e"],
                about.get(raw_id, b""),
                bool(record[b"c"]),
                int(desired.get(raw_id, _ACTIVE)),
                bool(record.get(b"l")),
                view or b"",
            )
        )
    return found


async def contracts(client: Client, keys: Keys) -> Mapping[str, tuple[bytes, Sequence[str]]]:
    """Contracts by digest, oldest first: descriptor set, and the methods that it is in force for."""
    order = await client.lrange(keys("order"), 0, -1)
    kept = await client.hgetall(keys("contracts"))
    hosted = await client.hgetall(keys("hosted"))
    return {
        digest.decode(): (
            kept[digest],
            sorted(method.decode() for method, of in hosted.items() if of == digest),
        )
        for digest in order
    }
