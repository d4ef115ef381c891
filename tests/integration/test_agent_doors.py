"""Callers of an agent's own port and of an egress, in a mesh that asks for tokens: every RPC with every role and proof."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.duration_pb2 import Duration

from probe.v1.probe_pb2 import ProbeReply, ProbeRequest
from tests.support.direct import probe_agent, serving
from tests.support.processes import until
from tests.support.token_door import DENIED, OTHERS, RPCS, Door, called, reason, shown, token_door
from weft.agent import Agent
from weft.agent.sidecar.calls_in_flight import HandledCalls
from weft.agent.sidecar.egress import Egress
from weft.client import (
    FailedPrecondition,
    InvalidArgument,
    Mesh,
    NotFound,
    PermissionDenied,
    TokenScope,
    Unauthenticated,
    connect,
)
from weft.client.sync import connect as connect_sync
from weft.rpc.errors import WeftError, from_call
from weft.rpc.identity import refusal_pace
from weft.rpc.identity.caller import AGENT, CLIENT, OPERATOR, ROLES, roles_of
from weft.rpc.network.channel import Route, dial
from weft.rpc.security import tickets, tokens
from weft.rpc.security.token_source import token_source
from weft.rpc.times import timestamp
from weft.v1 import agent_pb2, agent_pb2_grpc, security_pb2

CALL = "/probe.v1.ProbeService/Call"
OWN = [
    f"/weft.v1.AgentService/{method}"
    for method in descriptor_pool.Default().FindServiceByName("weft.v1.AgentService").methods_by_name
]


class Doors:
    """A coordinator that asks for tokens, an agent with its port, and an egress with a token that reaches `probe.*`."""

    def __init__(self, door: Door, agent: Agent, egress: str) -> None:
        self.door = door
        self.agent = agent
        self.at_agent = dial(agent.direct_address)
        self.at_egress = dial(egress)

    @property
    def process(self) -> security_pb2.AgentProcess:
        assert self.agent._runtime is not None
        return security_pb2.AgentProcess(agent_id=self.agent.id, instance_id=self.agent._runtime._instance_id)

    async def ticket(self, text: str, process: security_pb2.AgentProcess | None = None) -> str:
        request = security_pb2.CreateTicketsRequest(agents=[process or self.process])
        response = await self.door.stub.CreateTickets(request, metadata=shown(text))
        assert 0 < response.time_left.seconds <= 1800
        (made,) = response.texts
        return made

    def connect(self, token: str) -> Mesh:
        return connect(self.door.coordinator.address, token=token)

    async def end(self) -> None:
        await self.at_agent.close()
        await self.at_egress.close()


@pytest.fixture
async def doors(tmp_path: Path) -> AsyncIterator[Doors]:
    async with contextlib.AsyncExitStack() as stack:
        door = await stack.enter_async_context(token_door(tmp_path))
        address = door.coordinator.address
        own = (await door.create(AGENT)).text
        agent = probe_agent(target=address)
        agent.configure(token=own)
        await stack.enter_async_context(serving(agent))
        await until(lambda: agent.connected, "the agent is connected")
        side = (await door.create(AGENT, scope=security_pb2.TokenScope(methods=["probe.*"]))).text
        route = Route(token=token_source(side))
        place = f"unix:{tmp_path / 'private' / 'egress.sock'}"
        egress = Egress(place, [address], [], HandledCalls(), route=route)
        await egress.start()
        stack.push_async_callback(egress.close, 0.0)
        made = Doors(door, agent, place)
        stack.push_async_callback(made.end)
        yield made


class Proofs:
    """What callers can show: texts by role that are right, and texts that are not, with the reasons of their refusals."""

    def __init__(self, right: dict[int, str], wrong: dict[str, str]) -> None:
        self.right = right
        self.wrong = wrong

    @classmethod
    async def made(cls, door: Door) -> Proofs:
        right = {role: (await door.create(role)).text for role in ROLES.values()}
        expired = await door.create(OPERATOR, ttl=Duration(seconds=1))
        revoked = await door.create(OPERATOR)
        elsewhere = await door.create(OPERATOR, scope=security_pb2.TokenScope(namespaces=["team-*"]))
        request = security_pb2.RevokeTokenRequest(id=revoked.token.id)
        await door.stub.RevokeToken(request, metadata=shown(door.operator))
        await asyncio.sleep(1.01)
        wrong = {
            tokens.generate(tokens.generate_id()): "TOKEN_INVALID",
            tokens.generate(tokens.id_of(door.operator)): "TOKEN_INVALID",
            revoked.text: "TOKEN_REVOKED",
            expired.text: "TOKEN_EXPIRED",
            elsewhere.text: "OUT_OF_SCOPE",
        }
        return cls(right, wrong)

    async def check(self, channel: grpc.aio.Channel, path: str, without: str) -> None:
        roles = roles_of(path) or {CLIENT, AGENT, OPERATOR}
        for role, text in self.right.items():
            error = await called(channel, path, shown(text), 0.1 if role in roles else 20.0)
            if role in roles:
                assert error is None or error.code not in DENIED, (path, role, error)
            else:
                assert reason(error) == "ROLE_NEEDED", (path, role, error)
        for text, why in self.wrong.items():
            assert reason(await called(channel, path, shown(text), 20.0)) == why, (path, why)
        error = await called(channel, path, (), 20.0 if without else 0.1)
        if without:
            assert reason(error) == without, path
        else:
            # An empty request has no method that is in the scope of the sidecar's token.
            assert error is None or error.code not in DENIED or "cover ''" in error.message, (path, error)


async def test_every_rpc_with_every_role_and_proof(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of the matrix of `test_tokens`: an agent's port, and an egress, at which the app is its sidecar if it shows nothing."""
    monkeypatch.setattr(refusal_pace, "BURST", 10_000)
    proofs = await Proofs.made(doors.door)
    at_agent = [*OWN, *OTHERS, CALL]

    def at_egress(path: str) -> str:
        roles = roles_of(path)
        own = "" if roles is None or AGENT in roles else "ROLE_NEEDED"
        return "OUT_OF_SCOPE" if "acme" in path else own

    await asyncio.gather(
        *(proofs.check(doors.at_agent, path, "TOKEN_MISSING") for path in at_agent),
        *(proofs.check(doors.at_egress, path, at_egress(path)) for path in [*RPCS, *OTHERS, CALL]),
    )
    assert await called(doors.at_agent, "/grpc.health.v1.Health/Check", (), 20.0) is None
    denied = dict(doors.agent._runtime._direct.callers.edge.refused.counts())  # type: ignore[union-attr]
    assert denied["TOKEN_MISSING", "none"] == len(at_agent)
    assert denied["ROLE_NEEDED", "observer"] >= 1


async def test_tickets_are_for_one_process_and_one_caller(doors: Doors) -> None:
    door, at = doors.door, doors.at_agent
    scoped = await door.create(CLIENT, scope=security_pb2.TokenScope(methods=["probe.*"]))
    ticket = await doors.ticket(scoped.text)
    assert scoped.text[17:] not in ticket
    assert await called(at, CALL, shown(ticket)) is None
    assert reason(await called(at, "/acme.v1.Nothing/There", shown(ticket))) == "OUT_OF_SCOPE"
    # Of one agent's process alone: no other one, and no coordinator, takes it.
    for field in "agent_id", "instance_id":
        other = doors.process
        setattr(other, field, "another")
        assert (
            reason(await called(at, CALL, shown(await doors.ticket(scoped.text, other)))) == "TICKET_INVALID"
        )
    assert reason(await door.call("/weft.v1.CoordinatorService/ListTasks", shown(ticket))) == "TICKET_INVALID"
    assert reason(await called(doors.at_egress, CALL, shown(ticket))) == "TICKET_INVALID"
    # Forged, cut, ended.
    said, proof = tickets.claims_of(ticket), ticket.rpartition(".")[2]
    forged = security_pb2.Ticket.FromString(said.SerializeToString())
    forged.caller.role = OPERATOR
    own_key = tickets.signed(forged, b"\0" * 32)
    for bad in (
        own_key,
        f"{own_key.rpartition('.')[0]}.{proof}",
        ticket[:-3],
        f"{tickets.PREFIX}%.%",
        tickets.PREFIX,
    ):
        assert reason(await called(at, CALL, shown(bad))) == "TICKET_INVALID", bad
    office = door.coordinator.identity._office
    verdict = await door.coordinator.identity._judge.judge(scoped.text)
    ended = tickets.claims_of(office.make(verdict, doors.process))
    ended.expire_time.CopyFrom(timestamp(office.now() - 1))
    text = tickets.signed(ended, office.key_of("", doors.process))
    assert reason(await called(at, CALL, shown(text))) == "TICKET_INVALID"
    # Its token's end is its own, within two seconds, also for calls that are under way.
    stub = agent_pb2_grpc.AgentServiceStub(at)
    stream = stub.Execute(metadata=shown(ticket))
    await stream.write(_execute(1, "probe.v1.ProbeService/Call", text="x"))
    await stream.write(_execute(2, "acme.v1.Nothing/There"))
    codes: dict[int, int] = {}
    while len(codes) < 2:
        codes |= {each.id: each.outcome.status.code for each in (await stream.read()).results}
    assert codes == {1: 0, 2: grpc.StatusCode.PERMISSION_DENIED.value[0]}
    began_s = asyncio.get_running_loop().time()
    await door.stub.RevokeToken(
        security_pb2.RevokeTokenRequest(id=scoped.token.id), metadata=shown(door.operator)
    )
    with pytest.raises(grpc.aio.AioRpcError) as cut:
        while await stream.read() is not grpc.aio.EOF:
            pass
    assert asyncio.get_running_loop().time() - began_s < 2
    assert cut.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert reason(await called(at, CALL, shown(ticket))) == "TOKEN_REVOKED"


async def test_a_ticket_ends_with_the_text_that_was_shown_for_it(doors: Doors) -> None:
    """A token that is rotated at once, since somebody else has its text: within two seconds, and the next text is good."""
    made = await doors.door.create(CLIENT)
    ticket = await doors.ticket(made.text)
    stream = agent_pb2_grpc.AgentServiceStub(doors.at_agent).Execute(metadata=shown(ticket))
    await stream.write(_execute(1, "probe.v1.ProbeService/Call", text="x"))
    assert await stream.read() is not grpc.aio.EOF
    began_s = asyncio.get_running_loop().time()
    request = security_pb2.RotateTokenRequest(id=made.token.id, overlap=Duration(seconds=0))
    rotated = await doors.door.stub.RotateToken(request, metadata=shown(doors.door.operator))
    with pytest.raises(grpc.aio.AioRpcError) as cut:
        while await stream.read() is not grpc.aio.EOF:
            pass
    assert asyncio.get_running_loop().time() - began_s < 2
    assert from_call(cut.value).reason_name == "TOKEN_EXPIRED"
    assert reason(await called(doors.at_agent, CALL, shown(ticket))) == "TOKEN_EXPIRED"
    assert await called(doors.at_agent, CALL, shown(await doors.ticket(rotated.text))) is None


def _execute(number: int, method: str, **fields: Any) -> agent_pb2.ExecuteRequest:
    call = agent_pb2.DirectCall(id=number, method=method, payload=ProbeRequest(**fields).SerializeToString())
    return agent_pb2.ExecuteRequest(calls=[call])


async def test_a_new_secret_does_not_shut_callers_out(doors: Doors) -> None:
    """An agent has the key of the last secret until its next session: it asks about tickets of the new one."""
    office = doors.door.coordinator.identity._office
    office._secrets = [security_pb2.TicketSecret(secret=b"n" * 32), *office._secrets]
    text = (await doors.door.create(CLIENT)).text
    assert await called(doors.at_agent, CALL, shown(await doors.ticket(text))) is None


async def test_clients_call_agents_with_tickets(doors: Doors) -> None:
    """A direct call shows the agent no token: the channel, the proxy of the coordinator and the egress have tickets."""
    door = doors.door
    callers = doors.agent._runtime._direct.callers  # type: ignore[union-attr]
    edge, before = callers.edge, callers._sure_from
    scoped = (await door.create(CLIENT, scope=security_pb2.TokenScope(methods=["probe.*"]))).text
    request = ProbeRequest(text="x")
    async with asyncio.timeout(20):
        # Who was let in before a change of tokens is asked about again.
        while callers._sure_from == before or callers._changed.is_set():
            await asyncio.sleep(0.02)
    async with doors.connect(scoped) as mesh:
        for channel, pairs in (
            (mesh.channel(direct=True), ()),
            (door.channel, (*shown(scoped), ("weft-mode", "direct"))),
            (doors.at_egress, ()),
            (doors.at_egress, shown(scoped)),
        ):
            call = channel.unary_unary(
                CALL,
                request_serializer=ProbeRequest.SerializeToString,
                response_deserializer=ProbeReply.FromString,
            )
            reply = await call(request, metadata=pairs, timeout=20.0)
            assert reply.text
        assert (await mesh.direct().explain("probe.v1.ProbeService/Call", 5.0)).chosen == doors.agent.id
        assert edge._shown
        assert all(map(tickets.is_ticket, edge._shown))
        # The coordinator's probe of the port has one, too.
        (agent,) = await mesh.fleet.agents()
        assert agent.direct_state.name == "REACHABLE"
        await _check_what_handlers_get(doors, scoped)
        # Coordinators away: what agents know of their callers holds.
        await door.stop()
        await mesh.channel(direct=True).unary_unary(CALL)(request.SerializeToString(), timeout=20.0)
    out = (await _other(doors)).message
    assert "coordinator" in out


async def _check_what_handlers_get(doors: Doors, text: str) -> None:
    """Neither tokens nor tickets; an application's own authorization stays its own."""
    proofs = text, await doors.ticket(text)
    for path in CALL, f"{CALL}Sync":
        call = doors.at_agent.unary_unary(path, response_deserializer=ProbeReply.FromString)
        for proof in proofs:
            bearer = (("authorization", f"Bearer {proof}"),) if proof == text else shown(proof)
            for pairs, kept in (
                (bearer, False),
                ((*shown(proof), ("authorization", "Bearer of-an-app")), True),
            ):
                reply = await call(b"", metadata=pairs, timeout=20.0)
                found = " ".join(reply.metadata)
                assert not any(each in found for each in proofs), (path, pairs)
                assert ("Bearer of-an-app" in found) is kept, (path, pairs)


async def _other(doors: Doors) -> WeftError:
    """The refusal of a token that the agent does not know, without a coordinator."""
    error = await called(doors.at_agent, CALL, shown(tokens.generate(tokens.generate_id())), 20.0)
    assert reason(error) == "CALLERS_UNKNOWN"
    assert error is not None
    return error


async def test_a_client_out_of_scope_is_told_by_the_agent(doors: Doors) -> None:
    text = (await doors.door.create(CLIENT, scope=security_pb2.TokenScope(methods=["acme.*"]))).text
    async with doors.connect(text) as mesh:
        with pytest.raises(PermissionDenied):
            await mesh.tasks.submit("probe.v1.ProbeService/Call", ProbeRequest())
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await mesh.channel(direct=True).unary_unary(CALL)(b"", timeout=20.0)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_the_library_manages_tokens(tmp_path: Path) -> None:
    async with token_door(tmp_path) as door, connect(door.coordinator.address, token=door.operator) as mesh:
        scope = TokenScope(methods=["probe.*"])
        made = await mesh.tokens.create("client", scope=scope, days=1, name="shop", comment="for tests")
        assert made.text not in repr(made)
        token = made.token
        assert (token.role, token.name, token.scope.methods) == ("client", "shop", ("probe.*",))
        assert token.expires_at is not None
        assert token.expires_at - token.created_at == timedelta(days=1)
        assert (await mesh.tokens.create("agent", days=None, max_uses=2)).token.expires_at is None
        assert await mesh.tokens.get(token.id) == token
        assert len([each async for each in mesh.tokens.list()]) == 3
        rotated = await mesh.tokens.rotate(token.id, overlap_s=0, days=2)
        assert rotated.token.rotated_at is not None
        async with (
            connect(mesh.target, token=made.text) as old,
            connect(mesh.target, token=rotated.text) as new,
        ):
            with pytest.raises(Unauthenticated):
                await old.fleet.agents()
            assert list(await new.fleet.agents()) == []
            with pytest.raises(PermissionDenied):
                await new.tokens.revoke(token.id)
        assert (await mesh.tokens.revoke(token.id)).revoked_at is not None
        with pytest.raises(FailedPrecondition):
            await mesh.tokens.rotate(token.id)
        with pytest.raises(NotFound):
            await mesh.tokens.get("0" * 12)
        with pytest.raises(InvalidArgument, match="role"):
            await mesh.tokens.create("king")  # type: ignore[arg-type]

        def blocking() -> list[str]:
            with connect_sync(mesh.target, token=door.operator) as threaded:
                return [each.id for each in threaded.tokens.list()]

        assert token.id in await asyncio.to_thread(blocking)
