"""Who asks for metrics on a port that others reach shows a token: every role and token, at a coordinator and at an agent."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration

from tests.support.direct import probe_agent, serving
from tests.support.processes import until
from tests.support.token_door import shown, token_door
from weft.rpc.identity.caller import AGENT, OPERATOR, ROLES, role_name
from weft.rpc.identity.http_door import asks_scrapers
from weft.rpc.security import tokens
from weft.rpc.security.tls import Tls
from weft.v1 import security_pb2


def scraped(address: str, text: str) -> int:
    """The status of a scrape with a token; empty: with none."""
    with contextlib.closing(http.client.HTTPConnection(address, timeout=20)) as connection:
        headers = {"Authorization": f"Bearer {text}"} if text else {}
        connection.request("GET", "/metrics", headers=headers)
        answer = connection.getresponse()
        body = answer.read().decode()
    assert ("process_" in body) is (answer.status == 200)
    assert (answer.getheader("WWW-Authenticate") == "Bearer") is (answer.status == 401)
    assert not text or text not in body
    return answer.status


async def test_every_role_and_token_at_the_ports_of_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if the ports were open to other machines.
    for place in "weft.coordinator.server", "weft.agent.operators_ports":
        monkeypatch.setattr(f"{place}.asks_scrapers", lambda *_, **__: True)
    monkeypatch.setattr("weft.rpc.identity.http_door.FRESH_S", 0.5)
    async with token_door(tmp_path, metrics="127.0.0.1:0") as door:
        expected = {"": 401, tokens.generate(tokens.generate_id()): 401, "weft_half": 401}
        for role in ROLES.values():
            allowed = role_name(role) in ("observer", "operator")
            expected[(await door.create(role)).text] = 200 if allowed else 403
        elsewhere = await door.create(OPERATOR, scope=security_pb2.TokenScope(namespaces=["team-*"]))
        expected[elsewhere.text] = 403
        here = await door.create(OPERATOR, scope=security_pb2.TokenScope(namespaces=["default"]))
        expired = await door.create(OPERATOR, ttl=Duration(seconds=1))
        revoked = await door.create(OPERATOR)
        own = (await door.create(AGENT)).text
        agent = probe_agent(target=door.coordinator.address, token=own, metrics="127.0.0.1:0")
        async with serving(agent):
            await until(lambda: agent.connected, "the agent is connected")
            runtime = agent._runtime
            assert runtime is not None
            addresses = door.coordinator._figures.address, runtime._figures.address
            for address in addresses:
                assert await asyncio.to_thread(scraped, address, revoked.text) == 200
            request = security_pb2.RevokeTokenRequest(id=revoked.token.id)
            await door.stub.RevokeToken(request, metadata=shown(door.operator))
            # The other token expires, and what the doors know of this one is not fresh any more.
            await asyncio.sleep(1.01)
            expected |= {revoked.text: 401, expired.text: 401}
            for address in addresses:
                for text, status in expected.items():
                    assert await asyncio.to_thread(scraped, address, text) == status, text[:20]
            # A coordinator's are of all namespaces, an agent's of its own one.
            statuses = [await asyncio.to_thread(scraped, address, here.text) for address in addresses]
            assert statuses == [403, 200]
            denied = dict(runtime._figures.denied["metrics"]())
            assert denied["TOKEN_MISSING", "none"] == 1
            assert denied["ROLE_NEEDED", "client"] == 1
            # Nobody tells any more: what was told holds, and others are not let in.
            await door.stop()
            assert await asyncio.to_thread(scraped, addresses[1], door.operator) == 503


def test_where_scrapers_show_tokens() -> None:
    mutual = Tls("ca", "c", "k", client_ca="ca")
    for address, tls, insecure, asked in (
        ("", None, False, False),
        ("127.0.0.1:1", None, False, False),
        ("https://127.0.0.1:1", mutual, False, False),
        ("0.0.0.0:1", None, False, True),
        ("0.0.0.0:1", mutual, False, True),
        ("0.0.0.0:1", None, True, False),
        ("https://0.0.0.0:1", mutual, False, False),
        ("https://0.0.0.0:1", Tls("ca", "c", "k"), False, True),
    ):
        assert asks_scrapers(address, tls, insecure=insecure) is asked, address
    # Each member of a mesh that makes its certificates has one.
    assert asks_scrapers("https://0.0.0.0:1", mutual, insecure=False, members=True)
    assert not asks_scrapers("https://127.0.0.1:1", mutual, insecure=False, members=True)
