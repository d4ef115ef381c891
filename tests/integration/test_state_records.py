"""All kinds of records of a mesh's state: generated ones go through two stores and are the same, and each arrives as what it was."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings

from probe.v1.probe_pb2 import ProbeRequest
from tests.support.command import weft
from tests.support.generated_state import TOPIC, Record, plain, states
from tests.support.lightweight import CALL, ECHO, LightAgent, echo, never
from tests.support.mesh import MeshHarness
from tests.support.namespaced import Sites, sites_on
from tests.support.redis_server import eventually
from tests.support.refusals import check, refused
from tests.support.state_api import Records, counted, exported, imported
from weft.cli.state.state_file import NewerRecords, check_kinds, records_of
from weft.cli.terminal.failure import Failure
from weft.v1 import (
    coordinator_pb2,
    coordinator_pb2_grpc,
    event_pb2,
    event_pb2_grpc,
    fleet_pb2,
    hook_pb2,
    hook_pb2_grpc,
    pool_pb2,
    state_pb2,
    task_pb2,
    usage_pb2,
    usage_pb2_grpc,
)

PAYLOAD = ProbeRequest(text="kept").SerializeToString()
POOLS = {"pool_providers": "process"}


@pytest.fixture(params=[("embedded", "redis"), ("redis", "embedded")], ids="-".join)
async def meshes(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Sites, Sites]]:
    before, after = request.param
    folders = [tmp_path / "from", tmp_path / "to"]
    for folder in folders:
        folder.mkdir()
    async with sites_on(before, folders[0], **POOLS) as one, sites_on(after, folders[1], **POOLS) as other:
        yield one, other


async def contracts(sites: Sites) -> Records:
    async with LightAgent(sites.channel(), "a1", methods=(ECHO, CALL)):

        async def known() -> bool:
            return len(await exported(sites, kinds=[state_pb2.STATE_KIND_CONTRACT])) > 2

        await eventually(known, "the contract is there")
    records = await exported(sites, kinds=[state_pb2.STATE_KIND_CONTRACT])
    return records[:-1]


async def test_what_goes_through_two_stores_is_the_same(meshes: tuple[Sites, Sites]) -> None:
    one, other = meshes
    begin = await contracts(one)
    begin[0].header.mesh_id = "generated"
    examples: list[Records] = []

    @settings(max_examples=4, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(states())
    def collect(records: Records) -> None:
        examples.append(records)

    collect()
    for number, records in enumerate(examples):
        name = f"n{number}"
        await one.create(name)
        await other.create(name)
        first = await imported(one, [*begin, *records], name)
        assert not first.problems, first.problems
        kinds = Counter(each.WhichOneof("record") for each in records)
        assert {kind: each[0] for kind, each in counted(first).items() if kind != "contract"} == kinds
        out = await exported(one, name, events=True)
        second = await imported(other, out, name)
        assert not second.problems, second.problems
        again = await imported(other, out, name)
        assert all(each[0] == each[2] == 0 for each in counted(again).values()), again
        back = await exported(other, name, events=True)
        assert plain(back) == plain(out)
        # The first mesh has what was generated.
        assert {each.split()[0] for each in plain(out)} == set(kinds)


# -- what they are afterwards ----------------------------------------------------------------------------------------------


async def test_a_subscription_goes_on_where_it_was(meshes: tuple[Sites, Sites]) -> None:
    """Each event becomes a task once, before or after the move; also if others publish at the new mesh already."""
    one, other = meshes
    api = event_pb2_grpc.EventServiceStub(one.channel())
    await contracts(one)

    async def publish(sites: Sites, *ids: str) -> None:
        rows = [event_pb2.NewEvent(topic=TOPIC, id=each, key="k", payload=PAYLOAD) for each in ids]
        stub = event_pb2_grpc.EventServiceStub(sites.channel())
        await stub.PublishEvents(event_pb2.PublishEventsRequest(events=rows), timeout=10)

    delivery = event_pb2.EventDelivery(method=CALL)
    spec = event_pb2.SubscriptionSpec(topic=TOPIC, delivery=delivery)
    await api.CreateSubscription(event_pb2.CreateSubscriptionRequest(name="orders", spec=spec), timeout=10)
    await publish(one, "e1", "e2")

    async def given_two() -> bool:
        found = await api.GetSubscription(event_pb2.GetSubscriptionRequest(name="orders"), timeout=10)
        return bool(found.subscription.cursor == 2)

    await eventually(given_two, "two events are given")
    pause = event_pb2.UpdateSubscriptionRequest(name="orders", paused=True)
    await api.UpdateSubscription(pause, timeout=10)
    await publish(one, "e3", "e4")
    without = await exported(one)
    assert without[-1].end.events_left_out == 2
    assert not any(each.HasField("event") for each in without)

    records = await exported(one, events=True)
    contract = [each for each in records if each.WhichOneof("record") in ("header", "contract")]
    await imported(other, contract)
    await publish(other, "foreign")
    answer = await imported(other, records)
    assert counted(answer)["event"] == (4, 0, 0)
    assert counted(answer)["subscription"] == (1, 0, 0)
    assert not answer.problems
    resume = event_pb2.UpdateSubscriptionRequest(name="orders", paused=False)
    there = event_pb2_grpc.EventServiceStub(other.channel())
    await there.UpdateSubscription(resume, timeout=10)
    stub = coordinator_pb2_grpc.CoordinatorServiceStub(other.channel())

    async def tasks_there() -> Counter[str]:
        request = coordinator_pb2.ListTasksRequest(view=task_pb2.TASK_VIEW_FULL)
        listed = (await stub.ListTasks(request, timeout=10)).tasks
        entries = [entry for each in listed for entry in each.options.context.metadata]
        return Counter(entry.value.decode() for entry in entries if entry.key == "event-id")

    async def all_given() -> bool:
        return (await tasks_there()).total() == 4

    await eventually(all_given, "all events are given")
    assert await tasks_there() == Counter(["e1", "e2", "e3", "e4"])
    kept = [each.event for each in await exported(other, kinds=[state_pb2.STATE_KIND_EVENT]) if each.event.id]
    assert [each.id for each in kept] == ["foreign", "e1", "e2", "e3", "e4"]
    assert kept[1].attributes["time"] == records_time(records, "e1")


def records_time(records: Records, event_id: str) -> str:
    (event,) = [each.event for each in records if each.event.id == event_id]
    return str(event.publish_time.ToJsonString())


async def test_a_budget_arrives_with_what_was_spent(meshes: tuple[Sites, Sites]) -> None:
    """And a method that it has paused is paused by it, and not by an operator."""
    one, other = meshes
    stub = usage_pb2_grpc.UsageServiceStub(one.channel())
    await contracts(one)
    budget = usage_pb2.Budget(
        name="calls", unit="attempts", amount=2, method=ECHO, action=usage_pb2.BUDGET_ACTION_PAUSE
    )
    await stub.SetBudget(usage_pb2.SetBudgetRequest(budget=budget), timeout=10)
    async with LightAgent(one.channel(), "a1", methods=(ECHO, CALL), answer=echo):
        tasks_stub = coordinator_pb2_grpc.CoordinatorServiceStub(one.channel())
        for _ in range(2):
            request = coordinator_pb2.SubmitTaskRequest(method=ECHO, payload=PAYLOAD)
            made = await tasks_stub.SubmitTask(request, timeout=10)
            wait = coordinator_pb2.WaitTasksRequest(task_ids=[made.task.id])
            async for _ in tasks_stub.WaitTasks(wait, timeout=10):
                pass

        async def paused() -> bool:
            return ECHO in await one.coordinators[0].default._store.paused()

        await eventually(paused, "the budget pauses its method")
    records = await exported(one)
    assert not any(each.method.paused for each in records)
    assert not (await imported(other, records)).problems
    there = usage_pb2_grpc.UsageServiceStub(other.channel())
    (found,) = (await there.ListBudgets(usage_pb2.ListBudgetsRequest(), timeout=10)).budgets
    assert (found.spent, list(found.paused_methods)) == (2.0, [ECHO])
    await there.DeleteBudget(usage_pb2.DeleteBudgetRequest(name="calls"), timeout=10)
    assert ECHO not in await other.coordinators[0].default._store.paused()


async def test_hooks_arrive_without_their_secrets(meshes: tuple[Sites, Sites]) -> None:
    """They take nothing until they have a secret again; then they go on under their uid."""
    one, other = meshes
    await contracts(one)
    hooks = hook_pb2_grpc.HookServiceStub(one.channel())
    spec = hook_pb2.HookSpec(
        incoming=hook_pb2.IncomingHook(kind=hook_pb2.HOOK_KIND_GITHUB, task=hook_pb2.HookTask(method=ECHO))
    )
    secret = "a-secret-of-many-letters"
    await hooks.CreateHook(hook_pb2.CreateHookRequest(name="h", spec=spec, secret=secret), timeout=10)
    records = await exported(one)
    assert not any(secret.encode() in each.SerializeToString() for each in records)
    answer = await imported(other, records)
    assert counted(answer)["hook"] == (1, 0, 0), answer.problems
    assert counted(await imported(other, records))["hook"] == (0, 1, 0)
    there = hook_pb2_grpc.HookServiceStub(other.channel())
    hook = (await there.GetHook(hook_pb2.GetHookRequest(name="h"), timeout=10)).hook
    assert (hook.paused, len(hook.secrets)) == (True, 0)
    assert "weft hooks rotate" in hook.pause_reason
    resume = there.UpdateHook(hook_pb2.UpdateHookRequest(name="h", paused=False), timeout=10)
    check(await refused(resume), grpc.StatusCode.FAILED_PRECONDITION, "HOOK_WITHOUT_SECRET")
    rotate = hook_pb2.RotateHookSecretRequest(name="h", secret=secret)
    rotated = (await there.RotateHookSecret(rotate, timeout=10)).hook
    assert (rotated.paused, rotated.uid, len(rotated.secrets)) == (False, hook.uid, 1)
    # One of the name with another spec stays.
    spec.incoming.template = "{}"
    await there.UpdateHook(hook_pb2.UpdateHookRequest(name="h", spec=spec), timeout=10)
    (problem,) = (await imported(other, records)).problems
    assert (problem.kind, problem.name) == (state_pb2.STATE_KIND_HOOK, "h")


async def test_what_cannot_be_taken_is_told(tmp_path: Path) -> None:
    async with sites_on("embedded", tmp_path) as sites:
        header = Record(header=state_pb2.StateHeader(format=1))
        template = pool_pb2.PoolTemplate(provider="process", command=["true"])
        spec = pool_pb2.PoolSpec(template=template)
        launched = pool_pb2.PoolSpec(template=template, size=1, ephemeral=True)
        event = event_pb2.Event(topic=TOPIC, sequence=1, id="e1", payload=PAYLOAD)
        bad = [
            Record(pool=pool_pb2.Pool(name="other", spec=spec, version=1, last_version=1)),
            Record(pool=pool_pb2.Pool(name="p", spec=launched, version=1, last_version=1)),
            Record(pool=pool_pb2.Pool(name="p", spec=spec, version=2, last_version=1)),
            Record(pool=pool_pb2.Pool(name="../p", spec=spec, version=1, last_version=1)),
            Record(budget=usage_pb2.Budget(name="b", unit="tokens", amount=1, root_task_id="1")),
            Record(budget=usage_pb2.Budget(name="b", unit="tokens", amount=1, spent=-1)),
            Record(budget=usage_pb2.Budget(name="b", unit="tokens")),
            Record(event=event),
            Record(event=event_pb2.Event(topic=TOPIC, id="e1")),
            Record(event=event_pb2.Event(topic="weft.v1.AgentLost", sequence=1)),
            Record(subscription=event_pb2.Subscription(name="on/x")),
            Record(subscription=event_pb2.Subscription(name="s", declared=True)),
            Record(subscription=event_pb2.Subscription(name="s")),
            Record(agent=state_pb2.StateAgent(id="x", desired_state=fleet_pb2.DESIRED_STATE_PAUSED)),
            # Of a newer version.
            Record.FromString(b"\xfa\x07\x03abc"),
            Record.FromString(b"\xfa\x07\x03abd"),
        ]
        answer = await imported(sites, [header, *bad])
        assert counted(answer) == {
            "pool": (0, 0, 4),
            "budget": (0, 0, 3),
            "event": (0, 0, 3),
            "subscription": (0, 0, 3),
            "agent": (0, 0, 1),
            "unspecified": (0, 0, 2),
        }
        assert all(each.reason for each in answer.problems)
        (newer,) = [each for each in answer.problems if not each.kind]
        assert "--skip-unknown" in newer.reason
        with pytest.raises(Exception, match="mesh_id"):
            await imported(sites, [Record(header=state_pb2.StateHeader(format=1, mesh_id="\n" * 9))])


# -- files of a newer version ----------------------------------------------------------------------------------------------


def newer_file(folder: Path) -> Path:
    lines: list[Any] = [
        {"header": {"format": 1}},
        {"hologram": {"name": "a"}},
        {"method": {"name": ECHO, "paused": True, "mood": "calm"}},
        {"hologram": {"name": "b"}},
        {"end": {}},
    ]
    file = folder / "newer.jsonl"
    file.write_text("".join(f"{json.dumps(each)}\n" for each in lines))
    return file


def test_records_of_a_newer_version_are_refused_before_any_is_imported(tmp_path: Path) -> None:
    file = str(newer_file(tmp_path))
    with pytest.raises(Failure, match="2 hologram"):
        check_kinds(file)
    with pytest.raises(Failure, match="1 hologram"):
        list(records_of(file))
    unknown = NewerRecords(skip=True)
    kinds = [each.WhichOneof("record") for each in records_of(file, unknown)]
    assert kinds == ["header", "method", "end"]
    assert (unknown.kinds, unknown.partly) == (Counter(hologram=2), 1)


@pytest.mark.slow
async def test_the_command_skips_them(mesh: MeshHarness, tmp_path: Path) -> None:
    await mesh.coordinator()
    async with LightAgent(mesh.own_channel(), "a1", methods=(ECHO,), answer=never):
        await mesh.wait_serving()
        file = str(newer_file(tmp_path))
        refused = await weft("import", file, target=mesh.target)
        assert refused.status == 2
        assert "2 hologram" in refused.err
        skipped = await weft("import", file, "--skip-unknown", target=mesh.target)
        assert skipped.status == 0, skipped.err
        assert "2 records left out" in skipped.err
        assert "1 records have fields" in skipped.err
        assert skipped.out.split()[-4:] == ["method", "1", "0", "0"]
        looked = await weft("import", file, "--dry-run")
        assert (looked.status, "hologram" in looked.err) == (0, True)
