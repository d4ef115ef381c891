"""A mesh of real processes that makes its certificates by itself: set up by commands alone, and renewed under load."""

from __future__ import annotations

import asyncio
import stat
from collections import Counter
from pathlib import Path

import grpc
import grpc.aio
import pytest

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import Payload, ProbeRequest
from tests.support.beside import DIRECT, DURABLE, StockApp, free_address, sidecar
from tests.support.command import weft
from tests.support.joined_mesh import variables_in
from tests.support.load import Load
from tests.support.mesh import MeshHarness
from weft.client import AgentState, DirectState, connect, methods
from weft.client.sync import connect as connect_sync
from weft.rpc.security.tls import Tls

# Renewed each five seconds or so.
LIFE_S = 8
LOAD_S = 25


@pytest.mark.slow
async def test_a_mesh_is_set_up_by_commands_and_renewed_under_load(mesh: MeshHarness) -> None:
    operator, join = mesh.folder / "operator.token", mesh.folder / "mesh.join"
    joins = free_address()
    await mesh.coordinator(
        tokens="on",
        ca="auto",
        certificate_ttl_s=LIFE_S,
        join_listen=joins,
        join_file=join,
        operator_token_file=operator,
    )
    known = variables_in(join)
    assert known["WEFT_TLS_JOIN"] == joins
    env = known | {"WEFT_TOKEN_FILE": str(operator)}

    async def command(*words: str) -> str:
        run = await weft(*words, env=env)
        assert run.status == 0, run.err
        return run.out

    assert known["WEFT_TLS_PIN"] in await command("certs", "pin")
    assert "SERVING" in await command("health")
    made = mesh.folder / "worker.env"
    await command(
        *(
            "tokens",
            "create",
            "--role",
            "agent",
            "--uses",
            "3",
            "--days",
            "0.0003",
            "--join",
            "--out",
            str(made),
        )
    )
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    worker = variables_in(made)
    assert worker["WEFT_TOKEN"].startswith("weft_")
    assert known.items() <= worker.items()
    egress = free_address()
    app = StockApp(mesh)
    await app.start()
    await asyncio.gather(
        *(mesh.agent(name, env=worker, wait=False) for name in ("a1", "a2")),
        sidecar(mesh, app.address, egress=egress, env=worker, wait=False),
    )
    files = mesh.folder / "stock"
    await command("certs", "join", str(files))
    ca, cert, key = ((files / name).read_bytes() for name in ("ca.pem", "client.pem", "client-key.pem"))
    credentials = grpc.ssl_channel_credentials(ca, key, cert)

    tls = Tls(pin=known["WEFT_TLS_PIN"], join=known["WEFT_TLS_JOIN"])
    async with (
        connect(mesh.target, tls=tls, token=operator) as client,
        grpc.aio.secure_channel(mesh.target, credentials) as stock,
        grpc.aio.insecure_channel(egress) as beside,
    ):

        async def reachable() -> bool:
            found = await client.fleet.agents()
            return len(found) == 3 and all(
                (each.state, each.direct_state) == (AgentState.ACTIVE, DirectState.REACHABLE)
                for each in found
            )

        await mesh.eventually(reachable, "all agents have joined")
        address = next(each.advertised_address for each in await client.fleet.agents() if each.id == "a1")
        assert "SERVING" in await command("health", "--target", address, "--agent", "a1")
        assert "joined by its pin" in await command("doctor")
        assert await asyncio.to_thread(blocking, mesh.target, tls, operator) == 3
        sessions = {each.id: each.connected_at for each in await client.fleet.agents()}
        ledger = mesh.ledger()
        probe = methods(probe_pb2_grpc.ProbeServiceStub)
        handles = [
            await client.tasks.submit(
                probe.Call, ProbeRequest(text=f"long-{n}", sleep_s=12, ledger=str(ledger.path))
            )
            for n in range(2)
        ]
        durable = probe_pb2_grpc.ProbeServiceStub(client.channel())
        direct = probe_pb2_grpc.ProbeServiceStub(client.channel(direct=True))
        plain = probe_pb2_grpc.ProbeServiceStub(stock)
        payload, load = Payload(data=b"a"), Load()
        load.add("durable", lambda: durable.Echo(payload, timeout=30))
        load.add("direct", lambda: direct.Echo(payload, timeout=30))
        load.add("proxied", lambda: durable.Echo(payload, metadata=(DIRECT,), timeout=30))
        behind = probe_pb2_grpc.ProbeServiceStub(beside)
        load.add("egress direct", lambda: behind.Echo(payload, metadata=(DIRECT,), timeout=30))
        load.add("egress durable", lambda: behind.Echo(payload, metadata=(DURABLE,), timeout=30))
        load.add("stock", lambda: plain.Echo(payload, timeout=30))
        await asyncio.sleep(LOAD_S)
        for handle in handles:
            await handle.result(timeout_s=60)
            assert [attempt.number for attempt in (await handle.snapshot()).attempts] == [1]
        await load.stop()
        assert not load.failed, f"{len(load.failed)} of {load.made}: {load.failed[:5]}\n{mesh.logs()}"
        assert min(load.made.values()) > 20, load.made
        # The join token has ended long ago, and the sessions are the first ones.
        assert {each.id: each.connected_at for each in await client.fleet.agents()} == sessions
        for name in ("a1", "a2", "side"):
            log = (mesh.folder / f"{name}.log").read_text()
            assert log.count("tls.certificate_renewed") >= 3, log
            assert worker["WEFT_TOKEN"] not in log
        assert set(Counter(fact.text for fact in ledger.facts("start")).values()) == {1}
    # Without the pin, nobody gets in.
    refused = await weft("agents", "list", target=mesh.target, env={"WEFT_TOKEN_FILE": str(operator)})
    assert refused.status != 0
    assert "the port has TLS" in refused.err


def blocking(target: str, tls: Tls, token: Path) -> int:
    """How many agents the library without asyncio finds."""
    with connect_sync(target, tls=tls, token=token) as mesh:
        return len(list(mesh.fleet.agents()))
