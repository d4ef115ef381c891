"""Tasks of Celery at agents of their own processes: one that dies takes no task with it, and a task that waits for its next try holds no slot."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

pytest.importorskip("celery")

from tests.support.celery_project import tasks
from tests.support.celery_project.celery import app
from tests.support.mesh import MeshHarness
from tests.support.pages import blocks, run
from tests.support.processes import Process, until
from weft.client import TaskState
from weft.client.sync import connect
from weft.compat.celery import adopt

pytestmark = pytest.mark.slow

WAIT_S = 30.0


@pytest.fixture(autouse=True)
def for_all_threads() -> None:
    """As every program of Celery with threads does."""
    app.set_default()


async def worker(mesh: MeshHarness, name: str, *flags: str) -> Process:
    """An agent of the unchanged project."""
    made = Process.weft(
        name,
        "agent",
        *("--celery", "tests.support.celery_project", "--id", name, "--target", mesh.target),
        *flags,
        log=mesh.folder / f"{name}.log",
    )
    mesh.agents[name] = made
    await mesh.wait_agent(name, instance_of=made)
    await mesh.wait_contract(name)
    return made


async def test_a_task_runs_again_when_its_agent_is_killed(mesh: MeshHarness, tmp_path: Path) -> None:
    await mesh.coordinator()
    adopt(app, mesh.target)
    workers = {name: await worker(mesh, name) for name in ("one", "two")}
    started, release = tmp_path / "started", tmp_path / "release"
    running = await asyncio.to_thread(tasks.slow.delay, str(started), str(release))
    await until(started.exists, "the task runs", timeout_s=WAIT_S)
    first = started.read_text().strip()

    await workers.pop(first).kill()
    await until(lambda: len(started.read_text().split()) == 2, "the task runs again", timeout_s=WAIT_S)
    release.touch()
    (second,) = workers
    assert await asyncio.to_thread(running.get, timeout=WAIT_S) == second
    # Tries count once each: the killed one is none.
    assert await asyncio.to_thread(lambda: tasks.flaky.delay(2).get(timeout=WAIT_S)) == [
        2,
        True,
        "tests.support.celery_project.tasks.flaky",
    ]


async def test_tries_survive_the_agent_that_made_them(mesh: MeshHarness) -> None:
    """The second try runs at another agent than the first, which is gone; its queues are its own."""
    await mesh.coordinator()
    adopt(app, mesh.target)
    one = await worker(mesh, "one", "--celery-queues", "celery", "--label", "zone=eu")
    waiting = await asyncio.to_thread(tasks.flaky.apply_async, (1,), {"wait_s": 2})
    with connect(mesh.target) as client:

        def state() -> tuple[TaskState, int]:
            (task,) = client.tasks.list(request_id=waiting.id)
            return task.state, task.attempt

        while (await asyncio.to_thread(state)) != (TaskState.SCHEDULED, 1):
            await asyncio.sleep(0.02)
        (agent,) = await asyncio.to_thread(lambda: list(client.fleet.agents()))
        assert agent.used_slots == 0
        assert {"zone": "eu", "celery.queue.celery": "yes"}.items() <= agent.labels.items()
        assert "celery.queue.feeds" not in agent.labels
        await one.kill()
        await worker(mesh, "two")
        got = await asyncio.to_thread(waiting.get, timeout=WAIT_S)
        assert got[0] == 1
        assert (await asyncio.to_thread(state)) == (TaskState.SUCCEEDED, 2)


async def test_the_guide(mesh: MeshHarness, tmp_path: Path) -> None:
    """Its project, before and after its one new line."""
    files, calls = {}, ""
    for block in blocks("docs/deploy/migrate-celery.md"):
        name = block.split("\n", 1)[0].removeprefix("# ")
        if name.startswith("proj/"):
            files[name] = block
        elif "adopt(app)" in block:
            files["proj/app.py"] += block
        else:
            calls = block
    (tmp_path / "proj").mkdir()
    for name, text in {**files, "proj/__init__.py": "", "calls.py": calls}.items():
        (tmp_path / name).write_text(text)
    await mesh.coordinator()
    agent = Process.weft(
        "guide",
        "agent",
        *(
            "--celery",
            "proj.app",
            "--celery-queues",
            "celery,feeds",
            "--id",
            "guide",
            "--target",
            mesh.target,
        ),
        log=mesh.folder / "guide.log",
        env={"PYTHONPATH": str(tmp_path)},
    )
    mesh.agents["guide"] = agent
    await mesh.wait_agent("guide", instance_of=agent)
    await mesh.wait_contract("guide")
    app_file = tmp_path / "proj/app.py"
    app_file.write_text(app_file.read_text().replace("adopt(app)", f"adopt(app, {mesh.target!r})"))
    out = await asyncio.to_thread(run, tmp_path, "calls.py")
    assert out.splitlines() == ["3", "6", "{'url': 'https://example.org', 'tries': 3}"]
