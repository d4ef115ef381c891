"""The command line on a real mesh: calls, submissions, and their results."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.command import weft
from tests.support.mesh import MeshHarness

CALL = "probe.v1.ProbeService/Call"
STREAM = "probe.v1.ProbeService/Stream"
ECHO = "probe.v1.ProbeService/Echo"


async def test_a_call(shared_mesh: MeshHarness) -> None:
    done = await weft(
        "call",
        CALL,
        '{"text": "hi"}',
        "--metadata",
        "x-tenant=acme",
        "--priority",
        "7",
        target=shared_mesh.target,
    )
    assert done.status == 0
    assert done.document["text"] == "hi"
    assert "x-tenant=acme" in done.document["metadata"]
    assert f"task {done.document['taskId']}, attempt 1 on a1" in done.err

    done = await weft("call", CALL, "-", "--json", stdin='{"text": "piped"}', target=shared_mesh.target)
    assert done.document["response"]["text"] == "piped"
    assert done.document["agent_id"] == "a1"
    assert done.document["task_id"] == done.document["response"]["taskId"]


async def test_a_streaming_call_prints_a_line_a_response(shared_mesh: MeshHarness) -> None:
    done = await weft("call", STREAM, '{"streamCount": 3}', target=shared_mesh.target)
    assert [document["index"] for document in done.documents] == [1, 2, 3]


async def test_a_failing_call(shared_mesh: MeshHarness) -> None:
    request = '{"failCode": 5, "failMessage": "no such paper", "failReason": "PAPER_GONE"}'
    done = await weft("call", CALL, request, target=shared_mesh.target)
    assert done.status == 1
    assert done.out == ""
    assert "NOT_FOUND: no such paper\n  reason PAPER_GONE" in done.err
    assert "attempt 1 on a1" in done.err

    done = await weft("call", CALL, request, "--json", target=shared_mesh.target)
    assert done.status == 1
    assert done.document["error"]["code"] == "NOT_FOUND"
    assert done.document["error"]["details"][0]["reason"] == "PAPER_GONE"
    assert done.document["task_id"]


async def test_a_call_that_takes_too_long(shared_mesh: MeshHarness) -> None:
    done = await weft("call", CALL, '{"sleepS": 60}', "--timeout", "0.5", target=shared_mesh.target)
    assert done.status == 1
    assert "DEADLINE_EXCEEDED" in done.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("probe.v1.ProbeService/Cal", "{}"), "did you mean probe.v1.ProbeService/Call"),
        (("Nothing/Near", "{}"), "there are probe.v1.ProbeService/Call"),
        ((CALL, '{"txt": 1}'), "did you mean text?"),
        ((CALL, "{text"), "it is not JSON"),
        ((CALL, "@/no/such/file"), "cannot read /no/such/file"),
        (("probe.v1.ProbeService/Chat", "{}"), "takes a stream of requests"),
        ((CALL, "{}", "--metadata", "novalue"), "KEY=VALUE"),
    ],
)
async def test_asked_wrongly(shared_mesh: MeshHarness, args: tuple[str, ...], words: str) -> None:
    done = await weft("call", *args, target=shared_mesh.target)
    assert done.status == 2
    assert done.out == ""
    assert words in " ".join(done.err.split())


async def test_a_detached_call_and_watching_it(shared_mesh: MeshHarness) -> None:
    done = await weft(
        "call", STREAM, '{"streamCount": 3, "sleepS": 0.1}', "--detach", target=shared_mesh.target
    )
    task_id = done.out.strip()
    done = await weft("tasks", "watch", task_id, "--json", target=shared_mesh.target)
    assert done.status == 0
    assert [event["sequence"] for event in done.documents if "sequence" in event] == [1, 2, 3]
    assert done.documents[-1]["state"] == "SUCCEEDED"
    done = await weft("tasks", "watch", task_id, "--after", "2", target=shared_mesh.target)
    assert done.out.splitlines()[0].startswith("#3 {")
    assert done.out.splitlines()[-1] == "SUCCEEDED attempt 1 on a1"


async def test_submit_one_and_get_it(shared_mesh: MeshHarness) -> None:
    done = await weft("submit", CALL, '{"text": "later"}', "--request-id", "cli-1", target=shared_mesh.target)
    again = await weft(
        "submit", CALL, '{"text": "later"}', "--request-id", "cli-1", target=shared_mesh.target
    )
    assert done.status == again.status == 0
    assert done.out == again.out
    task_id = done.out.strip()
    assert (await weft("tasks", "watch", task_id, target=shared_mesh.target)).status == 0

    done = await weft("tasks", "get", task_id, "--json", target=shared_mesh.target)
    assert done.document["state"] == "SUCCEEDED"
    assert done.document["request"] == {"text": "later"}
    assert done.document["response"]["text"] == "later"
    done = await weft("tasks", "get", task_id, target=shared_mesh.target)
    assert "SUCCEEDED" in done.out
    assert '"later"' in done.out

    reused = await weft(
        "submit", CALL, '{"text": "other"}', "--request-id", "cli-1", target=shared_mesh.target
    )
    assert reused.status == 1
    assert "ALREADY_EXISTS" in reused.err


async def test_submit_many_and_wait(shared_mesh: MeshHarness, tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    file.write_text("".join(f'{{"text": "{number}"}}\n' for number in range(200)))
    done = await weft(
        "submit", CALL, f"@{file}", "--lines", "--count", "2", "--wait", "--json", target=shared_mesh.target
    )
    assert done.status == 0
    assert "400 tasks, 400 succeeded, 0 failed" in done.err
    texts = sorted(int(document["response"]["text"]) for document in done.documents)
    assert texts == sorted([*range(200), *range(200)])

    file.write_text('{"text": "a"}\n{"txet": "b"}\n')
    done = await weft("submit", CALL, f"@{file}", "--lines", target=shared_mesh.target)
    assert done.status == 2
    assert "line 2: " in done.err
    assert done.out == "", "nothing is submitted when something is wrong"

    done = await weft(
        "submit", CALL, '{"failCode": 9, "failMessage": "no"}', "--wait", target=shared_mesh.target
    )
    assert done.status == 1
    assert "FAILED FAILED_PRECONDITION: no" in done.out


async def test_submit_the_lines_of_a_file_as_they_are_read(shared_mesh: MeshHarness, tmp_path: Path) -> None:
    file, bad = tmp_path / "requests.jsonl", '{"txet": "b"}'
    file.write_bytes(
        b'\xef\xbb\xbf{"text": "0"}\n\n' + f'{{"text": "2"}}\r\n{bad}\n'.encode() + b'\xff\n{"text": "5"}'
    )
    many = ("submit", CALL, "--many")
    skipped, stopped, piped = await asyncio.gather(
        weft(*many, str(file), "--on-bad-line", "skip", "--wait", "--json", target=shared_mesh.target),
        weft(*many, str(file), "--wait", "--json", target=shared_mesh.target),
        weft(*many, "-", target=shared_mesh.target, stdin='{"text": "p"}\n' * 3),
    )
    assert skipped.status == 1
    assert sorted(each["response"]["text"] for each in skipped.documents) == ["0", "2", "5"]
    assert "skipped line 4: " in skipped.err
    assert "skipped line 5: byte 1 is not UTF-8" in skipped.err
    assert "3 tasks, 3 succeeded, 0 failed, 2 lines skipped" in skipped.err
    # The lines before the bad one are tasks, and their results are printed.
    assert stopped.status == 2
    assert sorted(each["response"]["text"] for each in stopped.documents) == ["0", "2"]
    assert "2 tasks, 2 succeeded, 0 failed" in stopped.err
    assert stopped.err.splitlines()[-1].startswith("weft: line 4: ")
    assert piped.status == 0
    assert len(piped.out.split()) == 3
    assert "3 tasks, 3 stored, 0 refused" in piped.err


@pytest.mark.parametrize(
    "words",
    [
        ("{}", "--many", "-"),
        ("--many", "-", "--count", "2"),
        ("--many", "-", "--on-bad-line", "ask"),
        ("--on-bad-line", "skip"),
    ],
)
async def test_options_that_do_not_fit_many(words: tuple[str, ...]) -> None:
    done = await weft("submit", CALL, *words, target="127.0.0.1:1")
    assert done.status == 2, done
    assert "--many" in done.err or "--on-bad-line" in done.err


async def test_list_cancel_and_retry(shared_mesh: MeshHarness) -> None:
    done = await weft("submit", CALL, '{"text": "held"}', "--delay-s", "3600", target=shared_mesh.target)
    task_id = done.out.strip()
    done = await weft("tasks", "list", "--state", "scheduled", "--json", target=shared_mesh.target)
    assert [task["id"] for task in done.document] == [task_id]
    done = await weft("tasks", "cancel", task_id, "--reason", "changed my mind", target=shared_mesh.target)
    assert done.out == f"{task_id} CANCELLED\n"
    done = await weft("tasks", "list", "--state", "cancelled", target=shared_mesh.target)
    assert task_id in done.out
    assert "changed my mind" in done.out
    done = await weft("tasks", "retry", task_id, target=shared_mesh.target)
    assert done.status == 0
    assert (await weft("tasks", "watch", task_id, target=shared_mesh.target)).status == 0

    done = await weft("tasks", "retry", task_id, target=shared_mesh.target)
    assert done.status == 1
    assert "FAILED_PRECONDITION" in done.err
    done = await weft("tasks", "get", "nobody", target=shared_mesh.target)
    assert done.status == 1
    assert "NOT_FOUND" in done.err
    done = await weft("tasks", "list", "--state", "lost", target=shared_mesh.target)
    assert done.status == 2
    assert "SCHEDULED, QUEUED" in done.err


async def test_agents_and_queues(shared_mesh: MeshHarness) -> None:
    done = await weft("agents", "list", "--json", target=shared_mesh.target)
    assert [(agent["id"], agent["state"], agent["slots"]) for agent in done.document] == [("a1", "ACTIVE", 8)]
    done = await weft("agents", "list", target=shared_mesh.target)
    assert "ProbeService" in done.out

    done = await weft("agents", "pause", "a1", target=shared_mesh.target)
    assert done.out == "a1 desired state: PAUSED\n"
    done = await weft("agents", "resume", "a1", "--json", target=shared_mesh.target)
    assert done.document["desired_state"] == "ACTIVE"
    done = await weft("agents", "drain", "nobody", target=shared_mesh.target)
    assert done.status == 1
    assert "NOT_FOUND" in done.err

    done = await weft("queues", "pause", CALL, "--json", target=shared_mesh.target)
    assert [queue["paused"] for queue in done.document] == [True]
    done = await weft("queues", target=shared_mesh.target)
    assert "paused" in done.out
    done = await weft("queues", "resume", CALL, "--json", target=shared_mesh.target)
    assert [queue["paused"] for queue in done.document] == [False]


async def test_a_port_in_use_and_a_store_in_use(shared_mesh: MeshHarness, tmp_path: Path) -> None:
    other = str(tmp_path / "other.db")
    taken = await weft("coordinator", "--listen", shared_mesh.target, "--store", other)
    locked = await weft("coordinator", "--listen", "127.0.0.1:0", "--store", str(shared_mesh.store))
    for done, words in ((taken, shared_mesh.target), (locked, str(shared_mesh.store))):
        assert done.status == 1
        assert words in done.err
        assert done.err.startswith("weft: ")


async def test_a_reader_that_closes_the_pipe(shared_mesh: MeshHarness) -> None:
    """`weft submit ... | head -1` ends without noise."""
    import sys

    from tests.support.processes import environment

    command = f'{sys.executable} -m weft.cli.main submit {ECHO} "{{}}" --count 20000 | head -n 1'
    process = await asyncio.create_subprocess_shell(
        command,
        env=environment({"WEFT_TARGET": shared_mesh.target}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert len(out.splitlines()) == 1
    assert err == b""
