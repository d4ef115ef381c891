"""The report handler, on a real store: an end never overtakes earlier progress."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from tests.store.support import Harness, ManualClock, RecordingListener
from weft.coordinator.calls.task_subscriptions import TaskSubscriptions
from weft.coordinator.sessions.agent_session import AgentSession
from weft.coordinator.sessions.attempt_outcomes import AttemptOutcomes
from weft.coordinator.sessions.report_handler import ReportHandler
from weft.coordinator.store.embedded.embedded_store import EmbeddedStore
from weft.coordinator.store.records import Claimed, ProgressItem, ProgressVerdict, TaskRecord
from weft.coordinator.store.rules import State
from weft.rpc.errors import Unavailable
from weft.v1 import session_pb2, task_pb2


class RefusingProgress(EmbeddedStore):
    """A store that is away for progress as long as it is told to be."""

    away = False

    async def progress(self, items: Sequence[ProgressItem]) -> Sequence[ProgressVerdict]:
        if self.away:
            raise Unavailable("away")
        return await super().progress(items)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[RefusingProgress]:
    clock = ManualClock()
    store = RefusingProgress(tmp_path / "store.db", clock=clock)
    await store.open(RecordingListener())
    yield store
    await store.close()


class Reporting:
    """An agent's session with one running task, and what the agent says of it."""

    def __init__(self, store: EmbeddedStore, session: AgentSession, claimed: Claimed) -> None:
        self.session = session
        self._store = store
        self._claimed = claimed
        self._desk = ReportHandler(store, 1 << 20, lambda _: None, TaskSubscriptions(10), AttemptOutcomes())
        self._stale: dict[str, int] = {}

    @classmethod
    async def begin(cls, store: EmbeddedStore) -> Reporting:
        harness = Harness(store, ManualClock(), RecordingListener())
        await harness.submit()
        owner = await harness.agent()
        hello = session_pb2.Hello(instance_id="instance", slots=1)
        return cls(store, AgentSession(hello, owner, 0.0), await harness.claim_one(owner))

    async def send_progress(self) -> None:
        item = session_pb2.Progress(
            task_id=self._claimed.task_id, attempt=self._claimed.attempt, index=1, payload=b"one"
        )
        await self._take(session_pb2.ConnectRequest(progress=[item]))

    async def send_result(self, outcome: task_pb2.Outcome | None = None) -> None:
        ref = self._claimed
        result = session_pb2.AttemptResult(task_id=ref.task_id, attempt=ref.attempt, outcome=outcome)
        await self._take(session_pb2.ConnectRequest(results=[result]))

    async def _take(self, message: session_pb2.ConnectRequest) -> None:
        await self._desk.take(self.session, message, self._stale)

    async def record(self) -> TaskRecord:
        (record,) = await self._store.get([self._claimed.task_id])
        assert record is not None
        return record

    async def settled(self) -> tuple[State, int]:
        """The task's state and its stored responses, once the desk has nothing under way."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait_for(asyncio.gather(*others), 10)
        return (await self.record()).state, len(await self._store.read_progress(self._claimed.task_id, 0, 10))


async def test_an_end_waits_for_progress_that_cannot_be_stored_yet(store: RefusingProgress) -> None:
    agent = await Reporting.begin(store)
    store.away = True
    await agent.send_progress()
    await agent.send_result()
    store.away = False
    assert await agent.settled() == (State.SUCCEEDED, 1)


async def test_an_end_is_not_stored_without_the_progress_before_it(store: RefusingProgress) -> None:
    """The session ends first: the agent brings both again in its next one."""
    agent = await Reporting.begin(store)
    store.away = True
    await agent.send_progress()
    await agent.send_result()
    agent.session.close()
    assert await agent.settled() == (State.RUNNING, 0)


async def test_what_comes_after_the_session_ended_is_not_stored(store: RefusingProgress) -> None:
    agent = await Reporting.begin(store)
    store.away = True
    await agent.send_progress()
    agent.session.close()
    assert await agent.settled() == (State.RUNNING, 0)
    store.away = False
    await agent.send_result()
    assert await agent.settled() == (State.RUNNING, 0)


async def test_a_history_keeps_bounded_suspensions(store: RefusingProgress) -> None:
    agent = await Reporting.begin(store)
    outcome = task_pb2.Outcome()
    outcome.status.code = 10
    outcome.suspension.calls.extend("x" * 10_000 for _ in range(200))
    await agent.send_result(outcome)
    # Calls that are not known have ended.
    assert await agent.settled() == (State.QUEUED, 0)
    (past,) = (await agent.record()).history
    assert len(past.outcome) < 30_000
