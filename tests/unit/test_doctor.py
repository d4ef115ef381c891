"""The findings of `weft doctor`: which states of a mesh, a machine or a store it names, and that each has an advice."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import TestAuthority
from weft.cli.doctor import (
    audit_checks,
    authority_checks,
    environment_checks,
    mesh_checks,
    store_checks,
    tls_checks,
    token_checks,
)
from weft.cli.doctor.diagnosis import Diagnosis, Level
from weft.cli.doctor.environment_checks import Surroundings
from weft.client import (
    AgentInfo,
    AgentState,
    CoordinatorStats,
    DesiredState,
    LimitedCaller,
    Queue,
    Token,
    WaitReason,
)
from weft.client.agent_snapshot import Ejection, SlowMethod
from weft.coordinator.store.redis.redis_probe import RedisFacts
from weft.rpc.network.channel import make_server
from weft.rpc.network.ports import open_port
from weft.rpc.process.version import VERSION
from weft.rpc.security.channel_credentials import ChannelSecurity
from weft.rpc.security.process_tls import files_of
from weft.rpc.security.tls import Tls
from weft.v1 import access_pb2, audit_pb2, certificate_pb2, fleet_pb2, security_pb2

NOW = datetime(2026, 1, 2, tzinfo=UTC)
METHOD = "acme.v1.Billing/Charge"


def agent(**changes: Any) -> AgentInfo:
    proto = fleet_pb2.Agent(
        id="a1",
        state=fleet_pb2.AGENT_STATE_ACTIVE,
        slots=4,
        version=VERSION,
        advertised_address="a1:1",
        tls_name="a1",
    )
    proto.methods.add(name=METHOD)
    proto.last_seen_time.FromDatetime(NOW)
    return dataclasses.replace(AgentInfo.of(proto), **changes)


def queue(**changes: Any) -> Queue:
    whole = {
        "method": METHOD,
        "requirements": "",
        "queued": 0,
        "scheduled": 0,
        "running": 0,
        "paused": False,
        "agents": 1,
        "oldest_age_s": 0.0,
    }
    return Queue(**{**whole, **changes})


def bad(found: Any) -> list[Diagnosis]:
    return [each for each in found if each.level is not Level.OK]


def test_a_mesh_that_is_well_has_no_findings() -> None:
    found = list(mesh_checks.findings([agent()], [queue(), queue(queued=3, oldest_age_s=1)], NOW))
    assert bad(found) == []
    assert [each.subject for each in found] == ["agents", "clocks"]


@pytest.mark.parametrize(
    ("agents", "queues", "level", "words"),
    [
        ([], [], "problem", "no agent is connected"),
        (
            [agent(state=AgentState.LOST), agent(state=AgentState.LEFT)],
            [],
            "problem",
            "no agent is connected",
        ),
        ([agent(state=AgentState.SUSPECT)], [], "warning", "its connection broke"),
        ([agent(methods={})], [], "warning", "hosts no method"),
        ([agent(unavailable=frozenset({METHOD}))], [], "problem", f"does not serve {METHOD}"),
        ([agent(failing=True, ejection=Ejection(NOW, 1, 5, 14))], [], "problem", "keep failing (5 in a row)"),
        ([agent(failing=True)], [], "problem", "keep failing: others"),
        ([agent(overrun_slots=2, overrun_methods=(METHOD,))], [], "problem", "2 of its slots"),
        ([agent(slow_methods={METHOD: SlowMethod(2, 1)})], [], "warning", "slower than others"),
        ([agent(desired_state=DesiredState.PAUSED)], [], "warning", "has set it PAUSED"),
        ([agent(version="0.0.1")], [], "warning", "agents run weft 0.0.1"),
        ([agent(last_seen_at=NOW - timedelta(minutes=5))], [], "warning", "5 m behind this machine's"),
        ([agent(last_seen_at=NOW + timedelta(minutes=5))], [], "warning", "5 m ahead of this machine's"),
        ([agent()], [queue(paused=True, queued=3)], "warning", "has paused it: 3 tasks wait"),
        (
            [agent(used_slots=1)],
            [queue(queued=3, agents=0, oldest_age_s=60, waits_for="an agent with gpu>=1")],
            "problem",
            "the oldest for 1 m: an agent with gpu>=1",
        ),
        (
            [agent(used_slots=1)],
            [queue(queued=3, limited=3, agents=0, waits_for="the run limit")],
            "problem",
            "3 tasks wait: the run limit",
        ),
        ([agent()], [queue(queued=3, oldest_age_s=60, waits_for="a slot")], "warning", "for 1 m: a slot"),
        (
            [agent()],
            [queue(queued=3, oldest_age_s=60, wait_reason=WaitReason.LOCK, waits_for="the lock 'x'")],
            "warning",
            "the lock 'x'",
        ),
    ],
)
def test_each_fault_is_named_with_an_advice(
    agents: list[AgentInfo], queues: list[Queue], level: str, words: str
) -> None:
    (one,) = bad(mesh_checks.findings(agents, queues, NOW))
    assert (one.level, words in one.text, bool(one.do)) == (level, True, True), one


def test_idle_agents_beside_tasks_that_none_hosts() -> None:
    found = bad(mesh_checks.findings([agent()], [queue(method="b.v1.B/C", queued=1, agents=0)], NOW))
    assert [each.subject for each in found] == ["queue b.v1.B/C", "agents"]
    assert "a1 have nothing to do" in found[1].text


def test_many_names_are_cut() -> None:
    methods = frozenset(f"m.v1.M/M{number}" for number in range(9))
    (one,) = bad(mesh_checks.findings([agent(unavailable=methods)], [], NOW))
    assert one.text.endswith("m.v1.M/M4 and 4 more")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"files": None}, []),
        ({"files": 256}, ["a process may open 256 files"]),
        ({"variables": {"http_proxy": "http://x:1"}}, []),
        ({"variables": {"https_proxy": "http://x:1"}, "uses_proxy": True}, ["the proxy of https_proxy"]),
        ({"unread": ("no setting is named WEFT_TRAGET",)}, ["WEFT_TRAGET"]),
    ],
)
def test_surroundings(changes: dict[str, Any], words: list[str]) -> None:
    around = dataclasses.replace(
        Surroundings({"weft": VERSION}, files=65536, variables={}, uses_proxy=False), **changes
    )
    found = bad(environment_checks.findings(around))
    assert [word in each.text for word, each in zip(words, found, strict=True)] == [True] * len(words)
    assert all(each.do for each in found)


GOOD = RedisFacts(
    version="7.2.0",
    policy="noeviction",
    used_bytes=1 << 20,
    most_bytes=0,
    persists=True,
    syncs=False,
    layout="4",
    answer_s=0.0002,
)


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"policy": "allkeys-lru"}, "problem", "may evict keys (maxmemory-policy allkeys-lru)"),
        ({"most_bytes": (1 << 20) + 1}, "warning", "1.0 MiB of its 1.0 MiB"),
        ({"persists": False}, "warning", "no append-only file"),
        ({"answer_s": 0.04}, "warning", "in 40 ms"),
    ],
)
def test_a_redis(changes: dict[str, Any], level: str, words: str) -> None:
    assert bad(store_checks.redis_findings("redis://r:1", GOOD)) == []
    (one,) = bad(store_checks.redis_findings("redis://r:1", dataclasses.replace(GOOD, **changes)))
    assert (one.level, words in one.text, bool(one.do)) == (level, True, True), one


def test_a_file(tmp_path: Path) -> None:
    def level_of(path: Path) -> list[str]:
        return [each.level for each in store_checks.file_findings(path)]

    store = tmp_path / "weft.db"
    assert level_of(store) == ["ok"]
    store.write_bytes(b"SQLite format 3\0 and more")
    assert level_of(store) == ["ok"]
    store.write_bytes(b"a letter to a friend")
    assert level_of(store) == ["problem"]
    assert store.read_bytes() == b"a letter to a friend"
    assert level_of(tmp_path) == ["problem"]
    assert level_of(tmp_path / "none" / "weft.db") == ["problem"]


def test_callers_at_their_limits():
    limited = (
        LimitedCaller("token:shop", is_namespace=False, refused={"open_calls": 2, "calls_per_s": 9}),
        LimitedCaller("team-a", is_namespace=True, refused={"queued_tasks": 1}),
    )
    stats = CoordinatorStats((), "c1", 10.0, shared_store=False, limited=limited)
    one, two = mesh_checks.limited(stats)
    assert (one.level, one.subject) == ("warning", "caller token:shop")
    assert "9 at calls_per_s, 2 at open_calls" in one.text
    assert two.subject == "namespace team-a"


def test_ports_that_are_open_to_others():
    stats = CoordinatorStats(
        (), "c1", 10.0, shared_store=False, insecure_ports=("the coordinator's port is open",)
    )
    (one,) = mesh_checks.insecure(stats)
    assert (one.level, one.subject) == ("warning", "coordinator c1")
    for address, tls_name, open_to_others in (
        ("10.0.0.1:7", "", True),
        ("10.0.0.1:7", "a1", False),
        ("127.0.0.1:7", "", False),
        ("unix:/x", "", False),
        ("", "", False),
    ):
        found = bad(mesh_checks.findings([agent(advertised_address=address, tls_name=tls_name)], [], NOW))
        assert ["without TLS" in each.text for each in found] == [True] * open_to_others


def test_tokens_that_end_soon():
    def token(number: int, ends: timedelta | None, revoked: datetime | None = None) -> Token:
        proto = security_pb2.Token(id=f"t{number}", role=access_pb2.ROLE_CLIENT, name="shop")
        made = Token.of(proto)
        return dataclasses.replace(made, expires_at=None if ends is None else NOW + ends, revoked_at=revoked)

    day = timedelta(days=1)
    quiet = [token(1, None), token(2, 8 * day), token(3, -day), token(4, day, NOW)]
    assert list(token_checks.findings(quiet, NOW)) == []
    first, second = token_checks.findings([token(5, 6 * day), *quiet, token(6, day)], NOW)
    assert (first.subject, second.subject) == ("token t6", "token t5")
    assert "1.0 days (client, shop)" in first.text
    many = list(token_checks.findings([token(n, day) for n in range(30)], NOW))
    assert len(many) == 21
    assert "10 more" in many[-1].text


async def test_certificates_of_servers_that_end_soon(tmp_path: Path):
    authority = TestAuthority(tmp_path)
    client = ChannelSecurity(files_of(Tls(ca=authority.tls("client").ca)))
    servers = {}
    running = []
    for name, ago, days in (("soon", 85.0, 90.0), ("later", 1.0, 90.0), ("renewed-daily", 0.2, 1.0)):
        tls = authority.tls(name, mutual=False, ago=timedelta(days=ago), days=days)
        server = make_server()
        port = open_port(server, "127.0.0.1:0", files_of(tls))
        await server.start()
        running.append(server)
        servers[name] = (f"127.0.0.1:{port}", "")
    servers["away"] = ("127.0.0.1:1", "")
    (one,) = await tls_checks.served(servers, client)
    assert (one.subject, one.level) == ("soon", "warning")
    assert await tls_checks.served(servers, None) == []
    for server in running:
        await server.stop(None)


def test_an_audit_that_cannot_be_written_is_named() -> None:
    said = audit_pb2.ListAuditEventsResponse(faults=["the file /a: No space left on device"], lost=3)
    unwritten, lost = audit_checks.findings(said)
    assert (unwritten.level, lost.level) == (Level.PROBLEM, Level.WARNING)
    assert "the file /a: No space left on device" in unwritten.text
    assert "3 of its events were lost" in lost.text
    assert unwritten.do
    assert lost.do
    assert not list(audit_checks.findings(audit_pb2.ListAuditEventsResponse()))


def test_an_authority_that_ends_or_changes() -> None:
    said = certificate_pb2.GetAuthorityResponse(pin="sha256:00")
    said.expire_time.FromDatetime(NOW + timedelta(days=100))
    assert list(authority_checks.findings(None, NOW)) == []
    assert list(authority_checks.findings(said, NOW)) == []
    said.expire_time.FromDatetime(NOW + timedelta(days=80))
    (found,) = authority_checks.findings(said, NOW)
    assert (found.level, "80 days" in found.text) == ("warning", True)
    said.change.next_pin = "sha256:11"
    said.change.sign_time.FromDatetime(NOW + timedelta(days=1))
    said.change.end_time.FromDatetime(NOW + timedelta(days=2))
    (found,) = authority_checks.findings(said, NOW)
    assert found.level == "ok"
    assert "sha256:11" in found.text
