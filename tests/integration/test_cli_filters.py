"""`weft tasks list`, `cancel` and `retry` by a filter: the tasks that it finds, the question, and the changes."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest
from google.rpc import code_pb2

from probe.v1.probe_pb2 import ProbeRequest
from tests.support import tasks
from tests.support.command import Finished, weft
from tests.support.mesh import MeshHarness
from tests.support.processes import environment
from weft.v1 import options_pb2, task_pb2

NOWHERE = task_pb2.TaskOptions(requirements=options_pb2.Requirements(labels={"zone": "nowhere"}))


async def _run(mesh: MeshHarness, *args: str) -> Finished:
    return await weft("tasks", *args, target=mesh.target)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["list", "--since", "yesterday"], "--since is 'yesterday'"),
        (["list", "--until", "1y"], "--until is '1y'"),
        (["list", "--state", "done"], "there is no task state"),
        (["cancel"], "say which tasks to cancel: either ids, or a filter"),
        (["retry"], "say which tasks to retry"),
        (["cancel", "someid", "--method", "Call"], "either ids, or a filter"),
        (["cancel", "--state", "failed"], "cannot cancel a task that is FAILED"),
        (["retry", "--state", "queued"], "cannot retry a task that is QUEUED"),
        (["cancel", "someid", "--dry-run"], "--dry-run needs a filter"),
    ],
)
async def test_what_is_asked_wrongly_is_refused(args: list[str], words: str) -> None:
    done = await weft("tasks", *args, target="127.0.0.1:1")
    assert done.status == 2
    assert words in done.err


@pytest.mark.slow
async def test_filters_and_steering_by_them(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    await mesh.agent("one", slots=4)
    stuck = [await tasks.submit(mesh, ProbeRequest(text="x"), options=NOWHERE) for _ in range(40)]
    failed = await tasks.submit(
        mesh,
        ProbeRequest(text="f", fail_code=code_pb2.INTERNAL, fail_message="Disk full", fail_attempts=1),
        "CallSync",
    )
    good = await tasks.submit(mesh, ProbeRequest(text="g"), request_id="named")
    await tasks.ended(mesh, [failed, good])

    async def listed(*args: str) -> list[str]:
        return [each["id"] for each in (await _run(mesh, "list", "--json", *args)).document]

    found = await asyncio.gather(
        listed("--error", "internal"),
        listed("--error", "disk FULL"),
        listed("--error", "NO_SUCH_REASON"),
        listed("--request-id", "named"),
        listed("--agent", "one"),
        listed("--since", "1h", "--state", "succeeded"),
        listed("--until", "1h"),
    )
    assert [set(ids) for ids in found] == [{failed}, {failed}, set(), {good}, {failed, good}, {good}, set()]

    # Looked at, and asked about where somebody can be.
    dry = await _run(mesh, "cancel", "--method", "Call", "--dry-run")
    assert (dry.status, dry.out) == (0, "")
    assert "40 tasks match: 40 QUEUED" in dry.err
    assert "and 35 more" in dry.err
    plan = (await _run(mesh, "cancel", "--state", "queued", "--dry-run", "--json")).document
    assert (plan["count"], set(plan["ids"])) == (40, set(stuck))
    unasked = await _run(mesh, "cancel", "--method", "Call")
    assert unasked.status == 2
    assert "cannot ask whether to cancel 40 tasks: standard input is not a terminal. Add --yes" in unasked.err
    assert "Cancel 40 tasks? [y/N]" in await _answered(mesh, "n", "cancel", "--state", "queued")
    assert {
        each["state"]
        for each in (await _run(mesh, "list", "--json", "--method", "Call", "--state", "queued")).document
    } == {"QUEUED"}

    done = await _run(mesh, "cancel", "--method", "Call", "--reason", "a test", "--yes")
    assert done.status == 0
    assert len(done.out.splitlines()) == 40
    assert "40 of 40 done" in done.err
    assert len(await listed("--state", "cancelled", "--error", "CANCELLED", "--limit", "100")) == 40
    nothing = await _run(mesh, "cancel", "--method", "Call", "--yes")
    assert (nothing.status, nothing.out) == (0, "")
    assert "0 tasks match" in nothing.err

    # Only what failed, unless the state is named.
    assert "Retry 1 task? [y/N]" in await _answered(mesh, "y", "retry", "--since", "1h")
    assert (await tasks.end(mesh, failed)).state == task_pb2.TASK_STATE_SUCCEEDED
    again = await _run(mesh, "retry", "--state", "cancelled", "--since", "1h", "--yes", "--json")
    assert {each["state"] for each in again.documents} == {"QUEUED"}
    assert len(again.documents) == 40


async def _answered(mesh: MeshHarness, answer: str, *args: str) -> str:
    """What a person at a terminal is asked."""
    ours, theirs = os.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "weft.cli.main",
        "tasks",
        *args,
        env=environment({"WEFT_TARGET": mesh.target}),
        stdin=theirs,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(theirs)
    os.write(ours, f"{answer}\n".encode())
    async with asyncio.timeout(30):
        _, err = await process.communicate()
    os.close(ours)
    return err.decode()
