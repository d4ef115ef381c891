"""Usage and budgets on real coordinators: counted, kept over restarts, added up over coordinators; budgets refuse and pause."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import ProbeRequest
from tests.support.lightweight import CALL, ECHO, STREAM, LightAgent, result_of
from tests.support.namespaced import Sites, sites_on
from tests.support.refusals import check, refused
from weft.agent import Agent, current_task
from weft.client import LimitReached, Mesh, Method, connect
from weft.v1 import coordinator_pb2 as api
from weft.v1 import coordinator_pb2_grpc, session_pb2, task_pb2, usage_pb2
from weft.v1.method_pb2 import ListMethodsRequest
from weft.v1.method_pb2_grpc import MethodServiceStub
from weft.v1.usage_pb2_grpc import UsageServiceStub

PAYLOAD = ProbeRequest(text="x" * 100).SerializeToString()
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


def using(assignment: session_pb2.Assignment) -> session_pb2.AttemptResult:
    return result_of(assignment, response=b"y" * 50, used={"tokens": 10.0})


async def run(sites: Sites, count: int, method: str = ECHO, at: int = 0, root: str = "") -> None:
    stub = coordinator_pb2_grpc.CoordinatorServiceStub(sites.channel(at=at))
    options = task_pb2.TaskOptions(context=task_pb2.CallContext(root_id=root)) if root else None
    request = api.SubmitTaskRequest(method=method, payload=PAYLOAD, options=options)
    ids = [(await stub.SubmitTask(request, timeout=10)).task.id for _ in range(count)]
    async for _ in stub.WaitTasks(api.WaitTasksRequest(task_ids=ids), timeout=10):
        pass


async def eventually(condition: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.02)


async def hosted(sites: Sites, at: int) -> None:
    stub = MethodServiceStub(sites.channel(at=at))

    async def known() -> bool:
        return len((await stub.ListMethods(ListMethodsRequest(), timeout=10)).methods) == 2

    await eventually(known)


async def used(sites: Sites, dimension: str = "METHOD", at: int = 0) -> dict[str, usage_pb2.Usage]:
    by = usage_pb2.UsageDimension.Value(f"USAGE_DIMENSION_{dimension}")
    request = usage_pb2.GetUsageRequest(by=by)
    response = await UsageServiceStub(sites.channel(at=at)).GetUsage(request, timeout=10)
    return {each.name: each.usage for each in response.entries}


async def set_budget(sites: Sites, name: str, amount: float, at: int = 0, **fields: Any) -> usage_pb2.Budget:
    budget = usage_pb2.Budget(name=name, amount=amount, **({"unit": "tokens"} | fields))
    stub = UsageServiceStub(sites.channel(at=at))
    response = await stub.SetBudget(usage_pb2.SetBudgetRequest(budget=budget), timeout=10)
    return response.budget


@pytest.mark.parametrize("kind", ["embedded", "redis"])
async def test_usage_is_counted_kept_and_bounded(tmp_path: Path, kind: str) -> None:
    other = 1
    async with sites_on(kind, tmp_path) as sites:
        async with (
            LightAgent(sites.channel(), "a1", methods=(ECHO, CALL), answer=using),
            LightAgent(sites.channel(at=other), "a2", methods=(ECHO, CALL), answer=using),
        ):
            await hosted(sites, 0)
            await hosted(sites, other)
            await run(sites, 3)
            await run(sites, 2, CALL, at=other, root="tree-1")

            # All that both have counted: the other one writes it every ten seconds, or when it is asked.
            async def all_counted() -> bool:
                await used(sites, at=other)
                found = await used(sites)
                return {name: each.attempts for name, each in found.items()} == {ECHO: 3, CALL: 2}

            await eventually(all_counted)
            found = await used(sites)
            assert found[ECHO].units == {"tokens": 30.0}
            assert (found[ECHO].request_bytes, found[ECHO].response_bytes) == (3 * len(PAYLOAD), 150)
            assert found[ECHO].slot_time.ToTimedelta().total_seconds() > 0
            roots = await used(sites, "ROOT_TASK")
            assert {name: each.attempts for name, each in roots.items()} == {"tree-1": 2}
            agents = await used(sites, "AGENT")
            assert sum(each.attempts for each in agents.values()) == 5
            (hour,) = (await used(sites, "TIME")).values()
            assert hour.units == {"tokens": 50.0}

            await check_refusals(sites, other)
            await check_pauses(sites, other)
        before = await used(sites)
    if kind == "embedded":
        async with sites_on(kind, tmp_path) as again:
            assert (await used(again))[ECHO] == before[ECHO]


async def check_refusals(sites: Sites, other: int) -> None:
    """What was used before does not count; refused at both coordinators when it is spent, until it is raised."""
    stubs = [coordinator_pb2_grpc.CoordinatorServiceStub(sites.channel(at=at)) for at in (0, other)]
    budget = await set_budget(sites, "tokens", 15, method=ECHO)
    assert budget.spent == 0
    request = api.SubmitTaskRequest(method=ECHO, payload=PAYLOAD)

    async def refuses(at: int) -> bool:
        try:
            await stubs[at].SubmitTask(request, timeout=10)
        except grpc.aio.AioRpcError as error:
            return error.code() is EXHAUSTED
        return False

    await run(sites, 2)
    # The other one hears of it when it writes next, which a question hastens.
    await UsageServiceStub(sites.channel()).ListBudgets(usage_pb2.ListBudgetsRequest(), timeout=10)
    for at in {0, other % len(sites.coordinators)}:

        async def there(at: int = at) -> bool:
            await UsageServiceStub(sites.channel(at=at)).ListBudgets(
                usage_pb2.ListBudgetsRequest(), timeout=10
            )
            return await refuses(at)

        await eventually(there)
    check(await refused(stubs[0].SubmitTask(request, timeout=10)), EXHAUSTED, "BUDGET_SPENT")
    echo = probe_pb2_grpc.ProbeServiceStub(sites.channel()).Echo(ProbeRequest(text="x"), timeout=10)
    check(await refused(echo), EXHAUSTED, "BUDGET_SPENT")
    # Other methods are not concerned.
    await run(sites, 1, CALL)
    raised = await set_budget(sites, "tokens", 1e6, method=ECHO)
    assert raised.spent >= 20
    await run(sites, 1)
    # The tree of one task.
    await set_budget(sites, "tree", 5, unit="attempts", root_task_id="tree-2")
    await run(sites, 5, CALL, root="tree-2")

    async def tree_is_spent() -> bool:
        options = task_pb2.TaskOptions(context=task_pb2.CallContext(root_id="tree-2"))
        child = api.SubmitTaskRequest(method=CALL, payload=PAYLOAD, options=options)
        await UsageServiceStub(sites.channel()).ListBudgets(usage_pb2.ListBudgetsRequest(), timeout=10)
        try:
            await stubs[0].SubmitTask(child, timeout=10)
        except grpc.aio.AioRpcError as error:
            return error.code() is EXHAUSTED
        return False

    # Tasks below it may have run at the agent of the other one.
    await UsageServiceStub(sites.channel(at=other)).ListBudgets(usage_pb2.ListBudgetsRequest(), timeout=10)
    await eventually(tree_is_spent)


async def check_pauses(sites: Sites, other: int) -> None:
    stub = coordinator_pb2_grpc.CoordinatorServiceStub(sites.channel(at=other))
    day = usage_pb2.BUDGET_PERIOD_DAY
    pause = usage_pb2.BUDGET_ACTION_PAUSE
    # Spent already, by what was used today.
    await set_budget(sites, "daily", 1, period=day, action=pause, method=CALL)

    async def paused() -> set[str]:
        queues = (await stub.ListQueues(api.ListQueuesRequest(), timeout=10)).queues
        return {queue.method for queue in queues if queue.paused}

    async def is_paused() -> bool:
        return await paused() == {CALL}

    await eventually(is_paused)
    task = (await stub.SubmitTask(api.SubmitTaskRequest(method=CALL, payload=PAYLOAD), timeout=10)).task
    usage = UsageServiceStub(sites.channel(at=other))

    async def renews() -> bool:
        # This coordinator may hear of the paused method before it hears of the budget.
        found = (await usage.ListBudgets(usage_pb2.ListBudgetsRequest(), timeout=10)).budgets
        return any(each.name == "daily" and each.HasField("renew_time") for each in found)

    await eventually(renews)
    await usage.DeleteBudget(usage_pb2.DeleteBudgetRequest(name="daily"), timeout=10)

    async def runs_again() -> bool:
        found = await stub.GetTask(api.GetTaskRequest(task_id=task.id), timeout=10)
        return not await paused() and found.task.state == task_pb2.TASK_STATE_SUCCEEDED

    await eventually(runs_again)


async def test_a_budget_of_a_namespace_pauses_its_methods_alone(tmp_path: Path) -> None:
    """At every coordinator; what waits runs when the budget is raised. A coordinator that begins anew goes on with it."""
    async with sites_on("redis", tmp_path) as sites:
        await sites.create("team")
        stubs = {
            name: coordinator_pb2_grpc.CoordinatorServiceStub(sites.channel(name, at=1))
            for name in ("team", "")
        }
        usage = UsageServiceStub(sites.channel("team"))
        pause = usage_pb2.BUDGET_ACTION_PAUSE
        budget = usage_pb2.Budget(name="all", amount=15, unit="tokens", action=pause)
        async with (
            LightAgent(sites.channel("team"), "a1", methods=(ECHO, CALL), answer=using),
            LightAgent(sites.channel(), "a2", methods=(ECHO, CALL), answer=using),
        ):
            for name in stubs:
                listed = MethodServiceStub(sites.channel(name, at=1))

                async def known(listed: Any = listed) -> bool:
                    return len((await listed.ListMethods(ListMethodsRequest(), timeout=10)).methods) == 2

                await eventually(known)
            await usage.SetBudget(usage_pb2.SetBudgetRequest(budget=budget), timeout=10)

            async def paused(name: str) -> set[str]:
                queues = (await stubs[name].ListQueues(api.ListQueuesRequest(), timeout=10)).queues
                return {queue.method for queue in queues if queue.paused}

            for method in (ECHO, CALL):
                request = api.SubmitTaskRequest(method=method, payload=PAYLOAD)
                await stubs["team"].SubmitTask(request, timeout=10)

            async def all_paused() -> bool:
                return await paused("team") == {ECHO, CALL}

            await eventually(all_paused)
            assert await paused("") == set()
            # A method that comes later is paused, too.
            async with LightAgent(sites.channel("team"), "a3", methods=(ECHO, CALL, STREAM), answer=using):

                async def new_one_paused() -> bool:
                    return await paused("team") >= {STREAM}

                await eventually(new_one_paused)
            waiting = (await stubs["team"].SubmitTask(request, timeout=10)).task.id
            budget.amount = 1000
            await usage.SetBudget(usage_pb2.SetBudgetRequest(budget=budget), timeout=10)

            async def ran() -> bool:
                task = (await stubs["team"].GetTask(api.GetTaskRequest(task_id=waiting), timeout=10)).task
                return task.state == task_pb2.TASK_STATE_SUCCEEDED and not await paused("team")

            await eventually(ran)


def isolated(request: dict[str, Any]) -> dict[str, Any]:
    current_task().use("tokens", 9)
    return request


async def test_handlers_name_units_and_the_library_reads_them(tmp_path: Path) -> None:
    """By word, in threads and isolated processes too, and by trailing metadata; failed attempts count as well."""
    async with sites_on("embedded", tmp_path) as sites:
        target = sites.coordinators[0].address
        agent = Agent("units", target=target, slots=4)

        @agent.method("acme.v1.S/Async")
        async def _(request: dict[str, Any]) -> dict[str, Any]:
            current_task().use("tokens", 2)
            current_task().use("tokens", 3)
            with pytest.raises(ValueError, match="cannot be the name"):
                current_task().use("slot_s", 1)
            with pytest.raises(ValueError, match="must be a number"):
                current_task().use("tokens", float("nan"))
            if request.get("fail"):
                raise RuntimeError("after use")
            return {}

        @agent.method("acme.v1.S/Thread")
        def _(request: dict[str, Any]) -> dict[str, Any]:
            current_task().use("tokens", 7)
            return {}

        agent.method("acme.v1.S/Isolated", isolate=True)(isolated)

        class Servicer(probe_pb2_grpc.ProbeServiceServicer):
            async def Echo(self, request: Any, context: Any) -> Any:
                context.set_trailing_metadata((("x-weft-used-tokens", "11"), ("x-weft-used-x", "no number")))
                return request

        agent.add_servicer(probe_pb2_grpc.add_ProbeServiceServicer_to_server, Servicer())
        serving = asyncio.create_task(agent.serve())
        try:
            async with connect(target) as mesh:
                methods = MethodServiceStub(sites.channel())

                async def known() -> bool:
                    found = await methods.ListMethods(ListMethodsRequest(), timeout=10)
                    return "acme.v1.S/Thread" in {each.name for each in found.methods}

                await eventually(known)
                stub = probe_pb2_grpc.ProbeServiceStub(mesh.channel())
                await stub.Echo(ProbeRequest(text="x"), timeout=20, wait_for_ready=True)
                for name, failing in (
                    ("Async", False),
                    ("Async", True),
                    ("Thread", False),
                    ("Isolated", False),
                ):
                    request = Struct()
                    request["fail"] = failing
                    handle = await mesh.tasks.submit(Method.of(f"acme.v1.S/{name}", Struct, Struct), request)
                    await handle.ended()
                report = await mesh.usage()
                units = {name.rpartition("/")[2]: dict(each.units) for name, each in report.entries}
                tokens = {"Async": 10, "Thread": 7, "Isolated": 9, "Echo": 11}
                assert units == {name: {"tokens": amount} for name, amount in tokens.items()}
                assert report.total.units == {"tokens": 37}
                await mesh.budgets.set("all", 1, "attempts", period="day")
                with pytest.raises(LimitReached, match="budget all"):
                    await mesh.tasks.submit(Method.of("acme.v1.S/Thread", Struct, Struct), Struct())
                (budget,) = await mesh.budgets.list()
                assert (budget.spent, budget.period, budget.action) == (5, "day", "refuse")
                await mesh.budgets.delete("all")
        finally:
            agent.stop()
            await serving


def directly(mesh: Mesh, name: str) -> Any:
    return mesh.channel(direct=True).unary_unary(
        f"/acme.v1.D/{name}",
        request_serializer=Struct.SerializeToString,
        response_deserializer=Struct.FromString,
    )


@pytest.mark.slow
async def test_direct_calls_are_counted_by_their_agents(tmp_path: Path) -> None:
    """On the loop, in threads and isolated processes; their bytes, time and units; a handler's own calls in the tree of its task."""
    async with sites_on("embedded", tmp_path, heartbeat_interval_s=0.2) as sites:
        target = sites.coordinators[0].address
        agent = Agent("direct", target=target, slots=8)

        @agent.method("acme.v1.D/Async")
        async def _(request: dict[str, Any]) -> dict[str, Any]:
            current_task().use("tokens", 2)
            return request

        @agent.method("acme.v1.D/Thread")
        def _(request: dict[str, Any]) -> dict[str, Any]:
            current_task().use("tokens", 7)
            return request

        agent.method("acme.v1.D/Isolated", isolate=True)(isolated)

        @agent.method("acme.v1.D/Upper")
        async def _(request: dict[str, Any]) -> dict[str, Any]:
            for _ in range(3):
                await directly(current_task().mesh, "Async")(Struct(), timeout=20, wait_for_ready=True)
            return request

        serving = asyncio.create_task(agent.serve())
        try:
            async with connect(target) as mesh:
                request = Struct()
                request["text"] = "x" * 1000
                for name, count in (("Async", 4), ("Thread", 2), ("Isolated", 1)):
                    for _ in range(count):
                        await directly(mesh, name)(request, timeout=20, wait_for_ready=True)
                upper = await mesh.tasks.submit(Method.of("acme.v1.D/Upper", Struct, Struct), request)
                await upper.result(20)

                async def counted() -> bool:
                    found = await used(sites)
                    return sum(each.direct_calls for each in found.values()) == 10

                await eventually(counted)
                found = {name.rpartition("/")[2]: each for name, each in (await used(sites)).items()}
                assert {name: each.direct_calls for name, each in found.items()} == {
                    "Async": 7,
                    "Thread": 2,
                    "Isolated": 1,
                    "Upper": 0,
                }
                size_bytes = request.ByteSize()
                assert (found["Thread"].request_bytes, found["Thread"].response_bytes) == (
                    2 * size_bytes,
                ) * 2
                assert found["Async"].request_bytes == 4 * size_bytes
                assert found["Isolated"].request_bytes == size_bytes
                assert {name: dict(each.units) for name, each in found.items() if each.units} == {
                    "Async": {"tokens": 14.0},
                    "Thread": {"tokens": 14.0},
                    "Isolated": {"tokens": 9.0},
                }
                assert all(each.active.ToTimedelta().total_seconds() > 0 for each in found.values())
                (of_agent,) = (await used(sites, "AGENT")).values()
                assert (of_agent.direct_calls, of_agent.attempts) == (10, 1)
                roots = await used(sites, "ROOT_TASK")
                assert roots[upper.id].direct_calls == 3
                report = await mesh.usage()
                assert report.total.direct_calls == 10
        finally:
            agent.stop()
            await serving
