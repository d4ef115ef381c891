"""Every command with standard streams as they may be: closed, full, without a reader, or in an encoding that lacks much."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest

from tests.support.command import weft
from tests.support.each_command import leaves
from tests.support.mesh import MeshHarness
from tests.support.processes import environment

CALL = "probe.v1.ProbeService/Call"
# One that tells nobody of its request's text but by its response.
STREAM = "probe.v1.ProbeService/Stream"
# What a command is called with, where it can run here; others show their help.
ARGS = {
    ("call",): [CALL, '{"text": "ä"}'],
    ("submit",): [CALL, '{"text": "x"}', "--wait"],
    ("version",): [],
    ("tasks", "list"): ["--json"],
    ("tasks", "get"): ["TASK"],
    ("tasks", "watch"): ["TASK"],
    ("tasks", "cancel"): ["TASK"],
    ("tasks", "retry"): ["TASK"],
    ("agents", "list"): [],
    ("agents", "show"): ["a1"],
    ("methods", "list"): [],
    ("methods", "show"): [CALL],
    ("groups", "list"): [],
    ("stats",): [],
    ("top",): ["--once"],
    ("doctor",): [],
    ("agents", "pause"): ["a1"],
    ("agents", "resume"): ["a1"],
    ("queues", "list"): [],
    ("health",): [],
    ("queues", "pause"): [CALL],
    ("queues", "resume"): [CALL],
    # In the order of the command's own list.
    ("schedules", "create"): ["s", CALL, "--every-s", "3600"],
    ("schedules", "list"): [],
    ("schedules", "show"): ["s"],
    ("schedules", "pause"): ["s"],
    ("schedules", "resume"): ["s"],
    ("schedules", "delete"): ["s"],
}
STREAMS = {
    "closed": ["closed", "closed", "closed"],
    "full": ["file", "full", "file"],
    "no_reader": ["file", "no_reader", "file"],
    "err_full": ["closed", "file", "full"],
}
SLOW = ("full", "no_reader", "err_full", "ascii", "latin-1")
FULL = "weft: cannot write to standard output: No space left on device\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow if kind in SLOW else ()) for kind in STREAMS]
)
async def test_every_command_with_its_streams(shared_mesh: MeshHarness, kind: str) -> None:
    submitted = await weft("submit", CALL, '{"text": "x"}', "--wait", "--json", target=shared_mesh.target)
    task_id = submitted.document["task_id"]
    # In the order of the command's own list: what is paused is resumed.
    commands = {leaf: [task_id if word == "TASK" else word for word in _args(leaf)] for leaf in leaves()}
    runs = [{"args": [*leaf, *args], "streams": STREAMS[kind]} for leaf, args in commands.items()]
    for done in await _run_all(runs, shared_mesh.target):
        about = f"{done['args']} with {done['streams']}: {done}"
        assert not done["raised"], about
        assert done["status"] >= 0, f"ended by a signal: {about}"
        assert "Traceback" not in done["err"] + done["out"], about
        # A task that has succeeded is not retried, whatever the streams.
        wanted = {"full": 1, "no_reader": 141}.get(done["streams"][1], 0)
        assert done["status"] == (1 if done["args"][:2] == ["tasks", "retry"] else wanted), about
        if wanted and done["status"] == wanted and done["args"][:2] != ["tasks", "retry"]:
            assert done["err"].endswith(FULL if wanted == 1 else ""), about


def _args(leaf: tuple[str, ...]) -> list[str]:
    return ARGS.get(leaf, ["--help"])


async def _run_all(runs: list[dict[str, Any]], target: str) -> list[dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.each_command",
        env=environment({"WEFT_TARGET": target}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(240):
            out, _ = await process.communicate(json.dumps(runs).encode())
    finally:
        if process.returncode is None:
            process.kill()
    done: list[dict[str, Any]] = json.loads(out)
    assert len(done) == len(runs)
    return done


@pytest.mark.parametrize(
    ("redirect", "status", "told"),
    [
        (">&- 2>&- <&-", 0, ""),
        (">/dev/full", 1, FULL),
        ("| true", 141, ""),
        ("2>/dev/full", 0, ""),
    ],
)
async def test_a_real_process(shared_mesh: MeshHarness, redirect: str, status: int, told: str) -> None:
    words = f"set -o pipefail; {sys.executable} -m weft.cli.main agents list {redirect}"
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        words,
        env=environment({"WEFT_TARGET": shared_mesh.target}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()
    assert (process.returncode, err.decode()) == (status, told)


@pytest.mark.slow
async def test_standard_input_that_is_closed_is_told(shared_mesh: MeshHarness) -> None:
    runs = [
        {"args": [*command, "-"], "streams": ["closed", "file", "file"]}
        for command in (["call", CALL], ["submit", CALL], ["call", CALL, "--direct"])
    ]
    for done in await _run_all(runs, shared_mesh.target):
        assert (done["status"], done["raised"]) == (2, ""), done
        assert "cannot read standard input: it is closed" in done["err"]


ENCODINGS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}
TEXT = "ä€😀"


@pytest.mark.slow
@pytest.mark.parametrize(
    "encoding", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in ENCODINGS]
)
async def test_an_encoding_that_lacks_characters(shared_mesh: MeshHarness, encoding: str) -> None:
    """What goes in by UTF-8 comes out as JSON that means the same; nothing ends in a traceback."""
    env = ENCODINGS[encoding]
    request = json.dumps({"text": TEXT, "stream_count": 1}, ensure_ascii=False)
    codec = "latin-1" if encoding == "latin-1" else "ascii"

    async def run(*args: str, stdin: str = "") -> Any:
        return await weft(*args, stdin=stdin, target=shared_mesh.target, env=env, encoding=codec)

    given = [((request,), ""), (("-",), request), ((request, "--direct"), "")]
    for done in await asyncio.gather(
        *(run("call", STREAM, *args, "--json", stdin=stdin) for args, stdin in given)
    ):
        assert done.status == 0, done.err
        assert done.documents[0]["response"]["text"] == TEXT
    task_id = (await run("submit", STREAM, request, "--wait", "--json")).document["task_id"]
    shown = [
        ("tasks", "get", task_id),
        ("tasks", "get", task_id, "--json"),
        ("call", STREAM, request),
        ("--help",),
    ]
    all_shown = await asyncio.gather(*(run(*args) for args in shown))
    assert [done.status for done in all_shown] == [0] * len(shown)
    assert all_shown[1].document["request"]["text"] == TEXT
    refused = await run("call", f"no.such.Service/{TEXT}")
    assert refused.status == 2
