"""Floods of calls with wrong proofs, at a coordinator and at an agent's own port: none is let in, memory stays bounded, and honest callers are served in time."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from probe.v1.probe_pb2 import ProbeRequest
from tests.support.beside import direct_address
from tests.support.mesh import MeshHarness
from tests.support.outside_issuer import OutsideIssuer
from tests.support.processes import Process
from tests.support.token_attacker import ATTACKS, CALL
from weft.client import Mesh, connect
from weft.rpc.network.channel import Route, dial
from weft.rpc.security import tokens
from weft.rpc.security.token_source import token_source

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

MIB = 1024 * 1024
# `make overload` lets each go on for longer.
LASTS_S = float(os.environ.get("TEST_ATTACK_S", "1"))
GROWTH_MIB = 60
# How much slower honest calls may be, and what is no measure: more where other tests have the cores, too.
SLOWER = 3.0
NO_MEASURE_S = 0.03 if "TEST_ATTACK_S" in os.environ else 0.3
POLICY = """
[[issuers]]
name = "corp"
issuer = "https://corp.example"
audiences = ["weft"]
keys = "{url}"
[[issuers.grants]]
role = "client"
"""


class Site:
    """A mesh of real processes that asks for tokens and trusts an issuer, and an honest client."""

    def __init__(self, mesh: MeshHarness, client: Mesh, operator: str) -> None:
        self.mesh = mesh
        self.operator = operator
        self._honest = {"coordinator": client.channel(), "agent": client.channel(direct=True)}
        self.usual_s: dict[str, float] = {}

    async def p99_s(self, door: str, lasts_s: float) -> float:
        """The 99th percentile of honest calls, one after another, for so long. A call that fails is an error."""
        call = self._honest[door].unary_unary(CALL)
        request = ProbeRequest(text="x").SerializeToString()
        ends_at, took = time.monotonic() + lasts_s, []
        while time.monotonic() < ends_at:
            began_s = time.monotonic()
            await call(request, timeout=10)
            took.append(time.monotonic() - began_s)
            await asyncio.sleep(0.005)
        return sorted(took)[int(0.99 * len(took))]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with OutsideIssuer() as issuer:
        issuer.add_key("one")
        (folder / "policy.toml").write_text(POLICY.format(url=issuer.keys_url))
        async with MeshHarness(folder) as mesh:
            file = folder / "operator.token"
            await mesh.coordinator(tokens="on", operator_token_file=file, policy=folder / "policy.toml")
            operator = file.read_text().strip()
            mesh._shared = dial(mesh.target, None, Route(token=token_source(operator)))
            mesh._channels.append(mesh._shared)
            await mesh.agent("good", env={"WEFT_TOKEN": operator}, slots=8)
            async with connect(mesh.target, token=operator) as client:
                await client.ready()
                made = Site(mesh, client, operator)
                for door in "coordinator", "agent":
                    await made.p99_s(door, 0.3)
                    made.usual_s[door] = await made.p99_s(door, 1.0)
                yield made


@pytest.mark.parametrize("door", ["coordinator", "agent"])
@pytest.mark.parametrize("name", ATTACKS)
async def test_floods_of_wrong_proofs(site: Site, name: str, door: str, tmp_path: Path) -> None:
    mesh = site.mesh
    process = mesh.coordinator_process if door == "coordinator" else mesh.agents["good"]
    assert process is not None
    target = mesh.target if door == "coordinator" else await direct_address(mesh, "good")
    seen, usual_s = psutil.Process(process.pid), site.usual_s[door]
    before_mib = seen.memory_info().rss / MIB
    # Another test may have had the cores; it has not twice.
    for once_more in (True, False):
        words = (name, target, str(LASTS_S), tokens.id_of(site.operator))
        attacker = Process.module("attacker", "tests.support.token_attacker", *words, log=tmp_path / "log")
        try:
            under_s = await site.p99_s(door, LASTS_S)
            await attacker.wait(timeout_s=30)
        finally:
            attacker.cleanup()
        ended = json.loads(attacker.output().splitlines()[-1])
        grown_mib = seen.memory_info().rss / MIB - before_mib
        told = f"{name} at the {door}: {ended}, p99 {usual_s * 1000:.1f} -> {under_s * 1000:.1f} ms, {grown_mib:+.0f} MiB"
        print(told)
        assert ended.keys() <= {"UNAUTHENTICATED", "RESOURCE_EXHAUSTED", "UNAVAILABLE"}, told
        assert ended["UNAUTHENTICATED"] > 100, told
        assert grown_mib < GROWTH_MIB, told
        if under_s < max(SLOWER * usual_s, NO_MEASURE_S):
            break
        assert once_more, told
    assert "Traceback" not in process.output()
