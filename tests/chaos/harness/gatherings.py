"""Groups beside the load, whose tasks retry and fall back, and their verdict.

wrong outcome    a task fell back that had no reason to (a caller's fault, a success), or did not that had one
wrong count      a group's counts are not those of its tasks, or not all that were acknowledged are in it
callback         there is not exactly one, or it was submitted before the last task had ended
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import grpc
import grpc.aio
from google.rpc import code_pb2

from probe.v1.probe_pb2 import ProbeReply, ProbeRequest
from tests.chaos.harness.asking import PATIENCE_S, all_tasks, answered
from tests.chaos.harness.chain import FALLEN, FIRST, GATHERED, SECOND
from tests.chaos.harness.items import Item, Shape, gated
from tests.chaos.harness.load import Door
from tests.support import tasks
from weft.rpc.times import duration, seconds
from weft.v1 import coordinator_pb2, group_pb2, task_pb2
from weft.v1.group_pb2_grpc import GroupServiceStub

_CALL_S = 10.0
_AGAIN_S = 0.05
_MEMBERS = (0, 1, 2, 5, 12)
# A handler of the first method that fails for good.
_ALWAYS = 1000
# Codes and whether they fall back; 0: no failure.
_FATES = (
    (0, False),
    (0, False),
    (code_pb2.INTERNAL, True),
    (code_pb2.UNAVAILABLE, True),
    (code_pb2.INVALID_ARGUMENT, False),
    (code_pb2.NOT_FOUND, False),
)


@dataclass(slots=True)
class Gathering:
    """One group, and what is known of it."""

    name: str
    callback: Item
    members: list[Item] = field(default_factory=list[Item])
    uid: str = ""
    cancelled: bool = False
    closed: bool = False


class Gatherings:
    """Groups sampled from `rng` until `stop`; afterwards, the verdict on them."""

    def __init__(self, door: Door, rng: random.Random, shape: Shape, ledger_path: str) -> None:
        self.made: list[Gathering] = []
        self._door = door
        self._rng = rng
        self._shape = shape
        self._ledger_path = ledger_path
        self._run = f"g{rng.getrandbits(32):08x}"
        self._stopped = False
        self._problems: list[str] = []

    @property
    def items(self) -> Sequence[Item]:
        """All tasks, those of callbacks too."""
        return [item for group in self.made for item in (*group.members, group.callback)]

    def stop(self) -> None:
        """Begin nothing new; `run` returns when the groups have ended."""
        self._stopped = True

    async def run(self) -> None:
        """Make groups until `stop`."""
        async with asyncio.TaskGroup() as makers:
            for _ in range(self._shape.groups):
                makers.create_task(self._make_all())

    async def _make_all(self) -> None:
        while not self._stopped:
            group = self._drawn()
            try:
                await self._make(group)
            except grpc.aio.AioRpcError as error:
                self._problems.append(f"{group.name} was refused: {error.details()}")

    # -- making ---------------------------------------------------------------------------------------------------

    def _drawn(self) -> Gathering:
        name = f"{self._run}/{len(self.made)}"
        request = ProbeRequest(text=f"{name}-then", ledger=self._ledger_path)
        group = Gathering(name, Item(request.text, GATHERED, request))
        self.made.append(group)
        group.members = [self._member(f"{name}-{n}") for n in range(self._rng.choice(_MEMBERS))]
        return group

    async def _make(self, group: Gathering) -> None:
        # The first task makes the group, or the callback does.
        early = group.members[: self._rng.choice((0, 0, 1))]
        for item in early:
            await self._submit(group, item)
        await self._create(group)
        await asyncio.gather(*(self._submit(group, item) for item in group.members[len(early) :]))
        await self._end(group)
        await self._refuse_late(group)
        await self._wait(group)

    def _member(self, text: str) -> Item:
        rng = self._rng
        request = ProbeRequest(text=text, ledger=self._ledger_path, sleep_s=rng.choice(self._shape.sleeps_s))
        request.fail_code, falls = rng.choice(_FATES)
        # A caller's fault is no reason to retry either.
        request.fail_attempts = _ALWAYS if request.fail_code else 0
        item = gated(rng, self._shape, Item(text, FIRST, request))
        item.falls = falls
        return item

    async def _create(self, group: Gathering) -> None:
        callback = group_pb2.GroupCallback(
            method=GATHERED, payload=group.callback.request.SerializeToString()
        )
        request = group_pb2.CreateGroupRequest(name=group.name, callback=callback)
        answer = await answered(lambda: self._groups().CreateGroup(request, timeout=_CALL_S))
        group.uid = answer.group.uid

    async def _submit(self, group: Gathering, item: Item) -> None:
        options = task_pb2.TaskOptions(group=group.name, fairness_key=item.key)
        if item.lock is not None:
            name, shared = item.lock
            options.locks.add(name=name, shared=shared)
        if item.gpus:
            options.consumes["gpu"] = item.gpus
        request = coordinator_pb2.SubmitTaskRequest(
            method=item.name,
            payload=item.request.SerializeToString(),
            request_id=item.request_id,
            options=options,
        )
        sent = 0

        async def once() -> coordinator_pb2.SubmitTaskResponse:
            nonlocal sent
            sent += 1
            return await self._door.api().SubmitTask(request, timeout=_CALL_S)

        answer = await answered(once)
        item.task_id, item.repeated = answer.task.id, sent > 1

    async def _end(self, group: Gathering) -> None:
        if self._rng.random() < 0.2:
            group.cancelled = True
            cancel = group_pb2.CancelGroupRequest(name=group.name, reason="chaos")
            await answered(lambda: self._groups().CancelGroup(cancel, timeout=_CALL_S))
        else:
            close = group_pb2.CloseGroupRequest(name=group.name)
            await answered(lambda: self._groups().CloseGroup(close, timeout=_CALL_S))
        group.closed = True

    async def _refuse_late(self, group: Gathering) -> None:
        late = Item(f"{group.name}-late", FIRST, ProbeRequest(text="late"))
        try:
            await self._submit(group, late)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                raise
        else:
            self._problems.append(f"{group.name} was closed and took {late.task_id}")

    async def _wait(self, group: Gathering) -> None:
        """Wait for the group's end, however often a coordinator dies meanwhile."""
        request = group_pb2.WaitGroupRequest(name=group.name, timeout=duration(2.0))
        ends_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends_at:
            answer = await answered(lambda: self._groups().WaitGroup(request, timeout=_CALL_S))
            if answer.group.HasField("end_time"):
                return

    def _groups(self) -> GroupServiceStub:
        return GroupServiceStub(self._door.channel())

    # -- the verdict ----------------------------------------------------------------------------------------------

    async def faults(self) -> list[str]:
        """What is wrong, in words."""
        found = list(self._problems)
        ends_at = time.monotonic() + PATIENCE_S
        for group in self.made:
            if not group.closed:
                # The run was given up.
                found.append(f"{group.name} could not be closed")
                continue
            try:
                told = await self._settled(group, ends_at)
            except grpc.aio.AioRpcError as error:
                found.append(f"{group.name} is lost: {error.details()}")
                continue
            listed = await all_tasks(self._door, coordinator_pb2.TaskFilter(group=group.name))
            callbacks = await all_tasks(
                self._door, coordinator_pb2.TaskFilter(request_id=f"group:{group.uid}")
            )
            found += judged(group, told, listed, callbacks)
        every = Counter(
            task.request_id
            for task in await all_tasks(self._door, coordinator_pb2.TaskFilter(method=GATHERED))
        )
        found += [f"{count} callbacks of {request_id}" for request_id, count in every.items() if count > 1]
        return found

    async def _settled(self, group: Gathering, ends_at: float) -> group_pb2.Group:
        """The group, when its callback has ended, or cannot come."""
        request = group_pb2.GetGroupRequest(name=group.name)
        while True:
            told = (await answered(lambda: self._groups().GetGroup(request, timeout=_CALL_S))).group
            if told.callback_error or not told.HasField("callback") or time.monotonic() > ends_at:
                return told
            if told.callback_task_id:
                task = await self._task(told.callback_task_id)
                if task.HasField("finish_time"):
                    return told
            await asyncio.sleep(_AGAIN_S)

    async def _task(self, task_id: str) -> task_pb2.Task:
        request = coordinator_pb2.GetTaskRequest(task_id=task_id)
        answer = await answered(lambda: self._door.api().GetTask(request, timeout=_CALL_S))
        task: task_pb2.Task = answer.task
        return task


def judged(
    group: Gathering,
    told: group_pb2.Group,
    listed: Sequence[task_pb2.Task],
    callbacks: Sequence[task_pb2.Task],
) -> list[str]:
    """What is wrong with a group, in words. Pure."""
    found = []
    acknowledged = {item.task_id for item in group.members if item.task_id}
    if {task.id for task in listed} != acknowledged:
        found.append(f"has {len(listed)} tasks, and {len(acknowledged)} were acknowledged")
    states = Counter(task.state for task in listed)
    expected = group_pb2.GroupCounts(
        **{
            task_pb2.TaskState.Name(state).removeprefix("TASK_STATE_").lower(): count
            for state, count in states.items()
        }
    )
    if told.counts != expected:
        found.append(f"counts {told.counts}, and has {expected}")
    if not told.HasField("end_time"):
        found.append("has not ended")
    last_s = max((seconds(task.finish_time) for task in listed), default=0.0)
    if [task.id for task in callbacks] != [told.callback_task_id]:
        found.append(f"has the callback {told.callback_task_id!r}, and {len(callbacks)} were submitted")
    for task in callbacks:
        if seconds(task.create_time) < last_s:
            found.append(f"its callback came {last_s - seconds(task.create_time):g} s before its last end")
        if task.state != task_pb2.TASK_STATE_SUCCEEDED:
            found.append(f"its callback did not succeed: {tasks.describe(task)}")
        group.callback.task_id = task.id
    by_id = {task.id: task for task in listed}
    found += [
        f"{item.request_id} {problem}: {tasks.describe(by_id[item.task_id])}"
        for item in group.members
        if item.task_id in by_id and (problem := _problem(item, by_id[item.task_id], group.cancelled))
    ]
    return [f"{group.name} {each}" for each in found]


def _problem(item: Item, task: task_pb2.Task, cancelled: bool) -> str:
    """Why this is not the outcome of this member; empty: it is."""
    if cancelled and task.state == task_pb2.TASK_STATE_CANCELLED:
        return ""
    # It failed when its cancellation was asked for already.
    ended = cancelled and task.state == task_pb2.TASK_STATE_FAILED
    if item.request.fail_code and (ended or not item.falls):
        right = task.state == task_pb2.TASK_STATE_FAILED
        right = right and task.outcome.status.code == item.request.fail_code and not task.outcome.fallback
        return "" if right else "should have failed, at its own method"
    if task.state != task_pb2.TASK_STATE_SUCCEEDED:
        return "should have succeeded"
    reply = ProbeReply.FromString(task.outcome.response)
    if reply.text != item.request.text:
        return "has somebody else's response"
    fell = (reply.index == FALLEN, task.outcome.fallback == SECOND, task.fallback_of == FIRST)
    return "" if fell == (item.falls,) * 3 else f"fell back: {fell}, and that should be {item.falls}"
