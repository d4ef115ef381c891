"""`weft.testing.run_handler`: one handler without a mesh, seen as its caller sees it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import code_pb2, error_details_pb2
from pydantic import BaseModel

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import Payload, ProbeReply, ProbeRequest
from selling.v1 import selling_pb2
from tests.support.probe import ProbeService
from tests.support.selling import Seller, ThreadSeller, receipts
from weft.agent import Agent, HostingError, current_task
from weft.rpc.errors import InvalidArgument, from_call
from weft.testing import HandlerTask, handler_outcome, run_handler, run_handler_sync


class Talker(probe_pb2_grpc.ProbeServiceServicer):
    """Handlers that tell what they were given."""

    async def Call(self, request, context):
        await context.send_initial_metadata([("h", "1")])
        context.set_trailing_metadata([("t", "2"), ("t-bin", b"\xff")])
        task = current_task()
        told = [task.id, task.attempt, task.request_id, task.priority, task.agent_id, task.root_id]
        told += [f"{key}={value}" for key, value in context.invocation_metadata()]
        return ProbeReply(text=" ".join(map(str, told)))

    def CallSync(self, request, context):
        if request.text == "wait":
            current_task().cancelled.wait(30)
            raise RuntimeError("told to end")
        if request.text == "raise":
            raise ValueError("the secret")
        if request.text == "none":
            return None
        context.set_code(grpc.StatusCode.NOT_FOUND)
        context.set_details("no such card")
        context.set_trailing_metadata([("t", "2")])
        return ProbeReply()

    def Stream(self, request, context):
        for index in range(request.stream_count):
            yield ProbeReply(index=index)
        if request.text:
            context.abort(grpc.StatusCode.DATA_LOSS, request.text)

    def Collect(self, request_iterator, context):
        return ProbeReply(text="".join(each.text for each in request_iterator))

    async def Chat(self, request_iterator, context):
        while (request := await context.read()) is not grpc.aio.EOF:
            await context.write(ProbeReply(text=request.text))


def numbers(request: dict, context: grpc.ServicerContext) -> Iterator[dict]:
    for each in range(int(request["n"])):
        yield {"n": each}


async def shout(request: dict) -> dict:
    return {"text": request["text"].upper()}


async def test_a_unary_handler_gives_its_response_and_sees_the_call_that_was_given():
    task = HandlerTask(id="t7", attempt=3, request_id="r", priority=9, agent_id="a", root_id="root")
    told = await handler_outcome(Talker().Call, ProbeRequest(), metadata=[("k", "v")], task=task)
    assert told.responses == [ProbeReply(text="t7 3 r 9 a root k=v")]
    assert told.headers == (("h", "1"),)
    assert told.trailers == (("t", "2"), ("t-bin", b"\xff"))
    assert told.error is None
    reply = await run_handler(Talker().Call, ProbeRequest())
    assert reply.text == "task-1 1  5 test-agent task-1"


async def test_the_probes_handlers_all_run_with_the_responses_of_a_mesh():
    probe = ProbeService()
    assert await run_handler(probe.Echo, Payload(data=b"x")) == Payload(data=b"x")
    assert (await run_handler(probe.CallSync, ProbeRequest(text="a"))).text == "a"
    replies = await run_handler(probe.Stream, ProbeRequest(text="a", stream_count=3))
    assert [each.index for each in replies] == [1, 2, 3]


async def test_streams_of_requests_come_from_any_iterable():
    async def requests() -> AsyncIterator[ProbeRequest]:
        for text in "ab":
            yield ProbeRequest(text=text)

    talker = Talker()
    given = [ProbeRequest(text=text) for text in "ab"]
    assert (await run_handler(talker.Collect, given)).text == "ab"
    assert [each.text for each in await run_handler(talker.Chat, given)] == ["a", "b"]
    assert [each.text for each in await run_handler(talker.Chat, requests())] == ["a", "b"]
    with pytest.raises(TypeError, match="iterable"):
        await run_handler(talker.Collect, ProbeRequest())


class Sum(BaseModel):
    terms: list[int]
    total: int = 0


async def test_functions_that_an_agent_hosts_are_run_as_their_own_method():
    @Agent("a").method("acme.v1.Adder/Add")
    def add(request: Sum) -> Sum:
        assert current_task().method == "acme.v1.Adder/Add"
        return Sum(terms=request.terms, total=sum(request.terms))

    class Adder:
        def add(self, request: Sum) -> Sum:
            return Sum(terms=request.terms, total=sum(request.terms))

    for handler in (add, Adder().add):
        assert await run_handler(handler, Sum(terms=[1, 2])) == Sum(terms=[1, 2], total=3)
    with pytest.raises(InvalidArgument, match="terms"):
        await run_handler(add, {"terms": ["x"]})


async def test_functions_of_agents_take_and_give_dicts():
    assert await run_handler(shout, {"text": "a"}) == {"text": "A"}
    assert await run_handler(numbers, {"n": 2}) == [{"n": 0}, {"n": 1}]


def test_tests_without_an_event_loop_run_both_kinds():
    assert run_handler_sync(shout, {"text": "a"}) == {"text": "A"}
    assert run_handler_sync(ProbeService().CallSync, ProbeRequest(text="a")).text == "a"


async def test_run_handler_sync_says_what_to_do_where_a_loop_runs():
    with pytest.raises(RuntimeError, match="await run_handler"):
        run_handler_sync(shout, {})


async def test_a_status_that_a_handler_chose_comes_with_its_trailers():
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await run_handler(Talker().CallSync, ProbeRequest())
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "no such card"
    assert caught.value.trailing_metadata()["t"] == "2"


async def test_an_abort_has_its_rich_details():
    request = ProbeRequest(fail_code=code_pb2.UNAVAILABLE, fail_message="later", retry_after_s=3)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await run_handler(ProbeService().Call, request)
    assert from_call(caught.value).retry_after_s == 3
    (detail,) = from_call(caught.value).status().details
    assert detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR)


async def test_what_a_handler_raises_is_hidden_from_callers_and_told_to_the_test():
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await run_handler(Talker().CallSync, ProbeRequest(text="raise"))
    assert caught.value.code() is grpc.StatusCode.UNKNOWN
    assert "secret" not in (caught.value.details() or "")
    assert "ValueError: the secret" in caught.value.__notes__[0]
    assert "in CallSync" in caught.value.__notes__[0]
    assert "the secret" in (await handler_outcome(Talker().CallSync, ProbeRequest(text="raise"))).raised


async def test_a_response_of_another_type_fails_as_in_a_mesh():
    told = await handler_outcome(Talker().CallSync, ProbeRequest(text="none"))
    assert told.error is not None
    assert told.error.code() is grpc.StatusCode.UNKNOWN
    assert told.responses == []


async def test_a_stream_that_fails_keeps_what_it_sent_before():
    told = await handler_outcome(Talker().Stream, ProbeRequest(text="torn", stream_count=2))
    assert [each.index for each in told.responses] == [0, 1]
    assert told.error is not None
    assert told.error.code() is grpc.StatusCode.DATA_LOSS


@pytest.mark.parametrize(
    ("handler", "request_"),
    [(ProbeService().Call, ProbeRequest(sleep_s=60)), (Talker().CallSync, ProbeRequest(text="wait"))],
    ids=["async", "sync"],
)
async def test_the_time_limit_ends_and_cancels_a_handler(handler, request_):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await run_handler(handler, request_, timeout_s=0.05)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_deadline_is_what_the_handler_sees():
    async def left(request: dict) -> dict:
        return {"left": current_task().time_remaining()}

    assert 50 < (await run_handler(left, {}, timeout_s=60))["left"] <= 60
    assert await run_handler(left, {}) == {"left": None}


async def test_a_test_that_is_cancelled_cancels_the_handler():
    ended = []

    async def wait(request: dict) -> dict:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)
        return {}

    started = asyncio.Event()
    running = asyncio.create_task(run_handler(wait, {}))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended


async def test_handlers_that_no_agent_could_host_are_refused_with_what_to_change():
    class Plain:
        def Call(self, request, context): ...

    class Half(probe_pb2_grpc.ProbeServiceServicer):
        def CallSync(self, request, context): ...

    with pytest.raises(HostingError, match="has no generated base class"):
        await run_handler(Plain().Call, ProbeRequest())
    with pytest.raises(HostingError, match="Call is no method"):
        await run_handler(Half().Call, ProbeRequest())
    with pytest.raises(HostingError, match="annotat"):
        await run_handler(lambda request: {}, {})
    with pytest.raises(TypeError, match=r"takes probe\.v1\.Payload, not ProbeRequest"):
        await run_handler(ProbeService().Echo, ProbeRequest())


async def test_a_response_that_breaks_rules_fails_as_at_an_agent():
    def sell(request: selling_pb2.Order) -> selling_pb2.Receipt:
        return receipts(request)[0]

    for handler in (Seller().Sell, ThreadSeller().Sell, sell):
        assert (await run_handler(handler, selling_pb2.Order(answers=[7]))).price == 7
        with pytest.raises(grpc.aio.AioRpcError, match=r"int32\.gte") as caught:
            await run_handler(handler, selling_pb2.Order(answers=[-7]))
        assert from_call(caught.value).reason_name == "RESULT_RULES_VIOLATED"


async def test_it_leaves_no_thread_behind():
    before = set(threading.enumerate())
    await run_handler(ProbeService().CallSync, ProbeRequest(text="a"))
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()


def test_the_package_costs_nothing_until_it_is_used():
    code = "import sys, weft.testing; dir(weft.testing); print([m for m in sys.modules if m.startswith(('grpc', 'weft.agent'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_a_handler_has_a_state() -> None:
    async def add(request: dict[str, Any]) -> dict[str, Any]:
        state = current_task().state
        state.set([*state.json([]), request["item"]])
        if request.get("fail"):
            raise RuntimeError("after set")
        return {"count": len(state.json())}

    for before, after in ((None, ["pear"]), (["fig"], ["fig", "pear"])):
        outcome = await handler_outcome(add, {"item": "pear"}, task=HandlerTask(state=before))
        assert outcome.responses == [{"count": len(after)}]
        assert outcome.state is not None
        assert outcome.state.json() == after
    failed = await handler_outcome(add, {"item": "pear", "fail": True}, task=HandlerTask(state=[]))
    assert (failed.error is not None, failed.state) == (True, None)
    without = await handler_outcome(add, {"item": "pear"})
    assert "this call has no state" in without.raised
