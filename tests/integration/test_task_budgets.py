"""Budgets by which tasks are submitted: what is below counts, at every coordinator; children are refused when one is spent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct

from tests.support.command import weft
from tests.support.namespaced import Sites, sites_on
from tests.support.refusals import check, refused
from weft.agent import Agent, current_task
from weft.client import InvalidArgument, LimitReached, Mesh, Method, call_options, connect
from weft.rpc.calls.call_context import TREE_BUDGET_KEY
from weft.rpc.errors import status_of_call
from weft.v1 import coordinator_pb2 as api
from weft.v1 import coordinator_pb2_grpc, task_pb2, usage_pb2
from weft.v1.method_pb2 import ListMethodsRequest
from weft.v1.method_pb2_grpc import MethodServiceStub
from weft.v1.usage_pb2_grpc import UsageServiceStub

SERVICE = "acme.v1.Budgets"
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


def method(name: str) -> Method[Struct, Struct]:
    return Method.of(f"{SERVICE}/{name}", Struct, Struct)


def struct(**fields: Any) -> Struct:
    made = Struct()
    made.update(fields)
    return made


async def children(count: int, **options: Any) -> int:
    """Run children one after another; returns how many were not refused."""
    mesh = current_task().mesh
    for done in range(count):
        try:
            handle = await mesh.tasks.submit(method("Child"), struct(), **options)
        except LimitReached:
            return done
        await handle.result()
    return count


@asynccontextmanager
async def serving(sites: Sites) -> AsyncIterator[Mesh]:
    """An agent at the first coordinator, and a client of it."""
    target = sites.coordinators[0].address
    agent = Agent("budgets", target=target, slots=16)

    @agent.method(f"{SERVICE}/Child")
    async def _(request: dict[str, Any]) -> dict[str, Any]:
        current_task().use("tokens", 5)
        return request

    @agent.method(f"{SERVICE}/Bounded", budget={"tokens": 12, "attempts": 100})
    async def _(request: dict[str, Any]) -> dict[str, Any]:
        return {"done": await children(9)}

    @agent.method(f"{SERVICE}/Root")
    async def _(request: dict[str, Any]) -> dict[str, Any]:
        current_task().use("tokens", 1)
        if request.get("direct"):
            call = directly(current_task().mesh, "Child")
            for _ in range(int(request["direct"])):
                await call(Struct(), timeout=20, wait_for_ready=True)
        return {"done": await children(int(request.get("children", 9)))}

    @agent.method(f"{SERVICE}/Nested")
    async def _(request: dict[str, Any]) -> dict[str, Any]:
        inner = await current_task().mesh.tasks.submit(method("Root"), struct(), budget={"tokens": 10})
        return {"inner": (await inner.result())["done"], "outer": await children(9)}

    running = asyncio.create_task(agent.serve())
    try:
        async with connect(target) as mesh:
            for at in range(len(sites.coordinators)):
                stub = MethodServiceStub(sites.channel(at=at))
                async with asyncio.timeout(20):
                    while len((await stub.ListMethods(ListMethodsRequest(), timeout=10)).methods) < 4:
                        await asyncio.sleep(0.02)
            yield mesh
    finally:
        agent.stop()
        await running


def directly(mesh: Mesh, name: str) -> Any:
    return mesh.channel(direct=True).unary_unary(
        f"/{SERVICE}/{name}",
        request_serializer=Struct.SerializeToString,
        response_deserializer=Struct.FromString,
    )


async def ran(mesh: Mesh, name: str, request: Struct, **options: Any) -> tuple[str, dict[str, Any]]:
    handle = await mesh.tasks.submit(method(name), request, **options)
    return handle.id, dict(await handle.result())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["embedded", "redis"])
async def test_children_are_refused_when_the_budget_of_their_root_is_spent(tmp_path: Path, kind: str) -> None:
    async with sites_on(kind, tmp_path, heartbeat_interval_s=0.2) as sites, serving(sites) as mesh:
        root, made = await ran(mesh, "Root", struct(), budget={"tokens": 20, "attempts": 100})
        assert made == {"done": 4}
        spent = {each.unit: (each.spent, each.amount) for each in await mesh.budgets.list(task_id=root)}
        # The root's own attempt is counted when it is reported.
        assert spent == {"tokens": (21, 20), "attempts": (5, 100)}
        # Each tree has its own, and one without a budget has none.
        assert (await ran(mesh, "Root", struct(), budget={"tokens": 10}))[1] == {"done": 2}
        assert (await ran(mesh, "Root", struct(children=5)))[1] == {"done": 5}
        await check_other_coordinator(sites, root)
        await check_nested(mesh)
        await check_of_methods(mesh)
        await check_direct(mesh)
        if kind == "embedded":
            await check_told(mesh, sites.coordinators[0].address)


async def check_other_coordinator(sites: Sites, root: str) -> None:
    """One that has never seen the root knows its budget by the call, and what was spent by the store."""
    # A question about usage writes what was counted there; one about a budget writes nothing.
    await UsageServiceStub(sites.channel(at=0)).GetUsage(usage_pb2.GetUsageRequest(), timeout=10)
    channel = sites.channel(at=1)
    listed = await UsageServiceStub(channel).ListBudgets(
        usage_pb2.ListBudgetsRequest(task_id=root), timeout=10
    )
    assert {each.unit: each.spent for each in listed.budgets} == {"tokens": 21, "attempts": 5}
    stub = coordinator_pb2_grpc.CoordinatorServiceStub(channel)
    budget = task_pb2.TreeBudget(task_id=root, amounts={"tokens": 20})
    options = task_pb2.TaskOptions(context=task_pb2.CallContext(root_id=root, budgets=[budget]))
    child = api.SubmitTaskRequest(method=f"{SERVICE}/Child", payload=b"", options=options)
    async with asyncio.timeout(20):
        # The first call below a tree makes the coordinator read its row.
        while True:
            try:
                await stub.SubmitTask(child, timeout=10)
            except grpc.aio.AioRpcError as error:
                check(status_of_call(error), EXHAUSTED, "BUDGET_SPENT")
                break
            await asyncio.sleep(0.05)
    # A call by its generated stub, as a handler's.
    call = channel.unary_unary(f"/{SERVICE}/Child")
    metadata = (("weft-root-id", root), (TREE_BUDGET_KEY, budget.SerializeToString()))
    check(await refused(call(b"", metadata=metadata, timeout=10)), EXHAUSTED, "BUDGET_SPENT")


async def check_nested(mesh: Mesh) -> None:
    """A task below with a smaller budget of its own: both hold, and what it uses counts for both."""
    outer, made = await ran(mesh, "Nested", struct(), budget={"tokens": 30})
    # Inside two children and the root's own token; outside as many as are left of 30 - 11.
    assert made == {"inner": 2, "outer": 4}
    (budget,) = await mesh.budgets.list(task_id=outer)
    assert (budget.root_task_id, budget.spent) == (outer, 31)


async def check_of_methods(mesh: Mesh) -> None:
    """By the method's policy; of each unit the smaller amount of the two."""
    assert (await ran(mesh, "Bounded", struct()))[1] == {"done": 3}
    task, made = await ran(mesh, "Bounded", struct(), budget={"tokens": 1e6, "attempts": 2})
    assert made == {"done": 2}
    told = (await mesh.tasks.get(task)).proto.options
    assert dict(told.budget) == {"tokens": 12, "attempts": 2}


async def check_direct(mesh: Mesh) -> None:
    """Direct calls below count, when their agent has told of them."""
    root, _ = await ran(mesh, "Root", struct(direct=4, children=0), budget={"tokens": 20, "direct_calls": 5})
    async with asyncio.timeout(20):
        while True:
            spent = {each.unit: each.spent for each in await mesh.budgets.list(task_id=root)}
            if spent == {"tokens": 21, "direct_calls": 4}:
                break
            await asyncio.sleep(0.05)
    call = directly(mesh, "Child")(Struct(), metadata=call_options(budget={"tokens": 1}), timeout=10)
    check(await refused(call), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


async def check_told(mesh: Mesh, target: str) -> None:
    """On the command line and by metadata; bad ones are refused by their place."""
    done = await weft(
        *("submit", f"{SERVICE}/Root", "{}", "--budget", "tokens=10", "--budget", "active_s=60", "--json"),
        target=target,
    )
    assert done.status == 0, done.err
    task_id = done.document["task_id"]
    shown = await weft("tasks", "get", task_id, target=target)
    assert "active_s 60, tokens 10" in shown.out
    listed = await weft("budgets", "list", "--task", task_id, "--json", target=target)
    assert '"amount": 10.0' in listed.out
    call = mesh.channel().unary_unary(
        f"/{SERVICE}/Root",
        request_serializer=Struct.SerializeToString,
        response_deserializer=Struct.FromString,
    )
    assert dict(await call(Struct(), metadata=(("weft-budget", "tokens=5"),), timeout=20)) == {"done": 1}
    for bad in ({"tokens": 0.0}, {"a b": 1.0}, {str(number): 1.0 for number in range(17)}):
        with pytest.raises(InvalidArgument, match=r"options\.budget"):
            await mesh.tasks.submit(method("Child"), struct(), budget=bad)
