"""The agent's side of the session: opening, heartbeats, breaking and coming back. Against a scripted coordinator."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from probe.v1 import probe_pb2, probe_pb2_grpc
from tests.support.probe import ProbeService
from tests.support.running_agent import running
from tests.support.scripted_coordinator import ScriptedCoordinator, ScriptedSession, assignment
from weft.agent import Agent
from weft.rpc import errors
from weft.rpc.process.environment import environment
from weft.rpc.times import seconds
from weft.v1 import errors_pb2, fleet_pb2

PROBE = "probe.v1.ProbeService/"
BURN, THREAD = "own.v1.Own/Burn", "own.v1.Own/Thread"


def probe_agent(target: str | list[str], **settings: Any) -> Agent:
    agent = Agent(settings.pop("agent_id", "a1"), target=target, **settings)
    agent.add_servicer(probe_pb2_grpc.add_ProbeServiceServicer_to_server, ProbeService())
    return agent


@pytest.fixture
def coordinator() -> Iterator[ScriptedCoordinator]:
    with ScriptedCoordinator() as made:
        yield made


def until(condition: Callable[[], bool], what: str, timeout_s: float = 10.0) -> None:
    end_at = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_at, f"not within {timeout_s} s: {what}"
        time.sleep(0.005)


def test_hello_says_who_it_is(coordinator: ScriptedCoordinator) -> None:
    agent = probe_agent(
        coordinator.address,
        slots=3,
        prefetch=2,
        labels={"zone": "eu"},
        resources={"gpu": 1.5},
        advertised_address="10.0.0.1:7000",
    )
    with running(agent):
        hello = coordinator.accept().hello

    assert (hello.agent_id, hello.slots, hello.prefetch) == ("a1", 3, 2)
    assert (dict(hello.labels), dict(hello.resources)) == (
        {"host": socket.gethostname(), "zone": "eu", **environment()},
        {"gpu": 1.5},
    )
    assert len(hello.instance_id) == 32
    assert hello.advertised_address == "10.0.0.1:7000"
    assert hello.version
    assert not hello.held
    assert [method.name for method in hello.methods] == agent.methods
    assert {method.slot_cost for method in hello.methods} == {1}


def test_the_contract_is_sent_only_when_asked_for(coordinator: ScriptedCoordinator) -> None:
    with running(probe_agent(coordinator.address)):
        session = coordinator.accept()
        session.welcome(heartbeat_s=0.2)
        session.wait_state(lambda state: state.sequence >= 2)
        assert not any(message.HasField("contract") for message in session.received)
        session.drop()

        session = coordinator.accept()
        session.welcome(contract_needed=True)
        contract = session.wait(
            lambda: next((each.contract for each in session.received if each.HasField("contract")), None),
            "contract",
        )
        digest = hashlib.sha256(contract.file_descriptor_set).hexdigest()
        assert digest == session.hello.contract_hash


def test_heartbeats_come_with_figures(coordinator: ScriptedCoordinator) -> None:
    with running(probe_agent(coordinator.address)):
        session = coordinator.accept()
        session.welcome(heartbeat_s=0.1)
        report = session.wait_state(lambda state: state.sequence >= 4 and state.HasField("round_trip"))
        wait_each_once(session)

    assert 0 < seconds(report.round_trip) < 5
    assert report.load.process_memory_bytes > 1_000_000
    assert 0 < report.load.host_memory_ratio <= 1


def wait_each_once(session: ScriptedSession) -> None:
    """Wait until heartbeats have come without a gap, each once. Those beside the stream may overtake others."""

    def without_gap() -> bool | None:
        sequences = sorted(state.sequence for state in session.states())
        assert len(set(sequences)) == len(sequences)
        return sequences[-1] == len(sequences) or None

    session.wait(without_gap, "heartbeats without a gap")


class Held:
    """An agent with a handler that blocks its event loop, and one in a thread, which end when the test says so."""

    def __init__(self, coordinator: ScriptedCoordinator, **settings: Any) -> None:
        self.agent = probe_agent(coordinator.address, **settings)
        self.agent.method(BURN)(self._burn)
        self.agent.method(THREAD)(self._thread)
        self.thread_may_end, self._loop_may_end = threading.Event(), threading.Event()

    async def _burn(self, request: StringValue) -> StringValue:
        self.thread_may_end.set()
        while not self._loop_may_end.is_set():
            sum(range(1000))
        return request

    def _thread(self, request: StringValue) -> StringValue:
        assert self.thread_may_end.wait(20)
        return request

    @contextlib.contextmanager
    def block(self, session: ScriptedSession) -> Iterator[None]:
        """Block the loop for the length of a block; the attempt in the thread ends meanwhile."""
        session.assign("thread", THREAD)
        session.assign("loop", BURN)
        try:
            yield
            assert "loop" not in {each.task_id for each in session.results()}
        finally:
            self._loop_may_end.set()


@pytest.fixture
def held(coordinator: ScriptedCoordinator) -> Iterator[Held]:
    made = Held(coordinator)
    with running(made.agent):
        yield made


def test_heartbeats_and_results_of_threads_come_while_a_handler_blocks_the_loop(
    coordinator: ScriptedCoordinator, held: Held
) -> None:
    session = coordinator.accept()
    session.welcome(heartbeat_s=0.1)
    with held.block(session):
        session.ack(session.result("thread"))
        until(lambda: len(coordinator.reports) >= 8, "heartbeats beside the stream")
        assert not session.ended.is_set()
        assert [each.task_id for each in session.results()] == ["thread"]
    session.ack(session.result("loop"))
    session.wait_state(lambda state: state.used_slots == 0)
    assert [each.task_id for each in session.results()] == ["thread", "loop"]
    assert {(each.agent_id, each.epoch) for each in coordinator.reports} == {("a1", 1)}
    wait_each_once(session)


def test_a_report_that_reaches_another_coordinator_is_made_again(
    coordinator: ScriptedCoordinator, held: Held
) -> None:
    """Several may be behind one name."""
    coordinator.refused_reports = 3
    session = coordinator.accept()
    session.welcome(heartbeat_s=0.1)
    with held.block(session):
        session.ack(session.result("thread"))
    session.ack(session.result("loop"))
    assert len(coordinator.reports) > 3
    assert not session.ended.is_set()


def test_what_did_not_arrive_beside_the_stream_comes_by_another_one(
    coordinator: ScriptedCoordinator, held: Held
) -> None:
    coordinator.refused_reports = 1_000_000
    session = coordinator.accept()
    session.welcome(heartbeat_s=0.1)
    with held.block(session):
        until(
            lambda: sum(bool(each.message.results) for each in coordinator.reports) >= 8,
            "all tries are refused",
        )
    session = coordinator.accept()
    session.welcome()
    assert {session.result(task_id).task_id for task_id in ("thread", "loop")} == {"thread", "loop"}


def test_a_blocked_loop_is_noticed(
    coordinator: ScriptedCoordinator,
    held: Held,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("weft.agent.handlers.blocked_loop.BLOCKED_S", 0.3)
    session = coordinator.accept()
    session.welcome(heartbeat_s=0.1)
    with held.block(session):
        until(lambda: "loop.blocked" in caplog.text, "it is noticed")
        told = len(coordinator.reports)
        until(lambda: len(coordinator.reports) >= told + 3, "further looks at the loop")
    session.result("loop")
    assert caplog.text.count("loop.blocked") == 1
    assert BURN in caplog.text


def test_a_deaf_coordinator_is_dropped_after_three_heartbeats() -> None:
    with ScriptedCoordinator(echo=False) as coordinator, running(probe_agent(coordinator.address)):
        session = coordinator.accept()
        welcomed_at = time.monotonic()
        session.welcome(heartbeat_s=0.1)
        session.wait_end()
        assert 0.3 < time.monotonic() - welcomed_at < 3
        assert coordinator.accept().hello.agent_id == "a1"


def test_a_coordinator_that_never_welcomes_is_dropped(
    coordinator: ScriptedCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weft.agent.session.session_stream.WELCOME_TIMEOUT_S", 0.3)
    with running(probe_agent(coordinator.address)):
        coordinator.accept().wait_end()
        coordinator.accept().welcome()


def test_running_attempts_survive_a_break_and_report_later(
    coordinator: ScriptedCoordinator, held: Held
) -> None:
    first = coordinator.accept()
    first.welcome()
    first.assign("running", THREAD, StringValue(value="x"))
    first.assign("done", f"{PROBE}Call", probe_pb2.ProbeRequest())
    done = first.result("done")
    first.drop()

    second = coordinator.accept()
    kept = {each.task_id: each for each in second.hello.held}
    assert {task_id: each.finished for task_id, each in kept.items()} == {"running": False, "done": True}
    assert {each.epoch for each in kept.values()} == {1}
    assert second.hello.instance_id == first.hello.instance_id
    second.welcome()
    assert second.result("done") == done
    held.thread_may_end.set()
    result = second.result("running")
    assert StringValue.FromString(result.outcome.response).value == "x"
    second.ack(done, result)
    second.drop()

    assert not coordinator.accept().hello.held


def test_lost_attempts_are_cancelled_and_not_reported(
    coordinator: ScriptedCoordinator, tmp_path: Any
) -> None:
    ledger = tmp_path / "ledger"
    with running(probe_agent(coordinator.address)):
        first = coordinator.accept()
        first.welcome()
        request = probe_pb2.ProbeRequest(sleep_s=30, ledger=str(ledger), text="gone")
        first.assign("gone", f"{PROBE}Call", request)
        until(ledger.exists, "the handler started")
        first.drop()

        second = coordinator.accept()
        second.welcome(adopt=[])
        until(lambda: "cancelled gone" in ledger.read_text(), "the handler was cancelled")
        second.wait_state(lambda state: state.used_slots == 0)
        assert not second.results()


def test_streamed_responses_survive_a_break_without_gaps(coordinator: ScriptedCoordinator) -> None:
    with running(probe_agent(coordinator.address)):
        first = coordinator.accept()
        first.welcome()
        first.assign("t", f"{PROBE}Stream", probe_pb2.ProbeRequest(stream_count=30, sleep_s=0.01))
        first.wait_progress("t", 10)
        first.ack_progress("t", 5)
        first.drop()
        seen = [each.index for each in first.progress("t")]

        second = coordinator.accept()
        second.welcome()
        assert second.result("t").progress_count == 30
        again = [each.index for each in second.progress("t")]
        assert again == list(range(again[0], 31))
        assert again[0] in {1, 6}, "the acknowledgement of 5 may have been lost with the stream"
        assert seen == list(range(1, len(seen) + 1))


def test_an_assignment_that_comes_twice_runs_once(coordinator: ScriptedCoordinator, tmp_path: Any) -> None:
    ledger = tmp_path / "ledger"
    request = probe_pb2.ProbeRequest(ledger=str(ledger), text="x")
    with running(probe_agent(coordinator.address)):
        session = coordinator.accept()
        session.welcome(heartbeat_s=0.2)
        twice = [assignment("t", f"{PROBE}Call", request)] * 2
        session.send(assignments=twice)
        session.send(assignments=twice)
        session.result("t")
        session.wait_state(lambda state: state.sequence >= 3)

    assert ledger.read_text().count("start") == 1
    assert len(session.results()) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        errors.InvalidArgument("labels are too long", field="hello.labels"),
        errors.FailedPrecondition(
            "field acme.v1.Thing.x changed its type",
            reason=errors_pb2.ERROR_REASON_CONTRACT_INCOMPATIBLE,
        ),
    ],
)
def test_a_refusal_for_good_ends_the_agent_with_the_coordinators_words(
    coordinator: ScriptedCoordinator, refusal: errors.WeftError
) -> None:
    with running(probe_agent(coordinator.address)) as run:
        coordinator.accept().refuse(refusal)
        run.wait()

    assert isinstance(run.error, type(refusal))
    assert run.error.reason == refusal.reason
    assert run.error.message == refusal.message


def test_an_id_in_use_is_tried_again(
    coordinator: ScriptedCoordinator, caplog: pytest.LogCaptureFixture
) -> None:
    with running(probe_agent(coordinator.address)):
        coordinator.accept().refuse(
            errors.AlreadyExists("agent id 'a1' is in use", reason=errors_pb2.ERROR_REASON_AGENT_ID_IN_USE)
        )
        coordinator.accept().welcome()
        assert "session.id_in_use" in caplog.text


def test_it_dials_until_a_coordinator_is_there_and_comes_back_to_it() -> None:
    with ScriptedCoordinator() as first:
        address = first.address
    agent = probe_agent(address)
    with running(agent):
        assert not agent.connected
        for _ in range(2):
            with ScriptedCoordinator(address) as coordinator:
                coordinator.accept().welcome()
                until(lambda: agent.connected, "connected")
            until(lambda: not agent.connected, "disconnected")


def test_several_targets_are_tried_in_turn(coordinator: ScriptedCoordinator) -> None:
    with ScriptedCoordinator() as gone:
        nobody = gone.address
    with running(probe_agent([nobody, coordinator.address])):
        coordinator.accept().welcome()


def test_reconnects_leave_no_threads_behind(
    coordinator: ScriptedCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weft.agent.session.connector.MAX_BACKOFF_S", 0.05)
    with running(probe_agent(coordinator.address)):
        for _ in range(3):
            session = coordinator.accept()
            session.welcome()
            session.wait_state(lambda state: state.sequence >= 1)
            session.drop()
        names = ("weft-", "Thread-")

        def ours() -> int:
            return sum(thread.name.startswith(names) for thread in threading.enumerate())

        session = coordinator.accept()
        session.welcome()
        session.wait_state(lambda state: state.sequence >= 1)
        before = ours()
        for _ in range(15):
            session.drop()
            session = coordinator.accept()
            session.welcome()
            session.wait_state(lambda state: state.sequence >= 1)
        until(lambda: ours() <= before, f"{before} threads as before")


def test_an_operator_drains_an_agent_that_stays(coordinator: ScriptedCoordinator) -> None:
    held = Held(coordinator, slots=1)
    with running(held.agent):
        session = coordinator.accept()
        session.welcome(heartbeat_s=0.1)
        session.assign("running", THREAD)
        session.assign("waiting", f"{PROBE}Call", probe_pb2.ProbeRequest())
        session.wait_state(lambda state: state.waiting == 1)
        session.send(desired_state=fleet_pb2.DESIRED_STATE_DRAINING)
        session.wait_released("waiting")
        held.thread_may_end.set()
        assert not session.result("running").outcome.HasField("status")
        session.assign("not now", f"{PROBE}Call", probe_pb2.ProbeRequest())
        session.wait_released("not now")
        session.send(desired_state=fleet_pb2.DESIRED_STATE_ACTIVE)
        session.assign("later", f"{PROBE}Call", probe_pb2.ProbeRequest())
        session.result("later")


def test_stopping_hands_back_what_waits_and_finishes_what_runs(coordinator: ScriptedCoordinator) -> None:
    held = Held(coordinator, slots=1)
    with running(held.agent) as run:
        session = coordinator.accept()
        session.welcome(heartbeat_s=0.1)
        session.assign("running", THREAD)
        session.assign("waiting", f"{PROBE}Call", probe_pb2.ProbeRequest())
        session.wait_state(lambda state: state.waiting == 1)
        held.agent.stop()
        session.wait_released("waiting")
        session.wait_state(lambda state: state.draining)
        session.assign("late", f"{PROBE}Call", probe_pb2.ProbeRequest())
        session.wait_released("late")
        # Heartbeats go on to the end.
        sequence = session.states()[-1].sequence
        session.wait_state(lambda state: state.sequence > sequence + 1)
        held.thread_may_end.set()
        result = session.result("running")
        assert not result.outcome.HasField("status")
        session.ack(result)
        session.wait_goodbye()
        session.wait_end()
        run.wait()
        assert run.error is None


def test_stopping_cancels_and_hands_back_what_outlasts_the_grace(coordinator: ScriptedCoordinator) -> None:
    agent = probe_agent(coordinator.address, slots=4, drain_grace_s=0.2)
    with running(agent) as run:
        session = coordinator.accept()
        session.welcome(heartbeat_s=0.2)
        slow = probe_pb2.ProbeRequest(sleep_s=60)
        session.assign("async", f"{PROBE}Call", slow)
        session.assign("sync", f"{PROBE}CallSync", slow)
        session.wait_state(lambda state: state.used_slots == 2)
        agent.stop()
        session.wait_released("async", "sync")
        session.wait_goodbye()
        run.wait()
    assert not session.results()


def test_stopping_twice_does_not_wait(coordinator: ScriptedCoordinator) -> None:
    agent = probe_agent(coordinator.address, drain_grace_s=60)
    with running(agent) as run:
        session = coordinator.accept()
        session.welcome(heartbeat_s=0.2)
        session.assign("t", f"{PROBE}Call", probe_pb2.ProbeRequest(sleep_s=60, ignore_cancel=True))
        session.wait_state(lambda state: state.used_slots == 1)
        agent.stop()
        session.wait_state(lambda state: state.draining)
        stopped_at = time.monotonic()
        agent.stop()
        session.wait_released("t")
        run.wait()
        assert time.monotonic() - stopped_at < 5


def test_an_idle_agent_stops_at_once_when_its_coordinator_stops_too() -> None:
    """Its coordinator goes before it has told that it knows of the drain: nobody is left who could tell."""
    with ScriptedCoordinator(echo=False) as coordinator:
        agent = probe_agent(coordinator.address)
        with running(agent) as run:
            session = coordinator.accept()
            session.welcome()
            session.wait_state(lambda _state: True)
            agent.stop()
            session.wait_state(lambda state: state.draining)
            stopped_at = time.monotonic()
            session.drop()
            run.wait()
            assert time.monotonic() - stopped_at < 2


def test_stopping_without_a_coordinator_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.agent.shutdown.FLUSH_TIMEOUT_S", 0.3)
    with ScriptedCoordinator() as coordinator:
        agent = probe_agent(coordinator.address)
        with running(agent) as run:
            session = coordinator.accept()
            session.welcome()
            session.assign("t", f"{PROBE}Call", probe_pb2.ProbeRequest())
            session.result("t")
            coordinator.stop()
            agent.stop()
            run.wait(5)
            assert run.error is None


async def test_serve_runs_handlers_on_the_applications_loop(coordinator: ScriptedCoordinator) -> None:
    agent = Agent("a1", target=coordinator.address)
    loops: list[asyncio.AbstractEventLoop] = []

    @agent.method("acme.v1.Thing/Do")
    async def handler(request: StringValue) -> StringValue:
        loops.append(asyncio.get_running_loop())
        return request

    serving = asyncio.create_task(agent.serve())
    session = await asyncio.to_thread(coordinator.accept)
    session.welcome()
    session.assign("t", "acme.v1.Thing/Do", StringValue(value="x"))
    result = await asyncio.to_thread(session.result, "t")
    session.ack(result)
    assert loops == [asyncio.get_running_loop()]

    agent.stop()
    await asyncio.wait_for(serving, 10)
    session.wait_goodbye()


async def test_a_cancelled_serve_hands_back_at_once(coordinator: ScriptedCoordinator) -> None:
    agent = probe_agent(coordinator.address)
    serving = asyncio.create_task(agent.serve())
    session = await asyncio.to_thread(coordinator.accept)
    session.welcome()
    session.assign("t", f"{PROBE}Call", probe_pb2.ProbeRequest(sleep_s=60))
    await asyncio.to_thread(session.wait_state, lambda state: state.used_slots == 1)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    session.wait_released("t")
    session.wait_goodbye()
