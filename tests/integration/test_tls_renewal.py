"""All certificates and tokens of a mesh change under load, to those of another authority: no call is lost, and no task runs twice."""

from __future__ import annotations

import asyncio
from collections import Counter

import grpc.aio
import pytest

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import Payload, ProbeRequest
from tests.support.beside import DIRECT, DURABLE
from tests.support.certificates import TestAuthority, credentials, written
from tests.support.load import Load
from tests.support.mesh import MeshHarness
from tests.support.secure_mesh import SecureMesh
from tests.support.soak import soak
from weft.client import DirectState, methods

# Longer than a process takes to look at its files.
SETTLE_S = 4.0


@pytest.mark.slow
@pytest.mark.parametrize(
    "tokens", [pytest.param(False, marks=soak), True], ids=["certificates", "certificates and tokens"]
)
async def test_everything_that_proves_changes_under_load(mesh: MeshHarness, tokens: bool) -> None:
    secure = SecureMesh(mesh, tokens=tokens)
    await secure.start()
    sessions = {agent.id: agent.connected_at for agent in await secure.agents()}
    ledger = mesh.ledger()
    load = Load()
    async with (
        secure.connect() as client,
        grpc.aio.secure_channel(secure.egress, credentials(secure.client)) as egress,
    ):
        durable = probe_pb2_grpc.ProbeServiceStub(client.channel())
        direct = probe_pb2_grpc.ProbeServiceStub(client.channel(direct=True))
        beside = probe_pb2_grpc.ProbeServiceStub(egress)
        probe = methods(probe_pb2_grpc.ProbeServiceStub)
        handles = [
            await client.tasks.submit(
                probe.Call, ProbeRequest(text=f"long-{n}", sleep_s=6, ledger=str(ledger.path))
            )
            for n in range(4)
        ]
        payload = Payload(data=b"a")
        load.add("durable", lambda: durable.Echo(payload, timeout=30))
        load.add("direct", lambda: direct.Echo(payload, timeout=30))
        load.add("proxied", lambda: durable.Echo(payload, metadata=(DIRECT,), timeout=30))
        # A stock client's channel keeps its certificates; it is connected already, and stays so.
        load.add("egress direct", lambda: beside.Echo(payload, metadata=(DIRECT,), timeout=30))
        load.add("egress durable", lambda: beside.Echo(payload, metadata=(DURABLE,), timeout=30))

        async def task() -> None:
            await (await client.tasks.submit(probe.Echo, payload)).result(timeout_s=30)

        load.add("task", task)
        await asyncio.sleep(1)

        newer = TestAuthority(mesh.folder, "newer")
        for change in (
            lambda: secure.trust(secure.authority, newer),
            lambda: secure.renew(newer),
            lambda: secure.trust(newer),
        ):
            change()
            await asyncio.sleep(SETTLE_S)
        if tokens:
            # All at once, and what was opened with an old text is ended after that.
            await secure.rotate(overlap_s=3)
            await asyncio.sleep(3 + SETTLE_S)
        for handle in handles:
            await handle.result(timeout_s=60)
            assert [attempt.number for attempt in (await handle.snapshot()).attempts] == [1]
        await load.stop()
    assert not load.failed, f"{len(load.failed)} of {load.made}: {load.failed[:5]}\n{mesh.logs()}"
    assert min(load.made.values()) > 20, load.made
    if tokens:
        return
    # Sessions stay on their connections, and new connections get the new certificates.
    assert {agent.id: agent.connected_at for agent in await secure.agents()} == sessions
    # A certificate with another name: the agent says hello again, and callers verify it by the new name.
    written(mesh.folder / "a1", newer.issue("a1", dns=("a1-renamed",), ips=()))

    async def renamed() -> bool:
        (a1,) = [agent for agent in await secure.agents() if agent.id == "a1"]
        return (a1.tls_name, a1.direct_state) == ("a1-renamed", DirectState.REACHABLE)

    await mesh.eventually(renamed, "a1 is reached by its new name")
    starts = Counter(fact.text for fact in ledger.facts("start"))
    assert set(starts.values()) == {1}, starts
