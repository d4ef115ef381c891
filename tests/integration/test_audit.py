"""The audit of a coordinator: what is recorded, where it goes, and that nobody can change it unseen."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sqlite3
import stat
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from typer.testing import CliRunner

from tests.support.command import weft
from tests.support.lightweight import LightAgent, hello, refusal
from tests.support.redis_server import RedisServer
from tests.support.token_door import RPCS, Door, called_once, reason, shown, token_door
from weft.cli.main import app
from weft.coordinator.audit import audit_log
from weft.coordinator.audit.audit_check import ChainCheck
from weft.coordinator.audit.audit_rules import AuditRule, audit_rule
from weft.coordinator.audit.audit_table import KIND
from weft.coordinator.audit.audited_calls import TELL_THEMSELVES
from weft.coordinator.server import Coordinator
from weft.coordinator.settings import CoordinatorSettings
from weft.rpc.identity.caller import AGENT, CLIENT, OBSERVER, OPERATOR, roles_of
from weft.rpc.network.channel import Route, client_options, dial
from weft.rpc.security.token_source import token_source
from weft.v1 import audit_pb2, coordinator_pb2, namespace_pb2, security_pb2, session_pb2
from weft.v1.audit_pb2_grpc import AuditServiceStub
from weft.v1.coordinator_pb2_grpc import CoordinatorServiceStub
from weft.v1.namespace_pb2_grpc import NamespaceServiceStub


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
    # Submissions are counted, without the names of methods that nobody knows; reads are not recorded.
    submitted = [each for each in records if each["action"].endswith("/SubmitTask")]
    assert [(each["subject"], each["count"], each["details"]) for each in submitted] == [
        ("token:shop", 3, {"method": "_OTHER"})
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


async def test_every_rpc_is_recorded_as_the_contract_says(tmp_path: Path) -> None:
    """From the descriptors: a new RPC is in it by itself."""
    file = tmp_path / "audit.jsonl"
    async with token_door(tmp_path, audit_log=file) as door:
        agent = (await door.create(AGENT, name="worker")).text
        for path in RPCS:
            # Some streams that are let in stay open.
            await door.call(path, shown(door.operator), 0.1)
        denied = [path for path in RPCS if AGENT not in (roles_of(path) or ())]
        for path in denied:
            await called_once(door.channel, path, shown(agent))
        for path in (*RPCS, *RPCS):
            await called_once(door.channel, path, ())
        figures = dict(door.coordinator.identity.edge.refused.counts())
    records = [json.loads(line) for line in file.read_text().splitlines()]
    by_operator = [each for each in records if each["role"] == "operator"]
    counts = Counter(each["action"] for each in by_operator)
    for path in RPCS:
        rpc = path[1:]
        # What comes in a stream has a test of its own.
        least = 0 if rpc in TELL_THEMSELVES else int(audit_rule(rpc) is not AuditRule.NOT)
        assert counts[rpc] >= least, rpc
        assert audit_rule(rpc) is not AuditRule.NOT or not counts[rpc], rpc
    # Whatever is denied is recorded or counted, and few events tell of many calls.
    assert figures["ROLE_NEEDED", "agent"] == len(denied)
    assert figures["TOKEN_MISSING", "none"] == 2 * len(RPCS)
    all_denied = ("ROLE_NEEDED", "token:worker", len(denied)), ("TOKEN_MISSING", "", 2 * len(RPCS))
    for why, subject, calls in all_denied:
        found = [each for each in records if each["reason"] == why]
        assert {each["subject"] for each in found} == {subject}
        assert {each["peer"] for each in found} == {"127.0.0.1"}
        assert sum(each["count"] for each in found) == calls
        assert len(found) == audit_log.DENIALS + 1
        assert found[-1]["action"] == "_OTHER"


async def test_agents_and_policies_are_recorded(tmp_path: Path) -> None:
    file, policy = tmp_path / "audit.jsonl", tmp_path / "policy.toml"
    policy.write_text('[[rules]]\neffect = "deny"\nmethods = ["acme.v1.Secret/*"]\n')
    async with token_door(tmp_path, audit_log=file, policy=policy) as door:
        made = await door.create(AGENT, name="worker", scope=security_pb2.TokenScope(agent_ids=["w-*"]))
        route = Route(token=token_source(made.text))
        async with dial(door.coordinator.address, client_options(own_connection=True), route) as channel:
            async with LightAgent(channel, "w-1"):
                pass
            error = await refusal(channel, session_pb2.ConnectRequest(hello=hello("other")))
            assert reason(error) == "OUT_OF_SCOPE"
        shop = (await door.create(CLIENT, name="shop")).text
        tasks = [
            coordinator_pb2.SubmitTaskRequest(method=each)
            for each in ("acme.v1.S/M", "acme.v1.S/N", "acme.v1.Secret/M", "acme.v1.Secret/M")
        ]
        requests = [coordinator_pb2.SubmitTasksRequest(tasks=tasks)]
        async for _ in CoordinatorServiceStub(door.channel).SubmitTasks(iter(requests), metadata=shown(shop)):
            pass
        policy.write_text("default = 7")
        await door.coordinator.identity.keep_house(0.0)
        policy.write_text('default = "deny"')
        await door.coordinator.identity.keep_house(0.0)
    records = [json.loads(line) for line in file.read_text().splitlines()]
    actions = [each["action"] for each in records]
    assert actions[:3] == ["coordinator.started", "policy.in_force", "token.first_operator"]
    policies = [each for each in records if each["action"].startswith("policy.")]
    assert [each["action"] for each in policies] == ["policy.in_force", "policy.refused", "policy.in_force"]
    assert "default" in policies[1]["details"]["fault"]
    assert policies[0]["details"]["digest"] == policies[1]["details"]["digest"]
    assert policies[2]["details"]["digest"] == hashlib.sha256(policy.read_bytes()).hexdigest()
    sessions = [each for each in records if each["action"].endswith("/Connect")]
    assert [(each["subject"], each["code"], each["reason"]) for each in sessions] == [
        ("token:worker", "OK", ""),
        ("token:worker", "PERMISSION_DENIED", "OUT_OF_SCOPE"),
    ]
    assert sessions[0]["details"]["agent_id"] == "w-1"
    assert sessions[1]["details"] == {"scope": "agent_ids", "value": "other"}
    bulk = [each for each in records if each["action"].endswith("/SubmitTasks")]
    assert [(each["code"], each["details"], each["count"]) for each in bulk] == [
        ("NOT_FOUND", {"method": "_OTHER"}, 2)
    ]
    secret = [each for each in records if each["action"] == "acme.v1.Secret/M"]
    assert [(each["reason"], each["subject"]) for each in secret] == [("POLICY_DENIED", "token:shop")] * 2


async def test_each_coordinator_has_a_chain_and_shows_the_events_of_all(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        redis = await stack.enter_async_context(RedisServer(tmp_path / "redis"))
        doors: list[Door] = []
        files = [tmp_path / "audit-0", tmp_path / "audit-1"]
        token = tmp_path / "operator.token"
        for number, file in enumerate(files):
            settings = CoordinatorSettings(
                listen="127.0.0.1:0",
                store=redis.url,
                tokens="on",
                operator_token_file=token,
                audit_log=file,
                coordinator_id=f"c-{number}",
            )
            coordinator = Coordinator(settings)
            await coordinator.start()
            doors.append(Door(coordinator, token.read_text().strip()))
            stack.push_async_callback(doors[-1].channel.close)
            stack.push_async_callback(doors[-1].stop)
        operator = shown(doors[0].operator)
        team = namespace_pb2.CreateNamespaceRequest(name="team")
        await NamespaceServiceStub(doors[0].channel).CreateNamespace(team, metadata=operator)
        # In each namespace, by the other coordinator, with ids that say where.
        for namespace in "", "team":
            request = coordinator_pb2.CancelTaskRequest(task_id=f"of-{namespace}")
            with pytest.raises(grpc.aio.AioRpcError):
                await CoordinatorServiceStub(doors[1].channel).CancelTask(
                    request, metadata=(*operator, ("weft-namespace", namespace)), timeout=10
                )
        stub = AuditServiceStub(doors[0].channel)
        async with asyncio.timeout(10):
            while True:
                listed = await stub.ListAuditEvents(
                    audit_pb2.ListAuditEventsRequest(page_size=1000), metadata=operator
                )
                cancelled = [each for each in listed.events if each.action.endswith("/CancelTask")]
                if len(cancelled) == 2:
                    break
                await asyncio.sleep(0.05)
        assert [(each.namespace, each.details["task_id"]) for each in cancelled] == [
            ("", "of-"),
            ("team", "of-team"),
        ]
        assert {each.chain.split()[0] for each in listed.events} == {"c-0", "c-1"}
        assert {each.chain.split()[0] for each in cancelled} == {"c-1"}
        # A token of one namespace reads nothing of the audit.
        scope = security_pb2.TokenScope(namespaces=["team"])
        theirs = (await doors[0].create(OPERATOR, scope=scope)).text
        error = await doors[0].call("/weft.v1.AuditService/ListAuditEvents", shown(theirs))
        assert reason(error) == "OUT_OF_SCOPE"
    for file in files:
        check = ChainCheck()
        assert not list(check.faults(file.read_bytes().splitlines()))
        assert check.events >= 4


async def test_a_change_in_the_store_is_found(tmp_path: Path) -> None:
    async with token_door(tmp_path) as door:
        for name in "a", "b":
            await door.create(CLIENT, name=name)
        for sink in door.coordinator._audit.log.sinks:
            await sink.idle()
        command = "audit", "verify", "--target", door.coordinator.address
        env = {"WEFT_TOKEN": door.operator}
        whole = await weft(*command, env=env)
        assert (whole.status, "whole: 4 events" in whole.out) == (0, True), whole
        with contextlib.closing(sqlite3.connect(tmp_path / "weft.db")) as connection, connection:
            connection.execute(
                "UPDATE table_rows SET value = replace(value, 'CreateToken', 'CreateTaken') WHERE kind = ?"
                " AND key = (SELECT max(key) FROM table_rows WHERE kind = ?)",
                (KIND, KIND),
            )
        changed = await weft(*command, env=env)
    assert (changed.status, "it was changed" in changed.out) == (1, True), changed


async def test_a_call_waits_for_nothing_and_writes_nothing(tmp_path: Path) -> None:
    """The audit's part of a frequent call is a count: no await, no event, no row."""
    async with token_door(tmp_path) as door:
        coordinator = door.coordinator
        log, store = coordinator._audit.log, coordinator.default._store
        shop = (await door.create(CLIENT, name="shop")).text
        request = coordinator_pb2.SubmitTaskRequest(method="acme.v1.S/M")
        stub = CoordinatorServiceStub(door.channel)

        async def submit() -> None:
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.SubmitTask(request, metadata=shown(shop), timeout=10)

        await submit()
        async with asyncio.timeout(10):
            for sink in log.sinks:
                await sink.idle()
        events, puts = log.recorded, []
        put_rows = store.put_rows
        store.put_rows = lambda rows: puts.extend(rows) or put_rows(rows)  # type: ignore[method-assign]
        for _ in range(50):
            await submit()
        assert log.recorded == events
        assert not [put for put in puts if put.kind == KIND]

        async def at_once(_request: object, _context: object) -> str:
            return "done"

        handler = grpc.unary_unary_rpc_method_handler(at_once)
        audited = coordinator._audited.handler(handler, "weft.v1.CoordinatorService/SubmitTask")
        context = _Context((("weft-token", shop),))
        with pytest.raises(StopIteration) as ended:
            audited.unary_unary(request, context).send(None)
        assert ended.value.value == "done"
    turned = [fact for fact in _rows(tmp_path) if fact["action"].endswith("/SubmitTask")]
    assert sum(fact["count"] for fact in turned) == 52


class _Context(NamedTuple):
    """The context of a call, as far as the audit looks at it."""

    metadata: tuple[tuple[str, str], ...]

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self.metadata


def _rows(folder: Path) -> list[dict[str, Any]]:
    """The events in the store of a coordinator that has ended."""
    with contextlib.closing(sqlite3.connect(folder / "weft.db")) as connection:
        found = connection.execute("SELECT value FROM table_rows WHERE kind = ?", (KIND,))
        return [json.loads(value) for (value,) in found]
