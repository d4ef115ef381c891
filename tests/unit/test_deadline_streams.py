"""A stream whose task ends just as its deadline is answered: the caller gets all of it, or an error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from google.rpc import status_pb2

from tests.store.support import METHOD
from tests.support.trees import INFO
from weft.coordinator.calls.call_tasks import CallTasks
from weft.coordinator.calls.durable_proxy import DurableCalls
from weft.coordinator.calls.task_subscriptions import TaskSubscriptions
from weft.coordinator.calls.waiting_calls import WaitingCalls
from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.dispatch.queue_forecast import QueueForecast
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.records import Enqueued, ProgressRow, Submission, TaskRecord
from weft.coordinator.store.rules import State
from weft.v1 import task_pb2

ROWS = [ProgressRow(sequence, 1, f"{sequence}".encode()) for sequence in range(1, 4)]


class EndsWhenItIsLookedAt:
    """A store whose task has sent one response, and ends, with two more, before anybody is told."""

    def __init__(self) -> None:
        self.looks = 0

    def ready_ahead(self, *_: object) -> int:
        return 0

    async def get(self, task_ids: Sequence[str], **_: object) -> list[TaskRecord]:
        self.looks += 1
        state, count = (State.RUNNING, 1) if self.looks == 1 else (State.SUCCEEDED, len(ROWS))
        outcome = task_pb2.Outcome(status=status_pb2.Status()).SerializeToString()
        given = Submission(METHOD, task_id=task_ids[0])
        return [TaskRecord(task_ids[0], state, given, attempt=1, progress_count=count, outcome=outcome)]

    async def read_progress(self, task_id: str, after: int, limit: int) -> list[ProgressRow]:
        count = 1 if self.looks == 1 else len(ROWS)
        return ROWS[after : min(count, after + limit)]


class Intake:
    stopping = False

    def check_call(self, *_: object) -> Submission:
        return Submission(METHOD, task_id="t")

    async def store(self, *_: object, **__: object) -> list[Enqueued]:
        return [Enqueued("t")]


class Context:
    def __init__(self) -> None:
        self.written: list[bytes] = []

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def time_remaining(self) -> float:
        return 0.1

    def set_trailing_metadata(self, _: object) -> None:
        pass

    async def send_initial_metadata(self, _: object) -> None:
        pass

    async def write(self, response: bytes) -> None:
        self.written.append(response)


async def test_what_came_with_the_end_is_passed_on() -> None:
    unused: Any = None
    store: Any = EndsWhenItIsLookedAt()
    subscriptions = TaskSubscriptions(9)
    waiting = WaitingCalls(store, QueueForecast())
    tasks = CallTasks(store, subscriptions, cast("Any", Intake()), unused, waiting, cancel_grace_s=1.0)
    calls = DurableCalls(tasks, store, subscriptions, Contracts(), unused, CoordinatorSettings())
    context = Context()
    await calls.streaming(INFO, b"", cast("Any", context))
    assert context.written == [row.payload for row in ROWS]
