"""Keyed states on real coordinators: handlers count in them, from threads and processes too; operators read and change them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct

from probe.v1.probe_pb2 import ProbeRequest
from tests.support.command import Finished, weft
from tests.support.lightweight import ECHO, LightAgent, result_of
from tests.support.namespaced import Sites, sites_on
from tests.support.refusals import check, refused
from tests.support.token_door import shown, token_door
from weft.agent import Agent, InvalidArgument, Lock, TooLarge, current_task
from weft.client import Mesh, Method, connect
from weft.client.sync import connect as connect_sync
from weft.rpc.errors import Aborted, NotFound
from weft.rpc.identity.caller import AGENT, CLIENT
from weft.v1 import coordinator_pb2 as api
from weft.v1 import coordinator_pb2_grpc, keyed_state_pb2, options_pb2, security_pb2, session_pb2, task_pb2
from weft.v1.keyed_state_pb2_grpc import KeyedStateServiceStub
from weft.v1.method_pb2 import ListMethodsRequest
from weft.v1.method_pb2_grpc import MethodServiceStub

CART = [Lock("cart", key='metadata["x-cart"]', state=True)]
SERVICE = "acme.v1.Cart"
Request = dict[str, Any]


def count_in_a_process(_request: Request) -> Request:
    """A handler that another process can import."""
    state = current_task().state
    state.set(state.json(0) + 1)
    return {"count": state.json()}


def cart_agent(target: str, agent_id: str) -> Agent:
    agent = Agent(agent_id, target=target, slots=4)

    @agent.method(f"{SERVICE}/Add", locks=CART)
    async def _(request: Request) -> Request:
        state = current_task().state
        before = state.json(0)
        # Another task with the same state would see the same.
        await asyncio.sleep(0)
        state.set(before + 1, ttl_s=request.get("ttl_s"))
        if request.get("fail"):
            raise RuntimeError("after set")
        return {"count": before + 1, "version": state.version}

    @agent.method(f"{SERVICE}/AddInThread", locks=CART)
    def _(request: Request) -> Request:
        state = current_task().state
        state.set(state.json(0) + 1)
        if request.get("save"):
            state.save_blocking()
            state.set(state.json() + 1)
        return {"count": state.json()}

    agent.method(f"{SERVICE}/AddInProcess", locks=CART, isolate=True)(count_in_a_process)

    @agent.method(f"{SERVICE}/SaveAndFail", locks=CART)
    async def _(request: Request) -> Request:
        task = current_task()
        if task.state.json(0) < 10:
            task.state.set(10)
            await task.state.save()
            before = task.state.version
            # Nothing has changed since.
            await task.state.save()
            assert task.state.version == before
            task.state.set(99)
            raise RuntimeError("after save")
        return {"count": task.state.json()}

    @agent.method(f"{SERVICE}/Clear", locks=CART)
    async def _(request: Request) -> Request:
        task = current_task()
        task.state.delete()
        assert not task.state.exists
        return {}

    @agent.method(f"{SERVICE}/Wrong", locks=CART)
    async def _(request: Request) -> Request:
        state = current_task().state
        with pytest.raises(TooLarge, match="max_state_bytes"):
            state.set(b"x" * 70_000)
        for wrong in (object(), {1, 2}, float("nan")):
            with pytest.raises(TypeError, match="a state is bytes, a message or JSON"):
                state.set(wrong)
        for ttl_s in (0.5, -1, float("nan")):
            with pytest.raises(InvalidArgument):
                state.set(b"x", ttl_s=ttl_s)
        assert not state.exists
        assert state.message(Struct) == Struct()
        state.set(b"raw")
        with pytest.raises(TypeError, match="is bytes, and not JSON"):
            state.json()
        with pytest.raises(TypeError, match=r"is bytes, and not a google\.protobuf\.Struct"):
            state.message(Struct)
        state.set(Struct(fields={}))
        assert state.message(Struct) == Struct()
        return {}

    @agent.method(f"{SERVICE}/Plain")
    async def _(request: Request) -> Request:
        with pytest.raises(LookupError, match="this call has no state"):
            _ = current_task().state
        return {}

    return agent


@contextlib.asynccontextmanager
async def running(*agents: Agent) -> AsyncIterator[None]:
    serving = [asyncio.create_task(agent.serve()) for agent in agents]
    try:
        yield
    finally:
        for agent in agents:
            agent.stop()
        await asyncio.gather(*serving)


Call = Callable[..., Awaitable[Any]]


def caller(mesh: Mesh) -> Call:
    async def call(name: str, cart: str = "42", **fields: Any) -> Any:
        request = Struct()
        request.update(fields)
        method = Method.of(f"{SERVICE}/{name}", Struct, Struct)
        handle = await mesh.tasks.submit(method, request, metadata=[("x-cart", cart)], start_to_close_s=30)
        return dict(await handle.result())

    return call


@pytest.mark.parametrize("kind", ["embedded", "redis"])
async def test_handlers_count_in_states(tmp_path: Path, kind: str) -> None:
    async with sites_on(kind, tmp_path) as sites:
        targets = [each.address for each in sites.coordinators]
        agents = [cart_agent(targets[at % len(targets)], f"cart-{at}") for at in range(2)]
        async with running(*agents), connect(targets[0]) as mesh, connect(targets[-1]) as other:
            await hosted(sites, 7)
            call, elsewhere = caller(mesh), caller(other)
            # One after the other, whichever agent and coordinator has them.
            counts = await asyncio.gather(*(each("Add") for each in [call, elsewhere] * 10))
            assert sorted(each["count"] for each in counts) == list(range(1, 21))
            assert (await call("Add", "7"))["count"] == 1
            assert (await call("AddInThread"))["count"] == 21
            assert (await call("AddInThread", save=True))["count"] == 23
            assert (await call("AddInProcess"))["count"] == 24
            with pytest.raises(Exception, match="raised an exception"):
                await call("Add", fail=True)
            assert (await call("Add"))["count"] == 25
            state = await other.keyed_states.get("cart:42")
            assert (state.type, state.json(), state.expires_at) == ("json", 25, None)
            with pytest.raises(Exception, match="raised an exception"):
                await call("SaveAndFail", "9")
            assert (await call("SaveAndFail", "9"))["count"] == 10
            await call("Wrong", "8")
            assert (await mesh.keyed_states.get("cart:8")).message(Struct) == Struct()
            await call("Plain")
            assert [each.name async for each in mesh.keyed_states.list()] == [
                "cart:42",
                "cart:7",
                "cart:8",
                "cart:9",
            ]
            await call("Clear")
            with pytest.raises(NotFound, match="weft state list"):
                await mesh.keyed_states.get("cart:42")
            kept = await call("Add", ttl_s=60)
            assert kept["count"] == 1
            assert (await mesh.keyed_states.get("cart:42")).expires_at is not None


async def test_operators_read_and_change_states(tmp_path: Path) -> None:
    async with sites_on("embedded", tmp_path, max_state_bytes=2048) as sites:
        target = sites.coordinators[0].address
        async with connect(target) as mesh:
            states = mesh.keyed_states
            version = await states.set("cart:42", b"10", kind="json", expected_version=0)
            with pytest.raises(Aborted, match="is not the expected one"):
                await states.set("cart:42", b"11", expected_version=0)
            assert await states.set("cart:42", Struct(), ttl_s=60, expected_version=version) > version
            state = await states.get("cart:42")
            assert state.type == "google.protobuf.Struct"
            assert state.expires_at is not None
            for number in range(150):
                await states.set(f"n:{number:03}", b"x")
            assert len([each async for each in states.list("n:")]) == 150
            await states.delete("cart:42")
            with pytest.raises(NotFound):
                await states.delete("cart:42")
            with pytest.raises(TooLarge):
                await states.set("cart:42", b"x" * 3000)
            for wrong in ("", "x" * 1000):
                with pytest.raises(InvalidArgument):
                    await states.get(wrong)
        stub = KeyedStateServiceStub(sites.channel())
        for request in (
            keyed_state_pb2.ListKeyedStatesRequest(page_size=5000),
            keyed_state_pb2.ListKeyedStatesRequest(page_token="x" * 5000),
        ):
            check(
                await refused(stub.ListKeyedStates(request, timeout=10)),
                grpc.StatusCode.INVALID_ARGUMENT,
                "INVALID_FIELD",
            )

        def blocking() -> list[str]:
            with connect_sync(target) as mesh:
                return [each.name for each in mesh.keyed_states.list("n:00")]

        assert len(await asyncio.to_thread(blocking)) == 10


async def hosted(sites: Sites, methods: int = 1) -> None:
    """Every coordinator knows the methods."""
    for at in range(2):
        stub = MethodServiceStub(sites.channel(at=at))
        async with asyncio.timeout(30):
            while len((await stub.ListMethods(ListMethodsRequest(), timeout=10)).methods) < methods:
                await asyncio.sleep(0.02)


async def submit(sites: Sites, *locks: options_pb2.Lock) -> str:
    stub = coordinator_pb2_grpc.CoordinatorServiceStub(sites.channel())
    request = api.SubmitTaskRequest(
        method=ECHO,
        payload=ProbeRequest(text="x").SerializeToString(),
        options=task_pb2.TaskOptions(locks=locks),
    )
    return (await stub.SubmitTask(request, timeout=10)).task.id


@pytest.mark.parametrize("kind", ["embedded", "redis"])
async def test_agents_that_lie_change_nothing(tmp_path: Path, kind: str) -> None:
    """Of any language: the coordinator checks size, version and owner of each change."""
    writes = {
        "large": keyed_state_pb2.StateWrite(value=b"x" * 100_000),
        "other version": keyed_state_pb2.StateWrite(base_version=7, value=b"x"),
        "type": keyed_state_pb2.StateWrite(value=b"x", type="t" * 1000),
        "ttl": keyed_state_pb2.StateWrite(value=b"x", ttl={"seconds": -5}),
        "no state": keyed_state_pb2.StateWrite(value=b"x"),
    }
    ended = {
        "large": "STATE_TOO_LARGE",
        "other version": "CRASH_LOOP",
        "type": "type",
        "ttl": "ttl",
        "no state": "",
    }

    def lying(assignment: session_pb2.Assignment) -> session_pb2.AttemptResult:
        result = result_of(assignment)
        name = assignment.state.name if assignment.HasField("state") else "no state"
        result.state.CopyFrom(writes[name])
        return result

    async with (
        sites_on(kind, tmp_path) as sites,
        LightAgent(sites.channel(), "a1", methods=(ECHO,), answer=lying),
    ):
        stub = coordinator_pb2_grpc.CoordinatorServiceStub(sites.channel())
        states = KeyedStateServiceStub(sites.channel())
        await hosted(sites)
        for name, words in ended.items():
            locks = [] if name == "no state" else [options_pb2.Lock(name=name, state=True)]
            task_id = await submit(sites, *locks)
            waited = stub.WaitTasks(api.WaitTasksRequest(task_ids=[task_id]), timeout=30)
            (task,) = [each async for answer in waited for each in answer.tasks]
            assert words in str(task.outcome.status), name
            assert (task.state == task_pb2.TASK_STATE_SUCCEEDED) == (not words), name
        assert not (await states.ListKeyedStates(keyed_state_pb2.ListKeyedStatesRequest(), timeout=10)).states
        save = keyed_state_pb2.SaveKeyedStateRequest(
            task_id=task_id, attempt=1, agent_id="a1", write=writes["no state"]
        )
        status = await refused(states.SaveKeyedState(save, timeout=10))
        check(status, grpc.StatusCode.ABORTED, "STATE_CONFLICT")
        save.write.CopyFrom(writes["large"])
        status = await refused(states.SaveKeyedState(save, timeout=10))
        check(status, grpc.StatusCode.RESOURCE_EXHAUSTED, "STATE_TOO_LARGE")


async def test_locks_that_keep_a_state_in_vain_are_refused(tmp_path: Path) -> None:
    async with (
        sites_on("embedded", tmp_path) as sites,
        LightAgent(sites.channel(), "a1", methods=(ECHO,), answer=result_of),
    ):
        await hosted(sites)
        for locks in (
            [options_pb2.Lock(name="cart", state=True, shared=True)],
            [options_pb2.Lock(name="cart", state=True), options_pb2.Lock(name="other", state=True)],
        ):
            check(
                await refused(submit(sites, *locks)),
                grpc.StatusCode.INVALID_ARGUMENT,
                "INVALID_FIELD",
                "options.locks",
            )


@pytest.mark.slow
async def test_the_command_reads_and_changes_states(tmp_path: Path) -> None:
    async with (
        sites_on("embedded", tmp_path) as sites,
        LightAgent(sites.channel(), "a1", methods=(ECHO,), answer=result_of),
    ):
        await hosted(sites)
        target = sites.coordinators[0].address

        async def run(*words: str) -> Finished:
            return await weft("state", *words, target=target)

        version = (await run("set", "cart:42", '{"items": [1, 2]}')).out.strip()
        document = (await run("get", "cart:42", "--json")).document
        assert (document["value"], document["type"], document["version"]) == (
            {"items": [1, 2]},
            "json",
            int(version),
        )
        assert (document["task_id"], document["expires_at"]) == ("", None)
        stale = await run("set", "cart:42", "1", "--expected-version", "0")
        assert (stale.status, "is not the expected one" in stale.err) == (1, True)
        # A message by its type, or by the end of its name.
        await run("set", "probe", '{"text": "hi"}', "--type", "ProbeRequest", "--ttl-s", "60")
        assert json.loads((await run("get", "probe")).out)["text"] == "hi"
        (tmp_path / "raw").write_bytes(b"\x00\xff")
        await run("set", "raw", f"@{tmp_path / 'raw'}", "--raw")
        assert json.loads((await run("get", "raw")).out) == {"bytes": 2}
        assert json.loads((await run("get", "raw", "--show-secrets")).out) == {"base64": "AP8="}
        listed = (await run("list")).out
        assert [line.split()[0] for line in listed.splitlines()[1:]] == ["cart:42", "probe", "raw"]
        for words, why in (
            (("set", "x", "{"), "is not JSON"),
            (("set", "x", "{}", "--type", "NoSuch"), "there is no message type"),
            (("set", "x", "abc", "--raw"), "--raw needs @FILE"),
            (("get", ""), "1 to 385 characters"),
        ):
            wrong = await run(*words)
            assert (wrong.status in (1, 2), why in wrong.err) == (True, True), (words, wrong.err)
        gone = await run("delete", "cart:42", "none")
        assert (gone.status, "cart:42 deleted" in gone.out, "there is no state" in gone.err) == (
            1,
            True,
            True,
        )
        submitted = await weft("submit", "Echo", "{}", "--state-lock", "cart:7", target=target)
        shown = await weft("tasks", "get", submitted.out.split()[0], target=target)
        assert "cart:7 (keeps a state)" in shown.out


async def test_tokens_bound_who_reads_and_saves(tmp_path: Path) -> None:
    async with token_door(tmp_path) as door:
        stub = KeyedStateServiceStub(door.channel)
        setting = keyed_state_pb2.SetKeyedStateRequest(name="cart:42", value=b"1")
        await stub.SetKeyedState(setting, metadata=shown(door.operator), timeout=10)
        reading = keyed_state_pb2.GetKeyedStateRequest(name="cart:42")
        one_method = security_pb2.TokenScope(methods=["acme.v1.Cart/*"])
        for scope, reads in ((security_pb2.TokenScope(), True), (one_method, False)):
            pairs = shown((await door.create(CLIENT, scope=scope)).text)
            if reads:
                assert (await stub.GetKeyedState(reading, metadata=pairs, timeout=10)).state.value == b"1"
                continue
            for call in (
                stub.GetKeyedState(reading, metadata=pairs, timeout=10),
                stub.ListKeyedStates(keyed_state_pb2.ListKeyedStatesRequest(), metadata=pairs, timeout=10),
            ):
                check(await refused(call), grpc.StatusCode.PERMISSION_DENIED, "OUT_OF_SCOPE")
        own = security_pb2.TokenScope(agent_ids=["a1"])
        pairs = shown((await door.create(AGENT, scope=own)).text)
        for agent_id, code, why in (
            ("a1", grpc.StatusCode.ABORTED, "STATE_CONFLICT"),
            ("a2", grpc.StatusCode.PERMISSION_DENIED, "OUT_OF_SCOPE"),
        ):
            saving = keyed_state_pb2.SaveKeyedStateRequest(task_id="none", attempt=1, agent_id=agent_id)
            check(await refused(stub.SaveKeyedState(saving, metadata=pairs, timeout=10)), code, why)
