"""Methods and the operators' overrides of their policies: by RPC, by the library and by the command, on both stores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import code_pb2

from probe.v1.probe_pb2 import ProbeRequest
from tests.support import tasks
from tests.support.command import weft
from tests.support.lightweight import CALL, ECHO, LightAgent
from tests.support.mesh import MeshHarness
from tests.support.refusals import check, refused
from weft.client import InvalidArgument, NotFound, RetryPolicy, connect
from weft.client.sync import connect as connect_sync
from weft.v1 import options_pb2
from weft.v1.method_pb2 import GetMethodRequest, ListMethodsRequest, Method, UpdateMethodRequest
from weft.v1.method_pb2_grpc import MethodServiceStub

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
CALLED = tasks.method("Call")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hosted(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshHarness]:
    """A coordinator and an agent with the methods ECHO and CALL."""
    async with MeshHarness(tmp_path_factory.mktemp("mesh")) as harness:
        await harness.coordinator(missed_heartbeats=10)
        async with LightAgent(harness.own_channel(), "a1", slots=8, methods=(ECHO, CALL)):
            await harness.wait_serving()
            yield harness


async def update(
    stub: MethodServiceStub, paths: tuple[str, ...] = (), name: str = ECHO, **policy: Any
) -> Method:
    request = UpdateMethodRequest(
        name=name, policy=options_pb2.TaskPolicy(**policy), update_mask=FieldMask(paths=paths)
    )
    method: Method = (await stub.UpdateMethod(request, timeout=5)).method
    return method


@pytest.mark.asyncio(loop_scope="module")
async def test_fields_are_set_changed_and_removed(hosted: MeshHarness) -> None:
    stub = MethodServiceStub(hosted.channel())
    assert [m.name for m in (await stub.ListMethods(ListMethodsRequest())).methods] == sorted((ECHO, CALL))
    assert not (await stub.GetMethod(GetMethodRequest(name=ECHO))).method.HasField("policy")
    given = options_pb2.TaskPolicy(priority=7)
    given.limits.start_to_close.seconds = 5
    given.limits.schedule_to_close.seconds = 60
    request = UpdateMethodRequest(name=ECHO, policy=given)
    assert (await stub.UpdateMethod(request)).method.policy == given
    # One part of a message; the rest stays.
    changed = await update(stub, ("limits.start_to_close",), priority=1)
    assert changed.override.priority == 7
    assert not changed.override.limits.HasField("start_to_close")
    assert changed.override.limits.schedule_to_close.seconds == 60
    # The last part of a message: nothing is left of it.
    changed = await update(stub, ("limits.schedule_to_close",))
    assert not changed.override.HasField("limits")
    listed = await stub.ListMethods(ListMethodsRequest(overridden=True))
    assert [(m.name, m.agents) for m in listed.methods] == [(ECHO, 1)]
    assert not (await stub.ListMethods(ListMethodsRequest(service="other.v1.Service"))).methods
    # Without a mask, the whole override.
    changed = await update(stub)
    assert not changed.HasField("override")
    assert not changed.HasField("policy")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("paths", "policy", "field"),
    [
        (("prio",), {}, "update_mask"),
        (("limits.forever",), {}, "update_mask"),
        (("consumes.gpu",), {}, "update_mask"),
        (("x" * 10_000,), {}, "update_mask"),
        (("priority",) * 200, {}, "update_mask"),
        ((), {"priority": 10}, "priority"),
        (("priority",), {"priority": 10}, "priority"),
        ((), {"fairness_key": "tenant"}, "fairness_key"),
        ((), {"locks": [options_pb2.Lock(name="x" * 10_000)]}, None),
        ((), {"consumes": {"gpu": float("nan")}}, None),
        ((), {"fallback": ECHO}, "fallback"),
    ],
)
async def test_bad_overrides_are_refused_and_change_nothing(
    hosted: MeshHarness, paths: tuple[str, ...], policy: dict[str, Any], field: str | None
) -> None:
    stub = MethodServiceStub(hosted.channel())
    status = await refused(update(stub, paths, **policy))
    check(status, INVALID, "INVALID_FIELD", field)
    assert not (await stub.GetMethod(GetMethodRequest(name=ECHO))).method.HasField("override")


@pytest.mark.asyncio(loop_scope="module")
async def test_unknown_methods_are_named(hosted: MeshHarness) -> None:
    stub = MethodServiceStub(hosted.channel())
    for call in (
        stub.GetMethod(GetMethodRequest(name=f"{ECHO}o")),
        update(stub, name=f"{ECHO}o", priority=1),
    ):
        status = await refused(call)
        check(status, NOT_FOUND, "METHOD_UNKNOWN")
        assert ECHO in status.message


@pytest.mark.asyncio(loop_scope="module")
async def test_the_library_overrides_by_options(hosted: MeshHarness) -> None:
    async with connect(hosted.target) as mesh:
        changed = await mesh.methods.override(ECHO, retry=RetryPolicy(max_attempts=2), start_to_close_s=3)
        assert changed.policy.retry.max_attempts == 2
        # Each option by itself: the other time limits stay.
        changed = await mesh.methods.override(ECHO, schedule_to_close_s=60)
        assert changed.override.limits.start_to_close.seconds == 3
        for nothing in ({}, {"idempotent": True}):
            with pytest.raises(InvalidArgument):
                await mesh.methods.override(ECHO, **nothing)
        assert (await mesh.methods.override(ECHO, slot_cost=0)).override == changed.override
        changed = await mesh.methods.clear(ECHO, ["limits.schedule_to_close"])
        changed = await mesh.methods.override(ECHO, priority=9)
        assert (changed.policy.priority, changed.policy.limits.start_to_close.seconds) == (9, 3)
        assert [method.name for method in await mesh.methods.list(overridden=True)] == [ECHO]
        assert not (await mesh.methods.clear(ECHO, ["retry"])).policy.HasField("retry")
        assert not (await mesh.methods.clear(ECHO)).override.ByteSize()
        with pytest.raises(InvalidArgument, match="priority"):
            await mesh.methods.override(ECHO, priority=11)
        with pytest.raises(NotFound):
            await mesh.methods.get("no.v1.Such/Method")


async def test_the_blocking_client_has_it_too(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    await mesh.agent("a1")

    def work() -> list[str]:
        with connect_sync(mesh.target) as blocking:
            return [method.name for method in blocking.methods.list()]

    assert "probe.v1.ProbeService/Call" in await asyncio.to_thread(work)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_command_sets_shows_and_resets(hosted: MeshHarness) -> None:
    async def run(*args: str) -> Any:
        return await weft("methods", *args, target=hosted.target)

    done = await run("set", ECHO, "limits.start_to_close=5s", "retry.max_attempts=3", "--json")
    assert done.document["override"] == {
        "retry": {"max_attempts": 3},
        "limits": {"start_to_close": "5s"},
    }
    done = await run("set", ECHO, "retry=", 'consumes={"gpu": 1}', "--json")
    assert done.document["policy"] == {"limits": {"start_to_close": "5s"}, "consumes": {"gpu": 1.0}}
    shown = await run("show", ECHO)
    assert '"start_to_close": "5s"' in shown.out
    assert "contract  nothing is set" in shown.out
    listed = await run("list")
    assert "overridden" in listed.out
    shown = await run("set", ECHO, "fallback=probe.v1.ProbeService/Mistyped")
    assert "no agent has hosted probe.v1.ProbeService/Mistyped" in " ".join(shown.out.split())
    assert (await run("reset", ECHO, "--json")).document["override"] == {}
    for args, words in (
        (["set", ECHO, "priority"], "is not OPTION=VALUE"),
        (["set", ECHO, "prio=1"], "'prio' is no option of a task policy; there are retry,"),
        (["set", ECHO, "slotCost=1"], "slot_cost"),
        (["set", ECHO, "priority=1", "priority="], "priority is given twice"),
        (["set", ECHO, "priority=high"], "priority"),
        (["set", ECHO, "priority=77"], "priority is 77"),
        (["show", "Nothing/There"], "Nothing/There"),
    ):
        refusal = await run(*args)
        assert refusal.status != 0
        assert words in refusal.err


async def test_an_override_survives_a_restart_and_a_call_has_it(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    await mesh.agent("a1")
    await update(
        MethodServiceStub(mesh.channel()), name=CALLED, retry=options_pb2.RetryPolicy(max_attempts=1)
    )
    await mesh.restart_coordinator()
    await mesh.wait_agent("a1")
    method = (await MethodServiceStub(mesh.channel()).GetMethod(GetMethodRequest(name=CALLED))).method
    assert method.policy.retry.max_attempts == 1
    once = ProbeRequest(text="f", fail_code=code_pb2.UNAVAILABLE, fail_message="no", fail_attempts=1)
    task_id = await tasks.submit(mesh, once)
    task = await tasks.end(mesh, task_id)
    assert task.attempt == 1


async def test_other_coordinators_have_it_too(pair: tuple[MeshHarness, MeshHarness]) -> None:
    mesh, other = pair
    await mesh.agent("a1")
    await other.wait_contract("a1")
    here, there = MethodServiceStub(mesh.channel()), MethodServiceStub(other.channel())
    for priority in (1, 2):
        await update(here, name=CALLED, priority=priority)

        async def known(wanted: int = priority) -> bool:
            method = (await there.GetMethod(GetMethodRequest(name=CALLED))).method
            return bool(method.policy.priority == wanted)

        await other.eventually(known, "the override is known at the other coordinator")
