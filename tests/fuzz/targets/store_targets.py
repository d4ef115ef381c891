"""Rows that a store reads back: written by weft, and damaged since, or written by somebody else."""

from __future__ import annotations

import contextlib
import functools
import json
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from tests.fuzz.target import DAMAGED, joined, parts_of, target, text_of
from weft.coordinator.groups.group_codec import group_message
from weft.coordinator.identity.token_table import _stored
from weft.coordinator.schedules.schedule_table import schedule_of
from weft.coordinator.store import stored_options
from weft.coordinator.store.embedded import stored_alternatives, task_demand, task_spec
from weft.coordinator.store.embedded.store_file import open_writer
from weft.coordinator.store.group_store import GroupRecord
from weft.coordinator.store.open_errors import StoreError
from weft.coordinator.store.records import Submission
from weft.coordinator.store.redis import encoding
from weft.coordinator.store.rules import QueueKey, Requirements
from weft.coordinator.store.table_store import TableRow
from weft.v1 import schedule_pb2, security_pb2


def _record(**more: Any) -> bytes:
    options = stored_options.encode(stored_options.options_of(Submission("a.v1.S/M")))
    key = QueueKey("a.v1.S/M", Requirements((("zone", "eu"),), (("gpu", 1.0),)))
    fields = {"q": encoding.queue_name(key), "x": options, "s": 1, "p": 5, "a": 1, "c": 1.0, "r": "", **more}
    return encoding.pack(fields)


def _bombs() -> list[bytes]:
    """A list that says it is huge, and lists in lists."""
    return [b"\xdd\xff\xff\xff\xff", b"\x91" * 3000, b"\xdf\xff\xff\xff\xff\x00"]


@target(
    "weft/coordinator/store/redis/encoding",
    seeds=lambda: [
        joined(_record(), encoding.pack((b"payload", b"")), encoding.pack([])),
        joined(
            _record(d=1.0, ss=2.0, gr="g", l=["xlock"]),
            b"",
            encoding.pack([(1, "a", 1.0, 2.0, False, False, False)]),
        ),
        *[joined(each, each, each) for each in _bombs()],
    ],
    raises=DAMAGED,
)
def redis_task(data: bytes) -> None:
    record, body, past = parts_of(data, 3)
    encoding.task("t", encoding.record_of(record), body=body or None, outcome=None, past=past or None)


@target(
    "weft/coordinator/store/redis/encoding",
    seeds=lambda: [
        encoding.queue_name(QueueKey("a/B", Requirements((("a", "b"),), (("c", 1.0),)))).encode(),
        b"a\n" + b"[" * 3000,
    ],
    raises=(*DAMAGED, RecursionError),
)
def redis_queue(data: bytes) -> None:
    key = encoding.queue_key(data.decode("utf-8", "surrogateescape"))
    assert key.method is not None


@target(
    "weft/coordinator/store/redis/encoding",
    seeds=lambda: [encoding.pack({"key": (1, 2.0, 3, 1, 1.0, 0)}), *_bombs()],
    raises=DAMAGED,
)
def redis_limits(data: bytes) -> None:
    encoding.rules_of(data)
    encoding.gate_key(text_of(data))


@target(
    "weft/coordinator/store/stored_options",
    "weft/coordinator/store/embedded/task_spec",
    seeds=lambda: [
        task_spec.encode_options(Submission("a/B")).encode(),
        task_spec.encode_options(
            Submission("a/B", requirements=Requirements((("a", "b"),), (("c", 1.0),)))
        ).encode(),
        b'{"retry": [1, 0.1, 3.0, 2.0, [14], 3], "labels": {"a": "b"}}',
    ],
    raises=(*DAMAGED, RecursionError),
)
def stored_task_options(data: bytes) -> None:
    task_spec.decode_options(text_of(data))


@target(
    "weft/coordinator/store/embedded/task_demand",
    "weft/coordinator/store/embedded/stored_alternatives",
    seeds=lambda: [
        json.dumps(["k", 1.0, [["e", "v"]], [["l", True]]]).encode(),
        json.dumps([0, 1.0, []]).encode(),
    ],
    raises=(*DAMAGED, RecursionError),
)
def stored_demand(data: bytes) -> None:
    with contextlib.suppress(*DAMAGED):
        task_demand.decode_demand(text_of(data))
    stored_alternatives.decode(text_of(data))


@target(
    "weft/coordinator/identity/token_table",
    "weft/coordinator/schedules/schedule_table",
    "weft/coordinator/groups/group_codec",
    seeds=lambda: [
        schedule_pb2.Schedule(name="a").SerializeToString(),
        security_pb2.StoredToken(token=security_pb2.Token(id="a")).SerializeToString(),
    ],
    raises=(DecodeError,),
)
def table_row(data: bytes) -> None:
    row = TableRow("k", "key", data, 1, None)
    for read in (schedule_of, _stored):
        with contextlib.suppress(DecodeError):
            read(row)
    group_message(GroupRecord("g", "u", 1.0, {}, note=data))


@functools.cache
def _store() -> bytes:
    """A store with a row, in one file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        connection = open_writer(path, sync=False)
        connection.execute("INSERT INTO table_rows (kind, key, revision, value) VALUES ('k', 'a', 1, x'00')")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        return path.read_bytes()


@target(
    "weft/coordinator/store/embedded/store_file",
    "weft/coordinator/store/embedded/schema",
    seeds=lambda: [_store(), _store()[:3000], b"SQLite format 3\0" + bytes(200)],
    raises=(StoreError,),
    max_bytes=512 * 1024,
    examples=6,
)
def store_file(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        path.write_bytes(data)
        connection = open_writer(path, sync=False)
        try:
            # A page that the check did not look at.
            with contextlib.suppress(sqlite3.DatabaseError):
                connection.execute("SELECT * FROM table_rows").fetchall()
        finally:
            connection.close()
