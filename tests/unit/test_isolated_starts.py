"""Processes of isolated handlers that never take a task: they end with their time or their agent."""

from __future__ import annotations

import errno
import multiprocessing
import os
import time
from pathlib import Path

import grpc
import psutil
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from tests.support import never_loads
from tests.support.running_agent import running
from tests.support.scripted_coordinator import ScriptedCoordinator
from weft.agent import Agent, HostingError
from weft.agent.handlers import isolated_start
from weft.agent.handlers.isolated_start import KeptWarm, PooledProcess
from weft.agent.handlers.mesh_clients import MeshClients
from weft.agent.hosting.hosted_methods import FunctionSource


def _wait_loading(file: Path) -> psutil.Process:
    ends_at_s = time.monotonic() + 30
    while not (file.exists() and (text := file.read_text())):
        assert time.monotonic() < ends_at_s
        time.sleep(0.01)
    return psutil.Process(int(text))


def test_one_ends_with_its_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "loading"
    monkeypatch.setenv("WEFT_TEST_LOADING", f"waits {file}")
    with ScriptedCoordinator() as coordinator:
        agent = Agent("iso", target=coordinator.address)
        agent.method("iso.v1.Iso/Work", isolate=True)(never_loads.work)
        with running(agent) as run:
            session = coordinator.accept()
            session.welcome()
            process = _wait_loading(file)
            session.assign("waits", "iso.v1.Iso/Work", StringValue())
            session.wait_state(lambda state: state.used_slots == 1)
            run.stop()
            session.wait_released("waits")
        assert run.error is None
        process.wait(10)


@pytest.mark.parametrize(
    ("how", "why"), [("half", r"did not start \(exit code -9\)"), ("untrue", "no message")]
)
def test_one_ends_when_its_time_is_over(
    how: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "loading"
    monkeypatch.setenv("WEFT_TEST_LOADING", f"{how} {file}")
    kind = KeptWarm(None, [FunctionSource("iso.v1.Iso/Work", never_loads.work)])
    process = PooledProcess(kind, MeshClients([], use_proxy=False, max_message_bytes=1))
    try:
        child = _wait_loading(file)
        monkeypatch.setattr(isolated_start, "START_TIMEOUT_S", 0.2)
        with pytest.raises(HostingError, match=why):
            process.wait_ready()
        assert not child.is_running()
    finally:
        process.kill()


def test_a_system_without_processes_costs_the_attempt_and_not_the_agent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(process: multiprocessing.Process) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    spawned = multiprocessing.get_context("spawn").Process
    monkeypatch.setattr(spawned, "start", start)
    with ScriptedCoordinator() as coordinator:
        agent = Agent("iso", target=coordinator.address)
        agent.method("iso.v1.Iso/Pid", isolate=True)(never_loads.work)
        with running(agent) as run:
            session = coordinator.accept()
            session.welcome()
            session.assign("t", "iso.v1.Iso/Pid", StringValue())
            assert session.result("t", 30).outcome.status.code == grpc.StatusCode.UNAVAILABLE.value[0]
        assert run.error is None
