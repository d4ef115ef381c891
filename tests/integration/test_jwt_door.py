"""Tokens of an outside issuer at a coordinator: callers, agents and operators prove who they are with them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import grpc
import pytest

from probe.v1.probe_pb2 import ProbeRequest
from probe.v1.probe_pb2_grpc import ProbeServiceStub
from tests.support import tasks
from tests.support.mesh import MeshHarness
from tests.support.outside_issuer import OutsideIssuer
from tests.support.token_door import Door, reason, shown, token_door
from weft.client import AgentState, PermissionDenied, connect
from weft.rpc.errors import from_call
from weft.rpc.identity.caller import AGENT, CLIENT, told_caller
from weft.rpc.network.channel import dial
from weft.v1 import security_pb2

POLICY = """
[[rules]]
effect = "deny"
callers = ["jwt:corp:mallory"]
methods = ["acme.*", "weft.v1.CoordinatorService/ListTasks"]

[[issuers]]
name = "corp"
issuer = "{url}"
audiences = ["weft"]
leeway_s = 0

[[issuers.grants]]
claim = "groups"
values = ["ops"]
role = "operator"

[[issuers.grants]]
claim = "agent"
values = ["*"]
role = "agent"
agent_ids = ["{{agent}}"]

[[issuers.grants]]
role = "client"
methods = ["probe.*", "acme.*"]
"""
LIST = "/weft.v1.CoordinatorService/ListTasks"


async def test_a_token_of_the_issuer_is_a_caller(tmp_path: Path) -> None:
    with OutsideIssuer() as issuer:
        issuer.add_key("one")
        file = tmp_path / "policy.toml"
        file.write_text(POLICY.format(url=issuer.url))
        async with token_door(tmp_path, policy=file) as door:
            await asyncio.gather(_check_callers(door, issuer), _check_end(door, issuer))
            # Nobody is trusted any more.
            good = shown(issuer.sign())
            file.write_text("")
            async with asyncio.timeout(2.5):
                while await door.call(LIST, good) is None:
                    await asyncio.sleep(0.05)
            assert reason(await door.call(LIST, good)) == "JWT_INVALID"


async def _check_callers(door: Door, issuer: OutsideIssuer) -> None:
    bearer = (("authorization", f"Bearer {issuer.sign()}"),)
    for pairs in (bearer, shown(issuer.sign())):
        assert await door.call(LIST, pairs) is None
        assert reason(await door.call("/weft.v1.TokenService/ListTokens", pairs)) == "ROLE_NEEDED"
        assert reason(await door.call("/other.v1.S/M", pairs)) == "OUT_OF_SCOPE"
    assert (
        reason(await door.call(LIST, (("authorization", f"Bearer {issuer.sign(aud='x')}"),))) == "JWT_INVALID"
    )
    # weft's own key comes first, and leaves the other to the application.
    assert await door.call(LIST, (*shown(door.operator), ("authorization", "Bearer eyJh.e.x"))) is None
    mallory = shown(issuer.sign(sub="mallory"))
    assert reason(await door.call(LIST, mallory)) == "POLICY_DENIED"
    assert reason(await door.call("/acme.v1.S/M", mallory)) == "POLICY_DENIED"
    # An operator by its groups, and what an agent is told of a caller.
    operator = shown(issuer.sign(groups=["ops"], sub="olga"))
    request = security_pb2.CreateTokenRequest(role=AGENT)
    made = await door.stub.CreateToken(request, metadata=operator)
    assert made.token.created_by == "jwt:corp:olga"
    check = security_pb2.CheckTokenRequest(text=issuer.sign())
    caller = told_caller(await door.stub.CheckToken(check, metadata=shown(made.text)))
    assert (caller.subject, caller.role, caller.scope.methods) == (
        "jwt:corp:alice",
        CLIENT,
        ("probe.*", "acme.*"),
    )


async def _check_end(door: Door, issuer: OutsideIssuer) -> None:
    """A stream ends with its token."""
    watch = door.channel.stream_stream("/weft.v1.CoordinatorService/WatchAgents")(
        metadata=shown(issuer.sign(exp=time.time() + 1.0))
    )
    await watch.write(b"")
    await watch.done_writing()
    began_s = time.monotonic()
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        async for _ in watch:
            pass
    assert reason(from_call(ended.value)) == "JWT_INVALID"
    assert "expired" in str(ended.value.details())
    assert 0.9 < time.monotonic() - began_s < 3.2


@pytest.mark.slow
async def test_a_mesh_whose_callers_come_from_an_issuer(mesh: MeshHarness) -> None:
    """Real processes: an agent takes a new token from its file and keeps its session's work, and no handler sees a token."""
    with OutsideIssuer() as issuer:
        issuer.add_key("one")
        policy = mesh.folder / "policy.toml"
        policy.write_text(POLICY.format(url=issuer.url))
        await mesh.coordinator(tokens="on", operator_token_file=mesh.folder / "operator.token", policy=policy)
        file = mesh.folder / "agent.jwt"
        file.write_text(issuer.sign(agent="w-1", exp=time.time() + 4))
        await mesh.agent("w-1", env={"WEFT_TOKEN_FILE": str(file)}, wait=False)
        other = await mesh.agent("w-2", env={"WEFT_TOKEN": issuer.sign(agent="w-1")}, wait=False)
        assert await other.wait() != 0
        assert "agent_ids" in other.log.read_text()
        text = issuer.sign()
        async with connect(mesh.target, token=text) as client:

            async def active() -> bool:
                return [each.state for each in await client.fleet.agents()] == [AgentState.ACTIVE]

            await mesh.eventually(active, "the agent is connected")
            task = await client.tasks.submit(tasks.method("Call"), ProbeRequest(text="x", sleep_s=5.0))
            with pytest.raises(PermissionDenied):
                await client.fleet.pause(tasks.method("Call"))
            # A stock client: its token is weft's, and the rest of its metadata the handler's.
            bearer = (("authorization", f"Bearer {text}"), ("x-own", "1"))
            async with dial(mesh.target) as plain:
                reply = await ProbeServiceStub(plain).Call(ProbeRequest(text="y"), metadata=bearer)
            assert "x-own=1" in reply.metadata
            assert text not in str(reply.metadata)
            # The next token is there before the first one ends.
            fresh = file.with_suffix(".new")
            fresh.write_text(issuer.sign(agent="w-1"))
            fresh.replace(file)
            await task.result()
            assert (await client.tasks.get(task.id)).attempt == 1
        assert text not in Path(mesh.store).read_bytes().decode("latin-1")
