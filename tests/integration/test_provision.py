"""`weft provision` with a real coordinator: what it writes really starts an agent, which its token binds and its revocation ends."""

from __future__ import annotations

import asyncio
import stat
import sys
from pathlib import Path

import grpc
import pytest

from probe.v1.probe_pb2 import ProbeRequest
from tests.support import tasks
from tests.support.command import Finished, weft
from tests.support.joined_mesh import joined_mesh
from tests.support.mesh import PROBE_AGENT, MeshHarness
from tests.support.processes import Process
from weft.client import AgentState, DirectState, connect
from weft.rpc.errors import from_call
from weft.v1 import provision_pb2
from weft.v1.provision_pb2_grpc import ProvisionServiceStub

CALL = tasks.method("Call")
WEFT = Path(sys.executable).with_name("weft")


async def test_a_mesh_that_makes_certificates_needs_no_setting_for_them(tmp_path: Path) -> None:
    """A process with the printed script alone has mTLS both ways."""
    async with joined_mesh(tmp_path) as mesh, mesh.connect() as client:
        asked = provision_pb2.ProvisionAgentRequest(
            kind="process",
            name="w-1",
            settings={
                "target": mesh.target,
                "program": PROBE_AGENT,
                "weft": str(WEFT),
                "folder": str(tmp_path),
            },
        )
        made = await ProvisionServiceStub(client.channel()).ProvisionAgent(asked)
        (script := tmp_path / "w-1.sh").write_text(made.text)
        process = Process("w-1", ["sh", str(script)], log=tmp_path / "w-1.log")
        try:
            async with asyncio.timeout(20):
                while not any(
                    each.direct_state is DirectState.REACHABLE and each.tls_name
                    for each in await client.fleet.agents()
                ):
                    assert process.alive, process.output()
                    await asyncio.sleep(0.02)
            await mesh.revoke(made.token.id)
            async with asyncio.timeout(2.5):
                while any(each.state is AgentState.ACTIVE for each in await client.fleet.agents()):
                    await asyncio.sleep(0.02)
        finally:
            process.cleanup()


async def test_a_provisioned_process_joins_works_is_bound_and_is_cut_off(mesh: MeshHarness) -> None:
    operator = mesh.folder / "operator.token"
    await mesh.coordinator(tokens="on", operator_token_file=operator)

    async def run(*words: str) -> Finished:
        return await weft(*words, "--token-file", str(operator), target=mesh.target)

    script = mesh.folder / "start.sh"
    set_ = [f"program={PROBE_AGENT}", f"weft={WEFT}", f"folder={mesh.folder}", "label.zone=eu", "slots=3"]
    given = [word for each in set_ for word in ("--set", each)]
    made = await run(
        *("provision", "process", "--name", "w-1", *given, "--hosts", "probe.*", "--labels", "tier=*"),
        *("--days", "1", "--out", str(script), "--json"),
    )
    assert made.status == 0, made.err
    assert stat.S_IMODE(script.stat().st_mode) == 0o600
    document = made.document
    assert document["agent_ids"] == document["token"]["scope"]["agent_ids"] == ["w-1"]
    assert (document["token"]["max_uses"], document["warnings"]) == (1, [])
    assert "weft_" not in made.out

    process = mesh.agents["w-1"] = Process("w-1", ["sh", str(script)], log=mesh.folder / "w-1.log")
    async with connect(mesh.target, token=operator) as client:

        async def agent() -> AgentState | None:
            return next((each.state for each in await client.fleet.agents() if each.id == "w-1"), None)

        async def active() -> bool:
            assert process.alive, process.output()
            return await agent() is AgentState.ACTIVE

        await mesh.eventually(active, "the provisioned agent is connected")
        (found,) = await client.fleet.agents()
        assert (found.slots, found.labels["zone"]) == (3, "eu")

        async def hosted() -> bool:
            return any(queue.method == CALL and queue.agents for queue in await client.fleet.queues())

        # It is connected a moment before its contract is accepted.
        await mesh.eventually(hosted, "its contract is accepted")
        task = await client.tasks.submit(CALL, ProbeRequest(text="x"))
        assert await task.result() is not None
        token = mesh.folder / "w-1.token"
        assert stat.S_IMODE(token.stat().st_mode) == 0o600

        # Its token lets no other agent in.
        env = {"WEFT_TOKEN_FILE": str(token)}
        other = await mesh.agent("w-2", env=env, wait=False)
        assert await other.wait() != 0
        assert "agent_ids" in other.output()

        assert "revoked" in (await run("tokens", "revoke", document["token"]["id"])).out

        async def cut_off() -> bool:
            return await agent() is not AgentState.ACTIVE

        await mesh.eventually(cut_off, "the agent is cut off", timeout_s=2.5)
        assert token.read_text().strip() not in process.output()

        stub = ProvisionServiceStub(client.channel())
        for request, code, reason in (
            ({"kind": "rocket"}, grpc.StatusCode.NOT_FOUND, "PROVISION_KIND_NOT_FOUND"),
            ({"kind": "docker"}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.ProvisionAgent(provision_pb2.ProvisionAgentRequest(name="x", **request))
            error = from_call(refused.value)
            assert (error.code, error.reason_name) == (code, reason)

        before = (await run("tokens", "list", "--json")).document
        dry = await run("provision", "docker", "--name", "d", "--set", "image=x", "--dry-run")
        assert dry.out.startswith("set -eu\nWEFT_TOKEN=TOKEN docker run "), dry.err
        assert "1. run it where Docker runs" in dry.err
        assert (await run("tokens", "list", "--json")).document == before
        listed = await run("provision", "--list")
        assert "docker: A `docker run` command." in listed.out
        assert "settings of every kind" in listed.out
        assert (await run("provision", "--list", "--json")).document[0]["name"] == "compose"
