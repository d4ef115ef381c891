"""The places that the audit is written to: a file that is moved away, full or not writable, OpenTelemetry, and places that fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.event_receiver import event_receiver
from tests.support.small_disk import small_disk
from weft.coordinator.audit import audit_sink
from weft.coordinator.audit.audit_check import ChainCheck
from weft.coordinator.audit.audit_event import NO_DIGEST, AuditFact, Record, Who
from weft.coordinator.audit.audit_file import AuditFile
from weft.coordinator.audit.audit_log import AuditLog
from weft.coordinator.audit.audit_sink import AuditSink
from weft.rpc.errors import InvalidArgument
from weft.rpc.telemetry.event_export import EventExport, NotExported


def fact(number: int) -> AuditFact:
    return AuditFact(f"a.S/M{number}", Who("token:shop"))


async def written(sink: AuditSink) -> None:
    """Wait until the sink has written all, without stopping it."""
    async with asyncio.timeout(10):
        await sink.idle()


async def test_a_file_that_is_moved_away_is_begun_anew_and_the_chain_goes_on(tmp_path: Path) -> None:
    path, old = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    file = AuditFile(path)
    assert file.open() == NO_DIGEST
    sink = AuditSink("file", "the file", file.write)
    log = AuditLog("c", lambda: 1e9, [sink])
    log.start()
    log.record(fact(1))
    await written(sink)
    path.rename(old)
    log.record(fact(2))
    await log.stop()
    assert len(old.read_bytes().splitlines()) == 2
    check = ChainCheck()
    assert not list(check.faults([*_lines(old), *_lines(path)]))
    assert check.events == 4
    # The next process goes on after the last whole event, whatever the one before has left.
    with path.open("ab") as half:
        half.write(b'{"action":"a.S/Half')
    again = AuditFile(path)
    digest = again.open()
    assert digest == check.last_digest
    log = AuditLog("c", lambda: 1e9, [AuditSink("file", "the file", again.write)])
    log.chain.follow(digest)
    log.start()
    await log.stop()
    faults = list(ChainCheck().faults([*_lines(old), *_lines(path)]))
    assert [each.line for each in faults] == [5]


@pytest.mark.parametrize("kind", ["folder", "missing", "loop"])
def test_a_file_that_cannot_be_written_is_a_clear_fault(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "audit.jsonl"
    if kind == "folder":
        path.mkdir()
    elif kind == "missing":
        path = tmp_path / "no" / "audit.jsonl"
    else:
        path.symlink_to(path.name)
    with pytest.raises(InvalidArgument) as refused:
        AuditFile(path).open()
    assert str(path) in refused.value.message


async def test_a_full_disk_holds_nobody_up_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_sink, "_LEAST_PAUSE_S", 0.01)
    monkeypatch.setattr(audit_sink, "_MOST_PAUSE_S", 0.02)
    with small_disk(tmp_path / "disk", size_mib=1) as disk:
        path = disk.path / "audit.jsonl"
        file = AuditFile(path)
        file.open()
        sink = AuditSink("file", "the file", file.write)
        log = AuditLog("c", lambda: 1e9, [sink])
        log.start()
        await written(sink)
        disk.fill()
        for number in range(600):
            log.record(fact(number))
        async with asyncio.timeout(10):
            while not log.faults:
                await asyncio.sleep(0.005)
        assert log.faults == ["the file: [Errno 28] No space left on device"]
        disk.free()
        await written(sink)
        assert not log.faults
        assert not log.lost
        await log.stop()
        check = ChainCheck()
        assert not list(check.faults(_lines(path)))
        assert check.events == 602


async def test_events_that_wait_too_long_are_counted_as_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_sink, "MAX_WAITING", 5)
    monkeypatch.setattr(audit_sink, "_LEAST_PAUSE_S", 0.005)
    broken, begun, goes_on = True, asyncio.Event(), asyncio.Event()
    there: list[Record] = []

    async def write(records: Sequence[Record]) -> None:
        begun.set()
        await goes_on.wait()
        if broken:
            raise OSError("away")
        there.extend(records)

    sink = AuditSink("there", "there", write)
    log = AuditLog("c", lambda: 1e9, [sink])
    log.start()
    # While the first one is being written, more come than may wait: the first is lost only if the write fails.
    await begun.wait()
    for number in range(7):
        log.record(fact(number))
    assert sink.lost == 3
    broken = False
    goes_on.set()
    await written(sink)
    assert [each["sequence"] for each in there] == [1, 4, 5, 6, 7, 8]
    assert log.lost == 2
    broken = True
    for number in range(9):
        log.record(fact(number))
    await sink.stop(0.05)
    assert log.lost == 2 + 9
    assert sink.waiting == 0


async def test_events_are_sent_as_log_records(monkeypatch: pytest.MonkeyPatch) -> None:
    with event_receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        monkeypatch.setenv("OTEL_LOGS_EXPORTER", "otlp")
        export = EventExport.of("weft-coordinator", "c-1")
        assert export is not None
        sink = AuditSink("otlp", "OTLP", export.send)
        log = AuditLog("c-1", lambda: 1e9, [sink])
        log.start()
        log.denied(
            AuditFact("a.S/M", Who("token:shop", "client"), "10.0.0.1", "PERMISSION_DENIED", "ROLE_NEEDED")
        )
        await log.stop()
        await export.stop()
    assert receiver.services == {"weft-coordinator"}
    assert [each.event_name for each in receiver.records] == ["weft.audit"] * 3
    assert not list(ChainCheck().faults(each.body.string_value.encode() for each in receiver.records))
    denied = receiver.records[1]
    assert (denied.severity_text, denied.time_unix_nano) == ("WARN", 10**18)
    attributes = {each.key: each.value for each in denied.attributes}
    assert attributes["weft.audit.subject"].string_value == "token:shop"
    assert attributes["weft.audit.reason"].string_value == "ROLE_NEEDED"
    assert attributes["weft.audit.count"].int_value == 1
    assert json.loads(denied.body.string_value)["digest"] == attributes["weft.audit.digest"].string_value


async def test_a_receiver_that_is_away_is_a_failure_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    export = EventExport.of("weft-coordinator", "c-1")
    assert export is not None
    with pytest.raises(NotExported):
        await export.send([{"time": "2026-01-01T00:00:00.000000Z", "code": "OK"}])
    await export.stop()


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)
