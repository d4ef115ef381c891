"""Alerts as a part of a mesh: one coordinator at a time looks at what is wrong, while somebody follows alerts, and publishes what changes.

    followed ─► my turn? (a row, by compare-and-set) ─► what is wrong ─► AlertBook ─► events, then the row

Events are stored before the row: if this coordinator is killed in between, the next one may publish an alert twice, and misses none. When
nobody follows alerts, nothing is looked at, and no row is read or written.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from weft.coordinator.alerts.alert_book import AlertBook, Turn
from weft.coordinator.alerts.alert_rules import (
    Condition,
    WaitingQueue,
    of_agents,
    of_budgets,
    of_pools,
    of_queues,
)
from weft.coordinator.events.event_codec import row_of
from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.fleet.queue_explainer import QueueExplainer
from weft.coordinator.mesh_part import MeshPart
from weft.coordinator.pools.pool_codec import KIND as POOLS
from weft.coordinator.pools.pool_table import pool_of
from weft.coordinator.store.base import Store
from weft.coordinator.store.table_store import RowConflict, RowPut, TooManyRows, every_row
from weft.coordinator.usage.budget_book import BudgetBook
from weft.rpc.errors import Unavailable, WeftError
from weft.rpc.process.logs import get_logger
from weft.v1 import lifecycle_pb2

log = get_logger(__name__)

KIND = "alerts"
_KEY = "turn"
FIRED = lifecycle_pb2.AlertFired.DESCRIPTOR.full_name
RESOLVED = lifecycle_pb2.AlertResolved.DESCRIPTOR.full_name

LOOK_S = 2.0
# A turn is renewed when half of it is over. Another coordinator takes over when it has ended.
TURN_S = 10.0
# After so long without anybody's turn, what fired then is forgotten, and fires anew.
FORGET_S = 120.0
MAX_QUEUES = 1000
_STOP_S = 1.0


@dataclass(frozen=True, slots=True)
class AlertSources:
    """What alerts are about.

    Attributes:
        wants: whether somebody follows a topic of weft's own.
        old_s: a ready task that has waited for longer is old.
    """

    register: AgentRegister
    explainer: QueueExplainer
    budgets: BudgetBook
    wants: Callable[[str], bool]
    old_s: float


class AlertPart(MeshPart):
    """The alerts of a mesh."""

    def __init__(self, store: Store, sources: AlertSources, coordinator_id: str) -> None:
        self._store, self._sources, self._coordinator_id = store, sources, coordinator_id
        self._book = AlertBook()
        # The revision of the row while it is this coordinator's turn. None: it is not.
        self._revision: int | None = None
        self._until = 0.0
        self._next_s = 0.0
        self._looking: asyncio.Task[None] | None = None

    async def keep_house(self, now_s: float) -> None:
        if now_s < self._next_s or not (self._sources.wants(FIRED) or self._sources.wants(RESOLVED)):
            return
        if self._looking is None or self._looking.done():
            self._next_s = now_s + LOOK_S
            # Beside the pass of the sweeper, which must not wait for it.
            self._looking = asyncio.get_running_loop().create_task(self._look())

    async def stop(self, why: WeftError | None) -> None:  # noqa: ARG002
        """Leave the turn to another coordinator."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        if self._revision is not None:
            with contextlib.suppress(WeftError, TimeoutError):
                async with asyncio.timeout(_STOP_S):
                    await self._put(self._store.now())

    async def _look(self) -> None:
        try:
            if self._revision is None and not await self._take_turn():
                return
            conditions = [each async for each in self._wrong()]
            now = self._store.now()
            events = self._book.look(conditions, now)
            if events:
                await self._store.append_events(
                    [
                        row_of(each.topic, each.message.SerializeToString(), each.id, each.key)
                        for each in events
                    ]
                )
            if events or self._until - now < TURN_S / 2:
                await self._put(now + TURN_S)
        except WeftError as error:
            # What was not stored is found again by the next turn.
            self._revision = None
            if not isinstance(error, Unavailable):
                log.warning("alerts.failed", error=error.message)
        except Exception:
            self._revision = None
            log.exception("alerts.failed")

    # -- turns ----------------------------------------------------------------------------------------------------

    async def _take_turn(self) -> bool:
        """Take the turn if it is nobody else's."""
        (row,) = await self._store.get_rows(KIND, [_KEY])
        turn, now = Turn.of(row.value if row is not None else b""), self._store.now()
        # One that would last too long is none that a coordinator has written.
        if turn.coordinator_id != self._coordinator_id and now < turn.until <= now + 2 * TURN_S:
            return False
        self._book = AlertBook(turn.firing if now - turn.until < FORGET_S else {})
        self._revision = row.revision if row is not None else 0
        return await self._put(now + TURN_S)

    async def _put(self, until: float) -> bool:
        """Store what fires, and the end of the turn. False: it is somebody else's meanwhile."""
        value = Turn(self._coordinator_id, until, self._book.firing).row()
        (stored,) = await self._store.put_rows([RowPut(KIND, _KEY, value, expected=self._revision)])
        if isinstance(stored, RowConflict | TooManyRows):
            self._revision = None
            return False
        self._revision, self._until = stored, until
        return True

    # -- what is wrong --------------------------------------------------------------------------------------------

    async def _wrong(self) -> AsyncIterator[Condition]:
        sources = self._sources
        for each in of_queues([queue async for queue in self._queues()], sources.old_s):
            yield each
        for each in of_agents(sources.register.shown()):
            yield each
        rows = [row async for row in every_row(self._store, POOLS)]
        for each in of_pools(map(pool_of, rows)):
            yield each
        for each in of_budgets(sources.budgets.budgets.values()):
            yield each

    async def _queues(self) -> AsyncIterator[WaitingQueue]:
        depths = [(key, depth) for key, depth in (await self._store.depths()).items() if depth.queued]
        paused = await self._store.paused() if depths else ()
        now = self._store.now()
        for key, depth in depths[:MAX_QUEUES]:
            wait = await self._sources.explainer.depth(key, depth, paused=key.method in paused)
            oldest_s = 0.0 if depth.oldest_at is None else max(0.0, now - depth.oldest_at)
            yield WaitingQueue(key, depth.queued, oldest_s, wait.reason, wait.text)
