"""The audit of a coordinator: what is recorded, where it goes, and that nobody can change it unseen."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path

import grpc
import pytest
from typer.testing import CliRunner

from tests.support.token_door import Door, shown, token_door
from weft.cli.main import app
from weft.coordinator.audit.audit_check import ChainCheck
from weft.rpc.identity.caller import AGENT, CLIENT, OBSERVER
from weft.v1 import audit_pb2, coordinator_pb2, security_pb2
from weft.v1.audit_pb2_grpc import AuditServiceStub
from weft.v1.coordinator_pb2_grpc import CoordinatorServiceStub


async def test_what_callers_do_is_a_chain_of_events(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    async with token_door(tmp_path, audit_log=file) as door:
        await _do_things(door)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    records = [json.loads(line) for line in file.read_text().splitlines()]
    actions = [each["action"].removeprefix("weft.v1.") for each in records]
    assert actions[0] == "coordinator.started"
    assert actions[-1] == "coordinator.stopped"
    assert actions.count("TokenService/CreateToken") == 3
    revoked = next(each for each in records if each["action"].endswith("/RevokeToken"))
    assert (revoked["role"], revoked["code"], revoked["peer"]) == ("operator", "OK", "127.0.0.1")
    assert revoked["subject"].startswith("token:")
    assert revoked["details"]["token.id"] == revoked["details"]["id"]
    cancelled = next(each for each in records if each["action"].endswith("/CancelTask"))
    assert (cancelled["code"], cancelled["reason"]) == ("NOT_FOUND", "TASK_NOT_FOUND")
    assert cancelled["details"] == {"task_id": "no-such"}
    # Submissions are counted; reads are not recorded.
    submitted = [each for each in records if each["action"].endswith("/SubmitTask")]
    assert [(each["subject"], each["count"], each["details"]) for each in submitted] == [
        ("token:shop", 3, {"method": "acme.v1.S/M"})
    ]
    assert not any(each["action"].endswith("/ListTasks") for each in records)
    _check_file(file, records)


async def _do_things(door: Door) -> None:
    shop = await door.create(CLIENT, name="shop")
    watcher = (await door.create(OBSERVER)).text
    audit = AuditServiceStub(door.channel)
    watch = audit.WatchAuditEvents(audit_pb2.WatchAuditEventsRequest(), metadata=shown(watcher))
    stub = CoordinatorServiceStub(door.channel)
    request = coordinator_pb2.SubmitTaskRequest(method="acme.v1.S/M")
    for _ in range(3):
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.SubmitTask(request, metadata=shown(shop.text))
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.CancelTask(coordinator_pb2.CancelTaskRequest(task_id="no-such"), metadata=shown(shop.text))
    await door.call("/weft.v1.CoordinatorService/ListTasks", shown(shop.text))
    await door.stub.RevokeToken(
        security_pb2.RevokeTokenRequest(id=shop.token.id), metadata=shown(door.operator)
    )
    seen: list[str] = []
    async with asyncio.timeout(10):
        while not any(each.endswith("/RevokeToken") for each in seen):
            seen.extend(event.action for event in (await watch.read()).events)
    watch.cancel()
    listed = await audit.ListAuditEvents(audit_pb2.ListAuditEventsRequest(), metadata=shown(watcher))
    assert {event.action for event in listed.events} >= {"coordinator.started", *seen}
    assert not listed.faults
    agent = (await door.create(AGENT)).text
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await audit.ListAuditEvents(audit_pb2.ListAuditEventsRequest(), metadata=shown(agent))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


def _check_file(file: Path, records: list[dict[str, object]]) -> None:
    def verify(*words: str) -> int:
        return CliRunner().invoke(app, ["audit", "verify", str(file), *words]).exit_code

    whole = file.read_bytes()
    assert verify("--expect", str(records[-1]["digest"])) == 0
    lines = whole.splitlines(keepends=True)
    changes = {
        "changed": [lines[0], lines[1].replace(b"operator", b"observer"), *lines[2:]],
        "removed": [*lines[:2], *lines[3:]],
        "moved": [lines[1], lines[0], *lines[2:]],
        "put in": [*lines[:3], lines[1], *lines[3:]],
        "cut": [*lines[:-1], lines[-1][:50]],
    }
    for name, changed in changes.items():
        assert list(ChainCheck().faults(changed)), name
    file.write_bytes(b"".join(lines[:-1]))
    assert verify() == 0
    assert verify("--expect", str(records[-1]["digest"])) == 1
