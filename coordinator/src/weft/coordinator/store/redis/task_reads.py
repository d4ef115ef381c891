"""Reads tasks: by id, and in pages of a listing, newest first. Each step reads a bounded number of keys and bytes: the size of
a value is known before it is read."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from weft.coordinator.store.paging import ListFilter, Page, fits, matches, most_candidates, read_records
from weft.coordinator.store.records import ProgressRow, TaskRecord
from weft.coordinator.store.redis.encoding import Record, queue_key, record_of, task, unpack
from weft.coordinator.store.redis.endpoint_resolver import Client
from weft.coordinator.store.redis.redis_ids import is_id, least_id_at
from weft.coordinator.store.redis.redis_keys import RedisKeys
from weft.coordinator.store.rules import State
from weft.coordinator.store.task_ids import DIGEST_BYTES
from weft.rpc import refusals
from weft.rpc.network.channel import BATCH_BYTES

# Most tasks that are read for one page: its cost if nothing matches.
SCAN_TASKS = 1000
# Kinds of a task's other values, and the fields of its record with their sizes.
_KINDS = (("o", "o"), ("b", "bs"), ("h", "h"))
_SIZE_BYTES = 4


async def read(
    client: Client, keys: RedisKeys, task_ids: Sequence[str], *, payloads: bool, history: bool = False
) -> list[TaskRecord | None]:
    """Read tasks; None: no such task."""
    ids = list(dict.fromkeys(task_id for task_id in task_ids if is_id(task_id)))
    records = await _records(client, keys, ids)
    kinds = [kind for kind, asked in zip(_KINDS, (True, payloads, history), strict=True) if asked]
    bodies: dict[tuple[str, str], bytes | None] = {}
    for names in _portions(records, kinds):
        found = await client.mget([keys.of(kind, task_id) for task_id, kind in names])
        bodies.update(zip(names, found, strict=True))
    return [
        None
        if task_id not in records
        else task(
            task_id,
            records[task_id],
            body=bodies.get((task_id, "b")),
            outcome=bodies.get((task_id, "o")),
            past=bodies.get((task_id, "h")),
        )
        for task_id in task_ids
    ]


def _portions(
    records: Mapping[str, Record], kinds: Sequence[tuple[str, str]]
) -> Iterator[Sequence[tuple[str, str]]]:
    """The values of tasks, in portions of what one answer should carry; a large value is a portion of its own."""
    portion: list[tuple[str, str]] = []
    size_bytes = 0
    for task_id, record in records.items():
        for kind, size in kinds:
            if size not in record:
                continue
            if portion and size_bytes + record[size] > BATCH_BYTES:
                yield portion
                portion, size_bytes = [], 0
            portion.append((task_id, kind))
            size_bytes += record[size]
    if portion:
        yield portion


async def _records(client: Client, keys: RedisKeys, ids: Sequence[str]) -> dict[str, Record]:
    if not ids:
        return {}
    found = await client.mget([keys.of("t", task_id) for task_id in ids])
    return {task_id: record_of(raw) for task_id, raw in zip(ids, found, strict=True) if raw is not None}


async def page(
    client: Client, keys: RedisKeys, where: ListFilter, limit: int, cursor: str, *, payloads: bool
) -> Page:
    """A page of tasks.

    Raises:
        InvalidArgument: the cursor is malformed.
    """
    if cursor and not is_id(cursor):
        raise refusals.invalid_field("the page token is not one of this store's", field="page_token")
    if where.request_id:
        return await _named(client, keys, where, cursor, payloads=payloads)
    index = keys("all")
    if where.group:
        uid = await client.hget(keys("group_ids"), where.group)
        if uid is None:
            return Page([])
        index = keys.of("members", uid.decode())
    below = f"({cursor}" if cursor else "+"
    least = "-" if where.created_from is None else f"[{least_id_at(where.created_from)}"
    ids = [raw.decode() for raw in await client.zrevrangebylex(index, below, least, start=0, num=SCAN_TASKS)]
    chosen: list[str] = []
    last, more = "", len(ids) == SCAN_TASKS
    for task_id, record in (await _records(client, keys, ids)).items():
        last = task_id
        if _fits(where, record):
            chosen.append(task_id)
            if len(chosen) == most_candidates(where, limit):
                more = True
                break
    if len(chosen) < most_candidates(where, limit) and ids:
        last = ids[-1]
    get = partial(read, client, keys, payloads=payloads or where.needs_context)
    found, taken = await read_records(get, where, chosen, limit)
    if taken < len(chosen):
        last, more = chosen[taken - 1], True
    return Page(found, last if more else "")


def _fits(where: ListFilter, record: Record) -> bool:
    in_state = not where.states or State(record["s"]) in where.states
    may_have_failed = record["s"] != State.SUCCEEDED and ("o" in record or "e" in record)
    return (
        in_state
        and (may_have_failed or not where.asks_for_error)
        and fits(where, queue_key(record["q"]).method, record["c"], record.get("oa", ""))
    )


async def _named(client: Client, keys: RedisKeys, where: ListFilter, cursor: str, *, payloads: bool) -> Page:
    """The task with one request id."""
    known = await client.get(keys.of("q", where.request_id))
    task_id = "" if known is None else known[DIGEST_BYTES:].decode()
    found = await read(client, keys, [task_id], payloads=payloads or where.needs_context) if task_id else []
    fit = [
        record
        for record in found
        if record is not None and matches(where, record) and (not cursor or task_id < cursor)
    ]
    return Page(fit)


async def progress(
    client: Client, keys: RedisKeys, task_id: str, after: int, limit: int
) -> list[ProgressRow]:
    """Stored progress with a sequence above `after`, in order. Large rows: fewer than `limit`, but at least one."""
    sizes = await client.getrange(
        keys.of("s", task_id), _SIZE_BYTES * after, _SIZE_BYTES * (after + limit) - 1
    )
    count = _fitting(sizes)
    if not count:
        return []
    rows = await client.lrange(keys.of("p", task_id), after, after + count - 1)
    return [ProgressRow(after + at, *unpack(raw)) for at, raw in enumerate(rows, 1)]


def _fitting(sizes: bytes) -> int:
    """How many items of these sizes one answer should carry: at least one, if there is one."""
    room_bytes = BATCH_BYTES
    for count, (size_bytes,) in enumerate(struct.iter_unpack(">I", sizes)):
        room_bytes -= size_bytes
        if room_bytes < 0:
            return max(1, count)
    return len(sizes) // _SIZE_BYTES
