"""A closed mesh says that it is closed, whatever of it is used, with and without asyncio: the uses are read from its classes."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import Payload, ProbeRequest
from tests.support.mesh import MeshHarness
from weft.client import (
    DesiredState,
    Every,
    Fleet,
    Mesh,
    MeshClosed,
    Methods,
    Schedules,
    TaskHandle,
    Tasks,
    TaskState,
    connect,
    sync,
)
from weft.client.direct_calls import Direct
from weft.rpc.task_policy.method_options import RunLimit
from weft.v1 import options_pb2

ECHO = "probe.v1.ProbeService/Echo"
CALL = "probe.v1.ProbeService/Call"
T = 20.0
# Arguments for parameters without a default, by name.
GIVEN: dict[str, Any] = {
    "agent_id": "a1",
    "limit": RunLimit(max_running=1),
    "message": ProbeRequest(),
    "method": ECHO,
    "name": ECHO,
    "payload": b"",
    "policy": options_pb2.TaskPolicy(),
    "request": b"",
    "service": ECHO,
    "session": "one",
    "requests": [b""],
    "state": DesiredState.ACTIVE,
    "task_id": "none",
    "tasks": ["none"],
    "timeout_s": T,
    "timing": Every(60.0),
}
# Name of an object of a mesh -> the object.
Kept = dict[str, Any]
Use = Callable[[Kept], Any]


def uses() -> Iterator[tuple[str, Use]]:
    """Each public method of the client's classes that makes a call, and each shape of a call on each kept channel."""
    for kind in (Mesh, Tasks, TaskHandle, Fleet, Methods, Schedules, Direct):
        for name, function in inspect.getmembers(kind, inspect.isfunction):
            # These make no call.
            if not name.startswith("_") and name not in {"close", "handle", "select"}:
                given = [
                    GIVEN[each.name]
                    for each in inspect.signature(function).parameters.values()
                    if each.default is each.empty
                    and each.kind is each.POSITIONAL_OR_KEYWORD
                    and each.name != "self"
                ]
                yield f"{kind.__name__}.{name}", _method(kind.__name__, name, given)
    for way in ("durable", "direct"):
        yield f"{way}.Echo", lambda kept, way=way: kept[way].Echo(Payload(), timeout=T)
        yield f"{way}.Stream", lambda kept, way=way: kept[way].Stream(ProbeRequest(), timeout=T)
        yield f"{way}.Collect", lambda kept, way=way: kept[way].Collect(iter([ProbeRequest()]), timeout=T)
        yield f"{way}.Chat", lambda kept, way=way: kept[way].Chat(iter([ProbeRequest()]), timeout=T)


def _method(kind: str, name: str, given: list[Any]) -> Use:
    options = {"priority": 1} if name == "override" else {}
    return lambda kept: getattr(kept[kind], name)(*given, **options)


USES = dict(uses())


def kept_of(mesh: Any, handle: Any) -> Kept:
    """The objects of a mesh that programs keep."""
    return {
        "Mesh": mesh,
        "Tasks": mesh.tasks,
        "TaskHandle": handle,
        "Fleet": mesh.fleet,
        "Methods": mesh.methods,
        "Schedules": mesh.schedules,
        "Direct": mesh.direct(),
        "durable": probe_pb2_grpc.ProbeServiceStub(mesh.channel()),
        "direct": probe_pb2_grpc.ProbeServiceStub(mesh.channel(direct=True)),
    }


async def ended(use: Callable[[], Any], said: str) -> str:
    """How a use ends: "closed", or what else it raises."""
    try:
        async with asyncio.timeout(T):
            result = use()
            if hasattr(result, "__aiter__"):
                async for _ in result:
                    pass
            elif inspect.isawaitable(result):
                await result
    except MeshClosed as error:
        return "closed" if said in error.message else error.message
    except BaseException as error:
        return repr(error)
    return "no error"


def ended_in_a_thread(use: Callable[[], Any], said: str) -> str:
    try:
        result = use()
        if isinstance(result, Iterator):
            for _ in result:
                pass
    except MeshClosed as error:
        return "closed" if said in error.message else error.message
    except BaseException as error:
        return repr(error)
    return "no error"


@pytest.fixture
def target(_module_mesh: MeshHarness) -> str:
    return _module_mesh.target


AFTER = "is closed: call connect(...) again"


@pytest.mark.parametrize("used", [True, False], ids=["used", "not used"])
async def test_after_the_close(target: str, used: bool) -> None:
    async with connect(target) as mesh:
        kept = kept_of(mesh, mesh.tasks.handle(ECHO, "none"))
        channels = [mesh.channel(), mesh.channel(direct=True)]
        if used:
            await mesh.tasks.call(ECHO, b"")
            await kept["direct"].Echo(Payload(), timeout=T, wait_for_ready=True)
    found = {name: await ended(lambda use=use: use(kept), AFTER) for name, use in USES.items()}
    assert found == dict.fromkeys(USES, "closed")
    for channel in channels:
        assert channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN
        assert await ended(channel.channel_ready, AFTER) == "closed"


@pytest.mark.parametrize("used", [True, False], ids=["used", "not used"])
def test_after_the_close_without_asyncio(target: str, used: bool) -> None:
    with sync.connect(target) as mesh:
        kept = kept_of(mesh, mesh.tasks.handle(ECHO, "none"))
        if used:
            mesh.tasks.call(ECHO, b"")
            kept["direct"].Echo(Payload(), timeout=T, wait_for_ready=True)
    found = {name: ended_in_a_thread(lambda use=use: use(kept), AFTER) for name, use in USES.items()}
    assert found == dict.fromkeys(USES, "closed")


async def test_of_a_mesh_that_was_closed_first(target: str) -> None:
    mesh = connect(target)
    await mesh.close()
    with sync.connect(target) as for_threads:
        for_threads.close()
        for part in ("tasks", "fleet", "channel", "direct"):
            for each in (mesh, for_threads):
                with pytest.raises(MeshClosed, match="is closed"):
                    getattr(each, part)()


# -- closed while it is used ------------------------------------------------------------------------------------------

# Uses that go on until the mesh is closed. `task`: a task that does not end.
LASTING: dict[str, Callable[[Kept, str], Any]] = {
    "result": lambda kept, _task: kept["TaskHandle"].result(),
    "handle.watch": lambda kept, _task: kept["TaskHandle"].watch(),
    "ended": lambda kept, task: kept["Tasks"].ended(task),
    "wait": lambda kept, task: kept["Tasks"].wait([task]),
    "as_finished": lambda kept, task: kept["Tasks"].as_finished([task]),
    "watch": lambda kept, task: kept["Tasks"].watch(task),
    "call": lambda kept, _task: kept["Tasks"].call(CALL, ProbeRequest(sleep_s=60)),
    "run_many": lambda kept, _task: kept["Tasks"].run_many(CALL, [ProbeRequest(sleep_s=60)]),
    "fleet.watch": lambda kept, _task: kept["Fleet"].watch(),
}


async def until_they_run(mesh: Mesh, count: int) -> list[str]:
    """Wait until so many of the tasks run; their ids."""
    async with asyncio.timeout(T):
        while True:
            running = [task.id async for task in mesh.tasks.list(method=CALL, states=[TaskState.RUNNING])]
            if len(running) == count:
                return running
            await asyncio.sleep(0.02)


# Of those, these have stored a task of their own.
TASKS = 3


async def test_during_the_close(target: str) -> None:
    """They end, and not as if their callers were cancelled."""
    async with connect(target) as other:
        mesh = connect(target)
        handle = await mesh.tasks.submit(CALL, ProbeRequest(sleep_s=60))
        kept = kept_of(mesh, handle)
        waits = {
            name: asyncio.create_task(ended(lambda use=use: use(kept, handle.id), "closed"))
            for name, use in LASTING.items()
        }
        running = await until_they_run(other, TASKS)
        await mesh.close()
        try:
            found = {name: await wait for name, wait in waits.items()}
            assert found == dict.fromkeys(LASTING, "closed")
        finally:
            for task_id in running:
                await other.tasks.cancel(task_id)
                await other.tasks.ended(task_id, T)


async def test_during_the_close_without_asyncio(target: str) -> None:
    async with connect(target) as other:
        mesh = await asyncio.to_thread(sync.connect, target)
        handle = await asyncio.to_thread(mesh.tasks.submit, CALL, ProbeRequest(sleep_s=60))
        kept = await asyncio.to_thread(kept_of, mesh, handle)
        with ThreadPoolExecutor(len(LASTING)) as threads:
            waits = {
                name: threads.submit(ended_in_a_thread, lambda use=use: use(kept, handle.id), "closed")
                for name, use in LASTING.items()
            }
            running = await until_they_run(other, TASKS)
            await asyncio.to_thread(mesh.close)
            try:
                found = {name: await asyncio.wrap_future(wait) for name, wait in waits.items()}
                assert found == dict.fromkeys(LASTING, "closed")
            finally:
                for task_id in running:
                    await other.tasks.cancel(task_id)
                    await other.tasks.ended(task_id, T)
