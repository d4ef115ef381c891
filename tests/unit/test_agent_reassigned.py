"""An attempt's number may come again: handed back, or lost and forgotten by a coordinator. The two must not be mixed up."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from tests.support.running_agent import running
from tests.support.scripted_coordinator import ScriptedCoordinator, ScriptedSession, assignment
from weft.agent import Agent
from weft.v1 import fleet_pb2

METHOD = "stage.v1.Stage/Wait"


class Stage:
    """One slot, and a handler that hears of no cancellation: call after call ends when its gate is opened."""

    def __init__(self, target: str) -> None:
        self.agent = Agent("stage", target=target, slots=1, prefetch=4)
        self.agent.method(METHOD)(self.wait)
        self.gates = [threading.Event() for _ in range(4)]
        self.started = [threading.Event() for _ in range(4)]
        self._calls = 0

    def wait(self, request: StringValue, context: grpc.ServicerContext) -> StringValue:
        call = self._calls
        self._calls += 1
        self.started[call].set()
        assert self.gates[call].wait(30)
        return StringValue(value=f"{request.value} {call}")


@pytest.fixture
def coordinator() -> Iterator[ScriptedCoordinator]:
    with ScriptedCoordinator() as scripted:
        yield scripted


@pytest.fixture
def stage(coordinator: ScriptedCoordinator) -> Iterator[Stage]:
    made = Stage(coordinator.address)
    with running(made.agent):
        yield made
        for gate in made.gates:
            gate.set()


def assign(session: ScriptedSession, task_id: str) -> None:
    session.assign(task_id, METHOD, StringValue(value=task_id))


def answer(session: ScriptedSession, task_id: str) -> str:
    return StringValue.FromString(session.result(task_id).outcome.response).value


def test_a_lost_attempt_that_goes_on_does_not_end_its_namesake(
    coordinator: ScriptedCoordinator, stage: Stage
) -> None:
    """A coordinator that came back gave the agent up, forgot the attempt, and assigns it again with its number."""
    first = coordinator.accept()
    first.welcome()
    assign(first, "t")
    assert stage.started[0].wait(10)
    first.drop()

    second = coordinator.accept()
    second.welcome(adopt=[])
    assign(second, "t")
    # It waits for the only slot, which the lost one keeps until it ends.
    second.wait_state(lambda report: report.waiting == 1)
    stage.gates[0].set()
    assert stage.started[1].wait(10)
    stage.gates[1].set()

    assert answer(second, "t") == "t 1"
    second.wait_state(lambda report: (report.used_slots, report.waiting) == (0, 0))
    # The slot was counted once.
    assign(second, "u")
    assert stage.started[2].wait(10)
    stage.gates[2].set()
    assert answer(second, "u") == "u 2"


def test_an_attempt_that_was_handed_back_can_come_again_before_the_echo(
    coordinator: ScriptedCoordinator, stage: Stage
) -> None:
    session = coordinator.accept()
    session.echo = False
    session.welcome(heartbeat_s=5.0)
    assign(session, "running")
    assert stage.started[0].wait(10)
    assign(session, "t")
    session.send(desired_state=fleet_pb2.DESIRED_STATE_DRAINING)
    session.wait_released("t")

    session.send(desired_state=fleet_pb2.DESIRED_STATE_ACTIVE)
    # Of one message the assignments are handled before the echo.
    again = assignment("t", METHOD, StringValue(value="t"))
    session.send(assignments=[again], echo_sequence=session.states()[-1].sequence)
    stage.gates[0].set()
    assert stage.started[1].wait(10)
    stage.gates[1].set()

    assert answer(session, "t") == "t 1"
