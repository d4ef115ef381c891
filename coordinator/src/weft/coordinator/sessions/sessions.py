"""The streams of the agents that are connected here, from Hello to the end.

    Hello ─► checked ─► opening: a new epoch, held attempts settled ─► Welcome
    then   reader: reports to the store, acknowledgements to the outbox        writer: outbox to the stream
    end    goodbye: retired at once · broken: its lease ends after the reconnect grace · silent: closed by `heartbeats`

An agent that comes back within the grace keeps its attempts.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext

from google.protobuf.message import DecodeError
from grpc import aio

from weft.coordinator import guard
from weft.coordinator.identity.ticket_office import OwnTickets
from weft.coordinator.policy.policy_table import PolicyTable
from weft.coordinator.sessions.agent_session import AgentSession
from weft.coordinator.sessions.attempt_outcomes import AttemptOutcomes
from weft.coordinator.sessions.contract_admission import ContractAdmission
from weft.coordinator.sessions.handshake import Opener
from weft.coordinator.sessions.heartbeats import Heartbeats, was_silent
from weft.coordinator.sessions.hello import checked
from weft.coordinator.sessions.report_handler import ProgressReaders, ReportHandler
from weft.coordinator.sessions.session_listener import SessionListener
from weft.coordinator.sessions.session_messages import SessionMessages, ends_session
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.base import Store
from weft.coordinator.store.records import AttemptRef, Owner
from weft.rpc import errors, refusals
from weft.rpc.calls.pacing import Pacer
from weft.rpc.identity.caller import ANYBODY, Caller
from weft.rpc.network.gone import to_caller
from weft.rpc.process.background_tasks import end_tasks
from weft.rpc.process.logs import get_logger
from weft.v1 import command_pb2, coordinator_pb2, fleet_pb2, session_pb2

log = get_logger(__name__)

HELLO_TIMEOUT_S = 10.0


class Sessions:
    """The open sessions, by agent id, and the server side of `Connect`.

    Large because opening, taking over and ending a session change the same few facts in an order that matters.
    """

    def __init__(
        self,
        store: Store,
        admission: ContractAdmission,
        settings: CoordinatorSettings,
        coordinator_id: str,
        *,
        listener: SessionListener,
        readers: ProgressReaders,
        outcomes: AttemptOutcomes,
        tickets: OwnTickets | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._listener = listener
        self._outcomes = outcomes
        self._admission = admission
        self._policies = admission.policies
        self._policies.on_change(self._policies_changed)
        self._sessions: dict[str, AgentSession] = {}
        self._opening: set[str] = set()
        self._stopping = False
        # Late results of each agent, over all its sessions here.
        self.stale_refused: dict[str, int] = {}
        self._report_handler = ReportHandler(
            store,
            settings.max_payload_bytes,
            listener.slots_changed,
            readers,
            outcomes,
            settings.max_state_bytes,
        )
        self._messages = SessionMessages(
            listener, self._admission, self._report_handler, outcomes, self.stale_refused
        )
        self._opener = Opener(store, settings, coordinator_id, self.stale_refused, tickets)
        self.heartbeats = Heartbeats(store, settings, self.all)

    # -- views --------------------------------------------------------------------------------------------------

    def all(self) -> Iterable[AgentSession]:
        return self._sessions.values()

    @property
    def results_refused(self) -> int:
        """Late results of all agents so far."""
        return self._report_handler.refused

    def get(self, agent_id: str) -> AgentSession | None:
        return self._sessions.get(agent_id)

    def set_desired(self, agent_id: str, desired: fleet_pb2.DesiredState) -> None:
        """Put an agent's desired state in force, if its session is here."""
        session = self._sessions.get(agent_id)
        if session is not None:
            session.set_desired(desired)
            self._listener.session_changed(session)
            self._listener.slots_changed(session)

    def revoke(self, owner: Owner, ref: AttemptRef, reason: str, grace_s: float, *, lost: bool) -> None:
        """Tell an agent to end an attempt, if its session is here."""
        session = self._sessions.get(owner.agent_id)
        if session is not None and session.owner == owner:
            session.cancel(ref, reason, grace_s, lost=lost)
            if lost:
                self._listener.slots_changed(session)

    def say_goodbye_for(self, agent_id: str) -> bool:
        """End the session of an agent whose process stands still, as if it had left: it opens another one when it goes on. False: its
        session is not here."""
        session = self._sessions.get(agent_id)
        if session is None:
            return False
        session.goodbye = True
        session.close(refusals.session_lost("this agent stood still, and has left meanwhile; dial again"))
        if session.task is not None:
            # It does not read what is being written.
            session.task.cancel()
        return True

    def forget(self, agent_id: str) -> None:
        """Drop the counts that are kept of an agent between its sessions."""
        self.stale_refused.pop(agent_id, None)
        self._outcomes.forget(agent_id)

    def _policies_changed(self, methods: frozenset[str]) -> None:
        """The slots that tasks take may be others now."""
        for session in self._sessions.values():
            if methods.isdisjoint(session.methods):
                continue
            session.durable_children = _remembering(session, self._policies)
            if session.raise_costs(self._policies.slot_cost):
                self._listener.session_changed(session)
                self._listener.slots_changed(session)

    # -- lifecycle ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        self.heartbeats.start()

    async def stop(self, why: errors.WeftError) -> None:
        """Close every stream, and tell the agents why; the server's own stop bounds it."""
        self._stopping = True
        await self.heartbeats.stop()
        for session in list(self._sessions.values()):
            session.close(why)

    # -- one stream ---------------------------------------------------------------------------------------------

    async def serve(
        self,
        requests: AsyncIterator[session_pb2.ConnectRequest],
        context: aio.ServicerContext[session_pb2.ConnectRequest, session_pb2.ConnectResponse],
        caller: Caller = ANYBODY,
        opening: Callable[[session_pb2.Hello], AbstractContextManager[None]] = lambda _: nullcontext(),
    ) -> None:
        """Serve one agent's stream until it ends.

        Args:
            opening: is around the time in which the agent is let in, or not.

        Raises:
            WeftError: why this coordinator ended the stream.
        """
        hello = await self._read_hello(requests)
        with opening(hello):
            await self._listener.admit(caller, hello)
            session = await self._open(hello, context, caller)
        reader = asyncio.get_running_loop().create_task(self._read(session, requests))
        task = session.task = asyncio.current_task()
        assert task is not None
        pacer, loop = Pacer(), asyncio.get_running_loop()
        try:
            while session.open:
                await session.outbox_filled()
                if (wait_s := pacer.wait_s(len(session.held), loop.time())) > 0.0:
                    await asyncio.sleep(wait_s)
                was_full = session.outbox_full
                message = session.take()
                if was_full and not session.outbox_full:
                    self._listener.slots_changed(session)
                if message is not None:
                    session.writing_since_s = time.monotonic()
                    await to_caller(context.write(message))
                    session.writing_since_s = None
                    pacer.sent(loop.time())
        except asyncio.CancelledError:
            if session.error is None:
                raise
            # `close` cancelled this task during a write. The error must reach the agent, or it would take the stream for open.
            task.uncancel()
        finally:
            # Shielded: grpc may cancel the call while it ends, and a session that stays registered would block its agent's
            # id for ever.
            await asyncio.shield(self._end(session, reader))
        if session.error is not None:
            raise session.error

    async def _read_hello(self, requests: AsyncIterator[session_pb2.ConnectRequest]) -> session_pb2.Hello:
        try:
            async with asyncio.timeout(min(HELLO_TIMEOUT_S, self._settings.stalled_stream_s)):
                first = await anext(requests, None)
        except TimeoutError:
            first = None
        except DecodeError as error:
            raise guard.malformed(error) from None
        if first is None or not first.HasField("hello"):
            raise refusals.session_protocol("the first message of a session must hold `hello`")
        return checked(first.hello)

    async def _open(
        self,
        hello: session_pb2.Hello,
        context: aio.ServicerContext[session_pb2.ConnectRequest, session_pb2.ConnectResponse],
        caller: Caller,
    ) -> AgentSession:
        """Register the session, settle held attempts, and send the welcome."""
        self.heartbeats.check_store()
        self._check_room(hello.agent_id)
        self._opening.add(hello.agent_id)
        try:
            session, welcome = await self._enter(hello, caller)
        finally:
            self._opening.discard(hello.agent_id)
        try:
            # First: who has the welcome counts on being known.
            self._listener.session_changed(session)
            await to_caller(context.write(session_pb2.ConnectResponse(welcome=welcome)))
        except BaseException:
            await asyncio.shield(self._ended(session))
            raise
        self._listener.slots_changed(session)
        return session

    async def _enter(
        self, hello: session_pb2.Hello, caller: Caller
    ) -> tuple[AgentSession, session_pb2.Welcome]:
        accepted = await self._admission.admit_known(hello, caller)
        session = await self._opener.register(hello, len(self._sessions))
        session.caller = caller
        self._take_over(hello.agent_id)
        session.accepted = accepted
        session.raise_costs(self._policies.slot_cost)
        session.durable_children = _remembering(session, self._policies)
        self._outcomes.begin(session)
        try:
            welcome = await self._opener.settle(session)
        except BaseException:
            # Else it would block its agent's id until its lease has passed.
            await asyncio.shield(self._ended(session))
            raise
        self._sessions[hello.agent_id] = session
        return session, welcome

    def _check_room(self, agent_id: str) -> None:
        """
        Raises:
            Unavailable: the coordinator is stopping.
            ResourceExhausted: too many agents are connected.
            AlreadyExists: another session of this agent is being opened.
        """
        if self._stopping:
            raise refusals.stopping("the coordinator is stopping")
        if len(self._sessions) >= self._settings.max_agents and agent_id not in self._sessions:
            raise refusals.overloaded(
                f"{self._settings.max_agents} agents are connected, the most that are allowed",
                retry_after_s=5.0,
            )
        if agent_id in self._opening:
            raise refusals.agent_id_in_use(agent_id)

    def _take_over(self, agent_id: str) -> None:
        """End an agent's earlier session here: a newer one is registered."""
        old = self._sessions.get(agent_id)
        if old is None:
            return
        old.close(refusals.session_superseded())
        if old.task is not None:
            # A write that the agent does not read does not end by itself.
            old.task.cancel()

    async def _read(self, session: AgentSession, requests: AsyncIterator[session_pb2.ConnectRequest]) -> None:
        """Handle the agent's messages until the stream ends. An error ends the session and is sent to the agent."""
        with ends_session(session):
            async for message in requests:
                session.handling = True
                if session.loop_blocked:
                    session.loop_blocked = False
                    self._listener.slots_changed(session)
                await self._messages.handle(session, message)
                await session.outbox_has_room()
                session.handling = False
                session.heard_at_s = time.monotonic()
                if session.goodbye:
                    break
            session.close()

    async def report(
        self, request: coordinator_pb2.ReportRequest, caller: Caller = ANYBODY
    ) -> Sequence[command_pb2.AgentCommand]:
        """Take a message that came out-of-band (`SessionMessages.handle_report`), from the caller whose session it is."""
        session = self._sessions.get(request.agent_id)
        if session is not None and not (
            session.caller.same_as(caller) and hmac.compare_digest(session.report_key, request.report_key)
        ):
            # As if the session were not here.
            session = None
        return await self._messages.handle_report(session, request)

    def tell_tokens_changed(self) -> None:
        """Tell the agents to check their callers' tokens again."""
        for session in self._sessions.values():
            session.tell_tokens_changed()

    async def _end(self, session: AgentSession, reader: asyncio.Task[None]) -> None:
        # The reader first: it must not read while the call ends.
        await end_tasks(reader)
        if session.admission is not None:
            await end_tasks(session.admission)
        await self._ended(session)

    async def _ended(self, session: AgentSession) -> None:
        """End a session whose stream is over: release unsent assignments and settle the lease."""
        agent_id = session.owner.agent_id
        session.open = False
        self._listener.session_ended(session)
        self._outcomes.end(session)
        newest = self._sessions.get(agent_id) is session
        if newest:
            del self._sessions[agent_id]
        if self._stopping:
            # The store remembers that the agent was connected, and waits for it after the restart.
            return
        if self.heartbeats.store_lost:
            # The agent takes its attempts to another coordinator, where unsent assignments are released. The agent is well:
            # direct calls to it go on.
            return
        if newest:
            # Before the store: direct callers must know at once.
            self._listener.session_changed(session)
        try:
            await self._settle(session)
        except errors.WeftError as error:
            # The lease ends by itself.
            log.warning("session.end_not_stored", agent_id=agent_id, error=error.message)
        log.info(
            "agent.left" if session.goodbye else "agent.disconnected",
            agent_id=agent_id,
            epoch=session.owner.epoch,
            held=len(session.held),
            error=session.error.message if session.error else None,
        )
        self._listener.ready()

    async def _settle(self, session: AgentSession) -> None:
        """Store a session's end."""
        unsent = session.unsent()
        if unsent:
            await self._store.release(session.owner, unsent)
        if not session.goodbye:
            grace_s = self._settings.reconnect_grace_s
            await self._store.detach(session.owner, 0.0 if was_silent(session) else grace_s)
            return
        await self._store.retire(session.owner)
        if session.desired == fleet_pb2.DESIRED_STATE_ACTIVE:
            # Without a desired state there is nothing to keep for its return.
            await self._store.forget_agent(session.owner.agent_id)
            self.forget(session.owner.agent_id)


def _remembering(session: AgentSession, policies: PolicyTable) -> frozenset[str]:
    """Its methods whose handlers' calls are remembered."""
    return frozenset(filter(policies.remembers_children, session.methods))
