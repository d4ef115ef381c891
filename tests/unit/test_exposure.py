"""Safe by default: which ports may be opened, and what a process says that opens others all the same."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from scripts import layout
from tests.support.certificates import TestAuthority
from tests.support.direct import probe_agent, serving
from tests.support.processes import until
from weft.agent import Agent
from weft.agent.sidecar import Sidecar, sidecar_settings
from weft.coordinator.server import Coordinator
from weft.coordinator.server_port import BindError
from weft.coordinator.settings import CoordinatorSettings
from weft.rpc.errors import WeftError
from weft.rpc.network.exposure import ExposedPort, Exposure, Port
from weft.rpc.security import tokens

HERE = ("127.0.0.1:0", "127.8.9.1:7", "[::1]:0", "localhost:0", "unix:/x/y.sock", "unix:y.sock")
OTHERS = (
    "0.0.0.0:0",
    "[::]:0",
    "[::0]:1",
    "*:0",
    "10.0.0.1:1",
    "[2001:db8::1]:1",
    "host.example:1",
    "localhost.example:1",
)
TOKEN = tokens.generate(tokens.generate_id())


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("callers", [False, True, None])
def test_what_a_port_lacks(tls: bool, callers: bool | None) -> None:
    for address in HERE:
        assert Port("p", address, tls, callers, "").lacks == ""
    for address in OTHERS:
        lacks = Port("p", address, tls, callers, "").lacks
        assert ("TLS" in lacks) is not tls
        assert ("check" in lacks) is (callers is False)
        assert bool(lacks) is (not tls or callers is False)


async def test_an_insecure_port_is_told_of_at_once_and_each_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ExposedPort, match=r"p 0\.0\.0\.0:1 would be open .* without TLS\. Do this\. Or .*--insecure"
    ):
        Exposure(allowed=False).check(Port("p", "0.0.0.0:1", False, None, "Do this"))
    monkeypatch.setattr("weft.rpc.network.exposure.REMIND_S", 0.01)
    told: list[Any] = []

    class Log:
        def warning(self, event: str, **what: Any) -> None:
            told.append((event, what))

    monkeypatch.setattr("weft.rpc.network.exposure._log", Log())
    exposure = Exposure(allowed=True)
    exposure.check(Port("q", "127.0.0.1:1", False, False, ""))
    assert exposure.insecure == []
    assert not told
    exposure.check(Port("p", "0.0.0.0:1", False, None, "Do this"))
    await until(lambda: len(told) >= 3, "it is told of again and again")
    assert {event for event, _ in told} == {"port.insecure"}
    assert told[-1][1]["ports"] == exposure.insecure == ["p 0.0.0.0:1 is open to other machines without TLS"]
    exposure.close()
    assert exposure.insecure == []


SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({"listen": "0.0.0.0:0"}, "without TLS and a check of its callers"),
    "tokens": ({"listen": "0.0.0.0:0", "tokens": "on"}, "without TLS. "),
    "a certificate": ({"listen": "0.0.0.0:0", "certificate": True}, "without a check of its callers"),
    "metrics": ({"metrics": "0.0.0.0:0"}, "the port of its metrics .* without TLS"),
    "channelz": ({"channelz": "0.0.0.0:0"}, "the port of channelz .* without TLS"),
    "both": ({"listen": "0.0.0.0:0", "certificate": True, "tokens": "on"}, ""),
    "mtls": ({"listen": "0.0.0.0:0", "certificate": True, "mutual": True}, ""),
    "metrics by TLS": ({"metrics": "https://0.0.0.0:0", "certificate": True}, ""),
    "insecure": ({"listen": "0.0.0.0:0", "metrics": "0.0.0.0:0", "insecure": True}, ""),
}


@pytest.mark.parametrize("case", SETTINGS)
async def test_a_coordinator_refuses_an_open_port(tmp_path: Path, case: str) -> None:
    given, why = SETTINGS[case]
    settings = {"listen": "127.0.0.1:0", "store": str(tmp_path / "weft.db"), **given}
    settings |= {"operator_token_file": tmp_path / "operator.token"}
    if settings.pop("certificate", False):
        tls = TestAuthority(tmp_path).tls("coordinator")
        settings |= {"tls_cert": tls.cert, "tls_key": tls.key}
        if settings.pop("mutual", False):
            settings["tls_client_ca"] = tls.ca
    coordinator = Coordinator(CoordinatorSettings(**settings))
    if why:
        with pytest.raises(BindError, match=why) as refused:
            await coordinator.start()
        assert "--insecure" in str(refused.value)
        return
    await coordinator.start()
    assert bool(coordinator._exposure.insecure) is bool(given.get("insecure"))
    await coordinator.stop(0.0)


async def test_an_agents_port_is_opened_if_it_is_protected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for given in ({}, {"token": TOKEN}):
        agent = probe_agent(listen="0.0.0.0:0", **given)
        with pytest.raises(
            WeftError, match=r"direct server's port 0\.0\.0\.0:0 would be open .*WEFT_AGENT_LISTEN=off"
        ):
            await agent.serve()
    with pytest.raises(WeftError, match=r"agent's metrics 0\.0\.0\.0:0 would be open"):
        await probe_agent(metrics="0.0.0.0:0").serve()
    tls = TestAuthority(tmp_path).tls("d1", mutual=False)
    agent = probe_agent(listen="0.0.0.0:0", token=TOKEN, tls=tls)
    async with serving(agent):
        assert agent.direct_address
        # Whatever a coordinator says, its tokens are all that protects it.
        callers = agent._runtime._direct.callers  # type: ignore[union-attr]
        assert callers.must
        assert callers.edge.on
    async with serving(probe_agent(listen="0.0.0.0:0", insecure=True)) as _:
        pass

    # Without an address of its own it runs without the port.
    async def elsewhere(*_: object) -> str:
        return "0.0.0.0:0"

    monkeypatch.setattr("weft.agent.direct.direct_port.listen_address", elsewhere)
    agent = probe_agent()
    run = asyncio.ensure_future(agent.serve())
    await until(lambda: agent._runtime is not None and agent._runtime._session._task is not None, "it dials")
    assert agent.direct_address == ""
    assert not run.done()
    agent.stop()
    await asyncio.wait_for(run, 20)


async def test_an_egress_needs_certificates_of_callers() -> None:
    side: Agent = Sidecar(sidecar_settings(app="127.0.0.1:1", egress="0.0.0.0:7701"), token=TOKEN)
    with pytest.raises(WeftError, match=r"the egress 0\.0\.0\.0:7701 would be open .*--egress-tls"):
        await side.serve()


def test_each_module_that_opens_a_port_is_known() -> None:
    """A new one must check what it opens, as these do or as those do who start them."""
    pattern = re.compile(r"\bopen_port\(|\bScrapeServer\(")
    found = {
        path.stem
        for path, _ in layout.own_modules(layout.ROOT)
        if path.relative_to(layout.ROOT).parts[0] not in ("tests", "bench")
        and pattern.search(path.read_text())
    }
    assert found == {
        "ports",
        "direct_server",  # by direct_port
        "egress",  # by sidecar
        "server",  # for a predecessor: a socket of this machine, where callers are asked, too
        "server_port",  # check_ports; the port for joining has TLS and asks for tokens
        "channelz_port",  # by server_port and operators_ports
        "metrics_endpoint",  # likewise
        "scrape_server",
        # On loopback alone.
        "raw_server",
        "scripted_coordinator",
    }
