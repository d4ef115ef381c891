"""A load with a memory of its own: what was asked, acknowledged and read, to be held against the mesh afterwards.

Requests go in through bulk streams and through transparent calls, each with a request id, and are repeated with it
whenever their outcome is unknown. Every result that is read is remembered byte by byte.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import grpc
import grpc.aio
from google.rpc import code_pb2

from probe.v1.probe_pb2 import ProbeReply, ProbeRequest
from tests.support import tasks
from tests.support.mesh import MeshHarness
from weft.rpc.times import duration
from weft.v1 import coordinator_pb2, task_pb2

BATCH_TASKS = 100
# Submitted and not read: keeps a backlog, and the submission going on for as long as the chaos does.
MOST_OPEN = 1200
_GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


@dataclass
class Item:
    """One request, and what is known of it."""

    request_id: str
    name: str
    request: ProbeRequest
    task_id: str = ""
    # It was sent again after a submission of unknown outcome.
    repeated: bool = False
    # The serialized task, as far as it never changes again, once it was read.
    end: bytes = b""

    def check(self, task: task_pb2.Task) -> None:
        """The outcome is this request's own."""
        if self.request.fail_code and not self.request.fail_attempts:
            assert task.state == task_pb2.TASK_STATE_FAILED, tasks.describe(task)
            assert task.outcome.status.code == self.request.fail_code, tasks.describe(task)
            assert task.outcome.status.message == self.request.text
        elif self.name == "Stream":
            assert task.state == task_pb2.TASK_STATE_SUCCEEDED, tasks.describe(task)
            assert task.progress_count >= self.request.stream_count
        else:
            assert tasks.reply(task).text == self.request.text, tasks.describe(task)


@dataclass
class Load:
    """`count` requests, drawn from `rng`."""

    mesh: MeshHarness
    rng: random.Random
    count: int
    ledger: str
    items: list[Item] = field(default_factory=list)
    # Answers of transparent calls: no acknowledgement but the answer itself.
    called: int = 0
    read: int = 0
    _by_task: dict[str, Item] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        run = f"{self.rng.getrandbits(32):08x}"
        self.items = [self._item(f"{run}-{number}") for number in range(self.count)]

    def _item(self, text: str) -> Item:
        request = ProbeRequest(text=text, ledger=self.ledger, sleep_s=self.rng.choice([0, 0, 0.005, 0.02]))
        name = self.rng.choices(["Call", "CallSync", "Stream"], [80, 15, 5])[0]
        fate = self.rng.random()
        if name == "Stream":
            request.stream_count = self.rng.randint(1, 5)
        elif fate < 0.05:
            request.fail_code, request.fail_attempts = code_pb2.UNAVAILABLE, 1
        elif fate < 0.08:
            request.fail_code, request.fail_message = code_pb2.FAILED_PRECONDITION, text
        return Item(text, name, request)

    async def run(self, callers: int) -> None:
        """Submit everything, and read every result."""
        called = self.items[:: max(2, self.count // 100)]
        bulk = [item for item in self.items if item not in called]
        async with asyncio.TaskGroup() as group:
            group.create_task(self._submit(bulk))
            group.create_task(self._read(bulk))
            for first in range(callers):
                group.create_task(self._call(called[first::callers]))

    # -- bulk -----------------------------------------------------------------------------------------------------

    async def _submit(self, items: Sequence[Item]) -> None:
        while waiting := [item for item in items if not item.task_id]:
            sent: list[Item] = []
            try:
                await self._stream(waiting, sent)
            except grpc.aio.AioRpcError as error:
                if error.code() not in _GONE:
                    raise
            for item in sent:
                item.repeated |= not item.task_id

    async def _stream(self, items: Sequence[Item], sent: list[Item]) -> None:
        """One stream: acknowledgements come in the order of the requests."""

        async def messages() -> AsyncIterator[coordinator_pb2.SubmitTasksRequest]:
            for start in range(0, len(items), BATCH_TASKS):
                batch = items[start : start + BATCH_TASKS]
                sent.extend(batch)
                yield coordinator_pb2.SubmitTasksRequest(tasks=[_submission(item) for item in batch])
                while len(self._by_task) - self.read > MOST_OPEN:
                    await asyncio.sleep(0.01)

        call = self.mesh.api().SubmitTasks(messages(), wait_for_ready=True)
        acknowledged = 0
        try:
            async for response in call:
                for ack in response.acks:
                    item = sent[acknowledged]
                    acknowledged += 1
                    assert not ack.HasField("error"), ack
                    self._acknowledged(item, ack.task_id)
        finally:
            call.cancel()

    def _acknowledged(self, item: Item, task_id: str) -> None:
        assert item.task_id in {"", task_id}, f"{item.request_id} is two tasks: {item.task_id} and {task_id}"
        item.task_id = task_id
        self._by_task[task_id] = item
        self._news.set()

    async def _read(self, items: Sequence[Item]) -> None:
        while any(not item.end for item in items):
            open_ids = [task_id for task_id, item in self._by_task.items() if not item.end]
            if not open_ids:
                self._news.clear()
                await self._news.wait()
                continue
            request = coordinator_pb2.WaitTasksRequest(task_ids=open_ids, timeout=duration(0.5))
            try:
                async for response in self.mesh.api().WaitTasks(request, timeout=60, wait_for_ready=True):
                    assert not response.not_found, f"acknowledged and lost: {list(response.not_found)[:5]}"
                    for task in response.tasks:
                        self._ended(task)
            except grpc.aio.AioRpcError as error:
                if error.code() not in _GONE:
                    raise

    def _ended(self, task: task_pb2.Task) -> None:
        item = self._by_task[task.id]
        item.check(task)
        assert not item.end or item.end == _fixed(task), (
            f"another outcome than before: {tasks.describe(task)}"
        )
        self.read += not item.end
        item.end = _fixed(task)

    # -- transparent calls ----------------------------------------------------------------------------------------

    async def _call(self, items: Sequence[Item]) -> None:
        for item in items:
            while not item.end:
                try:
                    await self._call_once(item)
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.UNAVAILABLE:
                        raise
                    item.repeated = True
                    await asyncio.sleep(0.02)

    async def _call_once(self, item: Item) -> None:
        metadata = (("weft-request-id", item.request_id),)
        call = getattr(self.mesh.probe(), item.name)(
            item.request, metadata=metadata, timeout=60, wait_for_ready=True
        )
        try:
            if item.name == "Stream":
                indexes = [reply.index async for reply in call]
                assert indexes == list(range(1, item.request.stream_count + 1)), indexes
            else:
                reply: ProbeReply = await call
                assert reply.text == item.request.text
        except grpc.aio.AioRpcError as error:
            if error.code().value[0] != item.request.fail_code or item.request.fail_attempts:
                raise
        task_id = str(dict(await call.trailing_metadata())["weft-task-id"])
        self._acknowledged(item, task_id)
        self._ended(await tasks.look(self.mesh, task_id))
        self.called += 1

    # -- afterwards -----------------------------------------------------------------------------------------------

    async def read_again(self) -> None:
        """Every result that was read is the same as before."""
        ids = list(self._by_task)
        for start in range(0, len(ids), 1000):
            for task in (await tasks.ended(self.mesh, ids[start : start + 1000])).values():
                self._ended(task)

    async def nothing_else(self) -> None:
        """The mesh knows the acknowledged tasks, and no others."""
        listed: list[str] = []
        request = coordinator_pb2.ListTasksRequest(page_size=1000)
        while True:
            page = await self.mesh.api().ListTasks(request, timeout=20)
            listed += [task.id for task in page.tasks]
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
        assert len(listed) == len(set(listed))
        assert set(listed) == set(self._by_task)


def _submission(item: Item) -> coordinator_pb2.SubmitTaskRequest:
    options = task_pb2.TaskOptions(
        # More than the chaos can cause: a crash loop would be an outcome, but not the request's own.
        retry=task_pb2.RetryPolicy(max_crashes=100, initial_backoff=duration(0.05))
    )
    return coordinator_pb2.SubmitTaskRequest(
        method=tasks.method(item.name),
        payload=item.request.SerializeToString(),
        request_id=item.request_id,
        options=options,
    )


def _fixed(task: task_pb2.Task) -> bytes:
    """What of an ended task never changes."""
    kept = task_pb2.Task(
        id=task.id,
        state=task.state,
        attempt=task.attempt,
        crashes=task.crashes,
        agent_id=task.agent_id,
        finish_time=task.finish_time,
        outcome=task.outcome,
    )
    return kept.SerializeToString(deterministic=True)
