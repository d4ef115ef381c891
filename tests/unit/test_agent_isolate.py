"""Handlers in processes of their own: real processes, a scripted coordinator."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc import code_pb2

from probe.v1 import probe_pb2, probe_pb2_grpc
from tests.support.probe import IsolatedProbeService
from tests.support.processes import ROOT, environment
from tests.support.running_agent import running
from tests.support.scripted_coordinator import ScriptedCoordinator, ScriptedSession
from weft.agent import Agent, HostingError
from weft.rpc.errors import error_info

CALL = "probe.v1.ProbeService/CallIsolated"


async def pid(request: StringValue) -> StringValue:
    return StringValue(value=str(os.getpid()))


async def wait_async(request: StringValue) -> StringValue:
    await asyncio.sleep(30)
    return request


async def count(request: StringValue) -> AsyncIterator[StringValue]:
    for index in range(int(request.value)):
        yield StringValue(value=f"{index} {os.getpid()}")


def count_sync(request: StringValue) -> Iterator[StringValue]:
    for index in range(int(request.value)):
        yield StringValue(value=f"{index} {os.getpid()}")


def raises(request: StringValue) -> StringValue:
    raise RuntimeError("hunter2")


def terminates_a_child(request: StringValue) -> StringValue:
    child = subprocess.Popen(["sleep", "60"])
    child.terminate()
    return StringValue(value=str(child.wait(10)))


def exits(request: StringValue) -> StringValue:
    os._exit(7)


def pools(request: StringValue) -> StringValue:
    """Work with children of multiprocessing, by this start method; leaving the block terminates them."""
    with multiprocessing.get_context(request.value).Pool(2) as pool:
        return StringValue(value=str(sum(pool.map(abs, [-1, -2, -3]))))


def starts_children_and(request: StringValue) -> StringValue:
    """Start a child by each way there is, write down their numbers, and then stay or die."""
    what, ledger = request.value.split()
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=time.sleep, args=(60,), daemon=daemon) for daemon in (True, False)]
    for child in children:
        child.start()
    pids = [child.pid for child in children]
    pids.append(subprocess.Popen(["sleep", "60"]).pid)
    partial = Path(f"{ledger}.partial")
    partial.write_text(" ".join(map(str, pids)))
    partial.rename(ledger)
    if what == "die":
        os._exit(7)
    while True:
        time.sleep(0.01)


FUNCTIONS = (
    pid, wait_async, count, count_sync, raises, exits, terminates_a_child, pools, starts_children_and,
)  # fmt: skip


def until(condition: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    end_at = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_at, f"not within {timeout_s} s: {what}"
        time.sleep(0.01)


@pytest.fixture
def session() -> Iterator[ScriptedSession]:
    with ScriptedCoordinator() as coordinator:
        agent = Agent("iso", target=coordinator.address, slots=4)
        agent.add_servicer(
            probe_pb2_grpc.add_ProbeServiceServicer_to_server, IsolatedProbeService(), isolate=True
        )
        for function in FUNCTIONS:
            agent.method(f"iso.v1.Iso/{function.__name__}", isolate=True)(function)
        with running(agent):
            session = coordinator.accept()
            session.welcome(heartbeat_s=1.0, max_response_bytes=100_000)
            yield session


def call(session: ScriptedSession, task_id: str, function: str, value: str = "", **fields: float) -> None:
    session.assign(task_id, f"iso.v1.Iso/{function}", StringValue(value=value), **fields)  # type: ignore[arg-type]


def reason(session: ScriptedSession, task_id: str) -> str:
    info = error_info(session.result(task_id, 30).outcome.status)
    return info.reason if info is not None else ""


def text(session: ScriptedSession, task_id: str) -> str:
    result = session.result(task_id, 30)
    assert not result.outcome.HasField("status"), result
    return StringValue.FromString(result.outcome.response).value


def test_a_servicer_answers_from_another_process_with_all_that_it_sets(session: ScriptedSession) -> None:
    session.assign("t", CALL, probe_pb2.ProbeRequest(text="x", blob=b"\x00"), time_left_s=30.0)
    outcome = session.result("t", 30).outcome
    reply = probe_pb2.ProbeReply.FromString(outcome.response)

    assert (reply.text, reply.agent_id, reply.task_id, reply.blob) == ("x", "iso", "t", b"\x00")
    assert 0 < reply.time_remaining_s <= 30
    assert {each.key: each.value for each in outcome.trailers} == {
        "probe-text": b"x",
        "probe-bin": b"\x00\xff",
    }
    session.assign("f", CALL, probe_pb2.ProbeRequest(fail_code=9, fail_message="no", fail_reason="WHY"))
    assert reason(session, "f") == "WHY"


def test_a_process_is_used_again(session: ScriptedSession) -> None:
    call(session, "a", "pid")
    first = text(session, "a")
    call(session, "b", "pid")

    assert int(first) != os.getpid()
    assert text(session, "b") == first


def test_a_handlers_own_child_process_can_be_terminated(session: ScriptedSession) -> None:
    call(session, "t", "terminates_a_child")
    assert text(session, "t") == str(-signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_handler_may_have_children_of_multiprocessing(session: ScriptedSession, method: str) -> None:
    call(session, "t", "pools", method)
    assert text(session, "t") == "6"


@pytest.mark.slow
@pytest.mark.parametrize(
    "end",
    [
        "cancelled",
        pytest.param("time_limit", marks=pytest.mark.slow),
        pytest.param("dies", marks=pytest.mark.slow),
    ],
)
def test_what_a_handler_has_started_ends_with_its_process(
    session: ScriptedSession, tmp_path: Path, end: str
) -> None:
    ledger = tmp_path / "children"
    what = "die" if end == "dies" else "stay"
    limit = {"time_left_s": 8.0} if end == "time_limit" else {}
    call(session, "t", "starts_children_and", f"{what} {ledger}", **limit)
    until(ledger.exists, "the children have started")
    children = processes(ledger)
    if end == "cancelled":
        session.cancel("t", grace_s=0.1)
    assert session.result("t", 30)
    assert not psutil.wait_procs(children, 10)[1]
    call(session, "next", "pid")
    assert text(session, "next")


def processes(ledger: Path) -> list[psutil.Process]:
    found = []
    for number in ledger.read_text().split():
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(int(number)))
    return found


@pytest.mark.parametrize("function", ["count", "count_sync"])
def test_streams_keep_their_order_and_their_window(session: ScriptedSession, function: str) -> None:
    call(session, "t", function, "200")
    for known in (64, 128, 192):
        responses = session.wait_progress("t", known, 30)
        session.ack_progress("t", responses[-1].index)
    assert session.result("t").progress_count == 200
    values = [StringValue.FromString(each.payload).value.split()[0] for each in session.progress("t")]
    assert values == [str(each) for each in range(200)]


@pytest.mark.parametrize("function", ["count", "count_sync", "wait_async"])
def test_a_cancelled_handler_in_a_process_ends_without_being_killed(
    session: ScriptedSession, function: str
) -> None:
    call(session, "first", "pid")
    process = text(session, "first")
    call(session, "t", function, "100000")
    session.wait_state(lambda state: state.used_slots == 1)
    session.cancel("t")
    assert reason(session, "t") == "CANCELLED"
    call(session, "next", "pid")
    assert text(session, "next") == process


def test_one_that_ignores_its_cancellation_is_killed(session: ScriptedSession, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    session.assign("t", CALL, probe_pb2.ProbeRequest(burn_s=60, ledger=str(ledger), text="deaf"))
    until(ledger.exists, "the handler started")
    session.cancel("t", grace_s=0.2)
    asked_at = time.monotonic()
    assert reason(session, "t") == "CANCELLED"
    session.wait_state(lambda state: state.used_slots == 0)
    assert time.monotonic() - asked_at < 5
    assert not session.result("t").crashed
    call(session, "next", "pid")
    assert text(session, "next")


def test_one_that_outlasts_its_time_limit_is_killed(session: ScriptedSession) -> None:
    session.assign("warm", CALL, probe_pb2.ProbeRequest())
    session.result("warm", 30)
    session.assign("t", CALL, probe_pb2.ProbeRequest(burn_s=60), time_left_s=0.5)
    assert reason(session, "t") == "TIME_LIMIT"
    session.wait_state(lambda state: state.used_slots == 0)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["exits", "killed"])
def test_a_process_that_dies_is_a_crash_and_is_replaced(session: ScriptedSession, how: str) -> None:
    if how == "exits":
        call(session, "t", "exits")
    else:
        session.assign("t", CALL, probe_pb2.ProbeRequest(crash_attempts=1))
    result = session.result("t", 30)

    assert result.crashed
    assert result.outcome.status.code == code_pb2.UNAVAILABLE
    assert reason(session, "t") == "ISOLATED_PROCESS_DIED"
    call(session, "next", "pid")
    assert text(session, "next")


def test_an_exception_is_logged_by_the_agent_and_not_told(
    session: ScriptedSession, caplog: pytest.LogCaptureFixture
) -> None:
    call(session, "t", "raises")
    assert reason(session, "t") == "HANDLER_FAILED"
    logged = caplog.text
    assert "hunter2" in logged
    assert "in raises" in logged
    assert "hunter2" not in str(session.result("t").outcome.status)


def test_an_oversize_response_does_not_cross_the_pipe(session: ScriptedSession) -> None:
    session.assign("t", CALL, probe_pb2.ProbeRequest(reply_size_bytes=200_000))
    assert reason(session, "t") == "RESULT_TOO_LARGE"


@pytest.mark.slow
def test_stopping_hands_back_and_leaves_no_process() -> None:
    with ScriptedCoordinator() as coordinator:
        agent = Agent("iso", target=coordinator.address, drain_grace_s=0.1)
        agent.add_servicer(
            probe_pb2_grpc.add_ProbeServiceServicer_to_server, IsolatedProbeService(), isolate=True
        )
        with running(agent) as run:
            session = coordinator.accept()
            session.welcome()
            session.assign("warm", CALL, probe_pb2.ProbeRequest())
            session.ack(session.result("warm", 30))
            children = psutil.Process().children(recursive=True)
            session.assign("t", CALL, probe_pb2.ProbeRequest(burn_s=60))
            session.wait_state(lambda state: state.used_slots == 1)
            agent.stop()
            session.wait_released("t")
            run.wait()
        handlers = [each for each in children if "spawn_main" in " ".join(_command(each))]
        assert not psutil.wait_procs(handlers, 5)[1]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_handlers_that_another_process_cannot_import_end_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedCoordinator() as coordinator:
        agent = Agent("iso", target=coordinator.address)
        monkeypatch.setattr(pid, "__module__", "tests.unit.no_such_module")
        agent.method("iso.v1.Iso/Pid", isolate=True)(pid)
        with running(agent) as run:
            run.wait()
    assert isinstance(run.error, HostingError)
    assert "no_such_module" in run.error.message or "import" in run.error.message


# What the next test starts by its name.
agent = Agent()
agent.method("iso.v1.Iso/StartsChildren", isolate=True)(starts_children_and)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_processes_die_with_their_agent(tmp_path: Path, number: signal.Signals) -> None:
    ledger = tmp_path / "children"
    flags = ["--drain-grace-s", "0.1"]
    with ScriptedCoordinator() as coordinator:
        process = subprocess.Popen(
            [sys.executable, "-m", "weft.cli.main", "agent", f"{__name__}:agent", *flags],
            cwd=ROOT,
            env=environment({"WEFT_TARGET": coordinator.address}),
        )
        try:
            session = coordinator.accept(30)
            session.welcome()
            session.assign("t", "iso.v1.Iso/StartsChildren", StringValue(value=f"stay {ledger}"))
            until(ledger.exists, "the handler started")
            children = psutil.Process(process.pid).children(recursive=True) + processes(ledger)
            assert len(children) > 3
        finally:
            process.send_signal(number)
            process.wait(20)
    assert not psutil.wait_procs(children, 10)[1]


@pytest.mark.parametrize("function", ["count_sync", "wait_async"])
def test_a_cancellation_that_comes_with_the_call_is_not_lost(session: ScriptedSession, function: str) -> None:
    call(session, "first", "pid")
    process = text(session, "first")
    for number in range(20):
        call(session, f"t{number}", function, "100000")
        session.cancel(f"t{number}")
        assert reason(session, f"t{number}") == "CANCELLED"
    call(session, "next", "pid")
    assert text(session, "next") == process
