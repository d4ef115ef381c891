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
from weft.client import AgentState, DirectState, Mesh, connect
from weft.rpc.errors import from_call
from weft.v1 import provision_pb2, security_pb2
from weft.v1.provision_pb2_grpc import ProvisionServiceStub
from weft.v1.security_pb2_grpc import TokenServiceStub

pytestmark = pytest.mark.real_starts

CALL = tasks.method("Call")
WEFT = Path(sys.executable).with_name("weft")


@pytest.mark.slow
async def test_a_mesh_that_makes_certificates_needs_no_setting_for_them(tmp_path: Path) -> None:
    """A process with the printed script alone has mTLS both ways, works, and is cut off."""
    async with joined_mesh(tmp_path) as mesh, mesh.connect() as client:
        script = tmp_path / "w-1.sh"
        given = [f"program={PROBE_AGENT}", f"weft={WEFT}", f"folder={tmp_path}"]
        words = [word for each in given for word in ("--set", each)]
        made = await weft(
            *("provision", "process", "--name", "w-1", *words, "--out", str(script), "--json"),
            env=mesh.variables | {"WEFT_TOKEN_FILE": str(mesh.operator_file)},
        )
        assert made.status == 0, made.err
        assert stat.S_IMODE(script.stat().st_mode) == 0o600
        assert "weft_" not in made.out
        process = Process("w-1", ["sh", str(script)], log=tmp_path / "w-1.log")
        try:
            async with asyncio.timeout(20):
                while not any(
                    each.direct_state is DirectState.REACHABLE and each.tls_name
                    for each in await client.fleet.agents()
                ):
                    assert process.alive, process.output()
                    await asyncio.sleep(0.02)
            task = await client.tasks.submit(CALL, ProbeRequest(text="x"))
            assert await task.result() is not None
            await check_requests(mesh.target, client)
            await mesh.revoke(made.document["token"]["id"])
            async with asyncio.timeout(2.5):
                while any(each.state is AgentState.ACTIVE for each in await client.fleet.agents()):
                    await asyncio.sleep(0.02)
        finally:
            process.cleanup()


async def check_requests(target: str, client: Mesh) -> None:
    """What is refused, what a dry run makes, and what there is."""
    stub, tokens = ProvisionServiceStub(client.channel()), TokenServiceStub(client.channel())
    for request, code, reason in (
        ({"kind": "rocket"}, grpc.StatusCode.NOT_FOUND, "PROVISION_KIND_NOT_FOUND"),
        ({"kind": "docker"}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ProvisionAgent(provision_pb2.ProvisionAgentRequest(name="x", **request))
        error = from_call(refused.value)
        assert (error.code, error.reason_name) == (code, reason)
    before = await tokens.ListTokens(security_pb2.ListTokensRequest())
    asked = provision_pb2.ProvisionAgentRequest(
        kind="docker", name="d", settings={"image": "x", "target": target}, dry_run=True
    )
    dry = await stub.ProvisionAgent(asked)
    assert dry.text.startswith("set -eu\nWEFT_TOKEN=TOKEN docker run ")
    assert not dry.HasField("token")
    assert await tokens.ListTokens(security_pb2.ListTokensRequest()) == before
    kinds = (await stub.ListProvisionKinds(provision_pb2.ListProvisionKindsRequest())).kinds
    assert [each.name for each in kinds][:2] == ["compose", "docker"]


@pytest.mark.slow
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

        revoked = security_pb2.RevokeTokenRequest(id=document["token"]["id"])
        await TokenServiceStub(client.channel()).RevokeToken(revoked)

        async def cut_off() -> bool:
            return await agent() is not AgentState.ACTIVE

        await mesh.eventually(cut_off, "the agent is cut off", timeout_s=2.5)
        assert token.read_text().strip() not in process.output()

        kinds = await run("provision", "--list")
        assert "docker: A `docker run` command." in kinds.out
        assert "settings of every kind" in kinds.out
