"""A coordinator that cannot start says why in a sentence, and changes no file of others."""

from __future__ import annotations

import os
import socket
import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from pydantic import ValidationError

from probe.v1.probe_pb2 import Payload
from tests.support.lightweight import ECHO, LightAgent
from tests.support.mesh import MeshHarness
from tests.support.processes import Process
from weft.coordinator.settings import CoordinatorSettings
from weft.v1 import coordinator_pb2 as api

pytestmark = pytest.mark.real_starts

EXIT_S = 20.0


async def _fails(folder: Path, *flags: str, env: Mapping[str, str] | None = None, status: int = 1) -> str:
    """The output of a coordinator that must not start."""
    process = Process.weft("failing", "coordinator", *flags, log=folder / "failing.log", env=env)
    try:
        found = await process.wait(timeout_s=EXIT_S)
    finally:
        process.cleanup()
    output = process.output()
    assert "Traceback" not in output, output
    assert found == status, output
    assert output.strip()
    return output


def _store_flags(store: Path) -> tuple[str, ...]:
    return ("--listen", "127.0.0.1:0", "--store", str(store))


async def _filled_store(mesh: MeshHarness) -> Path:
    """A store with tasks in it, whose coordinator has stopped."""
    coordinator = await mesh.coordinator()
    async with LightAgent(mesh.channel(), "a1"):
        await mesh.wait_serving()
        for _ in range(50):
            await mesh.probe().Echo(Payload(data=bytes(1000)), timeout=5)
            await mesh.api().SubmitTask(api.SubmitTaskRequest(method=ECHO, payload=b""), timeout=5)
    assert await coordinator.terminate() == 0
    return mesh.store


def _cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _cut_to_a_header(path: Path) -> None:
    os.truncate(path, 50)


def _overwrite_the_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(64 * 1024))


def _overwrite_the_beginning(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(os.urandom(100))


@pytest.mark.parametrize(
    "damage",
    [
        _cut_in_half,
        pytest.param(_cut_to_a_header, marks=pytest.mark.slow),
        pytest.param(_overwrite_the_middle, marks=pytest.mark.slow),
        pytest.param(_overwrite_the_beginning, marks=pytest.mark.slow),
    ],
)
async def test_a_damaged_store(mesh: MeshHarness, damage: Callable[[Path], None]) -> None:
    store = await _filled_store(mesh)
    damage(store)
    for side in ("-wal", "-shm"):
        store.with_name(store.name + side).unlink(missing_ok=True)
    before = store.read_bytes()
    output = await _fails(mesh.folder, *_store_flags(store))
    assert str(store) in output
    assert store.read_bytes() == before, "a damaged store is left as it is"


def _text(path: Path) -> None:
    path.write_text("once upon a time\n" * 1000)


def _another_program_s_database(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE notes (text TEXT)")
        connection.execute("INSERT INTO notes VALUES ('mine')")
    connection.close()


def _newer(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 999999")
    connection.close()


@pytest.mark.parametrize("make", [_text, _another_program_s_database])
async def test_a_foreign_file_as_the_store(tmp_path: Path, make: Callable[[Path], None]) -> None:
    store = tmp_path / "foreign.db"
    make(store)
    before = store.read_bytes()
    output = await _fails(tmp_path, *_store_flags(store))
    assert str(store) in output
    assert store.read_bytes() == before


@pytest.mark.slow
async def test_a_store_of_a_newer_version(mesh: MeshHarness) -> None:
    store = await _filled_store(mesh)
    _newer(store)
    output = await _fails(mesh.folder, *_store_flags(store))
    assert str(store) in output
    assert "newer" in output


async def test_a_locked_store(mesh: MeshHarness) -> None:
    owner = await mesh.coordinator()
    output = await _fails(mesh.folder, *_store_flags(mesh.store))
    assert str(mesh.store) in output
    assert str(owner.pid) in output
    assert await mesh.agent_states() == {}, "the owner serves on"


async def test_a_store_in_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    output = await _fails(tmp_path, *_store_flags(tmp_path / "no" / "such" / "folder" / "weft.db"))
    assert str(tmp_path / "no") in output


@pytest.mark.slow
async def test_stores_that_cannot_be(tmp_path: Path) -> None:
    output = await _fails(tmp_path, *_store_flags(tmp_path))
    assert str(tmp_path) in output
    file = tmp_path / "file"
    file.touch()
    output = await _fails(tmp_path, *_store_flags(file / "weft.db"))
    assert str(file) in output


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/1").exists(), reason="needs /proc as root")
async def test_a_store_in_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "read_only"
    folder.mkdir(mode=0o500)
    # Root may write everywhere but where nobody can.
    target = Path("/proc/1/weft.db") if os.geteuid() == 0 else folder / "weft.db"
    output = await _fails(tmp_path, *_store_flags(target))
    assert str(target.parent) in output


@pytest.mark.slow
async def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        began_s = time.monotonic()
        output = await _fails(tmp_path, "--listen", address, "--store", str(tmp_path / "weft.db"))
        assert time.monotonic() - began_s < EXIT_S / 2
    assert address in output


async def test_a_second_coordinator_on_the_same_port(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    output = await _fails(mesh.folder, "--listen", mesh.target, "--store", str(mesh.folder / "other.db"))
    assert mesh.target in output
    assert await mesh.agent_states() == {}


@pytest.mark.slow
@pytest.mark.parametrize("listen", ["192.0.2.1:7700", "no-such-host.invalid:7700"])
async def test_an_address_of_another_machine(tmp_path: Path, listen: str) -> None:
    output = await _fails(tmp_path, "--listen", listen, "--store", str(tmp_path / "weft.db"))
    assert listen in output


BAD_SETTINGS = [
    ("listen", "7700"),
    ("listen", "127.0.0.1"),
    ("listen", "127.0.0.1:99999"),
    ("listen", "127.0.0.1:http"),
    ("durability", "maybe"),
    ("log_level", "loud"),
    ("heartbeat_interval_s", "0"),
    ("heartbeat_interval_s", "-1"),
    ("heartbeat_interval_s", "nan"),
    ("heartbeat_interval_s", "often"),
    ("missed_heartbeats", "1"),
    ("reconnect_grace_s", "-0.1"),
    ("recovery_grace_s", "inf"),
    ("cancel_grace_s", "1e9"),
    ("stop_grace_s", "-1"),
    ("result_ttl_s", "0"),
    ("result_ttl_s", "inf"),
    ("failure_ttl_s", "-5"),
    ("forget_agents_s", "inf"),
    ("max_payload_bytes", "0"),
    ("max_payload_bytes", "1000000000"),
    ("max_queued_tasks", "0"),
    ("max_agents", "-1"),
    ("stalled_stream_s", "0"),
]


@pytest.mark.parametrize(("name", "value"), BAD_SETTINGS)
def test_settings_that_are_wrong(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"WEFT_{name.upper()}", value)
    with pytest.raises(ValidationError, match=name):
        CoordinatorSettings()


async def test_wrong_flags_and_variables_are_named_together(tmp_path: Path) -> None:
    flags = ("--listen", "nowhere", "--durability", "maybe", "--store", str(tmp_path / "weft.db"))
    output = await _fails(tmp_path, *flags, env={"WEFT_RESULT_TTL_S": "-1"}, status=2)
    assert {"listen", "durability", "result_ttl_s"} <= set(output.replace(":", " ").split())
    assert not (tmp_path / "weft.db").exists()


@pytest.mark.slow
async def test_an_address_file_that_cannot_be_written(tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "address"
    flags = (*_store_flags(tmp_path / "weft.db"), "--address-file", str(missing))
    assert str(missing) in await _fails(tmp_path, *flags)
