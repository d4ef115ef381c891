"""An agent as a process of its own with a real coordinator: values that reach handlers and callers, and the agent's
end."""

from __future__ import annotations

import asyncio
import signal
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2

from probe.v1.probe_pb2 import ProbeRequest
from tests.support import tasks
from tests.support.mesh import PROBE_AGENT, MeshHarness
from tests.support.processes import Process
from weft.v1 import fleet_pb2, task_pb2

pytestmark = pytest.mark.real_starts

WEFT = (sys.executable, "-m", "weft.cli.main")
FLAVOURS = ["Call", "CallSync", "CallIsolated"]


def application_entries(metadata: Any) -> list[tuple[str, str | bytes]]:
    return [(key, value) for key, value in metadata if not key.startswith(("weft-", "grpc-", "user-agent"))]


@pytest.mark.parametrize("name", FLAVOURS)
async def test_a_stock_caller_and_the_handler_see_each_other_as_on_one_server(
    running_mesh: MeshHarness, name: str
) -> None:
    call = getattr(running_mesh.probe(), name)(
        ProbeRequest(text="x", blob=b"\x00\xfe"),
        timeout=30,
        metadata=(("who", "me"), ("many", "1"), ("many", "2"), ("raw-bin", b"\x00\xff")),
    )
    reply = await call

    assert reply.blob == b"\x00\xfe"
    assert list(reply.metadata) == ["who=me", "many=1", "many=2", "raw-bin=00ff"]
    assert 0 < reply.time_remaining_s < 31
    trailers = application_entries(await call.trailing_metadata())
    assert trailers == [("probe-text", "x"), ("probe-bin", b"\x00\xff")]


@pytest.mark.parametrize("name", FLAVOURS)
async def test_a_handlers_failure_reaches_a_stock_caller_with_its_details(
    running_mesh: MeshHarness, name: str
) -> None:
    request = ProbeRequest(fail_code=code_pb2.NOT_FOUND, fail_message="no such thing", fail_reason="WHY")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(running_mesh.probe(), name)(request, timeout=30)

    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "no such thing"
    details = dict(caught.value.trailing_metadata() or ())["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    status = status_pb2.Status.FromString(details)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == ("WHY", "probe")


@pytest.mark.parametrize("name", FLAVOURS)
async def test_an_exceptions_text_stays_in_the_agents_log(running_mesh: MeshHarness, name: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(running_mesh.probe(), name)(ProbeRequest(raise_text="hunter2"), timeout=30)

    assert caught.value.code() is grpc.StatusCode.UNKNOWN
    assert "hunter2" not in str(caught.value.details())
    assert "hunter2" not in str(caught.value.trailing_metadata())
    assert "hunter2" in running_mesh.agents["a1"].output()


@pytest.mark.slow
async def test_a_handler_that_never_lets_go_of_the_loop_does_not_hold_up_the_end(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    stuck = await mesh.agent("stuck", slots=1, drain_grace_s=0.5)
    ledger = mesh.ledger()
    task_id = await tasks.submit(mesh, ProbeRequest(text="t", burn_s=10, ledger=ledger.path))
    await ledger.until("start", "t")
    asked_at = time.monotonic()
    await stuck.terminate()
    # The grace, the bound for cancelled handlers, and the bound for the loop; not the ten seconds.
    assert time.monotonic() - asked_at < 8
    assert "loop.never_free" in stuck.output()

    await mesh.agent("other", slots=1)
    task = await tasks.end(mesh, task_id)
    assert tasks.reply(task).agent_id == "other"
    assert task.crashes == 0


async def test_a_second_signal_hands_back_at_once(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    first = await mesh.agent("first", slots=4, drain_grace_s=60)
    ledger = mesh.ledger()
    slow = ProbeRequest(sleep_s=60, ledger=ledger.path)
    ids = [await tasks.submit(mesh, slow, name) for name in FLAVOURS]
    await ledger.until("start", count=3, timeout_s=60)
    first.signal(signal.SIGTERM)
    await mesh.wait_agent("first", fleet_pb2.AGENT_STATE_DRAINING)
    asked_at = time.monotonic()
    assert await first.terminate() == 0
    assert time.monotonic() - asked_at < 8

    for task_id in ids:
        task = await tasks.look(mesh, task_id)
        assert task.state == task_pb2.TASK_STATE_QUEUED, tasks.describe(task)
        assert task.crashes == 0


async def test_a_closed_terminal_drains_agent_and_coordinator(mesh: MeshHarness) -> None:
    coordinator = await mesh.coordinator()
    agent = await mesh.agent("a1", drain_grace_s=30)
    ledger = mesh.ledger()
    task_id = await tasks.submit(mesh, ProbeRequest(text="t", sleep_s=0.5, ledger=ledger.path), "CallSync")
    await ledger.until("start", "t")
    agent.signal(signal.SIGHUP)
    # As a terminal and its shell send it: more than once, which asks for no haste.
    await mesh.wait_agent("a1", fleet_pb2.AGENT_STATE_DRAINING)
    agent.signal(signal.SIGHUP)
    assert await agent.wait() == 0
    assert tasks.reply(await tasks.end(mesh, task_id)).agent_id == "a1"
    coordinator.signal(signal.SIGHUP)
    assert await coordinator.wait() == 0
    assert "coordinator.stopped" in coordinator.output()


async def test_nohup_is_heeded(mesh: MeshHarness, tmp_path: Path) -> None:
    await mesh.coordinator()
    ignoring = Process(
        "ignoring",
        ["nohup", *WEFT, "agent", PROBE_AGENT, "--target", mesh.target, "--id", "a1"],
        log=tmp_path / "ignoring.log",
    )
    mesh.others.append(ignoring)
    await mesh.wait_agent("a1", instance_of=ignoring)
    await mesh.wait_contract("a1")
    ignoring.signal(signal.SIGHUP)
    assert (await mesh.probe().Call(ProbeRequest(text="x"), timeout=20)).text == "x"
    assert ignoring.alive
    assert "draining" not in ignoring.output()


PROGRAM = """
    import asyncio, sys
    from google.protobuf.wrappers_pb2 import StringValue
    from weft.agent import Agent, current_task

    agent = Agent("own", target=sys.argv[1], slots=4)

    @agent.method("own.v1.Own/Facts")
    async def facts(request: dict) -> dict:
        await asyncio.sleep(0)
        return {"given": request, "task": current_task().id, "loop": id(asyncio.get_running_loop()) == LOOP}

    @agent.method("own.v1.Own/Isolated", isolate=True)
    def isolated(request: StringValue) -> StringValue:
        return StringValue(value=request.value.upper())

    async def main():
        global LOOP
        LOOP = id(asyncio.get_running_loop())
        await agent.serve()

    if __name__ == "__main__":
        asyncio.run(main())
"""


@pytest.mark.slow
async def test_functions_served_on_the_programs_own_loop(mesh: MeshHarness, tmp_path: Path) -> None:
    from google.protobuf.json_format import MessageToDict, ParseDict
    from google.protobuf.struct_pb2 import Struct
    from google.protobuf.wrappers_pb2 import StringValue

    await mesh.coordinator()
    script = tmp_path / "own.py"
    script.write_text(textwrap.dedent(PROGRAM))
    import sys

    process = Process("own", [sys.executable, str(script), mesh.target], log=tmp_path / "own.log")
    mesh.agents["own"] = process
    await mesh.wait_serving("own.v1.Own", timeout_s=60)
    channel = mesh.channel()
    facts = channel.unary_unary(
        "/own.v1.Own/Facts",
        request_serializer=Struct.SerializeToString,
        response_deserializer=Struct.FromString,
    )
    answer = MessageToDict(await facts(ParseDict({"n": 1, "deep": {"a": [1, 2]}}, Struct()), timeout=30))
    assert answer["given"] == {"n": 1, "deep": {"a": [1, 2]}}
    assert answer["loop"] is True
    isolated = channel.unary_unary(
        "/own.v1.Own/Isolated",
        request_serializer=StringValue.SerializeToString,
        response_deserializer=StringValue.FromString,
    )
    assert (await isolated(StringValue(value="script"), timeout=60)).value == "SCRIPT"


async def test_a_refused_agent_ends_with_the_coordinators_words(mesh: MeshHarness, tmp_path: Path) -> None:
    await mesh.coordinator()
    await mesh.agent("a1")
    script = tmp_path / "other_contract.py"
    script.write_text(
        textwrap.dedent("""
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
        from weft.agent import Agent
        import sys
        file = descriptor_pb2.FileDescriptorProto(name="probe/v1/probe.proto", package="probe.v1", syntax="proto3")
        message = file.message_type.add(name="Payload")
        message.field.add(name="data", number=1, label=1, type=5)
        method = file.service.add(name="ProbeService").method.add(
            name="Echo", input_type=".probe.v1.Payload", output_type=".probe.v1.Payload")
        found = descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
        Payload = message_factory.GetMessageClass(
            descriptor_pool.Default().FindMessageTypeByName("probe.v1.Payload"))
        agent = Agent("other", target=sys.argv[1])
        async def echo(request): return request
        echo.__annotations__ = {"request": Payload, "return": Payload}
        agent.method("probe.v1.ProbeService/Echo")(echo)
        agent.run()
        """)
    )
    import sys

    process = Process("other", [sys.executable, str(script), mesh.target], log=tmp_path / "other.log")
    mesh.agents["other"] = process
    assert await process.wait(timeout_s=60) == 1
    assert "session.refused" in process.output()
    assert "CONTRACT_INCOMPATIBLE" in process.output()
    assert "data" in process.output()
    assert (await mesh.probe().Call(ProbeRequest(text="still"), timeout=10)).text == "still"


async def test_an_agent_that_waits_for_its_coordinator_takes_work_when_it_comes(
    mesh: MeshHarness, tmp_path: Path
) -> None:
    await mesh.coordinator()
    target = mesh.target
    assert mesh.coordinator_process is not None
    await mesh.coordinator_process.kill()
    await mesh.agent("early", wait=False)
    early = mesh.agents["early"]
    while "session.unavailable" not in early.output():
        assert early.alive
        await asyncio.sleep(0.02)
    await mesh.restart_coordinator()
    assert mesh.target == target
    await mesh.wait_serving()
    assert (await mesh.probe().Call(ProbeRequest(text="x"), timeout=20)).agent_id == "early"
