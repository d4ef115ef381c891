"""Fallback methods: another method answers when the called one fails or nobody serves it; on Redis over two coordinators."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.rpc import code_pb2

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import ProbeReply, ProbeRequest
from tests.support import tasks
from tests.support.command import weft
from tests.support.lightweight import CALL, ECHO, STREAM, LightAgent, result_of
from tests.support.mesh import MeshHarness
from tests.support.refusals import check, refused
from weft.client import TaskState, connect
from weft.v1 import options_pb2, session_pb2
from weft.v1.method_pb2 import GetMethodRequest, Method, UpdateMethodRequest
from weft.v1.method_pb2_grpc import MethodServiceStub

WAIT_S = 20.0
SYNC, ISOLATED = tasks.method("CallSync"), tasks.method("CallIsolated")


def answer(item: session_pb2.Assignment) -> session_pb2.AttemptResult:
    """The first method fails with the code that the request names; the others answer with their own name."""
    request = ProbeRequest.FromString(item.payload)
    if item.method == CALL and request.fail_code:
        failed = result_of(item)
        failed.outcome.status.code, failed.outcome.status.message = request.fail_code, "not today"
        return failed
    name = item.method.rpartition("/")[2]
    return result_of(item, response=ProbeReply(text=f"{name} {item.attempt}").SerializeToString())


@dataclass
class Falling:
    """Two doors to a mesh: `Call` falls back to `CallSync`, and that one to `CallIsolated`, which nobody serves at first."""

    doors: tuple[MeshHarness, MeshHarness]
    stubs: tuple[probe_pb2_grpc.ProbeServiceStub, ...]
    first: LightAgent

    def call(self, door: int, code: int = 0, **how: Any) -> Any:
        return self.stubs[door].Call(ProbeRequest(text="x", fail_code=code), timeout=WAIT_S, **how)


async def has_fallback(door: MeshHarness, method: str) -> bool:
    stub = MethodServiceStub(door.channel())
    return bool((await stub.GetMethod(GetMethodRequest(name=method))).method.policy.fallback)


@pytest.fixture(autouse=True)
def soon(mesh: MeshHarness) -> None:
    """Tasks that no agent serves fall back soon."""
    mesh.env["WEFT_FALLBACK_GRACE_S"] = "0.5"


@pytest_asyncio.fixture
async def falling(doors: tuple[MeshHarness, MeshHarness]) -> AsyncIterator[Falling]:
    hosted = (CALL, SYNC, ISOLATED, ECHO, STREAM)
    async with LightAgent(doors[0].own_channel(), "all", slots=1, methods=hosted, answer=answer):
        # Each coordinator knows the contract by now.
        await doors[1].wait_serving()
    agents = [LightAgent(doors[0].own_channel(), "first", slots=4, methods=(CALL,), answer=answer)]
    agents.append(LightAgent(doors[1].own_channel(), "second", slots=4, methods=(SYNC,), answer=answer))
    async with agents[0], agents[1], connect(doors[1].target) as mesh:
        await mesh.methods.override(CALL, fallback=SYNC)
        await mesh.methods.override(SYNC, fallback=ISOLATED)
        for door in doors:
            for method in (CALL, SYNC):
                await door.eventually(
                    lambda door=door, method=method: has_fallback(door, method), "each coordinator knows"
                )
            await door.wait_serving()
        yield Falling(doors, tuple(door.probe() for door in doors), agents[0])


async def trailers(call: Any) -> dict[str, str | bytes]:
    return dict(await call.trailing_metadata())


async def test_another_method_answers_and_everybody_is_told(falling: Falling) -> None:
    plain = falling.call(1)
    assert (await plain).text == "Call 1"
    assert "weft-fallback" not in await trailers(plain)
    for door in (0, 1):
        made = falling.call(door, code_pb2.INTERNAL)
        assert (await made).text == "CallSync 2"
        told = await trailers(made)
        assert (told["weft-fallback"], told["weft-agent"], told["weft-attempt"]) == (SYNC, "second", "2")
    async with connect(falling.doors[1].target) as mesh:
        task = await mesh.tasks.get(str(told["weft-task-id"]))
        assert (task.method, task.fallback_of, task.proto.outcome.fallback) == (SYNC, CALL, SYNC)
        assert [each.status.code for each in task.attempts] == [code_pb2.INTERNAL, 0]
        request = ProbeRequest(text="x", fail_code=code_pb2.INTERNAL)
        finished = [each async for each in mesh.tasks.run_many(CALL, [request])]
        assert finished[0].task is not None
        assert (finished[0].task.fallback_of, finished[0].task.proto.outcome.fallback) == (CALL, SYNC)
        # What is an answer about the request is nobody else's to answer.
        failed = await refused(falling.call(0, code_pb2.NOT_FOUND))
        assert (failed.code, failed.message) == (code_pb2.NOT_FOUND, "not today")
        # By the retry policy of the call, first; in the same time over all.
        retried = falling.call(
            0, code_pb2.UNAVAILABLE, metadata=[("weft-retry", "max_attempts=3,initial_backoff=0s")]
        )
        assert (await retried).text == "CallSync 4"
    shown = await weft("tasks", "get", str(told["weft-task-id"]), target=falling.doors[0].target)
    assert f"fallback of  {CALL}" in " ".join(shown.out.split("\n")), shown.out
    asked = '{"text": "x", "failCode": 13}'
    shown = await weft("call", CALL, asked, target=falling.doors[1].target)
    assert f"by its fallback {SYNC}" in shown.err
    await bad_fallbacks_are_refused_by_name(falling)


async def test_who_has_no_agent_begins_at_a_method_that_has_one(falling: Falling) -> None:
    async with connect(falling.doors[0].target) as mesh:
        # Nobody has a GPU: it is refused as a call of the method that it names, or waits there.
        no_wait = [("weft-require", "gpu>=1"), ("weft-no-wait", "true")]
        status = await refused(falling.call(0, metadata=no_wait))
        check(status, grpc.StatusCode.FAILED_PRECONDITION, "NO_AGENT_MATCHES")
        assert CALL in status.message
        waiting = await mesh.tasks.submit(
            CALL, ProbeRequest(text="x"), require_resources={"gpu": 1}, schedule_to_start_s=0.2
        )
        # Each of the three methods has that time; it waits for the last one's agent.
        gpu = LightAgent(
            falling.doors[1].own_channel(),
            "gpu",
            slots=1,
            methods=(ISOLATED,),
            answer=answer,
            resources={"gpu": 1},
        )
        ended = await waiting.ended(WAIT_S)
        assert (ended.state, ended.method, ended.fallback_of) == (TaskState.FAILED, ISOLATED, CALL)
        async with gpu:
            await falling.doors[0].wait_serving()
            made = falling.call(0, metadata=no_wait)
            assert (await made).text == "CallIsolated 1"
            assert (await trailers(made))["weft-fallback"] == ISOLATED


async def test_who_waits_for_the_last_agent_goes_on_when_it_leaves(falling: Falling) -> None:
    """A retry, and a task whose time to start comes later."""
    backoff = [("weft-retry", "max_attempts=9,initial_backoff=1s,max_backoff=1s")]
    made = falling.call(0, code_pb2.UNAVAILABLE, metadata=backoff)
    async with connect(falling.doors[1].target) as mesh:
        later = await mesh.tasks.submit(CALL, ProbeRequest(text="x"), delay_s=0.5)
        while not falling.first.assigned:
            await asyncio.sleep(0.01)
        await falling.first.close()
        assert (await made).text.startswith("CallSync ")
        assert (await trailers(made))["weft-fallback"] == SYNC
        ended = await later.ended(WAIT_S)
        assert (ended.state, ended.method, ended.fallback_of) == (TaskState.SUCCEEDED, SYNC, CALL)


async def bad_fallbacks_are_refused_by_name(falling: Falling) -> None:
    stub = MethodServiceStub(falling.doors[0].channel())

    async def update(name: str, fallback: str) -> Method:
        policy = options_pb2.TaskPolicy(fallback=fallback)
        answer: Method = (
            await stub.UpdateMethod(UpdateMethodRequest(name=name, policy=policy), timeout=5)
        ).method
        return answer

    for name, fallback, words in (
        (ISOLATED, CALL, f"{ISOLATED} -> {CALL} -> {SYNC} -> {ISOLATED}"),
        (ISOLATED, ECHO, "has another request: probe.v1.Payload"),
        (ISOLATED, STREAM, "streams otherwise"),
        (ISOLATED, "Call", "write a full name"),
    ):
        status = await refused(asyncio.ensure_future(update(name, fallback)))
        check(status, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "fallback")
        assert words in status.message
