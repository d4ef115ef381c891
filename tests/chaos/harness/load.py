"""A load that records its requests, acknowledgements and results, to compare them with the mesh afterwards.

Requests go in through a bulk stream and through transparent calls, each with a request id, and are repeated with it
whenever their outcome is unknown. Every result that is read is remembered byte by byte. What is missing or wrong is
counted, never raised: a run goes on to its end and says how much was lost.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Protocol

import grpc
import grpc.aio

from probe.v1.probe_pb2 import ProbeReply
from probe.v1.probe_pb2_grpc import ProbeServiceStub
from tests.chaos.harness.asking import passing
from tests.chaos.harness.chain import SECOND, SECOND_RUNNING, SERVICE
from tests.chaos.harness.items import RUNNING, RUNNING_PER_KEY, Item, Shape, recorded, sampled
from tests.chaos.harness.ticks import TICK
from tests.support import tasks
from weft.rpc.times import duration
from weft.v1 import coordinator_pb2, options_pb2, task_pb2
from weft.v1.coordinator_pb2_grpc import CoordinatorServiceStub
from weft.v1.schedule_pb2_grpc import ScheduleServiceStub

# After the load was told to stop, whatever has not ended within this is lost.
DRAIN_S = 30.0
_STREAM_S = 20.0
_CALL_S = 60.0
_LOOK_S = 0.5
_AGAIN_S = 0.02
_MOST_WAITED = 1000


class Door(Protocol):
    """The way into a mesh."""

    @property
    def target(self) -> str:
        """All coordinators, as clients dial them."""
        ...

    def api(self) -> CoordinatorServiceStub: ...

    def probe(self) -> ProbeServiceStub: ...

    def schedules(self) -> ScheduleServiceStub: ...

    def channel(self) -> grpc.aio.Channel: ...


class Load:
    """Requests sampled from `rng` until `stop`; afterwards, their outcomes."""

    def __init__(self, door: Door, rng: random.Random, shape: Shape, ledger_path: str) -> None:
        self.items: list[Item] = []
        self.read = 0
        # Request ids of acknowledged tasks that are gone, and of results that are gone, changed or somebody else's.
        self.lost_tasks: set[str] = set()
        self.lost_results: set[str] = set()
        # Tasks that the mesh knows and that nobody was told of.
        self.strangers: set[str] = set()
        # The faults that were found, in words.
        self.notes: list[str] = []
        self._door = door
        self._rng = rng
        self._shape = shape
        self._ledger_path = ledger_path
        self._run = f"{rng.getrandbits(32):08x}"
        self._by_task: dict[str, Item] = {}
        self._open: dict[str, Item] = {}
        self._stopped = False
        self._ends_at = float("inf")

    @property
    def acknowledged(self) -> Sequence[Item]:
        return list(self._by_task.values())

    async def set_limits(self) -> None:
        """Set the run limits of `Call`, and of the fallback."""
        call = tasks.method("Call")
        for method, limits in (
            (call, coordinator_pb2.QueueLimits(max_running=RUNNING)),
            (call, coordinator_pb2.QueueLimits(max_running=RUNNING_PER_KEY, per_fairness_key=True)),
            (SECOND, coordinator_pb2.QueueLimits(max_running=SECOND_RUNNING)),
        ):
            request = coordinator_pb2.UpdateQueueRequest(method=method, limits=limits)
            await self._door.api().UpdateQueue(request, timeout=20, wait_for_ready=True)

    def stop(self) -> None:
        """Ask for nothing new; `run` returns when what was asked has ended."""
        self._stopped = True
        self._ends_at = time.monotonic() + DRAIN_S

    async def run(self) -> None:
        """Submit until `stop`, and read every result."""
        async with asyncio.TaskGroup() as group:
            askers = [group.create_task(self._submit())]
            askers += [group.create_task(self._call_on()) for _ in range(self._shape.callers)]
            group.create_task(self._read(askers))
        for item in self._open.values():
            self._lose_task(item, f"has not ended {DRAIN_S:g} s after the load")

    def _late(self) -> bool:
        return time.monotonic() > self._ends_at

    def _draw(self, count: int) -> list[Item]:
        first = len(self.items)
        made = [
            sampled(self._rng, self._shape, f"{self._run}-{first + number}", self._ledger_path)
            for number in range(count)
        ]
        self.items += made
        return made

    # -- bulk -----------------------------------------------------------------------------------------------------

    async def _submit(self) -> None:
        again: list[Item] = []
        while (again or not self._stopped) and not self._late():
            sent: list[Item] = []
            try:
                await self._stream(again, sent)
            except grpc.aio.AioRpcError as error:
                if not _gone(error):
                    raise
            unsent = [item for item in again if item not in sent]
            again = [item for item in sent if not item.task_id]
            for item in again:
                item.repeated = True
            again += unsent
            if again:
                await asyncio.sleep(_AGAIN_S)

    async def _stream(self, again: Sequence[Item], sent: list[Item]) -> None:
        """One stream: acknowledgements come in the order of the requests."""
        size = self._shape.batch_tasks
        ends_at = time.monotonic() + _STREAM_S / 2
        answered = 0
        refused = False

        async def messages() -> AsyncIterator[coordinator_pb2.SubmitTasksRequest]:
            for start in range(0, len(again), size):
                yield _message(again[start : start + size], sent)
            while not (self._stopped or refused) and time.monotonic() < ends_at:
                if len(self._open) + len(sent) - answered < self._shape.open_tasks:
                    yield _message(self._draw(size), sent)
                else:
                    await asyncio.sleep(0.01)

        call = self._door.api().SubmitTasks(messages(), wait_for_ready=True, timeout=_STREAM_S)
        try:
            async for response in call:
                for ack in response.acks:
                    item = sent[answered]
                    answered += 1
                    # A refused one is sent again, as is one without an answer; nothing new until then.
                    if ack.HasField("error"):
                        refused = True
                    else:
                        self._acknowledged(item, ack.task_id)
        finally:
            call.cancel()

    def _acknowledged(self, item: Item, task_id: str) -> None:
        if item.task_id not in {"", task_id}:
            self._lose_task(item, f"is two tasks: {item.task_id} and {task_id}")
        item.task_id = task_id
        self._by_task[task_id] = item
        if not item.end:
            self._open[task_id] = item

    async def _read(self, askers: Sequence[asyncio.Task[None]]) -> None:
        while (self._open or not all(asker.done() for asker in askers)) and not self._late():
            if not self._open:
                await asyncio.sleep(_AGAIN_S)
                continue
            ended, missing = await self._outcomes(list(self._open)[:_MOST_WAITED])
            for task in ended:
                self._ended(task)
            for task_id in missing:
                self._lose_task(self._open.pop(task_id), "was acknowledged and is not found")

    async def _outcomes(self, task_ids: Sequence[str]) -> tuple[list[task_pb2.Task], list[str]]:
        """Those of them that end soon, and those that the mesh does not know."""
        request = coordinator_pb2.WaitTasksRequest(task_ids=task_ids, timeout=duration(_LOOK_S))
        ended: list[task_pb2.Task] = []
        missing: list[str] = []
        try:
            async for response in self._door.api().WaitTasks(request, timeout=10, wait_for_ready=True):
                ended += response.tasks
                missing += response.not_found
        except grpc.aio.AioRpcError as error:
            if not _gone(error):
                raise
            await asyncio.sleep(_AGAIN_S)
        return ended, missing

    def _ended(self, task: task_pb2.Task) -> None:
        item = self._by_task[task.id]
        self._open.pop(task.id, None)
        end = recorded(task)
        if item.end and item.end.fixed != end.fixed:
            self._lose_result(item, f"has another outcome than before: {tasks.describe(task)}")
        elif not item.end:
            item.end = end
            self.read += 1
            if problem := item.problem(task):
                self._lose_result(item, f"{problem}: {tasks.describe(task)}")

    # -- transparent calls ----------------------------------------------------------------------------------------

    async def _call_on(self) -> None:
        while not self._stopped:
            (item,) = self._draw(1)
            while not item.task_id and item.request_id not in self.lost_tasks:
                try:
                    await self._call(item)
                except grpc.aio.AioRpcError as error:
                    if not _gone(error):
                        self._lose_task(item, f"was refused: {error.details()}")
                        break
                    item.repeated = True
                    if self._late() or error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                        self._lose_task(item, f"was never answered: {error.details()}")
                    await asyncio.sleep(_AGAIN_S)

    async def _call(self, item: Item) -> None:
        metadata = (("weft-request-id", item.request_id),)
        method = getattr(self._door.probe(), item.name)
        call = method(item.request, metadata=metadata, timeout=_CALL_S, wait_for_ready=True)
        try:
            if item.name == "Stream":
                indexes = [reply.index async for reply in call]
                if indexes != list(range(1, item.request.stream_count + 1)):
                    self._lose_result(item, f"answered with the responses {indexes}")
            else:
                reply: ProbeReply = await call
                if reply.text != item.request.text:
                    self._lose_result(item, f"was answered with {reply.text}")
        except grpc.aio.AioRpcError as error:
            if error.code().value[0] != item.request.fail_code or item.request.fail_attempts:
                raise
        trailers = {str(key): value for key, value in await call.trailing_metadata()}
        # An answered call counts as acknowledged. Its result is read like all others.
        self._acknowledged(item, str(trailers["weft-task-id"]))

    # -- afterwards -----------------------------------------------------------------------------------------------

    async def read_again(self) -> None:
        """Every result that was read is still there, and the same."""
        left = {task_id: item for task_id, item in self._by_task.items() if item.end}
        ends_at = time.monotonic() + DRAIN_S
        while left and time.monotonic() < ends_at:
            ended, missing = await self._outcomes(list(left)[:_MOST_WAITED])
            for task in ended:
                self._ended(task)
                left.pop(task.id, None)
            for task_id in missing:
                self._lose_result(left.pop(task_id), "was read and is not found any more")
        for item in left.values():
            self._lose_result(item, "had ended and has not any more")

    async def look_for_strangers(self) -> None:
        """The mesh knows the acknowledged tasks, and no others but those of schedules, groups, caches and events."""
        request = coordinator_pb2.ListTasksRequest(page_size=1000)
        while True:
            page = await self._door.api().ListTasks(request, timeout=20, wait_for_ready=True)
            ids = {
                task.id
                for task in page.tasks
                if not (task.request_id.startswith(TICK) or task.method.startswith(SERVICE))
            }
            self.strangers |= ids - self._by_task.keys()
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
        self.notes += [f"task {task_id} is nobody's" for task_id in self.strangers]

    def _lose_task(self, item: Item, why: str) -> None:
        self.lost_tasks.add(item.request_id)
        self.notes.append(f"{item.request_id} ({item.task_id}) {why}")

    def _lose_result(self, item: Item, why: str) -> None:
        self.lost_results.add(item.request_id)
        self.notes.append(f"{item.request_id} ({item.task_id}) {why}")


def _gone(error: grpc.aio.AioRpcError) -> bool:
    """Whether the outcome is unknown, and asking again is right."""
    return passing(error) or error.code() is grpc.StatusCode.CANCELLED


def _message(items: Sequence[Item], sent: list[Item]) -> coordinator_pb2.SubmitTasksRequest:
    sent.extend(items)
    return coordinator_pb2.SubmitTasksRequest(tasks=list(_submissions(items)))


def _submissions(items: Sequence[Item]) -> Iterator[coordinator_pb2.SubmitTaskRequest]:
    for item in items:
        options = task_pb2.TaskOptions(
            # More than the chaos can cause: a crash loop would be an outcome, but not the request's own.
            retry=options_pb2.RetryPolicy(max_crashes=100, initial_backoff=duration(0.05)),
            fairness_key=item.key,
        )
        if item.lock is not None:
            name, shared = item.lock
            options.locks.add(name=name, shared=shared)
        if item.gpus:
            options.consumes["gpu"] = item.gpus
        yield coordinator_pb2.SubmitTaskRequest(
            method=tasks.method(item.name),
            payload=item.request.SerializeToString(),
            request_id=item.request_id,
            options=options,
        )
