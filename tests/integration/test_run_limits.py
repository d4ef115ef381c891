"""Run limits and locks with real coordinators: the embedded store with one, Redis with two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio
import pytest

from probe.v1.probe_pb2 import Payload
from tests.support import tasks
from tests.support.lightweight import ECHO
from tests.support.mesh import MeshHarness
from tests.support.patient import PatientAgent, ask, patient, probe_contract, submit, waits
from tests.support.refusals import check, refused
from weft.rpc.errors import error_info, from_call, status_of_call
from weft.rpc.times import seconds
from weft.v1 import coordinator_pb2 as api
from weft.v1 import fleet_pb2, options_pb2, task_pb2

QUEUED, RUNNING = task_pb2.TASK_STATE_QUEUED, task_pb2.TASK_STATE_RUNNING


async def limit(mesh: MeshHarness, **limits: Any) -> Sequence[fleet_pb2.Queue]:
    request = api.UpdateQueueRequest(method=ECHO, limits=api.QueueLimits(**limits))
    return (await mesh.api().UpdateQueue(request, timeout=10)).queues


async def the_queue(mesh: MeshHarness) -> fleet_pb2.Queue:
    (queue,) = (await mesh.api().ListQueues(api.ListQueuesRequest(method=ECHO), timeout=10)).queues
    return queue


async def test_a_limit_of_the_contract_holds_for_each_key_at_all_coordinators(
    doors: tuple[MeshHarness, MeshHarness],
) -> None:
    here, there = doors
    contract = probe_contract(
        {"Echo": {"run_limits": [{"key": "data", "max_running": 2}, {"max_running": 5}]}}
    )
    async with (
        patient(here, "a1", contract=contract) as one,
        patient(there, "a2", contract=contract) as two,
    ):
        first = await submit(here, *[ask("x")] * 6)
        other = await submit(there, *[ask("y")] * 6)
        await here.eventually(lambda: _of(one, two, 4), "four run")
        running = {**one.running, **two.running}
        assert sorted(first.index(each) for each in running if each in first) == [0, 1]
        assert sorted(other.index(each) for each in running if each in other) == [0, 1]
        task = await waits(there, first[2], fleet_pb2.WAIT_REASON_LIMIT)
        assert "the run limit of probe.v1.ProbeService/Echo by data: 78; 2 of 2 run" in task.waiting.text
        assert task.limited_by == "run limit of probe.v1.ProbeService/Echo by data: 78"
        # A third key gets the fifth place, and nobody the sixth.
        (third, *_) = await submit(there, ask("z"), ask("z"))
        await here.eventually(lambda: _of(one, two, 5), "five run")
        assert third in {**one.running, **two.running}
        await there.eventually(lambda: _limited(there, 9), "nine tasks wait")
        queue = await the_queue(here)
        assert [(each.key, each.max_running) for each in queue.limits] == [("", 5), ("data", 2)]
        assert not queue.operator_limits
        for _ in range(14):
            await here.eventually(lambda: _of(one, two, 1), "one runs")
            _check_keys(one, two)
            holder = one if one.running else two
            await holder.finish(next(iter(holder.running)))
        await tasks.ended(here, [*first, *other, third])


async def _of(one: PatientAgent, two: PatientAgent, count: int) -> bool:
    return len(one.running) + len(two.running) >= count


async def _limited(mesh: MeshHarness, count: int) -> bool:
    return (await the_queue(mesh)).limited == count


def _check_keys(one: PatientAgent, two: PatientAgent) -> None:
    running = [each.payload for each in (*one.running.values(), *two.running.values())]
    assert len(running) <= 5
    assert all(running.count(payload) <= 2 for payload in running)


async def test_operators_limit_and_clear_at_run_time(doors: tuple[MeshHarness, MeshHarness]) -> None:
    here, there = doors
    async with patient(here, "a1") as agent:
        await there.wait_serving()
        ids = await submit(here, *[ask()] * 3)
        await agent.runs(3)
        # Running tasks count, and none is ended.
        (queue,) = await limit(there, max_running=4)
        assert [each.max_running for each in queue.limits] == [4]
        assert [each.max_running for each in queue.operator_limits] == [4]
        ids += await submit(there, *[ask()] * 4)
        assert set(await agent.runs(4)) == set(ids[:4])
        await waits(here, ids[-1], fleet_pb2.WAIT_REASON_LIMIT)
        (queue,) = await limit(here, max_running=6, max_rate_per_s=1000, burst=7)
        assert (queue.limits[0].max_running, queue.limits[0].burst) == (6, 7)
        assert len(await agent.runs(6)) == 6
        # A limit that limits nothing is none.
        (queue,) = await limit(there)
        assert not queue.limits
        assert not queue.operator_limits
        await agent.runs(7)
        await agent.finish()
        await tasks.ended(there, ids)


async def test_an_operators_limit_by_a_key_and_its_removal(doors: tuple[MeshHarness, MeshHarness]) -> None:
    here, there = doors
    async with patient(here, "a1") as agent:
        await there.wait_serving()
        await limit(there, key="data", max_running=1)
        await limit(there, max_running=3)
        await limit(here, per_fairness_key=True, max_running=2)
        await here.eventually(lambda: _has_limits(here, 3), "the limits are known at both")
        ids = await submit(here, ask("x"), ask("x"), ask("y"), ask("z"), ask("w"))
        await here.eventually(lambda: _limited(here, 3), "three tasks wait")
        assert [agent.running[each].payload for each in agent.running] == [ask("x").payload, ask("y").payload]
        cleared = api.UpdateQueueRequest(
            method=ECHO, clear_limits=True, limits=api.QueueLimits(max_running=4)
        )
        (queue,) = (await there.api().UpdateQueue(cleared, timeout=10)).queues
        assert [(each.key, each.max_running) for each in queue.operator_limits] == [("", 4)]
        assert len(await agent.runs(4)) == 4
        await agent.finish()
        await agent.runs(1)
        await agent.finish()
        await tasks.ended(there, ids)


async def _has_limits(mesh: MeshHarness, count: int) -> bool:
    return len((await the_queue(mesh)).operator_limits) == count


async def test_operators_limits_outlive_a_restart(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    async with patient(mesh, "a1"):
        await limit(mesh, max_running=1)
    await mesh.restart_coordinator()
    async with patient(mesh, "a1") as agent:
        assert [each.max_running for each in (await the_queue(mesh)).operator_limits] == [1]
        ids = await submit(mesh, ask(), ask())
        await agent.runs(1)
        await waits(mesh, ids[1], fleet_pb2.WAIT_REASON_LIMIT)
        assert list(agent.running) == ids[:1]


async def test_a_rate_holds_over_both_coordinators(doors: tuple[MeshHarness, MeshHarness]) -> None:
    here, there = doors
    async with patient(here, "a1", slots=64) as one, patient(there, "a2", slots=64) as two:
        await limit(here, max_rate_per_s=20, burst=5)
        ids = [*await submit(here, *[ask()] * 20), *await submit(there, *[ask()] * 20)]
        await here.eventually(lambda: _of(one, two, 40), "all run")
        await one.finish()
        await two.finish()
        ends = await tasks.ended(here, ids)
        starts = sorted(seconds(task.start_time) for task in ends.values())
        for at, start in enumerate(starts):
            # Each window has room for the burst and the rate.
            for later in range(at, len(starts)):
                assert later - at + 1 <= 5 + 20 * (starts[later] - start) + 1e-3, (at, later)
        assert starts[-1] - starts[0] < 35 / 20 + 3


async def test_locks_are_exclusive_or_shared(doors: tuple[MeshHarness, MeshHarness]) -> None:
    here, there = doors
    lock, share = options_pb2.Lock(name="db-migrate"), options_pb2.Lock(name="db-migrate", shared=True)
    async with patient(here, "a1") as one, patient(there, "a2") as two:
        (reader, second) = await submit(
            here, ask(locks=[share]), ask(locks=[share, options_pb2.Lock(name="x")])
        )
        await here.eventually(lambda: _of(one, two, 2), "both share it")
        (writer,) = await submit(there, ask(locks=[lock, options_pb2.Lock(name="y")]))
        task = await waits(there, writer, fleet_pb2.WAIT_REASON_LOCK)
        assert task.limited_by == "lock db-migrate"
        assert f"the lock 'db-migrate', shared held by task {reader} on agent a" in task.waiting.text
        assert "1 other task share" in task.waiting.text
        assert [(each.name, each.shared) for each in task.options.locks] == [
            ("db-migrate", False),
            ("y", False),
        ]
        # No later reader overtakes the writer.
        (late,) = await submit(here, ask(locks=[share]))
        await waits(here, late, fleet_pb2.WAIT_REASON_LOCK)
        answer = await there.api().ListResources(api.ListResourcesRequest(), timeout=10)
        held = {
            each.name: ([holder.task_id for holder in each.holders], each.waiting) for each in answer.locks
        }
        assert held == {"db-migrate": ([reader, second], 2), "x": ([second], 0)}
        await (one if reader in one.running else two).finish(reader)
        await (one if second in one.running else two).finish(second)
        await here.eventually(lambda: _runs(one, two, writer), "the writer runs")
        task = await waits(here, late, fleet_pb2.WAIT_REASON_LOCK)
        assert f"held by task {writer}" in task.waiting.text
        named = (await here.api().ListResources(api.ListResourcesRequest(lock="y"), timeout=10)).locks
        assert [each.name for each in named] == ["y"]
        # Its end lets the next one run, also if it is cancelled.
        holder = one if writer in one.running else two
        await there.api().CancelTask(api.CancelTaskRequest(task_id=writer), timeout=10)
        await holder.finish(writer, status={"code": 1})
        await here.eventually(lambda: _runs(one, two, late), "the late reader runs")
        await (one if late in one.running else two).finish(late)
        await tasks.ended(there, [reader, second, writer, late])
        assert not (await here.api().ListResources(api.ListResourcesRequest(), timeout=10)).locks


async def _runs(one: PatientAgent, two: PatientAgent, task_id: str) -> bool:
    return task_id in {**one.running, **two.running}


async def test_the_deadline_of_a_call_says_what_it_waited_for(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    async with patient(
        mesh, "a1", contract=probe_contract({"Echo": {"locks": [{"name": "l", "key": "data"}]}})
    ):
        (first,) = await submit(mesh, ask("k"))
        # The answer is sent 20 ms before the deadline: on a busy machine a call's own timer may come first.
        for _ in range(5):
            with pytest.raises(grpc.aio.AioRpcError) as late:
                await mesh.probe().Echo(Payload(data=b"k"), timeout=0.6)
            assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            if f"the lock 'l:6b', held by task {first} on agent a1" in (late.value.details() or ""):
                return
        pytest.fail(f"five calls were not told in time what they waited for: {late.value.details()}")


async def test_refused_at_the_limit_through_every_door(doors: tuple[MeshHarness, MeshHarness]) -> None:
    here, there = doors
    contract = probe_contract(
        {"Echo": {"run_limits": [{"key": "data", "max_running": 1, "at_limit": "AT_LIMIT_REFUSE"}]}}
    )
    async with patient(here, "a1", contract=contract) as agent:
        await there.wait_serving()
        (first,) = await submit(here, ask("x"))
        for number, mesh in enumerate(doors):
            for error in (
                await _error(mesh.api().SubmitTask(ask("x"), timeout=10)),
                await _error(mesh.probe().Echo(Payload(data=b"x"), timeout=10)),
            ):
                info = error_info(status_of_call(error))
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert info is not None
                assert info.reason == "LIMIT_REACHED"
                assert dict(info.metadata) == {"method": ECHO, "key": "data", "value": "78", "limit": "1"}
                assert "1 tasks are unfinished at the run limit" in from_call(error).message
            call = mesh.api().SubmitTasks(
                iter([api.SubmitTasksRequest(tasks=[ask("x"), ask(str(number))])]), timeout=10
            )
            acks = [ack async for response in call for ack in response.acks]
            assert [error_info(ack.error) is not None for ack in acks] == [True, False]
        await agent.runs(2)
        await agent.finish(first)
        await tasks.ended(there, [first])
        (again,) = await submit(there, ask("x"))
        await here.eventually(lambda: _runs(agent, agent, again), "it runs")


async def _error(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as found:
        await call
    return found.value


async def test_the_newest_and_the_oldest_are_cancelled(doors: tuple[MeshHarness, MeshHarness]) -> None:
    """Singleton and debounce."""
    here, there = doors
    options = {
        "Echo": {"run_limits": [{"key": "data", "max_running": 1, "at_limit": "AT_LIMIT_CANCEL_NEWEST"}]},
        "Call": {"run_limits": [{"max_running": 1, "at_limit": "AT_LIMIT_CANCEL_OLDEST"}]},
    }
    call = "probe.v1.ProbeService/Call"
    async with patient(here, "a1", contract=probe_contract(options), methods=(ECHO, call)) as agent:
        await there.wait_serving()
        (first,) = await submit(here, ask("x"))
        await agent.runs(1)
        (second,) = await submit(there, ask("x"))
        cancelled = await tasks.end(there, second)
        assert (cancelled.state, cancelled.attempt) == (task_pb2.TASK_STATE_CANCELLED, 0)
        assert "run limit" in str(cancelled.outcome.status)
        error = await _error(here.probe().Echo(Payload(data=b"x"), timeout=10))
        assert error.code() is grpc.StatusCode.CANCELLED
        assert "cancel" in (error.details() or "")
        await agent.finish(first)
        # Of several delayed ones only the last runs.
        delayed = api.SubmitTaskRequest(
            method=call, options=task_pb2.TaskOptions(delay={"nanos": 400_000_000})
        )
        ids = [(await submit(mesh, delayed))[0] for mesh in (here, there, here)]
        assert await agent.runs(1) == ids[2:]
        ends = await tasks.ended(here, ids[:2])
        assert {task.state for task in ends.values()} == {task_pb2.TASK_STATE_CANCELLED}
        # A running one is asked to end.
        (newest,) = await submit(there, api.SubmitTaskRequest(method=call))
        await here.eventually(lambda: _cancels(agent, ids[2]), "the agent is told")
        await agent.finish(ids[2], status={"code": 1})
        assert (await tasks.end(there, ids[2])).state == task_pb2.TASK_STATE_CANCELLED
        await here.eventually(lambda: _runs(agent, agent, newest), "the newest runs")


async def _cancels(agent: PatientAgent, task_id: str) -> bool:
    return any(cancel.task_id == task_id for message in agent.received for cancel in message.cancels)


async def test_bad_limits_are_refused(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    bad: list[tuple[dict[str, Any], str]] = [
        ({"max_rate_per_s": -1}, "max_rate_per_s -1"),
        ({"max_rate_per_s": float("nan")}, "max_rate_per_s nan"),
        ({"max_rate_per_s": float("inf")}, "max_rate_per_s inf"),
        ({"burst": 3}, "limits nothing"),
        ({"max_running": 1, "burst": 3}, "no max_rate_per_s"),
        ({"max_rate_per_s": 1, "at_limit": options_pb2.AT_LIMIT_REFUSE}, "needs max_running"),
        ({"at_limit": options_pb2.AT_LIMIT_REFUSE}, "limits nothing"),
        ({"max_running": 1, "at_limit": 77}, "does not know"),
        ({"max_running": 1, "key": "no_such_field"}, "no_such_field"),
        ({"max_running": 1, "key": "x" * 10_000}, "at most 256 characters"),
        ({"max_running": 1, "key": "data", "per_fairness_key": True}, "a limit has one key"),
    ]
    async with patient(mesh, "a1"):
        for limits, says in bad:
            status = await refused(limit(mesh, **limits))
            check(status, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
            assert says in status.message, (limits, status.message)
            assert len(status.message) < 2000
        unknown = api.UpdateQueueRequest(method="no.such/Method", limits=api.QueueLimits(max_running=1))
        assert (await _error(mesh.api().UpdateQueue(unknown, timeout=10))).code() is grpc.StatusCode.NOT_FOUND
        assert not (await the_queue(mesh)).limits
        for options, field in (
            ({"locks": [options_pb2.Lock(name="x" * 10_000)]}, "options.locks"),
            ({"locks": [options_pb2.Lock(name="")]}, "options.locks"),
            ({"locks": [options_pb2.Lock(name="a", key="data")]}, "options.locks"),
            ({"locks": [options_pb2.Lock(name=f"l{n}") for n in range(9)]}, "options.locks"),
            ({"consumes": {"gpu": 0.0}}, "options.consumes"),
            ({"consumes": {"gpu": -1.0}}, "options.consumes"),
            ({"consumes": {"gpu": float("nan")}}, "options.consumes"),
            ({"consumes": {"": 1.0}}, "options.consumes"),
            ({"consumes": {f"r{n}": 1.0 for n in range(65)}}, "options.consumes"),
            ({"fairness_key": "x" * 257}, "options.fairness_key"),
            ({"fairness_weight": float("nan")}, "options.fairness_weight"),
        ):
            status = await refused(mesh.api().SubmitTask(ask(**options), timeout=10))
            check(status, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", field)
