"""Resources that tasks use while they run: never over-committed, given back in every way; and what commands show of them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from probe.v1.probe_pb2 import ProbeRequest
from tests.support import deaf_agent, tasks
from tests.support.command import weft
from tests.support.lightweight import ECHO
from tests.support.mesh import MeshHarness
from tests.support.patient import PatientAgent, ask, patient, submit, waits
from weft.client import TaskState, connect
from weft.v1 import coordinator_pb2 as api
from weft.v1 import fleet_pb2, session_pb2, task_pb2

RESOURCE = fleet_pb2.WAIT_REASON_RESOURCE


def uses(**consumes: float) -> api.SubmitTaskRequest:
    return ask(consumes=consumes)


async def used(mesh: MeshHarness, agent_id: str) -> dict[str, tuple[float, list[str]]]:
    """The used amounts of the agent's resources, and the tasks that use them."""
    answer = await mesh.api().ListResources(api.ListResourcesRequest(), timeout=10)
    (agent,) = [each for each in answer.agents if each.agent_id == agent_id]
    return {each.resource: (each.used, [user.task_id for user in each.users]) for each in agent.resources}


async def test_an_agent_gets_what_fits(doors: tuple[MeshHarness, MeshHarness]) -> None:
    here, there = doors
    async with patient(here, "a1", resources={"gpu": 2, "memory_bytes": 8e9, "disk": 1}) as agent:
        await there.wait_serving()
        ids = await submit(there, *[uses(gpu=1, memory_bytes=3e9)] * 4)
        assert await agent.runs(2) == ids[:2]
        task = await waits(there, ids[2], RESOURCE)
        assert (
            "an agent with gpu:1, memory_bytes:3e+09 left; a1 has 0 of 2 gpu left, used by tasks"
            in task.waiting.text
        )
        assert ids[0] in task.waiting.text
        assert dict(task.options.consumes) == {"gpu": 1, "memory_bytes": 3e9}
        assert await used(here, "a1") == {
            "disk": (0, []),
            "gpu": (2, ids[:2]),
            "memory_bytes": (6e9, ids[:2]),
        }

        async def seen_there() -> bool:
            return (await used(there, "a1"))["gpu"] == (2, ids[:2])

        await there.eventually(seen_there, "the other coordinator shows it")
        # Tasks that use nothing, or something else, go on.
        others = await submit(here, ask(), uses(disk=1))
        assert set(await agent.runs(4)) == {*ids[:2], *others}
        # Given back by an end, a failure and a cancellation, and by a release.
        await agent.finish(ids[0])
        assert ids[2] in await agent.runs(4)
        await there.api().CancelTask(api.CancelTaskRequest(task_id=ids[1]), timeout=10)
        await agent.finish(ids[1], status={"code": 1})
        assert ids[3] in await agent.runs(4)
        last = agent.running[ids[3]]
        released = session_pb2.Released(task_id=last.task_id, attempt=last.attempt)
        assigned = len(agent.assigned)
        await agent.send(session_pb2.ConnectRequest(released=[released]))
        await agent.assigned_to(assigned + 1)
        assert await used(here, "a1") == {
            "disk": (1, [others[1]]),
            "gpu": (2, [ids[2], ids[3]]),
            "memory_bytes": (6e9, [ids[2], ids[3]]),
        }
        await agent.finish()
        await tasks.ended(here, [*ids, *others])
        assert {each[0] for each in (await used(here, "a1")).values()} == {0.0}


async def test_a_large_task_is_not_overtaken_for_ever(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    async with patient(mesh, "a1", resources={"gpu": 4}) as agent:
        first = await submit(mesh, *[uses(gpu=1)] * 3)
        await agent.runs(3)
        (large,) = await submit(mesh, uses(gpu=3))
        small = await submit(mesh, *[uses(gpu=1)] * 4)
        await waits(mesh, large, RESOURCE)
        # One is left, which fits a small one: it is kept for the large one.
        await agent.finish(first[0])
        await agent.finish(first[1])
        assert large in await agent.runs(2)
        assert not set(small) & set(agent.running)
        await agent.finish(first[2])
        assert set(await agent.runs(2)) == {large, small[0]}
        await agent.finish(large)
        assert set(await agent.runs(4)) == set(small)


async def test_several_agents_share_the_work(doors: tuple[MeshHarness, MeshHarness]) -> None:
    here, there = doors
    async with (
        patient(here, "a1", resources={"gpu": 1}) as one,
        patient(there, "a2", resources={"gpu": 5}) as two,
        patient(there, "a3", slots=64),
    ):
        ids = await submit(here, *[uses(gpu=1)] * 8)
        await one.runs(1)
        await two.runs(5)
        for task_id in ids[-2:]:
            assert "a1 has 0 of 1 gpu left" in (await waits(here, task_id, RESOURCE)).waiting.text
        await two.finish(*list(two.running)[:2])
        await two.runs(5)
        assert len(one.assigned) + len(two.assigned) == 8


async def test_nothing_declares_the_resource(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    async with patient(mesh, "a1", resources={"gpu": 2}):
        for request in (uses(tpu=1), uses(gpu=2.5)):
            (task_id,) = await submit(mesh, request)
            text = (await waits(mesh, task_id, fleet_pb2.WAIT_REASON_NO_AGENT)).waiting.text
            assert "1 agent hosts probe.v1.ProbeService/Echo" in text


async def test_after_a_reconnect_and_a_loss(doors: tuple[MeshHarness, MeshHarness]) -> None:
    """Adopted attempts are counted; those of a lost process are not."""
    here, there = doors
    first = PatientAgent(here.own_channel(), "a1", instance_id="same", resources={"gpu": 2})
    await first.open()
    await here.wait_serving()
    await there.wait_serving()
    ids = await submit(here, *[uses(gpu=1)] * 4)
    assert await first.runs(2) == ids[:2]
    held = [
        session_pb2.HeldAttempt(task_id=each.task_id, attempt=each.attempt, epoch=first.welcome.epoch)
        for each in first.running.values()
    ]
    await first.close(goodbye=False)
    again = PatientAgent(
        there.own_channel(), "a1", instance_id="same", resources={"gpu": 2}, held=held, slots=16
    )
    await again.open()
    assert len(again.welcome.adopted) == 2
    await here.wait_agent("a1")
    await waits(there, ids[2], RESOURCE)
    assert await used(there, "a1") == {"gpu": (2, ids[:2])}
    assert not again.assigned
    result = session_pb2.AttemptResult(task_id=ids[0], attempt=1, outcome=task_pb2.Outcome())
    await again.send(session_pb2.ConnectRequest(results=[result]))
    assert await again.runs(1) == [ids[2]]
    # Its process dies: all is free again.
    await again.close(goodbye=False)
    # The other coordinator lets nobody take its place before it knows of that.
    await here.wait_agent("a1", fleet_pb2.AGENT_STATE_SUSPECT)
    async with patient(here, "a1", instance_id="other", resources={"gpu": 2}) as other:
        assert len(await other.runs(2)) == 2
        assert (await used(here, "a1"))["gpu"][0] == 2
        await other.finish()
        await other.runs(1)
        await other.finish()
        await tasks.ended(here, ids)
        assert len(other.assigned) == 3


@pytest.mark.slow
async def test_the_command_and_the_library_show_and_set(mesh: MeshHarness) -> None:
    await mesh.coordinator()

    async def run(*args: str, status: int = 0) -> Any:
        done = await weft(*args, target=mesh.target)
        assert done.status == status, done.err
        return json.loads(done.out) if "--json" in args else done.out + done.err

    async with patient(mesh, "a1", resources={"gpu": 2}) as agent, connect(mesh.target) as library:
        made = await run(
            *(
                "submit",
                ECHO,
                '{"data": "eA=="}',
                "--lock",
                "db",
                "--shared-lock",
                "t: u",
                "--consume",
                "gpu=1",
            ),
            *("--fairness-key", "k", "--json"),
        )
        (task_id,) = await agent.runs(1)
        assert made["task_id"] == task_id
        options = (await tasks.look(mesh, task_id)).options
        assert [(each.name, each.shared) for each in options.locks] == [("db", False), ("t: u", True)]
        assert (dict(options.consumes), options.fairness_key) == ({"gpu": 1}, "k")
        # The same by metadata.
        calling = asyncio.create_task(
            run(
                "call",
                ECHO,
                "{}",
                "--lock",
                "db",
                "--consume",
                "gpu=1",
                "--fairness-key",
                "k",
                "--timeout",
                "30",
            )
        )

        async def waits_for_it() -> bool:
            return any(lock.waiting for lock in (await library.fleet.resources(lock="db")).locks)

        await mesh.eventually(waits_for_it, "the call waits for the lock or the resource", timeout_s=30)
        assert "0 ms" not in await run("queues", "list"), "a queue of limited tasks alone has no age"
        shown = await run("resources", "--json")
        assert shown["resources"] == [
            {"agent_id": "a1", "resource": "gpu", "declared": 2, "used": 1, "users": {task_id: 1}}
        ]
        assert [(each["name"], each["holders"][0]["task_id"]) for each in shown["locks"]] == [
            ("db", task_id),
            ("t: u", task_id),
        ]
        text = await run("resources")
        assert f"{task_id} on a1 (shared)" in text
        await agent.finish()
        await agent.runs(1)
        await agent.finish()
        await calling
        assert "no locks are held" in await run("resources", "--lock", "db")
        # Limits.
        (queue,) = await run(
            "queues", "limit", ECHO, "--max-running", "3", "--rate", "9.5", "--burst", "4", "--json"
        )
        numbers = {"key": "", "max_running": 3, "max_rate_per_s": 9.5, "burst": 4}
        assert queue["operator_limits"] == [{**numbers, "at_limit": None}]
        assert queue["limits"] == [{**numbers, "at_limit": "queue"}]
        await run("queues", "limit", "Echo", "--per-key", "--max-running", "1", "--at-limit", "refuse")
        assert "fairness_key: 1 at a time, else refuse" in await run("queues", "show", ECHO)
        # An operator's own `queue` comes before what the contract says.
        (queue,) = await run(
            "queues", "limit", ECHO, "--per-key", "--max-running", "1", "--at-limit", "queue", "--json"
        )
        assert [limit["at_limit"] for limit in queue["operator_limits"]] == [None, "queue"]
        await run("queues", "limit", ECHO, "--clear", "--key", "fairness_key")
        assert len((await library.fleet.queues(ECHO))[0].operator_limits) == 1
        (queue,) = await run("queues", "limit", ECHO, "--clear", "--json")
        assert not queue["limits"]
        for args in (
            (),
            ("--max-running", "0"),
            ("--clear", "--rate", "1"),
            ("--clear", "--at-limit", "queue"),
            ("--max-running", "1", "--per-key", "--key", "data"),
            ("--max-running", "1", "--at-limit", "explode"),
            ("--rate", "-1"),
            ("--rate", "nan"),
        ):
            assert (await weft("queues", "limit", ECHO, *args, target=mesh.target)).status == 2, args
        assert (await weft("submit", ECHO, "--consume", "gpu", target=mesh.target)).status == 2


async def test_an_agent_of_the_library(mesh: MeshHarness) -> None:
    """Real handlers: of an agent with two, two run at a time."""
    await mesh.coordinator()
    await mesh.agent("a1", slots=8, resources={"gpu": 2})
    ledger = mesh.ledger()
    options = task_pb2.TaskOptions(consumes={"gpu": 1})
    requests = [ProbeRequest(text=f"t{n}", sleep_s=0.05, ledger=ledger.path) for n in range(8)]
    await tasks.ended(mesh, await tasks.submit_all(mesh, requests, options=options))
    running = most = 0
    for fact in sorted(ledger.facts(), key=lambda fact: (fact.time_s, fact.event == "start")):
        running += 1 if fact.event == "start" else -1
        most = max(most, running)
    assert most == 2
    assert (await weft("agent", "x:y", "--resource", "gpu", target=mesh.target)).status == 2


async def test_a_handler_that_overruns_keeps_its_resource(
    doors: tuple[MeshHarness, MeshHarness], tmp_path: Path
) -> None:
    """Its task is over; the next one for the only GPU starts when the handler has ended."""
    mesh, other = doors
    await mesh.agent("a1", slots=4, resources={"gpu": 1}, program="tests.support.deaf_agent:agent")
    stuck, free = tmp_path / "stuck.go", tmp_path / "free.go"
    free.touch()
    async with connect(mesh.target) as library:
        first = await library.tasks.submit(
            deaf_agent.METHOD, deaf_agent.until_there(stuck), consumes={"gpu": 1}
        )
        while not stuck.with_suffix(".begun").exists():
            await asyncio.sleep(0.01)
        # It waits for the GPU, and is the first to be given it.
        following = await library.tasks.submit(
            deaf_agent.METHOD, deaf_agent.until_there(free), consumes={"gpu": 1}
        )
        await first.cancel(grace_s=0.05)
        assert (await first.ended(20.0)).state is TaskState.CANCELLED

        async def shown() -> bool:
            return await used(other, "a1") == {"gpu": (1.0, [])}

        await other.eventually(shown, "the resource is used, by no task")
        assert not free.with_suffix(".begun").exists()
        stuck.touch()
        ended = await following.ended(20.0)
        assert (ended.state, ended.attempt) == (TaskState.SUCCEEDED, 1)
    begun, gone = free.with_suffix(".begun"), stuck.with_suffix(".ended")
    assert gone.stat().st_mtime_ns <= begun.stat().st_mtime_ns


@pytest.mark.parametrize("options", [{"locks": "db"}, {"lock": ["db"]}])
async def test_wrong_options_of_the_library(mesh: MeshHarness, options: dict[str, Any]) -> None:
    async with connect("127.0.0.1:1") as library:
        with pytest.raises(TypeError):
            await library.tasks.submit(ECHO, b"", **options)
