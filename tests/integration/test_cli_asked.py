"""Right and wrong command lines: names by their ends, several ids, options that become metadata, lists that are cut."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from pathlib import Path

import pytest

from probe.v1.probe_pb2 import ProbeRequest
from tests.support import tasks
from tests.support.command import Finished, weft
from tests.support.mesh import MeshHarness
from tests.support.processes import environment
from weft.v1 import coordinator_pb2

pytestmark = pytest.mark.real_starts

CALL = "probe.v1.ProbeService/Call"
NO_ID = "no-such-task"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "in_json"),
    [
        (("tasks", "list", "--method", "{}", "--json"), CALL),
        (("queues", "list", "--method", "{}", "--json"), CALL),
        (("queues", "resume", "{}", "--json"), CALL),
        (("agents", "list", "--method", "{}", "--json"), "a1"),
        (("call", "{}", '{{"text": "short"}}', "--json"), "short"),
        (("submit", "{}", "--json"), "task_id"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value[:2]),
)
async def test_every_door_takes_a_method_by_its_end(
    shared_mesh: MeshHarness, args: tuple[str, ...], in_json: str
):
    """As tables print it, and as gRPC writes it."""
    first = await weft("submit", CALL, "{}", "--wait", target=shared_mesh.target)
    assert first.status == 0
    for name in ("ProbeService/Call", "/probe.v1.ProbeService/Call", "probe.v1.ProbeService.Call"):
        done = await weft(*(arg.format(name) for arg in args), target=shared_mesh.target)
        assert done.status == 0, done.err
        assert in_json in done.out

    wrong = [arg.format("ProbeService/Cal") for arg in args]
    done = await weft(*wrong, target=shared_mesh.target)
    assert done.status == 2
    assert "did you mean" in done.err
    assert CALL in done.err
    many = await weft(
        *(arg.format("probe.v1.ProbeService/Nothing") for arg in args), target=shared_mesh.target
    )
    assert many.status in {1, 2}
    assert "no method" in many.err


async def test_a_file_error_names_file_and_reason_once(tmp_path: Path):
    """Of every command that takes a file, folder, socket or program."""
    missing = str(tmp_path / "missing" / "thing")
    coordinator = ("coordinator", "--listen", "127.0.0.1:0")
    for args in (
        ("call", CALL, f"@{missing}"),
        ("submit", CALL, f"@{missing}", "--lines"),
        ("submit", CALL, "--many", missing),
        ("agent", "--app", "127.0.0.1:1", "--egress", "off", "--descriptors", missing),
        ("conformance", "--agent", missing),
        (*coordinator, "--store", str(tmp_path / "weft.db"), "--address-file", missing),
        (*coordinator, "--store", f"unix://{missing}"),
    ):
        done = await weft(*args)
        assert done.status in {1, 2}, done
        assert done.err.count(missing) == 1, done.err
        assert done.err.count("No such file or directory") == 1, done.err
        assert "Errno" not in done.err
        assert "Error 2" not in done.err


async def test_all_ids_are_tried_and_those_that_failed_are_named(shared_mesh: MeshHarness):
    done = await weft("submit", CALL, "{}", "--delay-s", "60", "--count", "2", target=shared_mesh.target)
    first, second = done.out.split()
    done = await weft("tasks", "cancel", first, NO_ID, second, "--json", target=shared_mesh.target)
    assert done.status == 1
    assert [document["id"] for document in done.documents] == [first, NO_ID, second]
    assert [document.get("state") for document in done.documents] == ["CANCELLED", None, "CANCELLED"]
    why, count = done.err.splitlines()
    assert why.startswith(f"{NO_ID}: NOT_FOUND: ")
    assert count == "2 of 3 done, 1 failed"

    done = await weft("tasks", "retry", NO_ID, first, second, target=shared_mesh.target)
    assert done.status == 1
    assert [line.split()[0] for line in done.out.splitlines()] == [first, second]
    done = await weft("tasks", "retry", NO_ID, target=shared_mesh.target)
    assert done.status == 1
    assert "of 1" not in done.err


async def test_a_list_that_is_cut_says_so(shared_mesh: MeshHarness):
    await weft("submit", CALL, "{}", "--count", "3", "--wait", target=shared_mesh.target)
    for flags in ((), ("--json",)):
        cut = await weft("tasks", "list", "--limit", "2", *flags, target=shared_mesh.target)
        assert "only the newest 2 tasks are shown: --limit 20" in cut.err
    assert len(json.loads(cut.out)) == 2
    whole = await weft("tasks", "list", "--limit", "1000", target=shared_mesh.target)
    assert "more" not in whole.err


@pytest.mark.parametrize("command", ["call", pytest.param("submit", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--request-id", "ä", "not printable ASCII"),
        ("--request-id", "a\nb", "not printable ASCII"),
        ("--metadata", "Auth=x", "write auth"),
        ("--metadata", "auth=a\nb", "not printable ASCII"),
        ("--metadata", "auth=ä", "not printable ASCII"),
        ("--metadata", "ä=x", "other characters"),
        ("--metadata", "a b=x", "other characters"),
        ("--metadata", "x-bin=§", "must be base64"),
        ("--metadata", "grpc-timeout=1S", "belongs to gRPC"),
        ("--metadata", "te=x", "belongs to gRPC"),
    ],
)
async def test_what_cannot_be_metadata_is_told_in_a_line(
    shared_mesh: MeshHarness, command: str, option: str, value: str, words: str
):
    done = await weft(command, CALL, "{}", option, value, target=shared_mesh.target)
    assert done.status == 2
    assert done.out == ""
    assert words in done.err
    assert option in done.err


async def test_requirements_and_metadata_that_go(shared_mesh: MeshHarness):
    wrong = await weft("call", CALL, "{}", "--require", "zone=ä", target=shared_mesh.target)
    assert wrong.status == 2
    assert "--require" in wrong.err
    done = await weft(
        "call",
        CALL,
        "{}",
        "--metadata",
        "k=1",
        "--metadata",
        "k=2",
        "--metadata",
        "d-bin=AP8",
        target=shared_mesh.target,
    )
    assert done.status == 0, done.err
    assert [entry for entry in done.document["metadata"] if entry.startswith("k=")] == ["k=1", "k=2"]


async def _run(shared_mesh: MeshHarness, command: str, stdin: bytes) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_shell(
        f"{sys.executable} -m weft.cli.main {command}",
        env=environment({"WEFT_TARGET": shared_mesh.target}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await asyncio.wait_for(process.communicate(stdin), 60)
    return process.returncode, err.decode()


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (f"{CALL} - <&-", b""),
        (f"{CALL} -", b'{"text": "\xff"}'),
        ("ProbeService/Chat - --direct", b'{"text": "\xff"}'),
        ("ProbeService/Chat - --direct", b"{{{"),
    ],
)
async def test_standard_input_that_is_closed_or_no_text(
    shared_mesh: MeshHarness, arguments: str, stdin: bytes
):
    status, err = await _run(shared_mesh, f"call {arguments}", stdin)
    assert status == 2
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1


async def test_several_agents_in_one_drain_and_a_wait_for_what_they_run(shared_mesh: MeshHarness):
    """`a1` runs a task: the drain waits for its end."""
    ledger = shared_mesh.ledger("drain")
    task = await weft(
        "submit", CALL, json.dumps({"sleepS": 1.5, "ledger": str(ledger.path)}), target=shared_mesh.target
    )
    assert task.status == 0
    await shared_mesh.eventually(_runs_something(shared_mesh), "the task runs")
    await shared_mesh.close_channels()
    late = await weft("agents", "drain", "a1", "--wait", "--timeout", "0", target=shared_mesh.target)
    assert late.status == 1
    assert "a1 still runs 1 calls after 0 s" in late.err

    done = await weft("agents", "drain", "nobody", "a1", "--wait", target=shared_mesh.target)
    assert done.status == 1
    assert done.out == "a1 desired state: DRAINING\n"
    assert "nobody: NOT_FOUND" in done.err
    assert "a1 is drained" in done.err
    ended = await weft("tasks", "get", task.out.strip(), "--json", target=shared_mesh.target)
    assert ended.document["state"] == "SUCCEEDED"
    done = await weft("agents", "resume", "a1", target=shared_mesh.target)
    assert done.status == 0


def _runs_something(mesh: MeshHarness):
    async def runs() -> bool:
        answer = await mesh.api().ListAgents(coordinator_pb2.ListAgentsRequest(), timeout=5)
        return any(agent.in_flight for agent in answer.agents)

    return runs


async def test_an_interrupted_wait_names_the_tasks_that_go_on(shared_mesh: MeshHarness, tmp_path: Path):
    requests = tmp_path / "requests.jsonl"
    requests.write_text('{}\n{"sleepS": 300}\n{"sleepS": 300}\n')
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "weft", "submit", CALL, f"@{requests}", "--lines", "--wait"),
        env=environment({"WEFT_TARGET": shared_mesh.target}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    # All three are stored by one message: once one has ended, the others are known.
    assert await asyncio.wait_for(process.stdout.readline(), 60)
    process.send_signal(signal.SIGINT)
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert out == b""
    assert process.returncode == 130
    ids = [line.split()[0] for line in err.decode().splitlines() if line.endswith(" goes on")]
    assert len(ids) == 2, err
    done = await weft("tasks", "cancel", *ids, target=shared_mesh.target)
    assert done.status == 0, done.err


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("weft call probe", CALL),
        ("weft call ProbeService/Ca", "ProbeService/Call"),
        ("weft submit ", CALL),
        ("weft queues pause ", CALL),
        ("weft tasks list --method ", CALL),
        ("weft tasks list --state F", "FAILED"),
        ("weft agents drain ", "a1"),
        ("weft tasks get ", "TASK"),
        ("weft tasks cancel TASK ", "TASK"),
        ("weft ta", "tasks"),
    ],
)
async def test_a_shell_completes(shared_mesh: MeshHarness, typed: str, offered: str):
    if "TASK" in typed + offered:
        task_id = await tasks.submit(shared_mesh, ProbeRequest())
        offered, typed = offered.replace("TASK", task_id), typed.replace("TASK", task_id)
    done = await _completed(typed, shared_mesh.target)
    assert offered in done.out.split()
    assert done.err == ""


@pytest.mark.slow
async def test_a_shell_is_not_held_up_by_a_coordinator_that_is_away():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for target in ("127.0.0.1:1", f"127.0.0.1:{silent.getsockname()[1]}", "no such target"):
            done = await _completed("weft call ", target)
            assert (done.out.strip(), done.err) == ("", "")


async def _completed(typed: str, target: str) -> Finished:
    variables = {
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(typed.split(" ")) - 1),
        "_WEFT_COMPLETE": "complete_bash",
    }
    return await weft(env=variables, target=target, timeout_s=30)
