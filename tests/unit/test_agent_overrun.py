"""Handlers that ignore their cancellation: counted, told of once, and at a limit the agent's end. Durable and direct alike."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc import code_pb2

from tests.support.running_agent import RunningAgent, running
from tests.support.scripted_coordinator import ScriptedCoordinator, ScriptedSession
from weft.agent import Agent
from weft.agent.errors import OverrunError
from weft.v1 import agent_pb2, agent_pb2_grpc

BLOCK, ECHO = "own.v1.Own/Block", "own.v1.Own/Echo"


class Blocking:
    """An agent whose handler of `Block` heeds nothing but `let_go`."""

    def __init__(self, coordinator: ScriptedCoordinator, limit: int | None) -> None:
        self.let_go = threading.Event()
        self.agent = Agent("a1", target=coordinator.address, slots=4, restart_at_overrun_slots=limit)
        self.agent.method(BLOCK)(self.block)
        self.agent.method(ECHO)(self.echo)

    def block(self, request: StringValue) -> StringValue:
        self.let_go.wait(60)
        return request

    def echo(self, request: StringValue) -> StringValue:
        return request


@pytest.fixture(params=[None, 2], ids=["no limit", "limit 2"])
def blocking(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Blocking, RunningAgent, ScriptedSession]]:
    # What direct calls' handlers get; attempts' is the cancellation's.
    monkeypatch.setattr("weft.agent.handlers.handler_run.UNWANTED_GRACE_S", 0.1)
    with ScriptedCoordinator() as coordinator:
        made = Blocking(coordinator, request.param)
        with running(made.agent) as run:
            session = coordinator.accept()
            session.welcome(heartbeat_s=0.1)
            yield made, run, session
            made.let_go.set()


def give_up_attempt(session: ScriptedSession) -> None:
    session.assign("t1", BLOCK, StringValue())
    session.wait_state(lambda state: state.used_slots > 0)
    session.cancel("t1", grace_s=0.1)
    session.ack(session.result("t1"))


def give_up_direct_call(agent: Agent) -> None:
    with grpc.insecure_channel(agent.direct_address) as channel, pytest.raises(grpc.RpcError):
        channel.unary_unary(f"/{BLOCK}")(b"", timeout=0.5, wait_for_ready=True)


def test_overrun_handlers_are_counted_until_they_end_or_end_the_agent(
    blocking: tuple[Blocking, RunningAgent, ScriptedSession], caplog: pytest.LogCaptureFixture
) -> None:
    made, run, session = blocking
    give_up_attempt(session)
    state = session.wait_state(lambda state: state.overrun_slots > 0)
    assert (state.used_slots, state.stuck_slots, state.direct_slots) == (1, 1, 0)
    assert list(state.overrun_methods) == [BLOCK]
    # Where it is: its file, and its function.
    assert caplog.text.count("handler.overrun") == 1
    assert "test_agent_overrun.py" in caplog.text
    assert "in block" in caplog.text

    give_up_direct_call(made.agent)
    if made.agent.settings.restart_at_overrun_slots is None:
        state = session.wait_state(lambda state: state.overrun_slots == 2)
        assert (state.stuck_slots, state.direct_slots) == (1, 1)
        assert caplog.text.count("handler.overrun") == 2
        made.let_go.set()
        session.wait_state(lambda state: not (state.overrun_slots or state.used_slots or state.direct_slots))
        session.assign("t2", ECHO, StringValue(value="on"))
        assert session.result("t2")
    else:
        session.wait_state(lambda state: state.draining)
        session.wait_goodbye()
        run.wait()
        assert isinstance(run.error, OverrunError)
        assert f"hold 2 of 4 slots ({BLOCK})" in run.error.message


def test_the_others_have_their_grace() -> None:
    """An agent that ends because slots are lost finishes what runs in the others."""
    with ScriptedCoordinator() as coordinator:
        made = Blocking(coordinator, 1)
        may_end = threading.Event()

        def slow(request: StringValue) -> StringValue:
            may_end.wait(60)
            return request

        made.agent.method("own.v1.Own/Slow")(slow)
        with running(made.agent) as run:
            session = coordinator.accept()
            session.welcome(heartbeat_s=0.1)
            session.assign("slow", "own.v1.Own/Slow", StringValue(value="whole"))
            session.wait_state(lambda state: state.used_slots == 1)
            give_up_attempt(session)
            session.wait_state(lambda state: state.draining)
            may_end.set()
            result = session.result("slow")
            assert StringValue.FromString(result.outcome.response).value == "whole"
            session.ack(result)
            run.wait()
            made.let_go.set()
        assert isinstance(run.error, OverrunError)


class Stubborn:
    """An agent whose async handlers go on when they are cancelled, until `let_go`."""

    def __init__(self, coordinator: ScriptedCoordinator) -> None:
        self.let_go = threading.Event()
        self.agent = Agent("a1", target=coordinator.address, slots=4)
        self.agent.method(BLOCK)(self.block)

    async def block(self, request: StringValue) -> StringValue:
        while not self.let_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.05)
        return request


def give_up_executed_call(agent: Agent) -> None:
    call = agent_pb2.DirectCall(id=1, method=BLOCK, time_left_ms=300)
    with grpc.insecure_channel(agent.direct_address) as channel:
        stub = agent_pb2_grpc.AgentServiceStub(channel)
        requests = iter([agent_pb2.ExecuteRequest(calls=[call])])
        (result,) = next(each.results for each in stub.Execute(requests, wait_for_ready=True) if each.results)
    assert result.outcome.status.code == code_pb2.DEADLINE_EXCEEDED


@pytest.mark.parametrize("give_up", [give_up_direct_call, give_up_executed_call])
def test_an_async_handler_of_a_direct_call_that_goes_on_is_counted(
    give_up: Callable[[Agent], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in ("handlers.handler_run", "direct.direct_handlers"):
        monkeypatch.setattr(f"weft.agent.{module}.UNWANTED_GRACE_S", 0.1)
    monkeypatch.setattr("weft.agent.direct.direct_handlers.LOOK_S", 0.05)
    with ScriptedCoordinator() as coordinator:
        made = Stubborn(coordinator)
        with running(made.agent):
            session = coordinator.accept()
            session.welcome(heartbeat_s=0.1)
            give_up(made.agent)
            state = session.wait_state(lambda state: state.overrun_slots == 1)
            assert (list(state.overrun_methods), state.direct_slots) == ([BLOCK], 1)
            assert caplog.text.count("handler.overrun") == 1
            assert "in block" in caplog.text
            made.let_go.set()
            session.wait_state(lambda state: not (state.overrun_slots or state.direct_slots))
