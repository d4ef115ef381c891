"""Isolated handlers in sandboxes: real processes, a scripted coordinator."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from tests.support.running_agent import running
from tests.support.sandboxed import need_bubblewrap, traces, wait_gone
from tests.support.scripted_coordinator import ScriptedCoordinator, ScriptedSession
from weft.agent import Agent, HostingError, Sandbox, current_task
from weft.agent.handlers.isolated_children import with_readable
from weft.agent.handlers.process_messages import BadMessage, decode, encode
from weft.rpc.errors import error_info


def look(request: StringValue) -> StringValue:
    """What a handler sees of the machine."""
    seen = [path for path in request.value.split() if Path(path).exists()]
    return StringValue(
        value=f"{os.getuid()} {len(list(Path('/proc').glob('[0-9]*')))} {seen} {os.environ.get('WEFT_TEST_SECRET')}"
    )


def allocate(request: StringValue) -> StringValue:
    return StringValue(value=str(len(bytearray(int(request.value) << 20))))


def calls_the_mesh(request: StringValue) -> StringValue:
    try:
        current_task().sync_mesh.channel()
    except Exception as error:
        return StringValue(value=str(error))
    return request


def stays(request: StringValue) -> StringValue:
    os.spawnlp(os.P_NOWAIT, "sh", "sh", "-c", f"trap '' TERM; setsid sleep {request.value}")
    time.sleep(60)
    return request


def lies(request: StringValue) -> StringValue:
    """Write into the pipe what an agent would run, if it read pickles."""
    import pickle

    class Runs:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {request.value}",)

    for name in (each.name for each in Path("/proc/self/fd").iterdir()):
        if "socket" in str(Path(f"/proc/self/fd/{name}").readlink()):
            Connection(os.dup(int(name))).send_bytes(pickle.dumps(Runs()))
    time.sleep(60)
    return request


def outside(request: StringValue) -> StringValue:
    return StringValue(value=str(Path(request.value).exists()))


FUNCTIONS = (look, allocate, calls_the_mesh, stays, lies)


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedSession]:
    need_bubblewrap()
    monkeypatch.setenv("WEFT_TEST_SECRET", "the secret")
    with ScriptedCoordinator() as coordinator:
        agent = Agent("iso", target=coordinator.address, slots=4)
        for function in FUNCTIONS:
            sandbox = Sandbox(memory_mb=200, max_processes=32)
            agent.method(f"box.v1.Box/{function.__name__}", isolate=sandbox)(function)
        agent.method("box.v1.Box/outside", isolate=True)(outside)
        with running(agent):
            session = coordinator.accept()
            session.welcome(heartbeat_s=1.0, max_response_bytes=100_000)
            yield session


def call(session: ScriptedSession, task_id: str, function: str, value: str = "", **fields: float) -> None:
    session.assign(task_id, f"box.v1.Box/{function}", StringValue(value=value), **fields)  # type: ignore[arg-type]


def text(session: ScriptedSession, task_id: str) -> str:
    result = session.result(task_id, 60)
    assert not result.outcome.HasField("status"), result
    return StringValue.FromString(result.outcome.response).value


def reason(session: ScriptedSession, task_id: str) -> str:
    info = error_info(session.result(task_id, 60).outcome.status)
    return info.reason if info is not None else ""


def test_a_handler_sees_and_uses_what_its_sandbox_says(session: ScriptedSession, tmp_path: Path) -> None:
    marker = f"1004.{os.getpid()}"
    file = tmp_path / "made"
    call(session, "look", "look", f"/root/.bashrc /etc/shadow {tmp_path} /home /var /usr")
    assert text(session, "look") == "1000 2 ['/usr'] None"
    call(session, "outside", "outside", str(tmp_path))
    assert text(session, "outside") == "True"
    call(session, "mesh", "calls_the_mesh")
    assert "isolate=Sandbox(network=True)" in text(session, "mesh")
    call(session, "little", "allocate", "10")
    assert text(session, "little") == str(10 << 20)
    call(session, "much", "allocate", "400")
    assert reason(session, "much")
    call(session, "lies", "lies", str(file))
    assert reason(session, "lies")
    assert not file.exists()
    # It ends at its deadline, with what it has started.
    call(session, "stays", "stays", marker, time_left_s=1.0)
    assert reason(session, "stays")
    wait_gone(lambda: [line for line in traces(marker) if line.startswith("process")])


def test_a_wrong_sandbox_is_refused_when_it_is_given() -> None:
    with pytest.raises(HostingError, match="True, False or a Sandbox"):
        Agent().method("box.v1.Box/Look", isolate="yes")(look)  # type: ignore[arg-type]
    assert hash(Sandbox(variables={"A": "1"})) == hash(Sandbox())
    assert Sandbox(variables={"A": "1"}) != Sandbox()


def test_what_a_sandbox_may_read_is_named_once() -> None:
    made = with_readable(Sandbox(readable=("/a/b", "/c")), ["/a", "/usr/lib/x", "/a/b/d", "/ab"])
    assert made.readable == ("/a", "/ab", "/c")


def test_messages_of_isolated_processes_are_no_pickles() -> None:
    for message in [("ready",), ("log", 20, "event", {"a": 1}), ("done", b"\n\0x"), ("progress", b"")]:
        assert decode(encode(message)) == message
    for wrong in (b"", b"\x80\x04", b"{}\n", b"[1", b"[" * 100_000 + b"\n", b"7\n"):
        with pytest.raises(BadMessage):
            decode(wrong)
    one, other = Pipe()
    with one, other:
        other.send_bytes(encode(("done", b"x")))
        assert decode(one.recv_bytes()) == ("done", b"x")
