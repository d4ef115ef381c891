"""Targets: valid and refused texts, and the targets for gRPC."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import pytest

from probe.v1 import probe_pb2_grpc
from tests.support.command import weft
from tests.support.probe import ProbeService
from tests.support.running_agent import running
from tests.support.scripted_coordinator import ScriptedCoordinator
from weft.agent import Agent
from weft.client import connect
from weft.rpc.errors import InvalidArgument
from weft.rpc.network.targets import DEFAULT_TARGET, MAX_TARGETS, dialled, parse


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        ("127.0.0.1:7700", ("127.0.0.1:7700",)),
        ("127.0.0.1", ("127.0.0.1:7700",)),
        ("weft.example", ("weft.example:7700",)),
        ("weft_1.local.:80", ("weft_1.local.:80",)),
        ("localhost:1", ("localhost:1",)),
        ("a:65535", ("a:65535",)),
        ("[::1]", ("[::1]:7700",)),
        ("[fe80::1%eth0]:7701", ("[fe80::1%eth0]:7701",)),
        ("dns:///weft.example:7700", ("weft.example:7700",)),
        ("dns:weft.example", ("weft.example:7700",)),
        ("unix:weft.sock", ("unix:weft.sock",)),
        ("unix:///run/weft.sock", ("unix:///run/weft.sock",)),
        ("unix-abstract:weft", ("unix-abstract:weft",)),
        ("a:7700,b:7701", ("a:7700", "b:7701")),
        (" b , a:1 ", ("b:7700", "a:1")),
        (["a", "b:7701"], ("a:7700", "b:7701")),
        (("a,b", "c"), ("a:7700", "b:7700", "c:7700")),
        ("a,a:7700,a", ("a:7700",)),
        ("unix:x,unix:x", ("unix:x",)),
    ],
)
def test_addresses(target: str | Sequence[str], wanted: tuple[str, ...]) -> None:
    assert parse(target) == wanted
    assert parse(wanted) == wanted
    assert parse(",".join(wanted)) == wanted


NONSENSE: list[tuple[Any, str]] = [
    ("", "is empty"),
    ("  ", "is empty"),
    ([], "no address"),
    ("a:1,,b:2", "is empty"),
    ("a:1,", "is empty"),
    (["a:1", ""], "is empty"),
    (":7700", "HOST:PORT"),
    ("7700", "HOST:PORT"),
    ("127.0.0.256:1", "HOST:PORT"),
    ("127.1:1", "HOST:PORT"),
    ("a b:1", "HOST:PORT"),
    ("a..b:1", "HOST:PORT"),
    ("x" * 254, "HOST:PORT"),
    ("http://a:7700", "HOST:PORT|port between"),
    ("redis://a", "HOST:PORT|port between"),
    ("ipv4:1.2.3.4:5", "port between"),
    ("user@a:1", "HOST:PORT"),
    ("bücher.example:1", "HOST:PORT"),
    ("[::1", "HOST:PORT"),
    ("[]:1", "HOST:PORT"),
    ("[::g]:1", "HOST:PORT"),
    ("[127.0.0.1]:1", "HOST:PORT"),
    ("::1", r"write \[::1\]:7700"),
    ("a:", "port between"),
    ("a:0", "port between"),
    ("a:65536", "port between"),
    ("a:+1", "port between"),
    ("a:٣", "port between"),
    ("a:1:2", "port between"),
    ("a:" + "9" * 5000, "port between"),
    ("unix:", "port between"),
    ("unix:/run/weft.sock,a:1", "unix socket"),
    ([f"a{number}" for number in range(MAX_TARGETS + 1)], "at most"),
    (7700, "is not a target"),
    (b"a:1", "is not a target"),
    (None, "is not a target"),
    (["a:1", None], "is not a target"),
    ({"a:1"}, "is not a target"),
]


@pytest.mark.parametrize(("target", "says"), NONSENSE, ids=[repr(target)[:30] for target, _ in NONSENSE])
def test_nonsense_is_refused(target: Any, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says) as refused:
        parse(target)
    assert refused.value.field == "target"


def test_everybody_who_takes_a_target_refuses_nonsense() -> None:
    with pytest.raises(InvalidArgument, match="'a:0' has no port"):
        connect(["b:1", "a:0"])
    with pytest.raises(InvalidArgument, match="agent setting target: 'a:0' has no port"):
        Agent(target="b:1,a:0")
    assert Agent(target=["b", "a:1"]).settings.target == ("b:7700", "a:1")
    assert connect(["b", "a:1"]).target == "b:7700,a:1"
    assert connect().target == DEFAULT_TARGET


@pytest.mark.parametrize("command", [("agent", "json:loads"), ("tasks", "list")], ids=lambda each: each[0])
async def test_the_command_refuses_nonsense(command: tuple[str, ...]) -> None:
    done = await weft(*command, "--target", "a:1,b:0")
    assert done.status == 2
    assert "'b:0' has no port" in done.err
    assert "--target" in done.err


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        ("weft.example:7700", "weft.example:7700"),
        ("unix:/run/weft.sock", "unix:/run/weft.sock"),
        ("10.0.0.1:1,10.0.0.2", "ipv4:10.0.0.1:1,10.0.0.2:7700"),
        ("10.0.0.1:1,[::1]:2", "ipv6:[::ffff:10.0.0.1]:1,[::1]:2"),
    ],
)
def test_what_is_dialled(target: str, wanted: str) -> None:
    assert dialled(parse(target)) == wanted


def test_names_in_a_list_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"one": ["10.0.0.1", "10.0.0.2"], "two": ["10.0.0.2"], "zone": ["fe80::1%eth0"]}

    def look_up(host: str, port: int, *, type: int) -> list[Any]:  # noqa: A002 - the name of the original
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(0, type, 6, "", (each, port)) for each in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)

    assert dialled(parse("one:1,two:1")) == "ipv4:10.0.0.1:1,10.0.0.2:1"
    assert dialled(parse("two,gone")) == "ipv4:10.0.0.2:7700"
    assert dialled(parse("two,zone")) == "ipv6:[::ffff:10.0.0.2]:7700,[fe80::1%25eth0]:7700"
    # Nobody knows them yet: gRPC asks again, for one of them at least.
    assert dialled(parse("gone,lost")) == "gone:7700"


def test_an_agent_tries_the_next_target_at_once() -> None:
    """With a wait after each of them it would take half a minute to go round."""
    with ScriptedCoordinator() as coordinator:
        nobody = [f"127.0.0.{number}:1" for number in range(2, 2 + MAX_TARGETS - 1)]
        agent = Agent("a1", target=[*nobody, coordinator.address])
        agent.add_servicer(probe_pb2_grpc.add_ProbeServiceServicer_to_server, ProbeService())
        with running(agent):
            for _ in range(2):
                session = coordinator.accept(timeout_s=5)
                session.welcome()
                session.drop()
