"""How an agent runs its assignments: slots, order, time limits, cancellation. Against a scripted coordinator."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import BytesValue, StringValue
from google.rpc import code_pb2

from tests.support.running_agent import running
from tests.support.scripted_coordinator import ScriptedCoordinator, ScriptedSession, assignment
from weft.agent import Agent, current_task
from weft.agent.session.outbox import PROGRESS_WINDOW
from weft.rpc.errors import error_info
from weft.v1 import session_pb2

# A cancellation must be seen within this, on an idle machine; the rest is room for a busy one.
PROMPT_S = 2.0


class Stage:
    """Handlers that tell the test what they do, and wait until it lets them."""

    def __init__(self, **settings: Any) -> None:
        self.agent = Agent("stage", **settings)
        self.started: list[str] = []
        self.events: list[str] = []
        self._gates: dict[str, threading.Event] = {}
        self._lock = threading.Lock()
        method = self.agent.method
        method("stage.v1.Stage/Sync")(self.sync)
        method("stage.v1.Stage/Async")(self.asynchronous)
        method("stage.v1.Stage/Dear", slot_cost=2)(self.dear)
        method("stage.v1.Stage/Deaf")(self.deaf)
        method("stage.v1.Stage/DeafSync")(self.deaf_sync)
        method("stage.v1.Stage/Size")(self.size)
        method("stage.v1.Stage/Count")(self.count)
        method("stage.v1.Stage/CountSync")(self.count_sync)
        method("stage.v1.Stage/Sizes")(self.sizes)

    def gate(self, name: str) -> threading.Event:
        with self._lock:
            return self._gates.setdefault(name, threading.Event())

    def open(self, *names: str) -> None:
        for name in names:
            self.gate(name).set()

    async def _pass(self, name: str) -> None:
        while not self.gate(name).is_set():
            await asyncio.sleep(0.005)

    def sync(self, request: StringValue, context: grpc.ServicerContext) -> StringValue:
        self.started.append(request.value)
        context.add_callback(lambda: self.events.append("callback"))
        while not self.gate(request.value).wait(0.005):
            if current_task().cancelled.is_set():
                self.events.append(f"cancelled {context.is_active()}")
                context.abort(grpc.StatusCode.CANCELLED, "saw it")
        return request

    async def asynchronous(self, request: StringValue, context: Any) -> StringValue:
        self.started.append(request.value)
        context.add_done_callback(lambda _: self.events.append("callback"))
        try:
            await self._pass(request.value)
        except asyncio.CancelledError:
            self.events.append(f"cancelled {context.cancelled()}")
            raise
        return request

    async def dear(self, request: StringValue) -> StringValue:
        self.started.append(request.value)
        await self._pass(request.value)
        return request

    async def deaf(self, request: StringValue) -> StringValue:
        self.started.append(request.value)
        while not self.gate(request.value).is_set():
            try:
                await self._pass(request.value)
            except asyncio.CancelledError:
                self.events.append("ignored")
        return request

    def deaf_sync(self, request: StringValue) -> StringValue:
        self.started.append(request.value)
        self.gate(request.value).wait(30)
        return request

    async def size(self, request: StringValue) -> BytesValue:
        return BytesValue(value=bytes(int(request.value)))

    async def count(self, request: StringValue) -> AsyncIterator[StringValue]:
        for index in range(int(request.value)):
            self.events.append(str(index))
            yield StringValue(value=str(index))

    def count_sync(self, request: StringValue) -> Iterator[StringValue]:
        for index in range(int(request.value)):
            self.events.append(str(index))
            yield StringValue(value=str(index))

    async def sizes(self, request: StringValue) -> AsyncIterator[BytesValue]:
        for size in request.value.split():
            yield BytesValue(value=bytes(int(size)))


class Play:
    """A stage on a running agent with an open session."""

    def __init__(self, stage: Stage, session: ScriptedSession) -> None:
        self.stage = stage
        self.session = session

    def assign(self, task_id: str, method: str, value: str | None = None, **fields: Any) -> None:
        request = StringValue(value=task_id if value is None else value)
        self.session.assign(task_id, f"stage.v1.Stage/{method}", request, **fields)

    def wait_started(self, *names: str) -> None:
        end_at = time.monotonic() + 10
        while not set(names) <= set(self.stage.started):
            assert time.monotonic() < end_at, f"{names} did not start; {self.stage.started} did"
            time.sleep(0.002)


@pytest.fixture
def play(request: pytest.FixtureRequest) -> Iterator[Play]:
    settings: dict[str, Any] = {"slots": 2} | getattr(request, "param", {})
    with ScriptedCoordinator() as coordinator:
        stage = Stage(target=coordinator.address, drain_grace_s=5.0, **settings)
        with running(stage.agent):
            session = coordinator.accept()
            session.welcome(max_response_bytes=100_000)
            yield Play(stage, session)
            stage.open(*stage.started)


def reason(result: session_pb2.AttemptResult) -> str:
    info = error_info(result.outcome.status)
    return info.reason if info is not None else ""


def test_waiting_assignments_start_by_priority_as_slots_come_free(play: Play) -> None:
    play.assign("a", "Async")
    play.assign("b", "Sync")
    play.wait_started("a", "b")
    play.session.send(
        assignments=[
            assignment(task_id, "stage.v1.Stage/Async", StringValue(value=task_id), priority=priority)
            for task_id, priority in (("low", 1), ("first", 5), ("second", 5), ("high", 9))
        ]
    )
    report = play.session.wait_state(lambda state: state.waiting == 4)
    assert report.used_slots == 2

    play.stage.open("a", "b", "low", "first", "second", "high")
    for task_id in ("a", "b", "low", "first", "second", "high"):
        assert play.session.result(task_id).outcome.response
    assert play.stage.started[2:] == ["high", "first", "second", "low"]


def test_a_dear_method_is_not_overtaken(play: Play) -> None:
    play.assign("a", "Async")
    play.wait_started("a")
    play.session.send(
        assignments=[
            assignment("dear", "stage.v1.Stage/Dear", StringValue(value="dear"), priority=5),
            assignment("cheap", "stage.v1.Stage/Async", StringValue(value="cheap"), priority=5),
        ]
    )
    assert play.session.wait_state(lambda state: state.waiting == 2).used_slots == 1
    play.stage.open("a")
    play.wait_started("dear")
    assert play.session.wait_state(lambda state: state.waiting == 1).used_slots == 2
    play.stage.open("dear", "cheap")
    play.session.result("cheap")
    assert play.stage.started == ["a", "dear", "cheap"]


def test_what_the_agent_cannot_run_is_answered(play: Play) -> None:
    play.session.assign("t1", "stage.v1.Stage/Missing")
    play.session.assign("t2", "stage.v1.Stage/Async", b"\xff\xff")

    assert reason(play.session.result("t1")) == "METHOD_NOT_HOSTED"
    assert play.session.result("t1").outcome.status.code == code_pb2.UNIMPLEMENTED
    assert reason(play.session.result("t2")) == "PAYLOAD_MALFORMED"


@pytest.mark.parametrize("method", ["Async", "Sync"])
def test_a_cancelled_handler_sees_it_at_once(play: Play, method: str) -> None:
    play.assign("t", method)
    play.wait_started("t")
    cancelled_at = time.monotonic()
    play.session.cancel("t", reason="enough")
    result = play.session.result("t")

    assert time.monotonic() - cancelled_at < PROMPT_S
    assert result.outcome.status.code == code_pb2.CANCELLED
    assert sorted(play.stage.events) == ["callback", f"cancelled {method == 'Async'}"]
    if method == "Async":
        assert reason(result) == "CANCELLED"
        assert "enough" in result.outcome.status.message
    play.session.wait_state(lambda state: state.used_slots == 0)


def test_a_waiting_assignment_is_cancelled_without_being_started(play: Play) -> None:
    play.assign("a", "Dear")
    play.assign("b", "Async")
    play.session.wait_state(lambda state: state.waiting == 1)
    play.session.cancel("b")

    assert reason(play.session.result("b")) == "CANCELLED"
    play.session.wait_state(lambda state: state.waiting == 0)
    assert play.stage.started == ["a"]


def test_an_async_handler_that_ignores_its_cancellation_is_abandoned(play: Play) -> None:
    play.assign("t", "Deaf")
    play.wait_started("t")
    play.session.cancel("t", grace_s=0.2)

    assert reason(play.session.result("t")) == "CANCELLED"
    assert play.stage.events == ["ignored"]
    play.session.wait_state(lambda state: state.used_slots == 0)
    play.stage.open("t")
    play.assign("next", "Size", "1")
    play.session.result("next")
    assert len(play.session.results()) == 2


def test_a_thread_that_ignores_its_cancellation_keeps_its_slot(play: Play) -> None:
    play.assign("t", "DeafSync")
    play.wait_started("t")
    play.session.cancel("t", grace_s=0.1)

    assert reason(play.session.result("t")) == "CANCELLED"
    assert play.session.wait_state(lambda _state: True).used_slots == 1
    play.stage.open("t")
    play.session.wait_state(lambda state: state.used_slots == 0)
    assert len(play.session.results()) == 1


def test_a_handler_that_finishes_all_the_same_keeps_its_outcome(play: Play) -> None:
    play.assign("t", "DeafSync")
    play.wait_started("t")
    play.session.cancel("t", grace_s=5.0)
    play.stage.open("t")

    assert StringValue.FromString(play.session.result("t").outcome.response).value == "t"


@pytest.mark.parametrize("method", ["Async", "Sync", "DeafSync", "Deaf"])
def test_the_time_limit_is_enforced_whatever_the_handler_does(play: Play, method: str) -> None:
    play.assign("t", method, time_left_s=0.3)
    play.wait_started("t")
    result = play.session.result("t")

    assert (result.outcome.status.code, reason(result)) == (code_pb2.DEADLINE_EXCEEDED, "TIME_LIMIT")
    if method in {"Async", "Sync"}:
        play.session.wait_state(lambda state: state.used_slots == 0)
        assert f"cancelled {method == 'Async'}" in play.stage.events


def test_a_time_limit_passes_while_waiting(play: Play) -> None:
    play.assign("a", "Dear")
    play.assign("b", "Async", time_left_s=0.2)

    assert reason(play.session.result("b")) == "TIME_LIMIT"
    assert play.stage.started == ["a"]
    play.session.wait_state(lambda state: state.waiting == 0)


def test_a_lost_attempt_is_cancelled_and_says_nothing(play: Play) -> None:
    play.assign("t", "Async")
    play.wait_started("t")
    play.session.cancel("t", lost=True)
    # Not the agent's state alone: an old one, from before the start, says the same.
    play.session.wait(lambda: len(play.stage.events) == 2 or None, "the handler is cancelled")
    play.session.wait_state(lambda state: state.used_slots == 0)

    assert sorted(play.stage.events) == ["callback", "cancelled True"]
    play.assign("next", "Size", "1")
    play.session.result("next")
    assert [each.task_id for each in play.session.results()] == ["next"]


def test_an_oversize_response_is_a_final_error_that_names_size_and_limit(play: Play) -> None:
    play.assign("fits", "Size", "99000")
    play.assign("large", "Size", "200000")
    play.assign("stream", "Sizes", "10 200000 10")

    assert not play.session.result("fits").outcome.HasField("status")
    for task_id, sent in (("large", 0), ("stream", 1)):
        result = play.session.result(task_id)
        info = error_info(result.outcome.status)
        assert result.outcome.status.code == code_pb2.RESOURCE_EXHAUSTED
        assert info is not None
        assert info.reason == "RESULT_TOO_LARGE"
        assert info.metadata["limit_bytes"] == "100000"
        assert int(info.metadata["size_bytes"]) >= 200_000
        assert "200" in result.outcome.status.message
        assert "100000" in result.outcome.status.message
        assert result.progress_count == sent
        assert len(play.session.progress(task_id)) == sent


@pytest.mark.parametrize("method", ["Count", "CountSync"])
def test_a_stream_waits_for_acknowledgements_and_goes_on(play: Play, method: str) -> None:
    play.assign("t", method, str(3 * PROGRESS_WINDOW))
    play.session.wait_progress("t", PROGRESS_WINDOW)
    # It is one ahead: the response that waits for room.
    play.session.wait_state(lambda state: state.sequence > 3)
    assert len(play.stage.events) == PROGRESS_WINDOW + 1
    assert len(play.session.progress("t")) == PROGRESS_WINDOW

    for done in (1, 2, 3):
        responses = play.session.wait_progress("t", done * PROGRESS_WINDOW)
        play.session.ack_progress("t", responses[-1].index)
    result = play.session.result("t")
    responses = play.session.progress("t")
    assert result.progress_count == 3 * PROGRESS_WINDOW
    assert [each.index for each in responses] == list(range(1, 3 * PROGRESS_WINDOW + 1))
    assert StringValue.FromString(responses[-1].payload).value == str(3 * PROGRESS_WINDOW - 1)


@pytest.mark.parametrize("method", ["Count", "CountSync"])
def test_a_stream_that_waits_for_room_can_be_cancelled(play: Play, method: str) -> None:
    play.assign("t", method, "1000")
    play.session.wait_progress("t", PROGRESS_WINDOW)
    play.session.cancel("t")

    assert reason(play.session.result("t")) == "CANCELLED"
    play.session.wait_state(lambda state: state.used_slots == 0)


@pytest.mark.parametrize("play", [{"slots": 200}], indirect=True)
def test_a_burst_of_many_is_run_once_each(play: Play) -> None:
    ids = [f"t{index}" for index in range(3000)]
    for start in range(0, len(ids), 500):
        play.session.send(
            assignments=[
                assignment(each, "stage.v1.Stage/Size", StringValue(value="10"))
                for each in ids[start : start + 500]
            ]
        )
    play.session.wait(lambda: len(play.session.results()) >= len(ids) or None, "3000 results", 20)
    assert sorted(each.task_id for each in play.session.results()) == sorted(ids)
    play.session.ack(*play.session.results())
    play.session.wait_state(lambda state: state.used_slots == 0 and state.waiting == 0)


@pytest.mark.parametrize("method", ["Async", "Sync"])
def test_a_cancellation_in_the_same_message_as_its_assignment(play: Play, method: str) -> None:
    play.session.send(
        assignments=[assignment("t", f"stage.v1.Stage/{method}", StringValue(value="t"))],
        cancels=[session_pb2.Cancel(task_id="t", attempt=1)],
    )
    assert play.session.result("t").outcome.status.code == code_pb2.CANCELLED
    play.session.wait_state(lambda state: state.used_slots == 0)
