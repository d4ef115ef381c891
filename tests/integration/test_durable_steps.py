"""Remembered child calls and steps, in one mesh: what a later attempt does again, and what it does not."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

import grpc
import pytest
from google.protobuf import json_format, struct_pb2, wrappers_pb2

from weft.agent import Agent, current_task
from weft.agent.steps import attempt_steps
from weft.client import RetryPolicy, TaskState, WaitReason, call_options
from weft.client.task_steps import StepKind
from weft.coordinator.calls.call_options import from_metadata
from weft.coordinator.steps.remembered_calls import remember
from weft.coordinator.store.records import Submission
from weft.rpc.errors import FailedPrecondition, InvalidArgument, NotFound, WeftError
from weft.testing import LocalMesh, mesh_of

AGAIN = RetryPolicy(max_attempts=5, initial_backoff_s=0.0, retryable_codes=[grpc.StatusCode.UNAVAILABLE])
Handler = Callable[[dict[str, Any]], Any]


class Work:
    """What the agents of a test do, and how often each has been done."""

    def __init__(self, slots: int = 4) -> None:
        self.done: Counter[str] = Counter()
        self.seen: list[Any] = []
        self.agent = Agent("worker", slots=slots)
        self.handler: Any = None

        @self.agent.method("steps.v1.Work/Charge")
        async def charge(request: dict[str, Any]) -> dict[str, Any]:
            self.done[f"charge {request.get('card')}"] += 1
            if request.get("fails", 0) >= self.done[f"charge {request.get('card')}"]:
                raise ValueError("no")
            return {"receipt": request.get("card")}

        @self.agent.method("steps.v1.Work/Order", durable_children=True, retry=AGAIN)
        async def order(request: dict[str, Any]) -> dict[str, Any]:
            self.done["order"] += 1
            return await self.handler(request)

        @self.agent.method("steps.v1.Work/Plain", durable_children=True, retry=AGAIN)
        def plain(request: dict[str, Any]) -> dict[str, Any]:
            self.done["plain"] += 1
            return self.handler(request)

        self.charge, self.order, self.plain = charge, order, plain


def stub_of(channel: Any, method: str) -> Any:
    return channel.unary_unary(
        f"/{method}", struct_pb2.Struct.SerializeToString, struct_pb2.Struct.FromString
    )


@pytest.fixture
async def mesh() -> AsyncIterator[LocalMesh]:
    async with mesh_of() as made:
        yield made


@pytest.fixture
async def work(mesh: LocalMesh) -> Work:
    made = Work()
    await mesh.add(made.agent)
    return made


async def fail_first(work: Work, attempts: int = 1) -> None:
    """Let the first attempts end so that they are retried."""
    if current_task().attempt <= attempts:
        from weft.rpc.errors import Unavailable

        raise Unavailable("not yet")


# -- remembered child calls ------------------------------------------------------------------------------------------


async def test_a_later_attempt_gets_the_answers_of_its_calls(mesh: LocalMesh, work: Work) -> None:
    async def handler(request: dict[str, Any]) -> dict[str, Any]:
        client = current_task().mesh
        one = await work.charge.call(client, {"card": "a"})
        two = await work.charge.call(client, {"card": "b"})
        submitted = await client.tasks.submit(work.charge, {"card": "c"})
        three = await submitted.result()
        four = await client.tasks.call(work.charge, {"card": "d"})
        await fail_first(work, 2)
        return {"got": [each["receipt"] for each in (one, two, three, four)]}

    work.handler = handler
    handle = await mesh.tasks.submit(work.order, {})
    assert await handle.result() == {"got": ["a", "b", "c", "d"]}
    assert work.done == {"order": 3, "charge a": 1, "charge b": 1, "charge c": 1, "charge d": 1}
    children = [task async for task in mesh.tasks.list(method="steps.v1.Work/Charge")]
    names = {task.request_id for task in children}
    assert names == {f"step:{handle.id}/steps.v1.Work/Charge#{n}" for n in (1, 2, 3, 4)}


async def test_a_plain_handler_is_the_same(mesh: LocalMesh, work: Work) -> None:
    def handler(request: dict[str, Any]) -> dict[str, Any]:
        task = current_task()
        one = work.charge.call(task.sync_mesh, {"card": "a"})
        two = task.sync_steps.step("two", lambda: work.done.update(["two"]) or [1, (2,)])
        moment, chance = task.sync_steps.now(), task.sync_steps.random()
        work.seen.append((one, two, moment, chance))
        if task.attempt == 1:
            from weft.rpc.errors import Unavailable

            raise Unavailable("not yet")
        return {"two": two}

    work.handler = handler
    assert await mesh.tasks.call(work.plain, {}) == {"two": [1, [2]]}
    assert work.done == {"plain": 2, "charge a": 1, "two": 1}
    assert work.seen[0] == work.seen[1]


async def test_calls_are_told_apart_by_name_and_order(mesh: LocalMesh, work: Work) -> None:
    async def handler(request: dict[str, Any]) -> dict[str, Any]:
        client = current_task().mesh
        cards = ["a", "b", "c"]
        if current_task().attempt > 1:
            cards.reverse()
        got = await asyncio.gather(
            *(work.charge.call(client, {"card": card}, metadata=call_options(step=card)) for card in cards)
        )
        await fail_first(work)
        return {"got": [each["receipt"] for each in got]}

    work.handler = handler
    assert await mesh.tasks.call(work.order, {}) == {"got": ["c", "b", "a"]}
    assert work.done == {"order": 2, "charge a": 1, "charge b": 1, "charge c": 1}


async def test_another_call_in_the_same_place_is_an_error(mesh: LocalMesh, work: Work) -> None:
    async def handler(request: dict[str, Any]) -> dict[str, Any]:
        card = "a" if current_task().attempt == 1 else "b"
        try:
            await work.charge.call(current_task().mesh, {"card": card})
        except WeftError as error:
            work.seen.append(error)
        await fail_first(work)
        return {}

    work.handler = handler
    await mesh.tasks.call(work.order, {})
    (error,) = work.seen
    assert isinstance(error, FailedPrecondition)
    assert error.reason_name == "STEP_CHANGED"
    assert "another request" in error.message
    assert work.done["charge b"] == 0


async def test_a_failed_call_is_made_anew_by_the_attempt_after_a_failure(mesh: LocalMesh, work: Work) -> None:
    async def handler(request: dict[str, Any]) -> dict[str, Any]:
        client = current_task().mesh
        await work.charge.call(client, {"card": "good"})
        try:
            await work.charge.call(client, {"card": "bad", "fails": 1})
        except (WeftError, grpc.aio.AioRpcError):
            if not request.get("catches"):
                await fail_first(work)
            await current_task().sleep(60)
            return {"caught": True}
        return {"caught": False}

    work.handler = handler
    assert await mesh.tasks.call(work.order, {}) == {"caught": False}
    assert work.done == {"order": 2, "charge good": 1, "charge bad": 2}
    # A handler that goes on after the failure finds it again.
    work.done.clear()
    handle = await mesh.tasks.submit(work.order, {"catches": True})
    await until_suspended(mesh, handle.id)
    await mesh.clock.advance(61)
    assert await handle.result() == {"caught": True}
    assert work.done == {"order": 2, "charge good": 1, "charge bad": 1}


async def test_calls_of_stubs_are_remembered(mesh: LocalMesh, work: Work) -> None:
    async def handler(request: dict[str, Any]) -> dict[str, Any]:
        charge = stub_of(current_task().mesh.channel(), "steps.v1.Work/Charge")
        call = charge(json_format.ParseDict({"card": "a"}, struct_pb2.Struct()))
        got = json_format.MessageToDict(await call)
        ids = dict(await call.trailing_metadata())
        # A request id of its own, and a direct call, are left alone.
        own = charge(struct_pb2.Struct(), metadata=call_options(request_id=f"mine-{current_task().attempt}"))
        await own
        await fail_first(work)
        return {**got, "task": ids["weft-task-id"], "code": str(await call.code())}

    work.handler = handler
    got = await mesh.tasks.call(work.order, {})
    assert (got["receipt"], got["code"]) == ("a", "StatusCode.OK")
    assert work.done == {"order": 2, "charge a": 1, "charge None": 2}
    assert (await mesh.tasks.get(got["task"])).request_id.endswith("/steps.v1.Work/Charge#1")


def test_a_call_with_a_steps_name_needs_a_parent_and_no_id_of_its_own() -> None:
    for metadata, why in (
        ([("weft-step", "x")], "needs weft-parent-id"),
        ([("weft-step", "x"), ("weft-parent-id", "p"), ("weft-request-id", "r")], "leave out one, since"),
        ([("weft-step", "a b"), ("weft-parent-id", "p")], "without spaces"),
    ):
        with pytest.raises(InvalidArgument, match=why):
            given = from_metadata(metadata)
            remember(
                Submission("s.v1.S/M", request_id=given.request_id), given.options.context, generated_id=False
            )


# -- local steps -----------------------------------------------------------------------------------------------------


async def test_a_step_is_taken_once_and_its_value_remembered(mesh: LocalMesh, work: Work) -> None:
    async def handler(request: dict[str, Any]) -> dict[str, Any]:
        task = current_task()

        async def reserve() -> dict[str, Any]:
            work.done["reserve"] += 1
            return {"at": ["x", None, 1.5]}

        values = [
            await task.step("reserve", reserve),
            await task.step("reserve", lambda: work.done.update(["again"]) or "second"),
            await task.step("bytes", lambda: b"\x00\xff"),
            await task.step("message", lambda: wrappers_pb2.StringValue(value="m")),
            await task.step("none", lambda: None),
            await task.now(),
            await task.random(),
        ]
        work.seen.append(values)
        await fail_first(work)
        return {}

    work.handler = handler
    handle = await mesh.tasks.submit(work.order, {})
    await handle.result()
    first, second = work.seen
    assert first == second
    assert first[:5] == [
        {"at": ["x", None, 1.5]},
        "second",
        b"\x00\xff",
        wrappers_pb2.StringValue(value="m"),
        None,
    ]
    assert isinstance(first[5], datetime)
    assert work.done == {"order": 2, "reserve": 1, "again": 1}
    recorded = [step async for step in mesh.tasks.steps(handle.id)]
    assert [step.name for step in recorded] == [
        "reserve",
        "reserve#2",
        "bytes",
        "message",
        "none",
        "now",
        "random",
    ]
    assert {step.kind for step in recorded} == {StepKind.VALUE}


async def test_a_step_that_raises_is_taken_again(mesh: LocalMesh, work: Work) -> None:
    async def handler(request: dict[str, Any]) -> dict[str, Any]:
        def broken() -> str:
            work.done["broken"] += 1
            if work.done["broken"] == 1:
                from weft.rpc.errors import Unavailable

                raise Unavailable("not yet")
            return "mended"

        return {"step": await current_task().step("broken", broken)}

    work.handler = handler
    assert await mesh.tasks.call(work.order, {}) == {"step": "mended"}
    assert work.done["broken"] == 2


async def test_wrong_steps_are_refused(mesh: LocalMesh, work: Work) -> None:
    async def handler(request: dict[str, Any]) -> dict[str, Any]:
        task, errors = current_task(), []
        for name, value in (
            ("", 1),
            ("a b", 1),
            ("a#2", 1),
            ("signal/x", 1),
            ("s", object()),
            ("n", float("nan")),
        ):
            try:
                await task.step(name, lambda value=value: value)
            except (ValueError, TypeError) as error:
                errors.append(str(error))
        for wait_s in (-1, float("nan"), 1e12):
            try:
                await task.sleep(wait_s)
            except ValueError as error:
                errors.append(str(error))
        try:
            await task.step("large", lambda: b"x" * 300_000)
        except WeftError as error:
            errors.append(error.message)
        return {"errors": errors}

    work.handler = handler
    errors = (await mesh.tasks.call(work.order, {}))["errors"]
    assert len(errors) == 10
    assert "step 's'" in errors[4]
    assert "300001 bytes" in errors[9]


async def test_a_direct_call_has_no_steps(mesh: LocalMesh, work: Work) -> None:
    async def handler(request: dict[str, Any]) -> dict[str, Any]:
        # Its calls are made, and are no steps.
        await work.charge.call(current_task().mesh, {"card": "a"})
        try:
            await current_task().step("x", lambda: 1)
        except WeftError as error:
            return {"reason": error.reason_name}
        return {}

    work.handler = handler
    order = stub_of(mesh.channel(direct=True), "steps.v1.Work/Order")
    assert json_format.MessageToDict(await order(struct_pb2.Struct(), timeout=20)) == {
        "reason": "STEP_NOT_DURABLE"
    }


# -- waits -----------------------------------------------------------------------------------------------------------


async def until_suspended(mesh: LocalMesh, task_id: str) -> None:
    # Who follows a task lets the clock jump to its next event.
    while (await mesh.tasks.get(task_id)).state is not TaskState.SCHEDULED:
        await asyncio.sleep(0.01)


async def test_a_sleeping_handler_gives_its_slot_back(mesh: LocalMesh, work: Work) -> None:
    async def handler(request: dict[str, Any]) -> dict[str, Any]:
        await current_task().step("before", lambda: work.done.update(["before"]))
        await current_task().sleep(3600)
        await current_task().sleep(0.001)
        await current_task().step("after", lambda: work.done.update(["after"]))
        return {}

    work.handler = handler
    handles = [await mesh.tasks.submit(work.order, {"n": n}) for n in range(6)]
    for handle in handles:
        await until_suspended(mesh, handle.id)
    assert work.done == {"order": 6, "before": 6}
    # Its four slots are free.
    assert await mesh.tasks.call(work.charge, {"card": "x"}) == {"receipt": "x"}
    task = await mesh.tasks.get(handles[0].id)
    assert task.wait_reason is WaitReason.SUSPENDED
    assert "the end of a sleep, for at most" in task.waits_for
    await mesh.clock.advance(3601)
    for handle in handles:
        await handle.result()
    assert (work.done["order"], work.done["before"], work.done["after"]) == (12, 6, 6)
    ended = await mesh.tasks.get(handles[0].id)
    assert [(attempt.number, attempt.suspended, attempt.choice) for attempt in ended.attempts] == [
        (1, True, ""),
        (2, False, ""),
    ]
    assert ended.crashes == 0


async def test_a_signal_wakes_a_handler_and_each_is_received_once(mesh: LocalMesh, work: Work) -> None:
    async def handler(request: dict[str, Any]) -> dict[str, Any]:
        task = current_task()
        return {
            "got": [
                await task.wait_signal("go"),
                await task.wait_signal("stop"),
                await task.wait_signal("go"),
            ]
        }

    work.handler = handler
    handle = await mesh.tasks.submit(work.order, {})
    await mesh.tasks.signal(handle.id, "stop", {"why": "early"}, signal_id="1")
    await mesh.tasks.signal(handle.id, "stop", {"why": "again"}, signal_id="1")
    await until_suspended(mesh, handle.id)
    for value in (1, None):
        await mesh.tasks.signal(handle.id, "go", value)
    assert await handle.result() == {"got": [1, {"why": "early"}, None]}
    with pytest.raises(FailedPrecondition, match="has ended"):
        await mesh.tasks.signal(handle.id, "go")
    with pytest.raises(NotFound):
        await mesh.tasks.signal("0" * 16, "go")


async def test_a_wait_ends_without_a_signal_and_stays_so(mesh: LocalMesh, work: Work) -> None:
    async def handler(request: dict[str, Any]) -> dict[str, Any]:
        task, got = current_task(), []
        for _ in range(2):
            try:
                got.append(await task.wait_signal("go", 30))
            except TimeoutError:
                got.append("late")
        await task.sleep(30)
        return {"got": got}

    work.handler = handler
    handle = await mesh.tasks.submit(work.order, {})
    await until_suspended(mesh, handle.id)
    await mesh.clock.advance(31)
    # The second wait has begun when the first one's end is recorded.
    while len([step async for step in mesh.tasks.steps(handle.id)]) < 3:
        await asyncio.sleep(0.01)
    await mesh.tasks.signal(handle.id, "go", "in time")
    while len([step async for step in mesh.tasks.steps(handle.id)]) < 5:
        await asyncio.sleep(0.01)
    await until_suspended(mesh, handle.id)
    await mesh.clock.advance(31)
    assert await handle.result() == {"got": ["late", "in time"]}


async def test_a_handler_that_does_something_else_keeps_its_slot(mesh: LocalMesh, work: Work) -> None:
    going, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> int:
        going.set()
        await go_on.wait()
        return 1

    async def handler(request: dict[str, Any]) -> dict[str, Any]:
        task = current_task()
        _, value = await asyncio.gather(task.sleep(600), task.step("slow", slow))
        return {"value": value}

    work.handler = handler
    handle = await mesh.tasks.submit(work.order, {})
    await going.wait()
    assert (await mesh.tasks.get(handle.id)).state is TaskState.RUNNING
    go_on.set()
    await until_suspended(mesh, handle.id)
    assert work.done["order"] == 1
    await mesh.clock.advance(601)
    assert await handle.result() == {"value": 1}
    assert work.done["order"] == 2


@pytest.mark.parametrize("way", ["stub", "task", "thread"])
async def test_parents_on_all_slots_give_them_to_their_children(
    mesh: LocalMesh, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt_steps, "PATIENCE_S", 0.05)
    work = Work(slots=1)
    await mesh.add(work.agent)

    async def handler(request: dict[str, Any]) -> dict[str, Any]:
        if way == "task":
            return await work.charge.call(current_task().mesh, {"card": "a"})
        charge = stub_of(current_task().mesh.channel(), "steps.v1.Work/Charge")
        return json_format.MessageToDict(
            await charge(json_format.ParseDict({"card": "a"}, struct_pb2.Struct()))
        )

    def in_thread(request: dict[str, Any]) -> dict[str, Any]:
        return work.charge.call(current_task().sync_mesh, {"card": "a"})

    work.handler = in_thread if way == "thread" else handler
    handle = await mesh.tasks.submit(work.plain if way == "thread" else work.order, {})
    assert await handle.result() == {"receipt": "a"}
    assert work.done["charge a"] == 1
    first = (await mesh.tasks.get(handle.id)).attempts[0]
    assert first.suspended
    assert first.status.message == "call steps.v1.Work/Charge#1"


async def test_the_example_takes_days_and_goes_on(mesh: LocalMesh) -> None:
    from examples.approvals.agent import agent, place

    await mesh.add(agent)
    request = {"item": "desk", "card": "4711"}
    handle = await mesh.tasks.submit(place, request)
    await until_suspended(mesh, handle.id)
    await mesh.tasks.signal(handle.id, "approve", {"by": "ann"})
    result = await handle.result()
    assert (result["by"], result["receipt"]) == ("ann", "charged 4711 for desk")
    assert [step.name async for step in mesh.tasks.steps(handle.id)][1:] == [
        "wait/approve",
        "signal/approve#1",
        "sleep",
    ]
    assert (await mesh.tasks.call(place, request))["state"] == "nobody approved it"


async def test_a_suspended_task_is_cancelled(mesh: LocalMesh, work: Work) -> None:
    async def handler(request: dict[str, Any]) -> dict[str, Any]:
        await current_task().wait_signal("never")
        return {}

    work.handler = handler
    handle = await mesh.tasks.submit(work.order, {})
    await until_suspended(mesh, handle.id)
    assert (await mesh.tasks.cancel(handle.id)).state is TaskState.CANCELLED


@pytest.mark.parametrize("by", ["task", "group"])
async def test_the_remembered_calls_of_a_suspended_task_are_cancelled_with_it(
    mesh: LocalMesh, work: Work, by: str
) -> None:
    children: list[str] = []

    middle: list[str] = []

    async def handler(request: dict[str, Any]) -> dict[str, Any]:
        # They wait for an agent that is not there.
        options: Any = {"require_labels": {"zone": "nowhere"}}
        if not request.get("deep"):
            middle.append((await current_task().mesh.tasks.submit(work.order, {"deep": True})).id)
        for _ in range(3):
            children.append((await current_task().mesh.tasks.submit(work.charge, {}, **options)).id)
        await current_task().wait_signal("never")
        return {}

    work.handler = handler
    handle = await mesh.tasks.submit(work.order, {}, group="orders")
    await until_suspended(mesh, handle.id)
    await until_suspended(mesh, middle[0])
    other = await mesh.tasks.submit(work.charge, {}, require_labels={"zone": "nowhere"})
    if by == "group":
        await mesh.groups.cancel("orders")
    else:
        await mesh.tasks.cancel(handle.id)
    assert len(set(children)) == 6
    for each in (middle[0], *children):
        assert (await mesh.tasks.get(each)).state is TaskState.CANCELLED
    assert (await other.state()) is TaskState.QUEUED
    await other.cancel()
