"""Handles the messages of an open session: contract, heartbeat, results, progress, releases, goodbye.

The check of a contract may take longer than an agent waits for echoes of its heartbeats. So it goes on beside the messages that follow.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager

from google.protobuf.message import DecodeError

from weft.coordinator import guard
from weft.coordinator.identity.agent_binding import check_scope
from weft.coordinator.sessions.agent_session import AgentSession
from weft.coordinator.sessions.attempt_outcomes import AttemptOutcomes
from weft.coordinator.sessions.contract_admission import ContractAdmission
from weft.coordinator.sessions.hello import with_labels
from weft.coordinator.sessions.report_handler import ReportHandler
from weft.coordinator.sessions.session_listener import SessionListener
from weft.rpc import errors, refusals
from weft.rpc.process.logs import get_logger
from weft.v1 import command_pb2, coordinator_pb2, session_pb2

log = get_logger(__name__)

# Parts of a message that are taken on the stream only.
_STREAM_ONLY = ("hello", "contract", "progress", "goodbye", "log_replies")


class SessionMessages:
    """Takes messages.

    Args:
        stale_refused: where late results are counted, by agent.
    """

    def __init__(
        self,
        listener: SessionListener,
        admission: ContractAdmission,
        report_handler: ReportHandler,
        outcomes: AttemptOutcomes,
        stale_refused: MutableMapping[str, int],
    ) -> None:
        self._listener = listener
        self._admission = admission
        self._report_handler = report_handler
        self._outcomes = outcomes
        self._stale_refused = stale_refused

    async def handle(self, session: AgentSession, message: session_pb2.ConnectRequest) -> None:
        """Take one message.

        Raises:
            WeftError: it breaks the protocol, or a label is refused; the session must end.
        """
        if message.HasField("hello"):
            raise refusals.session_protocol("`hello` opens a session and cannot come again on it; dial again")
        if message.HasField("contract"):
            if session.admission is not None and not session.admission.done():
                raise refusals.session_protocol("`contract` came again before the answer to the first one")
            session.admission = asyncio.get_running_loop().create_task(
                self._admit(session, message.contract), name="admission"
            )
        if message.HasField("state"):
            self._take_heartbeat(session, message.state)
        if message.progress or message.results or message.released:
            await self._report_handler.take(session, message, self._stale_refused)
        for reply in message.log_replies:
            self._listener.log_answered(reply)
        for answer in message.command_replies:
            self._take_answer(session, answer)
        if message.goodbye:
            session.goodbye = True

    async def _admit(self, session: AgentSession, contract: session_pb2.Contract) -> None:
        """Check a contract, and put it in force; the session ends if it is refused."""
        with ends_session(session):
            await self._admission.admit_sent(session, contract)
            session.accepted = True
            if session.open:
                self._listener.session_changed(session)
                self._listener.slots_changed(session)

    async def handle_report(
        self, session: AgentSession | None, request: coordinator_pb2.ReportRequest
    ) -> Sequence[command_pb2.AgentCommand]:
        """Take a message that came out-of-band: the agent's event loop is blocked. Returns the commands that it has not answered.

        Raises:
            FailedPrecondition: the session is not open here.
            InvalidArgument: the message holds a part that is taken on the stream only.
        """
        if session is None or not session.open or session.owner.epoch != request.epoch:
            raise refusals.session_protocol(
                f"session {request.epoch} of agent {request.agent_id[:128]!r} is not open at this coordinator"
            )
        message = request.message
        for field, _ in message.ListFields():
            if field.name in _STREAM_ONLY:
                raise refusals.invalid_field(
                    f"{field.name} is taken on the stream only", field=f"message.{field.name}"
                )
        session.loop_blocked = True
        session.heard_at_s = time.monotonic()
        await self.handle(session, message)
        return session.requests.unanswered

    def _take_answer(self, session: AgentSession, answer: command_pb2.CommandReply) -> None:
        if answer.HasField("labels"):
            changed = with_labels(session.hello, answer.labels.labels)
            check_scope(session.caller, changed)
            session.set_labels(changed)
            self._listener.session_changed(session)
            self._listener.slots_changed(session)
        session.requests.settled(answer.command_id)
        self._listener.command_answered(session, answer)

    def _take_heartbeat(self, session: AgentSession, report: session_pb2.AgentReport) -> None:
        free_slots = session.free_slots
        if report.direct_usage and self._outcomes.used is not None:
            # Also of a report that a later one has overtaken.
            self._outcomes.used.direct(session.owner.agent_id, session.method_set, report.direct_usage)
        changed = session.take_heartbeat(report)
        if changed:
            self._listener.session_changed(session)
        self._outcomes.look(session)
        # Each heartbeat, also one without a change, lets the index look again: a change that it missed lasts one interval.
        self._listener.slots_changed(session, wake=changed or session.free_slots > free_slots)


@contextmanager
def ends_session(session: AgentSession) -> Iterator[None]:
    """An error in here ends the session and is sent to the agent."""
    try:
        yield
    except errors.WeftError as error:
        session.close(error)
    except DecodeError as error:
        session.close(guard.malformed(error))
    except Exception:
        log.exception("session.failed", agent_id=session.owner.agent_id)
        session.close(refusals.internal("the coordinator failed to handle a message; its log has the rest"))
