"""`weft payloads`: key files that are made and changed, and swept stores."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from weft.cli.main import app
from weft.cli.terminal.failure import Failure
from weft.coordinator import payload_sweeps
from weft.coordinator.payload_sweeps import PayloadSweeps
from weft.rpc.errors import InvalidArgument
from weft.rpc.payloads.key_file import KeyFile, keys_of
from weft.rpc.payloads.payload_store import PayloadStore


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["payloads", *map(str, words)])


def failure(*words: object) -> str:
    raised = run(*words).exception
    assert isinstance(raised, Failure), raised
    return str(raised)


def test_keys_are_added_and_used(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    assert run("key", "one", "--file", file).output == f"{file}: added the key one\n"
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text(f"# the mesh's\n\n{file.read_text()}# older ones\n")
    assert run("key", "two", "--file", file).exit_code == 0
    before = keys_of(file.read_text(), "f")
    assert [*before] == ["one", "two"]
    assert KeyFile(file).newest().id == "one"
    assert run("use", "two", "--file", file).output == f"{file}: two encrypts\n"
    assert KeyFile(file).newest().id == "two"
    assert keys_of(file.read_text(), "f") == before
    assert file.read_text().startswith("# the mesh's\n\ntwo ")
    assert run("use", "two", "--file", file).exit_code == 0
    assert keys_of(file.read_text(), "f") == before
    assert [each.name for each in tmp_path.iterdir()] == ["keys"]
    assert not any(str(each.secret) in repr(before) for each in before.values())


def test_wrong_uses(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    assert run("key", "one", "--file", file).exit_code == 0
    text = file.read_text()
    for words, why in (
        (("key", "one"), "the key one is there twice"),
        (("key", "no id"), "is no id of a key"),
        (("use", "two"), "has no key two; it has one"),
    ):
        assert why in failure(*words, "--file", file)
        assert file.read_text() == text
    assert "cannot read" in failure("use", "one", "--file", tmp_path / "none")
    assert "cannot write" in failure("key", "one", "--file", tmp_path / "no" / "folder")


def test_a_sweep(tmp_path: Path) -> None:
    store = PayloadStore(str(tmp_path / "store"))
    store.write([b"old"], time.time() - 86400.0)
    kept = store.write([b"new"], time.time() + 60.0)
    assert run("sweep", "--store", tmp_path / "store").output == "deleted 1 payload\n"
    assert b"".join(store.read(kept)) == b"new"
    assert "nosuch" in failure("sweep", "--store", "nosuch://x")


async def test_a_coordinator_sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payload_sweeps, "EVERY_S", 0.01)
    store = PayloadStore(str(tmp_path))
    old = tmp_path / store.write([b"old"], time.time() - 86400.0).name
    sweeps = PayloadSweeps(str(tmp_path), first_s=0.0)
    sweeps.start()
    async with asyncio.timeout(20):
        while old.exists():
            await asyncio.sleep(0.01)
    await sweeps.stop()
    await PayloadSweeps("").stop()
    with pytest.raises(InvalidArgument, match="store of payloads cannot be used"):
        PayloadSweeps("nosuch://x")
