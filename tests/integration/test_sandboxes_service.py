"""The sandbox service in a mesh: hosted by name, called by clients that know nothing of weft, and nothing left when it is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from tests.support.languages import Node, run
from tests.support.mesh import MeshHarness
from tests.support.processes import ROOT
from tests.support.reflecting import find_grpcurl, grpcurl
from tests.support.sandboxed import groups_of, need_bubblewrap, traces, wait_gone
from weft.services.sandboxes.v1 import sandboxes_pb2 as pb
from weft.services.sandboxes.v1 import sandboxes_pb2_grpc
from weft.v1 import coordinator_pb2

SERVICE = "weft.services.sandboxes.v1.SandboxService"
SMALL = {"memory_mb": 64, "disk_mb": 4, "max_processes": 20}
T = 30


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def _hosting(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshHarness]:
    need_bubblewrap()
    async with MeshHarness(tmp_path_factory.mktemp("sandboxes")) as harness:
        await harness.coordinator()
        harness.agent_env = {
            "WEFT_SANDBOXES_MAX_SANDBOXES": "6",
            "WEFT_SANDBOXES_WARM": "1",
            "WEFT_SANDBOXES_SNAPSHOTS_MB": "2",
        }
        await harness.agent("a1", slots=16, program="", services="sandboxes")
        await harness.close_channels()
        yield harness


@pytest.fixture
async def hosting(_hosting: MeshHarness) -> AsyncIterator[MeshHarness]:
    yield _hosting
    stub = stub_of(_hosting)
    for each in (await stub.ListSandboxes(pb.ListSandboxesRequest(), timeout=T)).sandboxes:
        await stub.TerminateSandbox(pb.TerminateSandboxRequest(sandbox_id=each.id), timeout=T)
    await _hosting.close_channels()


def stub_of(hosting: MeshHarness) -> Any:
    return sandboxes_pb2_grpc.SandboxServiceStub(hosting.channel())


@pytest.fixture
def stub(hosting: MeshHarness) -> Any:
    return stub_of(hosting)


async def make(stub: Any, **what: Any) -> pb.Sandbox:
    request = pb.CreateSandboxRequest(**{"limits": SMALL, **what})
    return (await stub.CreateSandbox(request, timeout=T)).sandbox


async def sh(stub: Any, sandbox: pb.Sandbox, line: str, **what: Any) -> pb.RunResponse:
    request = pb.RunRequest(sandbox_id=sandbox.id, program={"argv": ["sh", "-c", line]}, **what)
    return await stub.Run(request, timeout=T)


async def refused(call: Any, code: grpc.StatusCode, says: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    assert (error.value.code(), says in str(error.value.details())) == (code, True), error.value


async def test_a_program_runs_with_input_and_limits_on_what_it_tells(stub: Any) -> None:
    made = await make(stub, labels={"for": "a test"}, variables={"A": "b c"})
    assert (made.agent_id, made.provider, made.labels["for"]) == ("a1", "bubblewrap", "a test")
    assert made.held_by["memory_mb"]
    ran = await sh(stub, made, "cat; echo $A >&2; exit 3", input=b"hello")
    assert (ran.exit_code, ran.output, ran.errors) == (3, b"hello", b"b c\n")
    ran = await sh(stub, made, "yes | head -c 200000; kill -9 $$", max_output_bytes=10)
    assert (ran.exit_code, len(ran.output), ran.left_out_bytes) == (137, 10, 199_990)
    program = {"argv": ["sh", "-c", "sleep 50"]}
    slow = pb.RunRequest(sandbox_id=made.id, program=program, timeout={"nanos": 200_000_000})
    await refused(stub.Run(slow, timeout=T), grpc.StatusCode.DEADLINE_EXCEEDED, "was killed")
    none = pb.RunRequest(sandbox_id=made.id, program={"argv": ["nosuch"]})
    await refused(stub.Run(none, timeout=T), grpc.StatusCode.NOT_FOUND, "No such file")
    assert b"sleep" not in (
        await sh(stub, made, "cat /proc/*/cmdline | tr '\\0' ' ' | grep -v grep || true")
    ).output.replace(b"tr", b"")
    # It comes to its limit of memory, and is still there.
    await sh(stub, made, "head -c 300000000 /dev/zero | tail")
    assert (await sh(stub, made, "echo on")).output == b"on\n"


async def test_a_stream_in_and_out(stub: Any) -> None:
    made = await make(stub)
    call = stub.Exec(timeout=T)
    start = {
        "sandbox_id": made.id,
        "program": {"argv": ["sh", "-c", "while read x; do echo got $x; done; echo end >&2; exit 4"]},
    }
    await call.write(pb.ExecRequest(start=start))
    for word in ("one", "two"):
        await call.write(pb.ExecRequest(input=f"{word}\n".encode()))
        assert (await call.read()).output == f"got {word}\n".encode()
    await call.write(pb.ExecRequest(end_of_input=True))
    rest = await rest_of(call)
    assert [each.errors for each in rest[:-1]] == [b"end\n"]
    assert rest[-1].exit_code == 4

    # A signal.
    call = stub.Exec(timeout=T)
    start["program"] = {
        "argv": ["sh", "-c", "trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.01; done"]
    }
    await call.write(pb.ExecRequest(start=start))
    assert (await call.read()).output == b"up\n"
    await call.write(pb.ExecRequest(signal=15))
    assert [each.exit_code for each in await rest_of(call) if each.HasField("exit_code")] == [9]

    # What its caller leaves is killed.
    call = stub.Exec(timeout=T)
    start["program"] = {"argv": ["sh", "-c", "echo up; exec sleep 1005.5"]}
    await call.write(pb.ExecRequest(start=start))
    assert (await call.read()).output == b"up\n"
    call.cancel()
    await asyncio.to_thread(wait_gone, lambda: left("1005.5"))

    wrong = stub.Exec(timeout=T)
    await wrong.write(pb.ExecRequest(input=b"x"))
    await refused(wrong.read(), grpc.StatusCode.INVALID_ARGUMENT, "must have `start`")


async def rest_of(call: Any) -> list[Any]:
    """The messages that a stream still has."""
    found = []
    while (each := await call.read()) is not grpc.aio.EOF:
        found.append(each)
    return found


async def test_files(stub: Any) -> None:
    made = await make(stub)
    at: dict[str, Any] = {"sandbox_id": made.id}
    script = b"#!/bin/sh\necho run\n"
    written = await stub.WriteFile(
        pb.WriteFileRequest(**at, path="a/b.sh", data=script, executable=True), timeout=T
    )
    assert written.size_bytes == len(script)
    assert (await sh(stub, made, "a/b.sh")).output == b"run\n"
    await stub.WriteFile(
        pb.WriteFileRequest(**at, path="a/b.sh", data=b"# more\n", offset_bytes=len(script)), timeout=T
    )
    read = await stub.ReadFile(
        pb.ReadFileRequest(**at, path="/work/a/b.sh", offset_bytes=2, max_bytes=7), timeout=T
    )
    assert (read.data, read.size_bytes) == (b"/bin/sh", len(script) + 7)
    listed = await stub.ListFiles(pb.ListFilesRequest(**at), timeout=T)
    assert [(each.name, each.kind) for each in listed.files] == [("a", "folder")]
    await stub.RemoveFile(pb.RemoveFileRequest(**at, path="a"), timeout=T)
    await refused(
        stub.ReadFile(pb.ReadFileRequest(**at, path="a/b.sh"), timeout=T),
        grpc.StatusCode.NOT_FOUND,
        "No such",
    )
    # Links lead to what is in the sandbox, and nowhere else.
    await sh(stub, made, "ln -s /etc/passwd passwd; ln -s /root/.bashrc bashrc; ln -s / top; mkfifo pipe")
    passwd = await stub.ReadFile(pb.ReadFileRequest(**at, path="passwd"), timeout=T)
    assert b"sandbox:x" in passwd.data
    for path in ("bashrc", "top/root/.bashrc", f"top{ROOT}/README.md", f"../../../..{ROOT}/README.md"):
        await refused(
            stub.ReadFile(pb.ReadFileRequest(**at, path=path), timeout=T),
            grpc.StatusCode.NOT_FOUND,
            "No such",
        )
    for path in ("pipe", "/dev/zero", "top"):
        await refused(
            stub.ReadFile(pb.ReadFileRequest(**at, path=path), timeout=T),
            grpc.StatusCode.FAILED_PRECONDITION,
            "in the sandbox",
        )
    full = [pb.WriteFileRequest(**at, path=f"big{each}", data=bytes(1 << 20)) for each in range(5)]
    results = [await _code(stub.WriteFile(each, timeout=T)) for each in full]
    assert results[-1] == grpc.StatusCode.RESOURCE_EXHAUSTED
    await refused(
        stub.WriteFile(pb.WriteFileRequest(**at, path="/usr/x", data=b"x"), timeout=T),
        grpc.StatusCode.FAILED_PRECONDITION,
        "Read-only",
    )


async def _code(call: Any) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_a_port(stub: Any) -> None:
    made = await make(stub)
    closed = stub.ConnectPort(timeout=T)
    await closed.write(pb.ConnectPortRequest(open={"sandbox_id": made.id, "port": 8000}))
    await refused(closed.read(), grpc.StatusCode.UNAVAILABLE, "refused")
    code = "import socket; s = socket.create_server(('127.0.0.1', 8000)); print('up', flush=True); c, _ = s.accept(); c.sendall(c.recv(99).upper())"
    server = stub.Exec(timeout=T)
    await server.write(
        pb.ExecRequest(start={"sandbox_id": made.id, "program": {"argv": ["python3", "-c", code]}})
    )
    assert (await server.read()).output == b"up\n"
    call = stub.ConnectPort(timeout=T)
    await call.write(pb.ConnectPortRequest(open={"sandbox_id": made.id, "port": 8000}))
    assert (await call.read()).data == b""
    await call.write(pb.ConnectPortRequest(data=b"hello"))
    assert b"".join([each.data for each in await rest_of(call)]) == b"HELLO"


async def test_pause_resume_idle_and_time(hosting: MeshHarness, stub: Any) -> None:
    made = await make(stub, pause_when_idle={"nanos": 100_000_000})
    at: dict[str, Any] = {"sandbox_id": made.id}
    counting = "while :; do echo x >> ticks; sleep 0.01; done &"
    await sh(stub, made, f"({counting}) > /dev/null 2>&1")

    async def is_idle() -> bool:
        return (await state(stub, made)) == pb.SANDBOX_STATE_IDLE

    await hosting.eventually(is_idle, "it is paused, as nobody calls")
    size = (await stub.ListFiles(pb.ListFilesRequest(**at), timeout=T)).files[0].size_bytes
    assert size
    assert await state(stub, made) in {pb.SANDBOX_STATE_RUNNING, pb.SANDBOX_STATE_IDLE}

    paused = await stub.PauseSandbox(pb.PauseSandboxRequest(**at), timeout=T)
    assert paused.sandbox.state == pb.SANDBOX_STATE_PAUSED
    await refused(sh(stub, made, "true"), grpc.StatusCode.FAILED_PRECONDITION, "call ResumeSandbox")
    kept = await stub.SnapshotSandbox(pb.SnapshotSandboxRequest(**at), timeout=T)
    assert await state(stub, made) == pb.SANDBOX_STATE_PAUSED
    resumed = await stub.ResumeSandbox(pb.ResumeSandboxRequest(**at), timeout=T)
    assert resumed.sandbox.state == pb.SANDBOX_STATE_RUNNING
    await stub.DeleteSnapshot(pb.DeleteSnapshotRequest(snapshot_id=kept.snapshot_id), timeout=T)

    await stub.ExtendSandbox(pb.ExtendSandboxRequest(**at, ttl={"nanos": 1}), timeout=T)

    async def has_ended() -> bool:
        return (await state(stub, made)) == pb.SANDBOX_STATE_ENDED

    await hosting.eventually(has_ended, "its time is over")
    await refused(sh(stub, made, "true"), grpc.StatusCode.FAILED_PRECONDITION, "its time is over")


async def state(stub: Any, sandbox: pb.Sandbox) -> pb.SandboxState:
    found = await stub.GetSandbox(pb.GetSandboxRequest(sandbox_id=sandbox.id), timeout=T)
    return found.sandbox.state


async def test_snapshots_and_forks(stub: Any) -> None:
    made = await make(stub)
    await sh(stub, made, "mkdir a; echo one > a/x; ln -s x a/link")
    kept = await stub.SnapshotSandbox(pb.SnapshotSandboxRequest(sandbox_id=made.id), timeout=T)
    await sh(stub, made, "echo two > a/x")
    old = await make(stub, snapshot_id=kept.snapshot_id)
    fork = (await stub.ForkSandbox(pb.ForkSandboxRequest(sandbox_id=made.id), timeout=T)).sandbox
    assert (await sh(stub, old, "cat a/link")).output == b"one\n"
    assert (await sh(stub, fork, "cat a/link")).output == b"two\n"
    assert fork.limits == made.limits
    await sh(stub, made, "head -c 3000000 /dev/zero > big")
    await refused(
        stub.SnapshotSandbox(pb.SnapshotSandboxRequest(sandbox_id=made.id), timeout=T),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "2 MiB",
    )
    assert (await sh(stub, made, "echo on")).output == b"on\n"
    await stub.DeleteSnapshot(pb.DeleteSnapshotRequest(snapshot_id=kept.snapshot_id), timeout=T)
    await refused(make(stub, snapshot_id=kept.snapshot_id), grpc.StatusCode.NOT_FOUND, "no snapshot")


async def test_what_cannot_be_had_is_said(stub: Any) -> None:
    made = await make(stub)
    for call, code, says in (
        (
            make(stub, limits={"memory_mb": 100_000}),
            grpc.StatusCode.FAILED_PRECONDITION,
            "WEFT_SANDBOXES_MAX_MEMORY_MB",
        ),
        (make(stub, limits={"memory_mb": 3}), grpc.StatusCode.INVALID_ARGUMENT, "16 to"),
        (make(stub, network=True), grpc.StatusCode.FAILED_PRECONDITION, "WEFT_SANDBOXES_ALLOW_NETWORK"),
        (make(stub, provider="nosuch"), grpc.StatusCode.NOT_FOUND, "installed: bubblewrap"),
        (make(stub, ttl={"seconds": -1}), grpc.StatusCode.INVALID_ARGUMENT, "ttl"),
        (state(stub, pb.Sandbox(id="0" * 32)), grpc.StatusCode.NOT_FOUND, "weft-session"),
        (sh(stub, made, "x" * 40_000), grpc.StatusCode.INVALID_ARGUMENT, "argv"),
    ):
        await refused(call, code, says)
    others = [await make(stub) for _ in range(5)]
    await refused(make(stub), grpc.StatusCode.RESOURCE_EXHAUSTED, "WEFT_SANDBOXES_MAX_SANDBOXES")
    ended = await stub.TerminateSandbox(pb.TerminateSandboxRequest(sandbox_id=others[0].id), timeout=T)
    assert (ended.sandbox.state, ended.sandbox.ended_for) == (pb.SANDBOX_STATE_ENDED, "terminated")
    # Process 1 killed from inside does not work; the sandbox goes on.
    assert (await sh(stub, made, "kill -9 1; echo on")).output == b"on\n"


async def test_warm_ones_are_taken_and_made_again(hosting: MeshHarness, stub: Any) -> None:
    async def one_waits() -> bool:
        return (await stub.ListSandboxes(pb.ListSandboxesRequest(), timeout=T)).warm == 1

    for _ in range(2):
        await hosting.eventually(one_waits, "one is made ahead")
        answer = await stub.CreateSandbox(pb.CreateSandboxRequest(), timeout=T)
        assert answer.warm
        assert (await sh(stub, answer.sandbox, "echo on")).output == b"on\n"
    assert not (await stub.CreateSandbox(pb.CreateSandboxRequest(variables={"A": "1"}), timeout=T)).warm


async def test_a_caller_that_leaves_leaves_no_sandbox(hosting: MeshHarness, stub: Any) -> None:
    calls = [stub.CreateSandbox(pb.CreateSandboxRequest(limits=SMALL), timeout=T) for _ in range(4)]
    for number, call in enumerate(calls):
        await asyncio.sleep(number * 0.01)
        call.cancel()

    async def none_is_left() -> bool:
        listed = await stub.ListSandboxes(pb.ListSandboxesRequest(), timeout=T)
        for each in listed.sandboxes:
            await stub.TerminateSandbox(pb.TerminateSandboxRequest(sandbox_id=each.id), timeout=T)
        groups = {
            Path(each).name
            for path in groups_of(hosting.agents["a1"].pid)
            for each in Path(path).glob("[0-9]*")
        }
        return not listed.sandboxes and len(groups) <= listed.warm

    await hosting.eventually(none_is_left, "what was begun is ended, but for the one made ahead")


async def test_nothing_of_what_goes_in_is_logged(hosting: MeshHarness, stub: Any) -> None:
    made = await make(stub, variables={"KEY": "hunter2a"})
    await sh(stub, made, "echo hunter2b; cat", input=b"hunter2c")
    await stub.WriteFile(
        pb.WriteFileRequest(sandbox_id=made.id, path="hunter2d", data=b"hunter2e"), timeout=T
    )
    await _code(stub.ReadFile(pb.ReadFileRequest(sandbox_id=made.id, path="hunter2d/x"), timeout=T))
    await stub.TerminateSandbox(pb.TerminateSandboxRequest(sandbox_id=made.id), timeout=T)
    assert "sandbox.ended" in hosting.logs()
    assert "hunter2" not in hosting.logs()


async def test_grpcurl_finds_and_calls_it(hosting: MeshHarness) -> None:
    find_grpcurl()
    code, printed = await grpcurl(hosting.target, ["describe", f"{SERVICE}.Exec"])
    assert code == 0, printed
    assert "rpc Exec ( stream .weft.services.sandboxes.v1.ExecRequest )" in printed
    code, printed = await grpcurl(
        hosting.target, [f"{SERVICE}/CreateSandbox"], ["-d", '{"limits": {"memory_mb": 64}}']
    )
    assert code == 0, printed
    made = json.loads(printed)["sandbox"]
    messages = json.dumps({"start": {"sandbox_id": made["id"], "program": {"argv": ["echo", "hi"]}}})
    code, printed = await grpcurl(hosting.target, [f"{SERVICE}/Exec"], ["-d", messages])
    assert code == 0, printed
    assert '"output": "aGkK"' in printed


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_node_calls_it_without_weft(hosting: MeshHarness) -> None:
    modules = Node().built / "examples" / "node" / "node_modules"
    places = [str(ROOT / each) for each in ("protos", "third_party/protovalidate", "third_party/googleapis")]
    script = str(ROOT / "tests" / "support" / "any_call.js")

    def call(method: str, request: dict[str, Any]) -> Any:
        words = [hosting.target, "weft/services/sandboxes/v1/sandboxes.proto", SERVICE, method]
        out = run(["env", f"NODE_PATH={modules}", "node", script, *words, json.dumps(request), *places], ROOT)
        return json.loads(out)

    made = await asyncio.to_thread(call, "CreateSandbox", {"limits": {"memory_mb": 64}})
    program = {"argv": ["sh", "-c", "exit 7"]}
    ran = await asyncio.to_thread(call, "Run", {"sandbox_id": made["sandbox"]["id"], "program": program})
    assert ran["exit_code"] == 7


async def test_killed_agents_and_sandboxes_leave_nothing(hosting: MeshHarness) -> None:
    victim = await hosting.agent(
        "a2", slots=4, program="", services="sandboxes", env={"WEFT_SANDBOXES_WARM": "0"}
    )
    # By their sessions, each sandbox is found where it is.
    stub, agents = stub_of(hosting), set()
    for number in range(20):
        session = (("weft-session", f"s{number}"), ("weft-session-mode", "hard"))
        answer = await stub.CreateSandbox(pb.CreateSandboxRequest(limits=SMALL), timeout=T, metadata=session)
        agents.add(answer.sandbox.agent_id)
        run = pb.RunRequest(sandbox_id=answer.sandbox.id, program={"argv": ["true"]})
        assert (await stub.Run(run, timeout=T, metadata=session)).exit_code == 0
        end = pb.TerminateSandboxRequest(sandbox_id=answer.sandbox.id)
        await stub.TerminateSandbox(end, timeout=T, metadata=session)
        if len(agents) == 2:
            break
    assert agents == {"a1", "a2"}

    found = (await hosting.api().ListAgents(coordinator_pb2.ListAgentsRequest(), timeout=T)).agents
    (address,) = [each.advertised_address for each in found if each.id == "a2"]
    async with grpc.aio.insecure_channel(address) as channel:
        stub = sandboxes_pb2_grpc.SandboxServiceStub(channel)
        made = [await make(stub) for _ in range(3)]
        for each in made:
            assert (await sh(stub, each, "trap '' TERM; (setsid sleep 1006.5 &) ; echo up")).output == b"up\n"
        await stub.PauseSandbox(pb.PauseSandboxRequest(sandbox_id=made[1].id), timeout=T)
        assert len(left("1006.5")) == 3
        # The kill of one's first process, from outside, is its end.
        sleeping = int(left("1006.5")[0].split()[1].removesuffix(":"))
        parent = int(Path(f"/proc/{sleeping}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(parent, signal.SIGKILL)
        await asyncio.to_thread(wait_gone, lambda: left("1006.5")[2:])
        await victim.kill()
    await asyncio.to_thread(wait_gone, lambda: [*left("1006.5"), *groups_of(victim.pid)])


def left(marker: str) -> list[str]:
    return [each for each in traces(marker) if each.startswith("process")]
