"""Programs in namespaces: agents, their handlers' own calls, clients and the command; figures; and what namespaces cost at Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import ProbeReply, ProbeRequest
from tests.support.command import weft
from tests.support.lightweight import ECHO, LightAgent
from tests.support.namespaced import Sites, sites_on
from tests.support.redis_meter import RedisMeter
from tests.support.token_door import shown, token_door
from weft.agent import Agent, current_task
from weft.client import connect
from weft.coordinator.namespaces import namespace_upkeep
from weft.rpc.errors import AlreadyExists, InvalidArgument, NotFound, PermissionDenied
from weft.rpc.identity.caller import AGENT, CLIENT
from weft.rpc.process import log_context, logs
from weft.v1 import coordinator_pb2, coordinator_pb2_grpc, namespace_pb2
from weft.v1.namespace_pb2_grpc import NamespaceServiceStub
from weft.v1.security_pb2 import TokenScope

PAYLOAD = ProbeRequest(text="x").SerializeToString()


class Probe(probe_pb2_grpc.ProbeServiceServicer):
    """Says which agents its own mesh has."""

    async def Call(self, request: ProbeRequest, context: object) -> ProbeReply:
        agents = await current_task().mesh.fleet.agents()
        return ProbeReply(text=",".join(each.id for each in agents))


def test_a_name_that_cannot_be_is_refused_where_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidArgument, match="namespace"):
        connect("127.0.0.1:1", namespace="Team A")
    with pytest.raises(InvalidArgument, match="namespace"):
        Agent(namespace="Team A")
    monkeypatch.setenv("WEFT_NAMESPACE", "team-b")
    assert Agent().settings.namespace == "team-b"
    assert Agent(namespace="team-a").settings.namespace == "team-a"


async def test_programs_are_in_their_namespace(tmp_path: Path) -> None:
    async with sites_on("embedded", tmp_path) as sites:
        target = sites.coordinators[0].address
        agent = Agent("inner", target=target, namespace="team-a")
        agent.add_servicer(probe_pb2_grpc.add_ProbeServiceServicer_to_server, Probe())
        serving = asyncio.create_task(agent.serve())
        try:
            # It dials on until its namespace is made.
            made = await weft("namespaces", "create", "team-a", "--target", target, "--json")
            assert made.document["name"] == "team-a", made.err
            async with connect(target, namespace="team-a") as inside, connect(target) as outside:
                async with asyncio.timeout(20):
                    while not await inside.fleet.agents():
                        await asyncio.sleep(0.05)
                assert not await outside.fleet.agents()
                for direct in (False, True):
                    stub = probe_pb2_grpc.ProbeServiceStub(inside.channel(direct=direct))
                    reply = await stub.Call(ProbeRequest(text="hello"), timeout=10, wait_for_ready=True)
                    # A handler's own calls are in its agent's namespace.
                    assert reply.text == "inner"
            listed = await weft("agents", "list", "--target", target, "--namespace", "team-a", "--json")
            assert [each["id"] for each in listed.document] == ["inner"]
            nobody = await weft("agents", "list", "--target", target, "--json")
            assert nobody.document == []
            refused = await weft("namespaces", "delete", "team-a", "--target", target)
            assert refused.status == 1
            assert "is in use: 1 connected agents" in refused.err
            unknown = await weft("tasks", "list", "--target", target, "--namespace", "none")
            assert "there is no namespace 'none'" in unknown.err
        finally:
            agent.stop()
            await serving


async def test_closed_namespaces_cost_nothing_at_redis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands, also those inside scripts: an idle second, and a task in the default namespace, before and after there are others."""
    monkeypatch.setattr(namespace_upkeep, "RETRY_S", 0.1)
    async with sites_on("redis", tmp_path) as sites:
        async with LightAgent(sites.channel(), "a1", slots=4):
            await _hosted(sites, "")
            # In this order: kept tasks cost something, too.
            alone = await _per_task(sites, "before"), await _idle(sites)
            for number in range(10):
                await sites.create(f"n{number}")
            beside = await _per_task(sites, "after"), await _idle(sites)
        assert beside[0] <= alone[0] * 1.2 + 1, (alone, beside)
        assert beside[1] <= alone[1] * 1.4 + 20, (alone, beside)

        # One that is opened by a call, and closed when it has been idle.
        tasks = coordinator_pb2_grpc.CoordinatorServiceStub(sites.channel("n0"))
        await tasks.ListTasks(coordinator_pb2.ListTasksRequest(), timeout=10)
        async with asyncio.timeout(10):
            while not all("n0" in each.namespaces.present() for each in sites.coordinators):
                await asyncio.sleep(0.05)
        # It costs each coordinator what an idle mesh costs it.
        assert await _idle(sites) <= beside[1] + 2 * 130
        labels = {
            dict(zip(each.spec.labels, label, strict=True)).get("namespace", "")
            for each in sites.coordinators[0].figures.read()
            for label, _ in each.points
        }
        assert labels == {"", "n0"}
        monkeypatch.setattr(namespace_upkeep, "IDLE_S", 0.0)
        async with asyncio.timeout(15):
            while any(each.namespaces.present() for each in sites.coordinators):
                await asyncio.sleep(0.05)
        # The next call opens it again.
        await tasks.ListTasks(coordinator_pb2.ListTasksRequest(), timeout=10)


async def _hosted(sites: Sites, namespace: str) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                await sites.channel(namespace).unary_unary(f"/{ECHO}")(PAYLOAD, timeout=5)
            except Exception:
                await asyncio.sleep(0.05)
            else:
                return


async def _idle(sites: Sites) -> float:
    """Commands of an idle second, of enough of them: polls and sweeps come at random times, some four of each a second."""
    assert sites.redis is not None
    meter = await RedisMeter.start(sites.redis)
    began_s = time.monotonic()
    await asyncio.sleep(2.5)
    return (await meter.read()).calls / (time.monotonic() - began_s)


async def _per_task(sites: Sites, name: str) -> float:
    """Commands that a task costs, one after the other, in the default namespace."""
    assert sites.redis is not None
    stub = coordinator_pb2_grpc.CoordinatorServiceStub(sites.channel())
    meter = await RedisMeter.start(sites.redis)
    for number in range(50):
        request = coordinator_pb2.SubmitTaskRequest(
            method=ECHO, payload=PAYLOAD, request_id=f"{name}-{number}"
        )
        await stub.SubmitTask(request, timeout=10)
    return (await meter.read()).calls / 50


async def test_a_token_of_one_namespace_leads_there(tmp_path: Path) -> None:
    """Its holders say no namespace; with tickets at the agent's own port, too. A holder of another one gets nowhere."""
    async with token_door(tmp_path) as door:
        operator = NamespaceServiceStub(door.channel)
        for name in ("team-a", "team-b"):
            request = namespace_pb2.CreateNamespaceRequest(name=name)
            await operator.CreateNamespace(request, metadata=shown(door.operator), timeout=10)
        texts = {
            (role, name): (await door.create(role, scope=TokenScope(namespaces=[name]))).text
            for role, name in ((AGENT, "team-a"), (CLIENT, "team-a"), (CLIENT, "team-b"))
        }
        target = door.coordinator.address
        agent = Agent("inner", target=target)
        agent.configure(token=texts[AGENT, "team-a"])
        agent.add_servicer(probe_pb2_grpc.add_ProbeServiceServicer_to_server, Probe())
        serving = asyncio.create_task(agent.serve())
        try:
            async with connect(target, token=texts[CLIENT, "team-a"]) as inside:
                async with asyncio.timeout(20):
                    while not await inside.fleet.agents():
                        await asyncio.sleep(0.05)
                for direct in (False, True):
                    stub = probe_pb2_grpc.ProbeServiceStub(inside.channel(direct=direct))
                    reply = await stub.Call(ProbeRequest(text="hello"), timeout=10, wait_for_ready=True)
                    assert reply.text == "inner"
            async with connect(target, token=texts[CLIENT, "team-b"]) as other:
                assert not await other.fleet.agents()
            async with connect(target, token=texts[CLIENT, "team-b"], namespace="team-a") as other:
                with pytest.raises(PermissionDenied):
                    await other.fleet.agents()
        finally:
            agent.stop()
            await serving


async def test_what_is_due_is_heeded_after_a_restart_without_any_call(tmp_path: Path) -> None:
    async with sites_on("embedded", tmp_path) as sites:
        await sites.create("team-a")
        stub = coordinator_pb2_grpc.CoordinatorServiceStub(sites.channel("team-a"))
        async with LightAgent(sites.channel("team-a"), "a1"):
            await _hosted(sites, "team-a")
        request = coordinator_pb2.SubmitTaskRequest(method=ECHO, payload=PAYLOAD)
        request.options.delay.seconds = 3600
        task_id = (await stub.SubmitTask(request, timeout=10)).task.id
    async with sites_on("embedded", tmp_path) as sites:
        async with asyncio.timeout(10):
            while "team-a" not in sites.coordinators[0].namespaces.present():
                await asyncio.sleep(0.02)
        stub = coordinator_pb2_grpc.CoordinatorServiceStub(sites.channel("team-a"))
        found = await stub.GetTask(coordinator_pb2.GetTaskRequest(task_id=task_id), timeout=10)
        assert found.task.id == task_id


async def test_the_library_manages_namespaces(tmp_path: Path) -> None:
    async with token_door(tmp_path) as door, connect(door.coordinator.address, token=door.operator) as mesh:
        made = await mesh.namespaces.create("team-a", comment="research")
        assert (made.name, made.comment, made.deleted_at) == ("team-a", "research", None)
        assert made.created_at is not None
        assert [each.name for each in await mesh.namespaces.list()] == ["default", "team-a"]
        with pytest.raises(AlreadyExists):
            await mesh.namespaces.create("team-a")
        with pytest.raises(InvalidArgument):
            await mesh.namespaces.create("../team")
        text = (await door.create(CLIENT, scope=TokenScope(namespaces=["team-a"]))).text
        async with connect(mesh.target, token=text) as theirs:
            assert [each.name for each in await theirs.namespaces.list()] == ["team-a"]
            with pytest.raises(PermissionDenied):
                await theirs.namespaces.delete("team-a")
        assert (await mesh.namespaces.delete("team-a")).deleted_at is not None
        with pytest.raises(NotFound):
            await mesh.namespaces.delete("team-b")


async def test_a_coordinators_lines_name_the_namespace(tmp_path: Path) -> None:
    lines: list[Mapping[str, Any]] = []

    def keep(_level: int, _name: str, _event: str, fields: Mapping[str, Any]) -> None:
        lines.append({**log_context.fields(), **fields})

    async with sites_on("embedded", tmp_path) as sites:
        await sites.create("team-a")
        before = logs._in_use.sink
        logs.use(keep)
        try:
            for namespace in "team-a", "":
                async with LightAgent(sites.channel(namespace), f"of-{namespace}"):
                    pass
        finally:
            logs.use(before)
    found = [(each["agent_id"], each.get("namespace")) for each in lines if "agent_id" in each]
    assert set(found) == {("of-team-a", "team-a"), ("of-", None)}, lines
