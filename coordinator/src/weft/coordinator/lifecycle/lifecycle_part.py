"""Lifecycle events as a part of a mesh: what the register of agents tells is published, while somebody follows it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import TypeAlias

from weft.coordinator.events.event_codec import row_of
from weft.coordinator.events.topic_feed import TopicFeeds
from weft.coordinator.fleet.agent_register import AgentRegister, News
from weft.coordinator.lifecycle.lifecycle_event import LifecycleEvent
from weft.coordinator.lifecycle.member_changes import TOPICS, MemberChanges
from weft.coordinator.lifecycle.task_ends import end_of
from weft.coordinator.lifecycle.topic_interest import TopicInterest
from weft.coordinator.mesh_part import MeshPart
from weft.coordinator.store.base import Store
from weft.coordinator.store.event_store import MAX_EVENTS, NewEventRow
from weft.coordinator.store.records import TaskRecord
from weft.rpc.errors import WeftError
from weft.rpc.process.logs import get_logger
from weft.v1 import lifecycle_pb2

log = get_logger(__name__)

FollowEnds: TypeAlias = "Callable[[Callable[[TaskRecord], None] | None], None]"

# Events that wait for a store that is away; further ones are lost.
MAX_WAITING = 10_000
RETRY_S = 1.0
STOP_S = 1.0
ENDED = lifecycle_pb2.TaskEnded.DESCRIPTOR.full_name
STOPPING = lifecycle_pb2.CoordinatorStopping.DESCRIPTOR.full_name


class LifecyclePart(MeshPart):
    """Publishes what happens to members, and what other parts tell it.

    Args:
        feeds: the topics that have subscribers here.
        follow_ends: begins and ends to tell of the ends of tasks.
    """

    def __init__(
        self,
        store: Store,
        register: AgentRegister,
        feeds: TopicFeeds,
        coordinator_id: str,
        follow_ends: FollowEnds,
    ) -> None:
        self._follow_ends = follow_ends
        self._follows_ends = False
        self._store = store
        self._register = register
        self._interest = TopicInterest(store, feeds.topics, self.interest_changed)
        feeds.on_subscriber = self._interest.begin
        self._coordinator_id = coordinator_id
        self._members = MemberChanges()
        # How far it has read the register. None: nobody follows its topics.
        self._position: int | None = None
        self._waiting: list[NewEventRow] = []
        # Since that was last logged.
        self._lost = 0
        self._writer: asyncio.Task[None] | None = None

    def rows_changed(self, kind: str) -> bool:
        return self._interest.rows_changed(kind)

    async def keep_house(self, now_s: float) -> None:
        await self._interest.keep_house(now_s)
        if self._follows_ends:
            # Perhaps nobody follows it any more.
            self._look_at_ends()

    def interest_changed(self) -> None:
        """Other topics may be followed than before: begin with the members as they are, or end."""
        if not any(map(self._interest.wants, TOPICS)):
            self._position = None
        elif self._position is None:
            self._position = self._register.position
            self._members.begin(self._register.shown())
        self._look_at_ends()

    def _look_at_ends(self) -> None:
        wanted = self._interest.wants(ENDED)
        if wanted != self._follows_ends:
            self._follows_ends = wanted
            self._follow_ends(self._ended if wanted else None)

    def _ended(self, record: TaskRecord) -> None:
        """A task has ended."""
        self.publish([end_of(record)])

    def fleet_moved(self) -> None:
        if self._position is None:
            return
        self.interest_changed()
        if self._position is None:
            return
        news = self._register.since(self._position)
        self._position = self._register.position
        if news is None:
            # It was too far behind; what happened meanwhile is not told.
            self._members.begin(self._register.shown())
            return
        self.publish(self._events(news))

    def _events(self, news: News) -> Iterable[LifecycleEvent]:
        for agent_id in news.removed:
            entry = self._register.get(agent_id)
            yield from self._members.gone(agent_id, None if entry is None else entry.agent.state)
        for agent in news.agents:
            entry = self._register.get(agent.id)
            yield from self._members.changed(agent, here=entry is not None and entry.has_session)

    def wants(self, topic: str) -> bool:
        """Whether somebody follows a topic of weft's own."""
        return self._interest.wants(topic)

    def publish(self, events: Iterable[LifecycleEvent]) -> None:
        """Publish those events whose topics somebody follows; others cost nothing."""
        for event in events:
            if not self._interest.wants(event.topic):
                continue
            if len(self._waiting) >= MAX_WAITING:
                self._lost += 1
                continue
            self._waiting.append(row_of(event.topic, event.message.SerializeToString(), event.id, event.key))
        if self._waiting and (self._writer is None or self._writer.done()):
            self._writer = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        """Store what waits, in order. An event that another coordinator has stored is the same event."""
        while self._waiting:
            batch = self._waiting[:MAX_EVENTS]
            try:
                await self._store.append_events(batch)
            except WeftError as error:
                log.warning("lifecycle.events_delayed", count=len(self._waiting), error=error.message)
                await asyncio.sleep(RETRY_S)
                continue
            del self._waiting[: len(batch)]
            if self._lost:
                log.error("lifecycle.events_lost", count=self._lost, effect="the store was not quick enough")
                self._lost = 0

    async def stop(self, why: WeftError | None) -> None:
        """Tell of the coordinator's end, and store what waits, within a second."""
        if why is None and self._interest.wants(STOPPING):
            told = lifecycle_pb2.CoordinatorStopping(coordinator_id=self._coordinator_id)
            self._waiting.append(row_of(STOPPING, told.SerializeToString(), key=self._coordinator_id))
        # Its agents' sessions end now: that is no change of theirs.
        self._position = None
        if self._follows_ends:
            self._follow_ends(None)
        if self._waiting and (self._writer is None or self._writer.done()):
            self._writer = asyncio.get_running_loop().create_task(self._write())
        if self._writer is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_S):
                    await self._writer
