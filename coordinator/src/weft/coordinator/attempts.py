"""The desk where agents' reports of attempts go: to the store in order, and acknowledged when durable.

A report frees the agent's slot at once; its acknowledgement waits for the store. What the store cannot take now is
tried again for as long as the session lives: the agent keeps every result until it is acknowledged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping

import structlog
from google.rpc import code_pb2

from weft.coordinator.session import Session
from weft.coordinator.store.base import (
    AttemptRef,
    ProgressItem,
    ProgressVerdict,
    Report,
    Store,
    Verdict,
)
from weft.rpc import errors
from weft.v1 import errors_pb2, session_pb2, task_pb2

log = structlog.get_logger(__name__)

# Messages of one session that may wait for the store; past it the session is not read.
PENDING_MESSAGES = 64
RETRY_S = 0.25
_FINAL_REASONS = frozenset(
    errors.reason_name(reason)
    for reason in (errors_pb2.ERROR_REASON_RESULT_TOO_LARGE, errors_pb2.ERROR_REASON_PROGRESS_LIMIT)
)


class AttemptDesk:
    """Takes progress, results and hand-backs of every session."""

    def __init__(self, store: Store, max_response_bytes: int, wake: Callable[[], None]) -> None:
        self._store = store
        self._max_response_bytes = max_response_bytes
        self._wake = wake
        self._pending: dict[Session, set[asyncio.Task[None]]] = {}
        self._progress: dict[Session, asyncio.Task[None]] = {}

    async def take(
        self,
        session: Session,
        message: session_pb2.ConnectRequest,
        stale_refused: MutableMapping[str, int],
    ) -> None:
        """Begin to settle one message; returns before it is settled, unless too many are under way."""
        for ended in message.results:
            session.let_go(AttemptRef(ended.task_id, ended.attempt))
        for released in message.released:
            session.let_go(AttemptRef(released.task_id, released.attempt))
        self._wake()
        before = self._progress.get(session)
        task = asyncio.get_running_loop().create_task(self._settle(session, message, before, stale_refused))
        pending = self._pending.setdefault(session, set())
        pending.add(task)
        if message.progress:
            self._progress[session] = task

        def settled(_: object) -> None:
            pending.discard(task)
            if self._progress.get(session) is task:
                del self._progress[session]
            if not pending:
                self._pending.pop(session, None)

        task.add_done_callback(settled)
        if len(pending) >= PENDING_MESSAGES:
            await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)

    async def _settle(
        self,
        session: Session,
        message: session_pb2.ConnectRequest,
        before: asyncio.Task[None] | None,
        stale_refused: MutableMapping[str, int],
    ) -> None:
        if before is not None:
            # An attempt's end must not overtake its progress.
            await asyncio.wait([before])
        while True:
            try:
                if message.progress:
                    await self._store_progress(session, message)
                if message.results:
                    await self._store_results(session, message, stale_refused)
                if message.released:
                    refs = [AttemptRef(item.task_id, item.attempt) for item in message.released]
                    await self._store.release(session.owner, refs)
                    self._wake()
                return
            except errors.WeftError as error:
                if not session.open:
                    return
                log.warning("attempts.not_stored", agent=session.owner.agent_id, error=error.message)
                await asyncio.sleep(RETRY_S)
            except Exception:
                log.exception("attempts.failed", agent=session.owner.agent_id)
                session.close(
                    errors.Internal("the coordinator failed to store a report; its log has the rest")
                )
                return

    async def _store_results(
        self,
        session: Session,
        message: session_pb2.ConnectRequest,
        stale_refused: MutableMapping[str, int],
    ) -> None:
        reports = [self._report(session, item) for item in message.results]
        verdicts = await self._store.complete(reports)
        acks = []
        for item, verdict in zip(message.results, verdicts, strict=True):
            refused = verdict is Verdict.STALE
            if refused:
                agent_id = session.owner.agent_id
                stale_refused[agent_id] = stale_refused.get(agent_id, 0) + 1
                log.info("result.refused", agent=agent_id, task=item.task_id, attempt=item.attempt)
            acks.append(session_pb2.ResultAck(task_id=item.task_id, attempt=item.attempt, refused=refused))
        session.acknowledge(acks)

    def _report(self, session: Session, item: session_pb2.AttemptResult) -> Report:
        outcome = item.outcome
        size_bytes = len(outcome.response)
        if size_bytes > self._max_response_bytes:
            # Agents check this themselves; one that does not must not fill the store.
            error = errors.ResourceExhausted(
                f"the response is {size_bytes} bytes; the limit is {self._max_response_bytes}",
                reason=errors_pb2.ERROR_REASON_RESULT_TOO_LARGE,
                metadata={"size_bytes": str(size_bytes), "limit_bytes": str(self._max_response_bytes)},
            )
            outcome = task_pb2.Outcome(status=error.status())
        code = outcome.status.code if outcome.HasField("status") else 0
        if code == 0:
            return Report(session.owner, item.task_id, item.attempt, 0, outcome.SerializeToString())
        info = errors.error_info(outcome.status)
        return Report(
            owner=session.owner,
            task_id=item.task_id,
            attempt=item.attempt,
            code=code if 0 < code <= code_pb2.UNAUTHENTICATED else code_pb2.UNKNOWN,
            outcome=outcome.SerializeToString(),
            retry_after_s=errors.retry_after_s(outcome.status),
            crashed=item.crashed,
            final=info is not None and info.domain == errors.DOMAIN and info.reason in _FINAL_REASONS,
        )

    async def _store_progress(self, session: Session, message: session_pb2.ConnectRequest) -> None:
        items = [
            ProgressItem(session.owner, item.task_id, item.attempt, item.index, item.payload)
            for item in message.progress
        ]
        verdicts = await self._store.progress(items)
        indexes: dict[AttemptRef, int] = {}
        refused: dict[AttemptRef, ProgressVerdict] = {}
        for item, verdict in zip(items, verdicts, strict=True):
            ref = AttemptRef(item.task_id, item.attempt)
            if verdict in (ProgressVerdict.STORED, ProgressVerdict.KNOWN):
                indexes[ref] = max(indexes.get(ref, 0), item.index)
            else:
                refused[ref] = verdict
        if indexes:
            session.acknowledge_progress(indexes)
        for ref, verdict in refused.items():
            if verdict is ProgressVerdict.LIMIT:
                await self._end_over_limit(session, ref)
            session.cancel(ref, "its progress was refused", 0.0, lost=True)

    async def _end_over_limit(self, session: Session, ref: AttemptRef) -> None:
        error = errors.ResourceExhausted(
            "the task sent more responses than a task may store",
            reason=errors_pb2.ERROR_REASON_PROGRESS_LIMIT,
        )
        outcome = task_pb2.Outcome(status=error.status()).SerializeToString()
        await self._store.complete(
            [
                Report(
                    session.owner,
                    ref.task_id,
                    ref.attempt,
                    code_pb2.RESOURCE_EXHAUSTED,
                    outcome,
                    final=True,
                )
            ]
        )
