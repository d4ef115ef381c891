"""Takes agents' reports about attempts to the store, in order, and acknowledges them once they are durable.

A report frees the agent's slot at once; its acknowledgement waits for the store. If the store fails, the report is stored again
and again for as long as the session lives: the agent keeps each result until it is acknowledged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, MutableSequence, Sequence
from functools import partial
from typing import Protocol, TypeVar

from google.rpc import code_pb2

from weft.coordinator import codec
from weft.coordinator.keyed_states.keyed_state_codec import held_change
from weft.coordinator.sessions.agent_session import AgentSession
from weft.coordinator.sessions.attempt_outcomes import AttemptOutcomes
from weft.coordinator.steps import step_codec
from weft.coordinator.store.base import Store
from weft.coordinator.store.records import AttemptRef, AttemptReport, ProgressItem, ProgressVerdict, Verdict
from weft.coordinator.store.state_store import STATE_BYTES
from weft.rpc import errors, raised, refusals
from weft.rpc.calls import answer_size, metadata
from weft.rpc.network.channel import BATCH_ITEMS
from weft.rpc.process.logs import get_logger
from weft.v1 import errors_pb2, session_pb2, task_pb2

log = get_logger(__name__)

T = TypeVar("T")

# Messages of one session that may wait for the store, by number and size; past either bound the session is not read.
PENDING_MESSAGES = 64
PENDING_BYTES = 8 * 1024 * 1024
# The cost of an item beside its payload, about, in memory and time.
_ITEM_BYTES = 1024
RETRY_S = 0.25
# The longest backoff of a retry policy, and the longest that a handler can ask for.
MAX_RETRY_AFTER_S = 86400.0
_FINAL_REASONS = frozenset(
    errors.reason_name(reason)
    for reason in (
        errors_pb2.ERROR_REASON_RESULT_TOO_LARGE,
        errors_pb2.ERROR_REASON_RESULT_RULES_VIOLATED,
        errors_pb2.ERROR_REASON_PROGRESS_LIMIT,
    )
)


class ProgressReaders(Protocol):
    """The callers that read tasks' progress."""

    def behind(self, task_id: str) -> bool:
        """Whether a caller of the task has so much unread progress that the handler should wait."""
        ...

    def on_read(self, task_id: str, callback: Callable[[], None]) -> None:
        """Call `callback` once the caller has read on, or is gone."""


class ReportHandler:
    """Takes progress, results and releases of all sessions."""

    def __init__(
        self,
        store: Store,
        max_response_bytes: int,
        freed: Callable[[AgentSession], None],
        readers: ProgressReaders,
        outcomes: AttemptOutcomes,
        max_state_bytes: int = STATE_BYTES,
    ) -> None:
        self._store = store
        self._outcomes = outcomes
        self._readers = readers
        self._max_response_bytes, self._max_state_bytes = max_response_bytes, max_state_bytes
        self._freed = freed
        # Late results.
        self.refused = 0
        self._pending: dict[AgentSession, dict[asyncio.Task[bool], int]] = {}
        self._progress: dict[AgentSession, asyncio.Task[bool]] = {}

    async def take(
        self,
        session: AgentSession,
        message: session_pb2.ConnectRequest,
        stale_refused: MutableMapping[str, int],
    ) -> None:
        """Begin to store one message; returns before it is stored, unless too many messages wait."""
        if not session.open:
            # An earlier message may not have been stored. The agent sends all of them again, in order.
            return
        for results in _slices(message.results):
            self._outcomes.take(session, results)
            await _pause_after(results)
        for released in _slices(message.released):
            for item in released:
                session.let_go(AttemptRef(item.task_id, item.attempt))
            await _pause_after(released)
        before = self._progress.get(session)
        begun: list[Awaitable[Sequence[Verdict]]] = []
        if before is None and not message.progress and 0 < len(message.results) <= BATCH_ITEMS:
            # The usual message. A caller may wait for this result, so it goes to the store before the task below starts.
            begun.append(self._complete(session, message.results))
        task = asyncio.get_running_loop().create_task(
            self._settle(session, message, before, begun, stale_refused)
        )
        pending = self._pending.setdefault(session, {})
        items = len(message.results) + len(message.progress) + len(message.released)
        pending[task] = message.ByteSize() + items * _ITEM_BYTES
        if message.progress:
            self._progress[session] = task

        def settled(_: object) -> None:
            del pending[task]
            if self._progress.get(session) is task:
                del self._progress[session]
            if not pending:
                self._pending.pop(session, None)

        task.add_done_callback(settled)
        # After the task was made: a caller may wait for the result, none waits for the slot.
        self._freed(session)
        while len(pending) >= PENDING_MESSAGES or sum(pending.values()) > PENDING_BYTES:
            await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)

    async def _settle(
        self,
        session: AgentSession,
        message: session_pb2.ConnectRequest,
        before: asyncio.Task[bool] | None,
        begun: list[Awaitable[Sequence[Verdict]]],
        stale_refused: MutableMapping[str, int],
    ) -> bool:
        """Store all of a message; False: the session ended before all was stored."""
        if before is not None:
            # An attempt's end must not overtake its progress.
            await asyncio.wait([before])
            if before.cancelled() or not before.result():
                return False
        for progress in _slices(message.progress):
            if not await self._until_stored(session, partial(self._store_progress, session, progress)):
                return False
        for results in _slices(message.results):
            store = partial(self._store_results, session, results, begun, stale_refused)
            if not await self._until_stored(session, store):
                return False
        for released in _slices(message.released):
            if not await self._until_stored(session, partial(self._release, session, released)):
                return False
        return True

    async def _until_stored(self, session: AgentSession, step: Callable[[], Awaitable[None]]) -> bool:
        """Try until it works; False: the session ended before."""
        while True:
            try:
                await step()
                return True
            except errors.WeftError as error:
                if not session.open:
                    return False
                log.warning("attempts.not_stored", agent_id=session.owner.agent_id, error=error.message)
                await asyncio.sleep(RETRY_S)
            except Exception:
                log.exception("attempts.failed", agent_id=session.owner.agent_id)
                session.close(
                    refusals.internal("the coordinator failed to store a report; its log has the rest")
                )
                return False

    async def _release(self, session: AgentSession, released: Sequence[session_pb2.Released]) -> None:
        refs = [AttemptRef(item.task_id, item.attempt) for item in released]
        await self._store.release(session.owner, refs)
        self._freed(session)

    def _complete(
        self, session: AgentSession, results: Sequence[session_pb2.AttemptResult]
    ) -> Awaitable[Sequence[Verdict]]:
        return self._store.complete([self._report(session, item) for item in results])

    async def _store_results(
        self,
        session: AgentSession,
        results: Sequence[session_pb2.AttemptResult],
        begun: list[Awaitable[Sequence[Verdict]]],
        stale_refused: MutableMapping[str, int],
    ) -> None:
        verdicts = await (begun.pop() if begun else self._complete(session, results))
        acks = [
            session_pb2.ResultAck(
                task_id=item.task_id, attempt=item.attempt, refused=verdict is Verdict.STALE
            )
            for item, verdict in zip(results, verdicts, strict=True)
        ]
        session.acknowledge(acks)
        refused = [ack for ack in acks if ack.refused]
        if refused:
            self.refused += len(refused)
            agent_id = session.owner.agent_id
            stale_refused[agent_id] = stale_refused.get(agent_id, 0) + len(refused)
            log.info("results.refused", **_about(session, refused[0]), count=len(refused))

    def _report(self, session: AgentSession, item: session_pb2.AttemptResult) -> AttemptReport:
        try:
            return self._checked(session, item)
        except Exception:
            # A result that cannot be read must not end the agent's session.
            log.exception("attempts.unreadable", **_about(session, item))
            error = refusals.internal(
                "the coordinator could not read the attempt's outcome; its log has the rest"
            )
            return _final(session, item.task_id, item.attempt, error)

    def _checked(self, session: AgentSession, item: session_pb2.AttemptResult) -> AttemptReport:
        outcome = item.outcome
        try:
            # Agents check this too, but the store must not depend on it.
            self._bound(outcome)
        except errors.ResourceExhausted as error:
            outcome = task_pb2.Outcome(status=error.status())
        if outcome.headers:
            _drop_unsendable(session, item, outcome.headers)
        if outcome.trailers:
            _drop_unsendable(session, item, outcome.trailers)
        code = outcome.status.code
        if outcome.HasField("error"):
            if code == 0:
                outcome.ClearField("error")
            else:
                raised.bound(outcome.error)
        if code == 0:
            outcome.ClearField("suspension")
            report = AttemptReport(session.owner, item.task_id, item.attempt, 0, outcome.SerializeToString())
            if item.HasField("state"):
                try:
                    report.state = held_change(item.task_id, item.state, self._max_state_bytes)
                except errors.WeftError as error:
                    return _final(session, item.task_id, item.attempt, error)
            return report
        if not 0 < code <= code_pb2.UNAUTHENTICATED:
            # Not a code of gRPC.
            code = outcome.status.code = code_pb2.UNKNOWN
        if outcome.HasField("suspension"):
            step_codec.bound(outcome.suspension)
        info = errors.error_info(outcome.status)
        wait_s = errors.retry_after_s(outcome.status)
        return AttemptReport(
            owner=session.owner,
            task_id=item.task_id,
            attempt=item.attempt,
            code=code,
            outcome=outcome.SerializeToString(),
            retry_after_s=None if wait_s is None else min(wait_s, MAX_RETRY_AFTER_S),
            crashed=item.crashed,
            final=info is not None and info.domain == errors.DOMAIN and info.reason in _FINAL_REASONS,
            suspension=step_codec.suspension_of(outcome, item.task_id)
            if outcome.HasField("suspension")
            else None,
        )

    def _bound(self, outcome: task_pb2.Outcome) -> None:
        size_bytes = len(outcome.response)
        if size_bytes > self._max_response_bytes:
            raise _too_large("the response", size_bytes, self._max_response_bytes)
        answer_size.fit(outcome)

    async def _store_progress(self, session: AgentSession, progress: Sequence[session_pb2.Progress]) -> None:
        refused: dict[AttemptRef, errors.WeftError | None] = {}
        items: list[ProgressItem] = []
        for item in progress:
            ref = AttemptRef(item.task_id, item.attempt)
            if (error := self._oversize_progress(item)) is not None:
                refused.setdefault(ref, error)
            elif ref not in refused:
                if item.headers:
                    _drop_unsendable(session, item, item.headers)
                headers = codec.packed_headers(item.headers)
                items.append(ProgressItem(session.owner, *ref, item.index, item.payload, headers))
        indexes: dict[AttemptRef, int] = {}
        for stored, verdict in zip(items, await self._store.progress(items), strict=True):
            ref = AttemptRef(stored.task_id, stored.attempt)
            if verdict in (ProgressVerdict.STORED, ProgressVerdict.KNOWN):
                indexes[ref] = max(indexes.get(ref, 0), stored.index)
            else:
                refused[ref] = _too_many() if verdict is ProgressVerdict.LIMIT else None
        self._acknowledge(session, indexes)
        for ref, error in refused.items():
            if error is not None:
                await self._end(session, ref, error)
            session.cancel(ref, "its progress was refused", 0.0, lost=True)
        if refused:
            self._freed(session)

    def _acknowledge(self, session: AgentSession, indexes: Mapping[AttemptRef, int]) -> None:
        """Acknowledge progress. If a task's caller is behind, its progress is acknowledged later: so its handler waits."""
        read: dict[AttemptRef, int] = {}
        for ref, index in indexes.items():
            if self._readers.behind(ref.task_id):
                self._readers.on_read(ref.task_id, partial(session.acknowledge_progress, {ref: index}))
            else:
                read[ref] = index
        if read:
            session.acknowledge_progress(read)

    def _oversize_progress(self, item: session_pb2.Progress) -> errors.WeftError | None:
        size_bytes = len(item.payload)
        if size_bytes > self._max_response_bytes:
            return _too_large("a response", size_bytes, self._max_response_bytes)
        headers_bytes = answer_size.metadata_bytes(item.headers)
        if headers_bytes > answer_size.MAX_ANSWER_BYTES:
            return answer_size.too_large("initial metadata", headers_bytes, answer_size.MAX_ANSWER_BYTES)
        return None

    async def _end(self, session: AgentSession, ref: AttemptRef, error: errors.WeftError) -> None:
        """End an attempt whose progress cannot be stored."""
        await self._store.complete([_final(session, *ref, error)])


def _final(session: AgentSession, task_id: str, attempt: int, error: errors.WeftError) -> AttemptReport:
    """The end of an attempt and of its task, by an error of weft's."""
    outcome = task_pb2.Outcome(status=error.status()).SerializeToString()
    return AttemptReport(session.owner, task_id, attempt, error.code.value[0], outcome, final=True)


def _drop_unsendable(
    session: AgentSession,
    item: session_pb2.AttemptResult | session_pb2.Progress,
    entries: MutableSequence[task_pb2.Metadatum],
) -> None:
    """Drop metadata that gRPC cannot send: it would fail the caller's call, and the result would be lost."""
    kept = [entry for entry in entries if metadata.can_be_sent(entry)]
    if len(kept) < len(entries):
        log.warning("outcome.metadata_dropped", **_about(session, item), count=len(entries) - len(kept))
        del entries[:]
        entries.extend(kept)


def _about(
    session: AgentSession, item: session_pb2.AttemptResult | session_pb2.Progress | session_pb2.ResultAck
) -> dict[str, str | int]:
    """The fields of a log line about an attempt. Ids come from the agent: they may be of any length."""
    return {
        "agent_id": session.owner.agent_id,
        "task_id": item.task_id[:64],
        "attempt": item.attempt,
    }


async def _pause_after(items: Sequence[object]) -> None:
    """Let other work run if more items follow."""
    if len(items) == BATCH_ITEMS:
        await asyncio.sleep(0)


def _slices(items: Sequence[T]) -> Sequence[Sequence[T]]:
    """A message's items in parts, each short enough not to delay other work."""
    if not items:
        return ()
    if len(items) <= BATCH_ITEMS:
        # Nearly always.
        return (items,)
    return [items[at : at + BATCH_ITEMS] for at in range(0, len(items), BATCH_ITEMS)]


def _too_large(what: str, size_bytes: int, limit_bytes: int) -> errors.ResourceExhausted:
    return refusals.result_too_large(
        f"{what} is {size_bytes} bytes; the limit is {limit_bytes}",
        size_bytes=size_bytes,
        limit_bytes=limit_bytes,
    )


def _too_many() -> errors.ResourceExhausted:
    return refusals.progress_limit(
        "the task sent more responses, or larger ones, than a task may store: call the method directly, or raise the"
        " coordinator's setting max_progress_bytes"
    )
