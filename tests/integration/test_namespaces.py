"""Namespaces at real coordinators: what is in one cannot be seen from another, by any RPC, on both stores."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from probe.v1.probe_pb2 import ProbeRequest
from tests.support.lightweight import CALL, ECHO, LightAgent
from tests.support.namespaced import Sites, sites_on
from tests.support.request_places import places
from weft.coordinator.fleet.service_health import OWN_SERVICES
from weft.coordinator.namespaces import namespace_upkeep
from weft.coordinator.server import Coordinator
from weft.coordinator.settings import CoordinatorSettings
from weft.rpc.errors import WeftError, from_call
from weft.rpc.identity.caller import concerns_every_namespace
from weft.rpc.network.routes import Routes
from weft.v1 import (
    coordinator_pb2,
    coordinator_pb2_grpc,
    event_pb2,
    event_pb2_grpc,
    group_pb2,
    group_pb2_grpc,
    hook_pb2,
    hook_pb2_grpc,
    keyed_state_pb2,
    keyed_state_pb2_grpc,
    namespace_pb2,
    namespace_pb2_grpc,
    pool_pb2,
    pool_pb2_grpc,
    schedule_pb2,
    schedule_pb2_grpc,
    stats_pb2,
    stats_pb2_grpc,
    task_pb2,
    usage_pb2,
    usage_pb2_grpc,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEAM, OTHER = "team-a", "team-b"
TOPIC = "probe.v1.Payload"
PAYLOAD = ProbeRequest(text="a secret").SerializeToString()


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["embedded", "redis"])
async def sites(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Sites]:
    """Two namespaces beside the default one. In the first: an agent, at the other coordinator, a task, a group, a schedule and a pool."""
    async with sites_on(request.param, tmp_path_factory.mktemp("sites"), pool_providers="process") as made:
        await made.create(TEAM)
        await made.create(OTHER)
        async with LightAgent(made.channel(TEAM, at=1), "worker", slots=4, methods=(ECHO, CALL)):
            await serving(made, TEAM)
            yield made


async def serving(sites: Sites, *namespaces: str) -> None:
    """Wait until the method is hosted there, at every coordinator."""
    request = health_pb2.HealthCheckRequest(service="probe.v1.ProbeService")
    for name in namespaces:
        for at in range(len(sites.coordinators)):
            stub = health_pb2_grpc.HealthStub(sites.channel(name, at=at))
            async with asyncio.timeout(10):
                while await _code(stub.Check(request, timeout=5)) is not None:
                    await asyncio.sleep(0.02)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ids(sites: Sites) -> dict[str, str]:
    """What there is in the first namespace, by the names of fields."""
    channel = sites.channel(TEAM)
    session = (("weft-session", "secret-session"),)
    reply = await channel.unary_unary(f"/{ECHO}")(PAYLOAD, metadata=session, timeout=10)
    assert ProbeRequest.FromString(reply).text == "a secret"
    group = group_pb2.CreateGroupRequest(name="secret-group")
    await group_pb2_grpc.GroupServiceStub(channel).CreateGroup(group, timeout=10)
    stub = coordinator_pb2_grpc.CoordinatorServiceStub(channel)
    request = coordinator_pb2.SubmitTaskRequest(method=ECHO, payload=PAYLOAD, request_id="r1")
    request.options.group = "secret-group"
    task = (await stub.SubmitTask(request, timeout=10)).task
    spec = schedule_pb2.ScheduleSpec(method=ECHO, payload=PAYLOAD, cron="0 0 1 1 *")
    schedules = schedule_pb2_grpc.ScheduleServiceStub(channel)
    await schedules.CreateSchedule(
        schedule_pb2.CreateScheduleRequest(name="secret-schedule", spec=spec), timeout=10
    )
    template = pool_pb2.PoolTemplate(provider="process", program="m:agent")
    pool = pool_pb2.CreatePoolRequest(name="secret-pool", spec=pool_pb2.PoolSpec(template=template))
    await pool_pb2_grpc.FleetServiceStub(channel).CreatePool(pool, timeout=10)
    event = event_pb2.NewEvent(topic=TOPIC, payload=PAYLOAD, id="e1")
    events = event_pb2_grpc.EventServiceStub(channel)
    await events.PublishEvents(event_pb2.PublishEventsRequest(events=[event]), timeout=10)
    delivered = event_pb2.SubscriptionSpec(topic=TOPIC, delivery={"method": ECHO})
    subscription = event_pb2.CreateSubscriptionRequest(name="secret-subscription", spec=delivered)
    await events.CreateSubscription(subscription, timeout=10)
    budget = usage_pb2.Budget(
        name="secret-budget", method=ECHO, unit="attempts", amount=1e9, period=1, action=1
    )
    await usage_pb2_grpc.UsageServiceStub(channel).SetBudget(
        usage_pb2.SetBudgetRequest(budget=budget), timeout=10
    )
    hook = hook_pb2.HookSpec(incoming={"kind": "HOOK_KIND_GITHUB", "task": {"method": ECHO}})
    await hook_pb2_grpc.HookServiceStub(channel).CreateHook(
        hook_pb2.CreateHookRequest(name="secret-hook", spec=hook), timeout=10
    )
    state = keyed_state_pb2.SetKeyedStateRequest(name="secret-state", value=b"1", type="json")
    await keyed_state_pb2_grpc.KeyedStateServiceStub(channel).SetKeyedState(state, timeout=10)
    return {
        "HookService.name": "secret-hook",
        "EventService.name": "secret-subscription",
        "KeyedStateService.name": "secret-state",
        "UsageService.name": "secret-budget",
        "topic": TOPIC,
        "task_id": task.id,
        "task_ids": task.id,
        "agent_id": "worker",
        "method": ECHO,
        "methods": ECHO,
        "group": "secret-group",
        "GroupService.name": "secret-group",
        "ScheduleService.name": "secret-schedule",
        "FleetService.name": "secret-pool",
        "MethodService.name": ECHO,
        "StepService.name": "secret-signal",
        "service": "probe.v1.ProbeService",
    }


# What a request needs beside its id, to get as far as the id.
BESIDE: dict[str, dict[str, Any]] = {
    "SubmitTask": {"payload": PAYLOAD},
    "UpdateAgent": {"desired_state": 1},
    "UpdateQueue": {"paused": False},
    "WaitTasks": {"timeout": {"seconds": 0, "nanos": 100_000_000}},
    "WaitGroup": {"timeout": {"seconds": 0, "nanos": 100_000_000}},
    "UpdateSchedule": {"spec": {"method": ECHO, "payload": PAYLOAD, "cron": "0 0 1 1 *"}},
    "UpdateMethod": {"policy": {"priority": 3}, "update_mask": {"paths": ["priority"]}},
    "UpdateSubscription": {"paused": True},
    "UpdateHook": {"paused": True},
    "TestHook": {"body": b"{}"},
    "FindStickySession": {"session": {"key": "secret-session"}},
    "EndStickySession": {"session": {"key": "secret-session"}},
    "RecordStep": {"attempt": 1, "kind": 1},
    "Report": {"epoch": 1, "message": {"goodbye": True}},
}
# In the right namespace they may answer as for nothing: a filter, a report of a session that is over, a task without a state, an agent that takes
# no direct calls, a state that need not be there.
ALIKE = {
    "DeleteKeyedState",
    "FindStickySession",
    "Report",
    "SaveKeyedState",
    "SetKeyedState",
    "GetStats",
    "ListResources",
    "ListQueues",
}


@functools.cache
def services_of_each_mesh() -> frozenset[str]:
    """Weft's own services that a mesh adds to its routes."""
    routes = Routes()
    settings: Any = CoordinatorSettings
    Coordinator(settings(listen="127.0.0.1:0", store="never-opened.db")).default.serve_on(routes)
    services = {path.split("/")[1] for path in routes.paths()}
    own = frozenset(each for each in services if each.startswith("weft.v1."))
    # Health, reflection and the matrix of callers go by that list.
    assert own <= OWN_SERVICES
    return own


# What stands once, and takes an id all the same: the id must be in the caller's own scope, or is of the caller's call.
OWN_SCOPE = {"IssueCertificate", "CreateTickets", "CheckToken", "ProvisionAgent"}


async def test_what_stands_once_is_for_callers_of_all_namespaces() -> None:
    """A service that is not in each mesh has no ids of one, or asks for a caller who may see them all."""
    once = OWN_SERVICES - services_of_each_mesh() - {""}
    assert once
    for service in once:
        for method in descriptor_pool.Default().FindServiceByName(service).methods:
            if method.name in OWN_SCOPE or not _texts(method.input_type):
                continue
            assert concerns_every_namespace(f"/{service}/{method.name}"), (service, method.name)


def _texts(kind: Any) -> list[FieldDescriptor]:
    return [
        field
        for field in kind.fields
        if field.type == FieldDescriptor.TYPE_STRING and field.name != "page_token"
    ]


def rpcs() -> list[tuple[str, Any]]:
    """The RPCs of each mesh that take one request with an id in it, those that delete or end last."""
    found = []
    for service in sorted(services_of_each_mesh()):
        for method in descriptor_pool.Default().FindServiceByName(service).methods:
            # Who creates takes a name that is free.
            if not (method.client_streaming or method.name.startswith(("Create", "Launch"))) and _id_fields(
                method
            ):
                found.append((method.name, method))
    return sorted(found, key=lambda each: (each[0].startswith(("Delete", "Cancel", "End")), each[0]))


def _id_fields(method: Any) -> list[FieldDescriptor]:
    return [
        field
        for field in method.input_type.fields
        if field.type == FieldDescriptor.TYPE_STRING and _is_id(field)
    ]


def _is_id(field: FieldDescriptor) -> bool:
    return field.name in {"topic", "task_id", "task_ids", "agent_id", "method", "methods", "name", "service"}


def request_of(method: Any, ids: dict[str, str]) -> Any:
    made = GetMessageClass(method.input_type)(**BESIDE.get(method.name, {}))
    for field in _id_fields(method):
        service = method.containing_service.name
        value = ids.get(f"{service}.{field.name}") or ids[field.name]
        if field.is_repeated:
            getattr(made, field.name).append(value)
        else:
            setattr(made, field.name, value)
    return made


async def answer(
    channel: grpc.aio.Channel, method: Any, ids: dict[str, str], *, patience_s: float = 0.5
) -> tuple[Any, ...]:
    """The first answer to a request with these ids, in a form that does not have them.

    Args:
        patience_s: a stream without an answer for so long waits for something to happen.
    """
    path = f"/{method.containing_service.full_name}/{method.name}"
    call = channel.unary_stream(path)(request_of(method, ids).SerializeToString(), timeout=30)
    try:
        async with asyncio.timeout(patience_s if method.server_streaming else None):
            async for raw in call:
                shown = str(GetMessageClass(method.output_type).FromString(raw))
                return "answered", _without(shown, ids)
        return ("nothing",)
    except TimeoutError:
        return ("waits",)
    except grpc.aio.AioRpcError as error:
        refused = from_call(error)
        return refused.code, refused.reason_name, _without(refused.message, ids)
    finally:
        call.cancel()


def _without(text: str, ids: dict[str, str]) -> str:
    for value in sorted(ids.values(), key=len, reverse=True):
        text = text.replace(value, "…")
    return re.sub(r"(seconds|nanos|version): \d+", "", text)


def listings() -> list[tuple[Any, str, Any]]:
    """The RPCs of each mesh that list things, with the field of their answer that has these."""
    found = []
    for service in sorted(services_of_each_mesh()):
        for method in descriptor_pool.Default().FindServiceByName(service).methods:
            if "page_token" in method.input_type.fields_by_name:
                (items,) = (each for each in method.output_type.fields if each.is_repeated)
                found.append((method, items.name, GetMessageClass(method.input_type)))
    return found


async def test_filters_and_page_tokens_of_another_namespace_find_nothing(
    sites: Sites, ids: dict[str, str]
) -> None:
    """Each filter that is there, alone, and the token of the first one's next page."""
    values = {**ids, "request_id": "r1"}
    known = listings()
    assert len(known) >= 4
    filtered = 0

    async def listed(channel: grpc.aio.Channel, method: Any, request: Any) -> Any:
        path = f"/{method.containing_service.full_name}/{method.name}"
        raw = await channel.unary_unary(path)(request.SerializeToString(), timeout=10)
        return GetMessageClass(method.output_type).FromString(raw)

    for method, items, make in known:
        asked = [make(page_size=1)]
        for name, put in places(method.input_type, set()):
            if (field := name.rpartition(".")[2]) in values:
                put(request := make(), values[field])
                asked.append(request)
                filtered += 1
        for request in asked:
            assert getattr(await listed(sites.channel(TEAM), method, request), items), (method.name, request)
            assert not getattr(await listed(sites.channel(OTHER), method, request), items), method.name
        first = await listed(sites.channel(TEAM), method, make(page_size=1))
        token = first.next_page_token or "x"
        with contextlib.suppress(grpc.aio.AioRpcError):
            further = await listed(sites.channel(OTHER), method, make(page_token=token))
            assert not getattr(further, items), method.name
    assert filtered >= 4


async def test_every_rpc_answers_an_id_of_another_namespace_as_one_that_does_not_exist(
    sites: Sites, ids: dict[str, str]
) -> None:
    """Made from the descriptors: an RPC that takes an id is in it by itself."""
    there, here = sites.channel(TEAM), [sites.channel(OTHER), sites.channel("", at=1)]
    nowhere = {
        name: value[:-3] + "xyz" if name not in {"task_id", "task_ids"} else "0" * 15 + "1"
        for name, value in ids.items()
    }
    for field in ("method", "methods", "MethodService.name"):
        nowhere[field] = "probe.v1.ProbeService/Nope"
    known = rpcs()
    assert len(known) > 20
    for name, method in known:
        for channel in here:
            of_others = await answer(channel, method, ids)
            if of_others != await answer(channel, method, nowhere):
                # An answer may take long on a busy machine.
                of_others = await answer(channel, method, ids, patience_s=10)
                assert of_others == await answer(channel, method, nowhere, patience_s=10), name
    for name, method in known:
        # The test has teeth: in its own namespace, the id is known.
        own, none = await answer(there, method, ids), await answer(there, method, nowhere)
        assert own != none or name in ALIKE, (name, own)


async def test_lists_show_a_namespace_alone(sites: Sites, ids: dict[str, str]) -> None:
    async def seen(channel: grpc.aio.Channel) -> dict[str, int]:
        tasks = coordinator_pb2_grpc.CoordinatorServiceStub(channel)
        pages = {
            "tasks": (await tasks.ListTasks(coordinator_pb2.ListTasksRequest())).tasks,
            "agents": (await tasks.ListAgents(coordinator_pb2.ListAgentsRequest())).agents,
            "groups": (
                await group_pb2_grpc.GroupServiceStub(channel).ListGroups(group_pb2.ListGroupsRequest())
            ).groups,
            "schedules": (
                await schedule_pb2_grpc.ScheduleServiceStub(channel).ListSchedules(
                    schedule_pb2.ListSchedulesRequest()
                )
            ).schedules,
            "stats": (
                await stats_pb2_grpc.StatsServiceStub(channel).GetStats(stats_pb2.GetStatsRequest())
            ).methods,
            "services": await _reflected(channel),
        }
        return {name: len(found) for name, found in pages.items()}

    for name in (OTHER, "", "default"):
        for at in (0, 1):
            assert not any((await seen(sites.channel(name, at=at))).values()), (name, at)
    assert ids
    there = await seen(sites.channel(TEAM))
    assert there["agents"] == there["services"] == 1


async def _reflected(channel: grpc.aio.Channel) -> list[str]:
    """Hosted services, by reflection."""
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    async for found in stub.ServerReflectionInfo(iter([request])):
        names = [each.name for each in found.list_services_response.service]
        return [name for name in names if not name.startswith(("weft.", "grpc."))]
    return []


async def test_health_and_calls_are_of_a_namespace(sites: Sites, ids: dict[str, str]) -> None:
    assert ids
    request = health_pb2.HealthCheckRequest(service="probe.v1.ProbeService")
    for name, code in ((TEAM, None), (OTHER, grpc.StatusCode.NOT_FOUND), ("", grpc.StatusCode.NOT_FOUND)):
        channel = sites.channel(name)
        assert await _code(health_pb2_grpc.HealthStub(channel).Check(request, timeout=10)) is code
        direct = (("weft-mode", "durable"),)
        called = await _code(channel.unary_unary(f"/{ECHO}")(PAYLOAD, metadata=direct, timeout=10))
        assert called is (None if name == TEAM else grpc.StatusCode.UNIMPLEMENTED)


async def _code(call: Any) -> grpc.StatusCode | None:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return None


async def test_the_same_names_are_others_in_another_namespace(sites: Sites) -> None:
    """One agent id, one request id, in two namespaces at once: two agents, two tasks."""
    tasks: list[task_pb2.Task] = []
    async with LightAgent(sites.channel(), "worker"), LightAgent(sites.channel(OTHER), "worker"):
        await serving(sites, "", OTHER)
        for name in ("", OTHER):
            stub = coordinator_pb2_grpc.CoordinatorServiceStub(sites.channel(name))
            request = coordinator_pb2.SubmitTaskRequest(method=ECHO, payload=PAYLOAD, request_id="same")
            tasks.append((await stub.SubmitTask(request, timeout=10)).task)
            waiting = coordinator_pb2.WaitTasksRequest(task_ids=[tasks[-1].id])
            async for response in stub.WaitTasks(waiting, timeout=10):
                assert [each.state for each in response.tasks] == [task_pb2.TASK_STATE_SUCCEEDED]
    assert tasks[0].id != tasks[1].id


NAMES = ["", "default", "Team", "a" * 64, "-a", "a-", "a/b", "../a", "a b", "ä", "a:b", "{a}", "a.b"]


async def test_names_that_cannot_be(sites: Sites) -> None:
    stub = namespace_pb2_grpc.NamespaceServiceStub(sites.channel())
    for name in NAMES:
        error = await _refused(stub.CreateNamespace(namespace_pb2.CreateNamespaceRequest(name=name)))
        assert error.reason_name == ("NAMESPACE_EXISTS" if name == "default" else "INVALID_FIELD"), name
    again = await _refused(stub.CreateNamespace(namespace_pb2.CreateNamespaceRequest(name=TEAM)))
    assert again.reason_name == "NAMESPACE_EXISTS"
    for name in ("none", "../weft", "TEAM-A", "x" * 2000):
        call = coordinator_pb2_grpc.CoordinatorServiceStub(sites.channel(name)).ListTasks(
            coordinator_pb2.ListTasksRequest(), timeout=10
        )
        assert (await _refused(call)).reason_name == "NAMESPACE_NOT_FOUND", name
    default = namespace_pb2.DeleteNamespaceRequest(name="default", force=True)
    assert (await _refused(stub.DeleteNamespace(default))).reason_name == "INVALID_FIELD"


async def _refused(call: Any) -> WeftError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_call(caught.value)


async def test_a_namespace_is_deleted_with_all_that_is_in_it(
    sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(namespace_upkeep, "REMOVE_S", 0.5)
    stub = namespace_pb2_grpc.NamespaceServiceStub(sites.channel())
    name = "short-lived"
    await sites.create(name)
    tasks = coordinator_pb2_grpc.CoordinatorServiceStub(sites.channel(name, at=1))
    agent = LightAgent(sites.channel(name, at=1), "worker")
    await agent.open()
    await serving(sites, name)
    try:
        request = coordinator_pb2.SubmitTaskRequest(method=ECHO, payload=PAYLOAD)
        request.options.delay.seconds = 3600
        await tasks.SubmitTask(request, timeout=10)
        asked = namespace_pb2.DeleteNamespaceRequest(name=name)
        in_use = await _refused(stub.DeleteNamespace(asked, timeout=10))
        assert in_use.reason_name == "NAMESPACE_IN_USE"
        assert in_use.metadata["tasks"] == in_use.metadata["agents"] == "1"
        asked.force = True
        began_s = asyncio.get_running_loop().time()
        deleted = (await stub.DeleteNamespace(asked, timeout=10)).namespace
        assert deleted.HasField("delete_time")
        ended = await agent.ended()
        assert ended is not None
        assert ended.reason_name == "NAMESPACE_NOT_FOUND"
        assert asyncio.get_running_loop().time() - began_s < 2.5
    finally:
        await agent.close(goodbye=False)
    error = await _refused(tasks.ListTasks(coordinator_pb2.ListTasksRequest(), timeout=10))
    assert error.reason_name == "NAMESPACE_NOT_FOUND"
    created = namespace_pb2.CreateNamespaceRequest(name=name)
    assert (await _refused(stub.CreateNamespace(created, timeout=10))).reason_name == "NAMESPACE_DELETING"

    async def gone() -> bool:
        listed = await stub.ListNamespaces(namespace_pb2.ListNamespacesRequest(), timeout=10)
        return name not in {each.name for each in listed.namespaces}

    async with asyncio.timeout(15):
        # The next pass finds that its time has come.
        while not await gone():
            await asyncio.sleep(0.1)
    await stub.CreateNamespace(created, timeout=10)
    listed = await tasks.ListTasks(coordinator_pb2.ListTasksRequest(), timeout=10)
    assert not listed.tasks
