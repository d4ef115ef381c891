"""The embedded store's file: its owner, its identity, its versions, damage."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.store.support import METHOD, Harness, ManualClock, RecordingListener
from weft.coordinator.store.embedded import schema
from weft.coordinator.store.embedded.embedded_store import EmbeddedStore
from weft.coordinator.store.open_errors import StoreError, StoreForeign, StoreLocked, StoreTooNew
from weft.coordinator.store.records import Submission
from weft.coordinator.store.rules import State
from weft.coordinator.store.stored_options import LEFT_OUT, options_of

VERSION_1 = Path(__file__).parent / "data" / "version_1.sql"


async def open_store(path: Path) -> Harness:
    clock = ManualClock()
    store = EmbeddedStore(path, clock=clock, rng=random.Random(1))
    listener = RecordingListener()
    await store.open(listener)
    return Harness(store, clock, listener)


async def filled(path: Path, tasks: int = 300) -> None:
    """A closed store with tasks in it."""
    h = await open_store(path)
    await h.submit_many([Submission(METHOD, random.Random(1).randbytes(500))] * tasks)
    await h.store.close()


# -- one owner --------------------------------------------------------------------------------------------------------


async def test_a_store_has_one_owner(tmp_path: Path) -> None:
    path = tmp_path / "weft.db"
    h = await open_store(path)
    with pytest.raises(StoreLocked, match=f"{path} is in use .*pid {os.getpid()}"):
        await open_store(path)
    assert await h.submit()
    await h.store.close()
    h = await open_store(path)
    assert len(await h.find()) == 1
    await h.store.close()


OWNER = """
import asyncio, sys
from tests.store.support import RecordingListener
from weft.coordinator.store.embedded.embedded_store import EmbeddedStore

async def main():
    await EmbeddedStore(sys.argv[1]).open(RecordingListener())
    print("open", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_an_owner_that_dies_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "weft.db"
    with subprocess.Popen([sys.executable, "-c", OWNER, path], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert await asyncio.to_thread(owner.stdout.readline) == "open\n"
        with pytest.raises(StoreLocked, match=f"pid {owner.pid}"):
            await open_store(path)
        owner.kill()
    await (await open_store(path)).store.close()


# -- whose file it is -------------------------------------------------------------------------------------------------


async def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("buy milk\n" * 100)
    with pytest.raises(StoreForeign, match="not a store of weft"):
        await open_store(path)
    assert path.read_text() == "buy milk\n" * 100


async def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE milk (pints)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreForeign, match="another program's database"):
        await open_store(path)
    assert path.read_bytes() == before


async def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "weft.db"
    path.touch()
    h = await open_store(path)
    await h.submit()
    await h.store.close()


async def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weft.db"
    await filled(path, 1)
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    connection.close()
    with pytest.raises(StoreTooNew, match="newer weft"):
        await open_store(path)


async def test_no_place_for_it(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        await open_store(tmp_path / "missing" / "weft.db")
    with pytest.raises(StoreError):
        await open_store(tmp_path)


# -- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0001, 0.3, 0.9, 0.999])
async def test_a_truncated_file_is_found_at_open(tmp_path: Path, share: float) -> None:
    path = tmp_path / "weft.db"
    await filled(path)
    size_bytes = path.stat().st_size
    os.truncate(path, max(50, int(size_bytes * share)))
    with pytest.raises(StoreForeign, match=str(path)):
        await open_store(path)


async def test_a_damaged_page_is_found_at_open(tmp_path: Path) -> None:
    path = tmp_path / "weft.db"
    await filled(path)
    with path.open("r+b") as file:
        file.seek(5 * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(StoreForeign, match="damaged"):
        await open_store(path)


async def test_a_store_is_usable_after_a_refusal(tmp_path: Path) -> None:
    path = tmp_path / "weft.db"
    path.write_bytes(b"x" * 200)
    with pytest.raises(StoreForeign):
        await open_store(path)
    path.unlink()
    await (await open_store(path)).store.close()


# -- versions ---------------------------------------------------------------------------------------------------------


def _layout(path: Path) -> dict[str, object]:
    """Tables with their columns in order, indexes and triggers: what a version consists of."""
    with sqlite3.connect(path) as connection:
        names = connection.execute("SELECT type, name, tbl_name FROM sqlite_schema ORDER BY 1, 2").fetchall()
        layout: dict[str, object] = {
            name: connection.execute(f"PRAGMA table_info({name})").fetchall()
            for kind, name, _ in names
            if kind == "table"
        }
        layout["names"] = names
        layout["version"] = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    return layout


async def test_an_older_version_is_migrated(tmp_path: Path) -> None:
    path, fresh = tmp_path / "old.db", tmp_path / "fresh.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(VERSION_1.read_text())
    connection.close()
    await filled(fresh, 1)
    h = await open_store(path)
    ids = await h.find()
    records = [await h.record(task_id) for task_id in ids]
    assert [record.state for record in records] == [
        State.QUEUED,
        State.QUEUED,
        State.FAILED,
        State.SUCCEEDED,
    ]
    delayed, tried, failed, done = records
    assert (done.outcome, done.submission.payload, done.agent_id) == (b"ok", b"one", "a")
    assert (failed.attempt, failed.crashes, failed.submission.request_id) == (2, 1, "named")
    assert (failed.submission.context, failed.submission.result_ttl_s) == (b"ctx", 7200.0)
    # Options that were left out are the defaults of then.
    assert options_of(done.submission) == options_of(delayed.submission) == LEFT_OUT
    assert (tried.attempt, tried.outcome) == (1, b"once")
    assert (delayed.submission.delay_s, delayed.submission.schedule_to_start_s) == (2.0, 60.0)
    assert [row.payload for row in await h.store.read_progress(ids[2], 0, 10)] == [b"row"]
    claimed = await h.claim_one(await h.agent())
    assert (claimed.attempt, claimed.payload) == (2, b"three")
    await h.end(claimed)
    await h.store.close()
    assert _layout(path) == _layout(fresh)


async def test_a_migration_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(VERSION_1.read_text())
    connection.close()
    before = _layout(path)
    broken = schema.MIGRATIONS[1] + "INSERT INTO nowhere VALUES (1);"
    monkeypatch.setitem(schema.MIGRATIONS, 1, broken)
    with pytest.raises(StoreError):
        await open_store(path)
    assert _layout(path) == before
    monkeypatch.undo()
    await (await open_store(path)).store.close()


# -- the table --------------------------------------------------------------------------------------------------------

PUTS = """
import asyncio, sys
from tests.store.support import RecordingListener
from weft.coordinator.store.embedded.embedded_store import EmbeddedStore
from weft.coordinator.store.table_store import RowPut

async def main():
    store = EmbeddedStore(sys.argv[1])
    await store.open(RecordingListener())
    revision = 0
    for n in range(10**9):
        (revision,) = await store.put_rows([RowPut("k", "a", str(n).encode(), expected=revision)])
        print(n, revision, flush=True)

asyncio.run(main())
"""


async def test_an_acknowledged_row_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "weft.db"
    acknowledged = 0
    for after in (1, 50):
        path.unlink(missing_ok=True)
        with subprocess.Popen(
            [sys.executable, "-c", PUTS, path], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            for _ in range(after):
                acknowledged = int((await asyncio.to_thread(writer.stdout.readline)).split()[0])
            writer.kill()
            # Lines that it wrote before it was killed are acknowledgements too.
            for line in writer.stdout.read().splitlines():
                if len(line.split()) == 2:
                    acknowledged = int(line.split()[0])
        h = await open_store(path)
        (row,) = await h.store.get_rows("k", ["a"])
        assert row is not None
        # The last change may be durable without an acknowledgement.
        assert acknowledged <= int(row.value) <= acknowledged + 1
        await h.store.close()
