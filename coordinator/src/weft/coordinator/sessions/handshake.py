"""From an agent's Hello to its Welcome: a new epoch, and a verdict on each attempt that the agent still holds.

    register   a new epoch with a lease; refused while another process lives under this id
    settle     held attempts are adopted or lost; desired state ─► Welcome

`sessions` owns the stream.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from typing import cast

from weft.coordinator.identity.ticket_office import OwnTickets
from weft.coordinator.sessions.agent_session import AgentSession
from weft.coordinator.sessions.assignments import Tree, tree_of_held
from weft.coordinator.sessions.heartbeats import heartbeat_interval_s
from weft.coordinator.sessions.hello import describe
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.base import Store
from weft.coordinator.store.records import AttemptRef, Owner, TaskRecord
from weft.coordinator.store.rules import QueueKey
from weft.rpc.process.logs import get_logger
from weft.rpc.times import duration, timestamp
from weft.v1 import fleet_pb2, session_pb2

log = get_logger(__name__)

# Held attempts that are settled at a time. An agent may name a hundred thousand.
PORTION = 250
# Where xDS is served: its clients are told of a draining agent at once, and have stopped to call it by then.
DIRECT_NOTICE_S = 0.5


class Opener:
    """Opens sessions.

    Args:
        stale_refused: where late results are counted, by agent.
        tickets: make the keys by which agents check their callers. None: callers are not checked.
    """

    def __init__(
        self,
        store: Store,
        settings: CoordinatorSettings,
        coordinator_id: str,
        stale_refused: dict[str, int],
        tickets: OwnTickets | None = None,
    ) -> None:
        self._tickets = tickets
        self._store = store
        self._settings = settings
        self._coordinator_id = coordinator_id
        self._stale_refused = stale_refused

    async def register(self, hello: session_pb2.Hello, agents: int) -> AgentSession:
        """A session with a new epoch.

        Args:
            agents: the number of agents that are connected here.

        Raises:
            AlreadyExists: another process is alive under this id.
        """
        interval_s = heartbeat_interval_s(self._settings.heartbeat_interval_s, agents)
        lease_s = interval_s * self._settings.missed_heartbeats
        description = describe(hello).SerializeToString()
        epoch = await self._store.register(hello.agent_id, hello.instance_id, description, lease_s)
        session = AgentSession(hello, Owner(hello.agent_id, epoch), self._store.now())
        session.interval_s, session.lease_s = interval_s, lease_s
        session.report_key = secrets.token_bytes(16)
        session.heard_at_s = time.monotonic()
        return session

    async def settle(self, session: AgentSession) -> session_pb2.Welcome:
        """Settle the held attempts and the desired state; the answer to the agent."""
        hello = session.hello
        welcome = session_pb2.Welcome(
            epoch=session.owner.epoch,
            heartbeat_interval=duration(session.interval_s),
            lease=duration(session.lease_s),
            contract_needed=not session.accepted,
            max_response_bytes=self._settings.max_payload_bytes,
            max_state_bytes=self._settings.max_state_bytes,
            coordinator_id=self._coordinator_id,
            report_key=session.report_key,
        )
        if self._settings.xds:
            welcome.direct_notice.CopyFrom(duration(DIRECT_NOTICE_S))
        if self._tickets is not None:
            welcome.tokens_checked = True
            welcome.ticket_key = self._tickets.key_of(hello.agent_id, hello.instance_id)
            welcome.time.CopyFrom(timestamp(self._tickets.now()))
        await self._settle_held(session, welcome)
        session.desired = await self._desired(hello.agent_id)
        welcome.desired_state = session.desired
        log.info(
            "agent.connected",
            agent_id=hello.agent_id,
            epoch=session.owner.epoch,
            slots=hello.slots,
            methods=len(hello.methods),
            adopted=len(welcome.adopted),
            lost=len(welcome.lost),
        )
        return welcome

    async def _settle_held(self, session: AgentSession, welcome: session_pb2.Welcome) -> None:
        """Adopt attempts a portion at a time. Between portions other work runs, and the lease is renewed."""
        held = session.hello.held
        renewed_at_s = time.monotonic()
        for at in range(0, max(1, len(held)), PORTION):
            await self._adopt(session, held[at : at + PORTION], welcome, last=at + PORTION >= len(held))
            await asyncio.sleep(0)
            if time.monotonic() - renewed_at_s > session.lease_s / 4:
                renewed_at_s = time.monotonic()
                await self._store.renew([session.owner], session.lease_s)

    async def _adopt(
        self,
        session: AgentSession,
        items: Sequence[session_pb2.HeldAttempt],
        welcome: session_pb2.Welcome,
        *,
        last: bool,
    ) -> None:
        held = [(AttemptRef(item.task_id, item.attempt), item.epoch) for item in items]
        queues = await self._store.adopt(session.owner, held, last=last)
        adopted: dict[AttemptRef, tuple[QueueKey, Tree]] = {}
        late: list[AttemptRef] = []
        for (ref, _), item, queue in zip(held, items, queues, strict=True):
            side = welcome.lost if queue is None else welcome.adopted
            side.add(task_id=ref.task_id, attempt=ref.attempt)
            if queue is not None:
                adopted[ref] = queue, tree_of_held(item)
            elif item.finished:
                late.append(ref)
        await self._count_stale(session.owner.agent_id, late)
        if not adopted:
            return
        records = await self._store.get([ref.task_id for ref in adopted], payloads=False)
        for (ref, (queue, tree)), record in zip(adopted.items(), records, strict=True):
            consumes = queue.requirements.consumes
            session.hold(ref, (session.cost(queue.method), queue.method, 0.0, "", tree, 0), consumes)
            if record is not None and record.cancel_requested:
                session.cancel(ref, "cancelled on request", self._settings.cancel_grace_s, lost=False)

    async def _count_stale(self, agent_id: str, refs: Sequence[AttemptRef]) -> None:
        """Count late results. A stored result whose acknowledgement was lost is not late."""
        if not refs:
            return
        records = await self._store.get([ref.task_id for ref in refs], payloads=False)
        stale = [
            ref for ref, record in zip(refs, records, strict=True) if not _is_stored(ref, record, agent_id)
        ]
        if stale:
            self._stale_refused[agent_id] = self._stale_refused.get(agent_id, 0) + len(stale)
            log.info(
                "results.refused",
                agent_id=agent_id,
                count=len(stale),
                task_id=stale[0].task_id[:64],
                attempt=stale[0].attempt,
            )

    async def _desired(self, agent_id: str) -> fleet_pb2.DesiredState:
        record = (await self._store.agents()).get(agent_id)
        if record is not None and record.desired_state:
            return cast("fleet_pb2.DesiredState", record.desired_state)
        return fleet_pb2.DESIRED_STATE_ACTIVE


def _is_stored(ref: AttemptRef, record: TaskRecord | None, agent_id: str) -> bool:
    """Whether this attempt of the agent ended its task."""
    return (
        record is not None
        and record.state.terminal
        and record.attempt == ref.attempt
        and record.agent_id == agent_id
    )
