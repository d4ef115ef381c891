"""Renews the leases of agents that report, and closes the streams of the others.

    reporting  within its lease: the lease is renewed in each round
    silent     for longer than its lease: closed, and lost at once
    stalled    does not read its stream: closed, and lost after the reconnect grace
    unknown    to the store: closed, so that the agent dials again
    all        if the shared store does not answer for a while: closed while their leases hold, so that the agents can take
               their attempts to a coordinator that reaches the store

After a pause of this process, the time of the pause does not count as silence: messages may wait unread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from weft.coordinator.sessions.agent_session import AgentSession
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.base import Store
from weft.rpc import errors, refusals
from weft.rpc.process.background_tasks import end_tasks
from weft.rpc.process.logs import get_logger
from weft.v1 import errors_pb2

log = get_logger(__name__)

# A round that is later than this means that the process was paused.
PAUSE_S = 0.25
# A shared store that has not answered for this part of a lease is lost: agents have the rest of the lease to go elsewhere.
_LOST_AFTER_LEASES = 0.6
# Without agents, a shared store counts as lost when it has been silent for so long, and for that part of a lease.
ABSENT_S = 4.0
# Heartbeats that a coordinator takes a second: with more agents, the interval grows in proportion.
HEARTBEATS_PER_S = 1000


def heartbeat_interval_s(base_s: float, agents: int) -> float:
    """The interval of a new agent: `base_s`, or longer in a large fleet."""
    return max(base_s, agents / HEARTBEATS_PER_S)


class Heartbeats:
    """Watches the open sessions, some rounds a heartbeat.

    Args:
        sessions: returns the open sessions.
    """

    def __init__(
        self, store: Store, settings: CoordinatorSettings, sessions: Callable[[], Iterable[AgentSession]]
    ) -> None:
        self._store = store
        self._stalled_stream_s = settings.stalled_stream_s
        self._sessions = sessions
        self._tasks: list[asyncio.Task[None]] = []
        self._lost_after_s = settings.heartbeat_interval_s * settings.missed_heartbeats * _LOST_AFTER_LEASES
        # When the store last answered, and whether it counts as lost.
        self._answered_at_s = 0.0
        self.store_lost = False
        self._round_s = settings.heartbeat_interval_s / 4
        self._watched_at_s = 0.0

    def start(self) -> None:
        """Begin, when the store is open. Opening it may have taken long: both times count from here."""
        self._answered_at_s = self._watched_at_s = time.monotonic()
        loop = asyncio.get_running_loop()
        self._tasks.append(loop.create_task(self._run(), name="heartbeats"))
        if self._store.shared:
            self._tasks.append(loop.create_task(self._guard(), name="store-guard"))

    async def stop(self) -> None:
        await end_tasks(*self._tasks)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._round_s)
            try:
                await self.watch(time.monotonic())
            except errors.WeftError as error:
                if not isinstance(error, errors.Unavailable):
                    # A store that is unavailable logs that itself.
                    log.warning("sessions.renew_failed", error=error.message)
            except Exception:
                log.exception("sessions.watch_failed")

    async def _guard(self) -> None:
        """Send the agents to other coordinators if the store is lost. A task of its own: `_run` may wait for the store."""
        while True:
            slept_at_s = time.monotonic()
            await asyncio.sleep(self._round_s)
            now_s = time.monotonic()
            # A pause of this process does not count.
            self._answered_at_s += max(0.0, now_s - slept_at_s - self._round_s - PAUSE_S)
            if not self.store_lost and now_s - self._answered_at_s > self._lost_after_s:
                self.store_lost = True
                sessions = list(self._sessions())
                log.warning("sessions.store_lost", count=len(sessions))
                for session in sessions:
                    _drop(session, _store_lost())

    def check_store(self) -> None:
        """Raise Unavailable while the store is lost."""
        if self.store_lost:
            raise _store_lost()

    async def watch(self, now_s: float) -> None:
        """Renew the leases of agents that report; close the streams of agents that are silent or do not read.

        Called in each round, and by the sweeper before it reclaims attempts after a pause of this process (a long step, a
        suspended machine): messages from the pause are not read yet, so it does not count as silence.
        """
        paused_s = max(0.0, now_s - self._watched_at_s - PAUSE_S - self._round_s)
        self._watched_at_s = now_s
        by_lease: dict[float, list[AgentSession]] = {}
        for session in list(self._sessions()):
            session.heard_at_s = min(now_s, session.heard_at_s + paused_s)
            silent_s = session.silent_for_s(now_s)
            if silent_s > session.lease_s:
                _drop(session, _silent(f"nothing was heard of the agent for {silent_s:.1f} s"))
            elif (
                session.writing_since_s is not None
                and now_s - session.writing_since_s > self._stalled_stream_s
            ):
                _drop(session, refusals.overloaded("the agent does not read its stream"))
            else:
                by_lease.setdefault(session.lease_s, []).append(session)
        if not by_lease and time.monotonic() - self._store.answered_at_s > ABSENT_S:
            # Nothing to renew, but the next agent must know that the store does not answer.
            return
        for lease_s, sessions in by_lease.items():
            held = await self._store.renew([session.owner for session in sessions], lease_s)
            for session, known in zip(sessions, held, strict=True):
                if not known and session.open:
                    # Without a lease it would get no attempts.
                    _drop(session, refusals.session_lost("the lease of this session has passed; dial again"))
        self._answered_at_s = time.monotonic()
        self.store_lost = False


def _drop(session: AgentSession, error: errors.WeftError) -> None:
    log.warning("agent.dropped", agent_id=session.owner.agent_id, error=error.message)
    session.close(error)
    if session.task is not None:
        session.task.cancel()


def _store_lost() -> errors.Unavailable:
    return refusals.store_unavailable(
        "this coordinator cannot reach its store; dial another one, or again in a moment", retry_after_s=1.0
    )


def _silent(message: str) -> errors.Unavailable:
    return refusals.session_lost(message)


def was_silent(session: AgentSession) -> bool:
    """Whether a session ended because nothing was heard of its agent."""
    return session.error is not None and session.error.reason == errors_pb2.ERROR_REASON_SESSION_LOST
