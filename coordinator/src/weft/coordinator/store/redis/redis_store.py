"""A `Store` in Redis, shared by any number of coordinators. Each move is one script, by Redis' own clock.

caller ─► request, packed here ─► link: runs the script, tells its changes ─► result, unpacked here
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import RedisError

from weft.coordinator.store import history as attempts
from weft.coordinator.store.open_errors import StoreError
from weft.coordinator.store.paging import ListFilter, Page
from weft.coordinator.store.records import (
    AttemptRef,
    AttemptReport,
    Claimed,
    ClaimRequest,
    EnqueueResult,
    Owner,
    ProgressItem,
    ProgressRow,
    ProgressVerdict,
    Submission,
    SweepReport,
    TaskRecord,
    Verdict,
)
from weft.coordinator.store.redis import redis_checks, shared_fleet, task_reads
from weft.coordinator.store.redis.encoding import (
    claimed,
    packable_attempt,
    packable_change,
    queue_key,
    queue_name,
)
from weft.coordinator.store.redis.endpoint_resolver import EndpointResolver
from weft.coordinator.store.redis.layout_upgrade import upgrade
from weft.coordinator.store.redis.redis_events import RedisEvents
from weft.coordinator.store.redis.redis_fleet import RedisFleet
from weft.coordinator.store.redis.redis_gates import RedisGates
from weft.coordinator.store.redis.redis_groups import RedisGroups
from weft.coordinator.store.redis.redis_ids import IdGenerator, is_id
from weft.coordinator.store.redis.redis_keys import LAYOUT, RedisKeys
from weft.coordinator.store.redis.redis_link import CLAIM_KEPT_S, RedisLink
from weft.coordinator.store.redis.redis_queue_moves import RedisQueueMoves
from weft.coordinator.store.redis.redis_rows import RedisRows
from weft.coordinator.store.redis.redis_states import RedisStates
from weft.coordinator.store.redis.redis_steps import RedisSteps
from weft.coordinator.store.redis.scripts import Scripts
from weft.coordinator.store.redis.write_buffer import WriteBuffer
from weft.coordinator.store.rules import QueueKey, State
from weft.coordinator.store.store_config import StoreLimits
from weft.coordinator.store.store_listener import StoreListener
from weft.coordinator.store.store_refusals import not_retryable, payload_dropped
from weft.coordinator.store.task_figures import StoreFigures
from weft.rpc.errors import Unavailable

# Payloads of one claim: they pass through the script.
_CLAIM_BYTES = 4 * 1024 * 1024
_SAMPLES = 64
_VERDICTS = (Verdict.STORED, Verdict.RETRYING, Verdict.STALE)
_PROGRESS = (ProgressVerdict.STORED, ProgressVerdict.KNOWN, ProgressVerdict.STALE, ProgressVerdict.LIMIT)


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """The options of a store's connections to its Redis."""

    # "username" and "password", where the URL has none.
    credentials: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    # For one answer of Redis.
    timeout_s: float = 5.0
    # Mean interval between two looks for missed changes.
    poll_s: float = 0.5
    # How long agents may take to come back after Redis or all coordinators were away.
    recovery_grace_s: float = 5.0


class RedisStore(
    RedisFleet, RedisGates, RedisRows, RedisGroups, RedisEvents, RedisQueueMoves, RedisStates, RedisSteps
):
    """A `Store` in Redis. Used on one event loop. Large because `TaskStore` is.

    Args:
        url: as in `endpoint_resolver`.
        durability: an acknowledged change is: "fast", in Redis, which syncs its log at its own pace; "durable", on its
            disk; "replicated", at a replica.
        prefix: of every key. Stores with different prefixes are apart.
        clock: seconds since the epoch, for tests; None: Redis' own clock.
        rng: for jitter and for task ids.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "weft",
        durability: str = "fast",
        clock: Callable[[], float] | None = None,
        rng: random.Random | None = None,
        limits: StoreLimits | None = None,
        options: RedisOptions | None = None,
    ) -> None:
        self._url = url
        self._prefix = prefix
        self._durability = durability
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311  # jitter, not secrets
        self._limits = limits or StoreLimits()
        self.event_keep_bytes, self.max_states = self._limits.event_keep_bytes, self._limits.max_states
        self._options = options or RedisOptions()
        self.figures = StoreFigures()
        # A test's own clock jumps: no agent or coordinator was away.
        self._grace_s = self._options.recovery_grace_s if clock is None else 0.0

    shared = True

    # -- lifecycle ------------------------------------------------------------------------------------------------

    async def open(self, listener: StoreListener) -> None:
        keys = RedisKeys(self._prefix)
        timeout_s = self._options.timeout_s
        servers = EndpointResolver(
            self._url, tag=keys.prefix, timeout_s=timeout_s, credentials=self._options.credentials
        )
        client = servers.client()
        scripts = Scripts(
            servers.connection(),
            keys.prefix,
            self._clock,
            replicas=1 if self._durability == "replicated" else 0,
            timeout_s=timeout_s,
            figures=self.figures,
        )
        self._link = RedisLink(
            client,
            keys,
            scripts,
            listener,
            self._rng,
            clock=self._clock,
            poll_s=self._options.poll_s,
        )
        self._buffer = WriteBuffer(
            self._link,
            self._limits.max_queues,
            lambda: (self.max_groups, self.max_members, self.event_keep_bytes, self.max_states),
        )
        self._agents = shared_fleet.AgentMirror(self._link)
        self._catalogue = shared_fleet.Catalogue(self._link, keys)
        try:
            layout = await redis_checks.check(client, keys, servers.shown, self._durability)
            scripts.coordinator = await client.incr(keys("coordinators"))
            if layout < LAYOUT:
                await upgrade(self._link, layout)
            last = await client.get(keys("last"))
            self._ids = IdGenerator((last or b"").decode(), scripts.coordinator, self._rng)
            await self._link.open()
        except BaseException as error:
            await scripts.close()
            await client.aclose()
            if isinstance(error, Unavailable | RedisError | OSError):
                raise StoreError(f"cannot use {servers.shown}: {error}") from None
            raise

    async def close(self) -> None:
        try:
            await self._buffer.close(self._options.timeout_s)
        finally:
            await self._link.close()

    @property
    def writable(self) -> bool:
        return self._link.writable

    def now(self) -> float:
        return self._link.now()

    # -- tasks ----------------------------------------------------------------------------------------------------

    def new_task_id(self, method: str) -> str:  # noqa: ARG002  # the whole store is one shard
        return self._ids.next(self.now())

    async def enqueue(
        self, submissions: Sequence[Submission], *, acknowledged: bool = True
    ) -> Sequence[EnqueueResult]:
        if not submissions:
            return []
        ids = [submission.task_id or self.new_task_id(submission.method) for submission in submissions]
        for task_id, each in zip(ids, submissions, strict=True):
            if each.steps:
                await self.import_steps(task_id, each.steps)
        # Redis alone knows whether a request id is known, and how many tasks a submitter has.
        if acknowledged or any(each.request_id or each.submitter for each in submissions):
            return await self._buffer.enqueue(ids, submissions)
        return self._buffer.enqueue_deferred(ids, submissions)

    def unfinished(self) -> int:
        return self._link.unfinished + self._buffer.unfinished

    def ready_depths(self) -> Mapping[QueueKey, int]:
        ready: Mapping[QueueKey, int] = self._link.ready
        if self._link.paused:
            ready = {key: count for key, count in ready.items() if key.method not in self._link.paused}
        # A queue with deferred tasks has no others in Redis, or the deferred ones will be there at once.
        return {**ready, **self._buffer.depths} if self._buffer.depths else ready

    def ready_ahead(self, queue: QueueKey, priority: int) -> int:
        return self._link.ready.ahead(queue, priority) + self._buffer.depths.get(queue, 0)

    async def claim(self, requests: Sequence[ClaimRequest]) -> Sequence[Sequence[Claimed]]:
        if not self._link.writable or not requests:
            return [[] for _ in requests]
        deferred = self._buffer.claim(requests)
        if deferred is not None:
            return deferred
        asked = [
            (
                *each.owner,
                each.slots,
                each.limit,
                [_claimed_queue(key, cost) for key, cost in each.costs.items()],
                *([each.left] if each.left else ()),
            )
            for each in requests
        ]
        token = f"{self._link.scripts.coordinator}-{self._rng.getrandbits(64):x}"
        try:
            results: Sequence[Any] = await self._link.run("claim", [_CLAIM_BYTES, asked, token, CLAIM_KEPT_S])
        except BaseException:
            # It may have started attempts that no agent will receive.
            self._link.in_doubt.append(token)
            raise
        return [
            [claimed(each.owner, *item) for item in claims or ()]
            for each, claims in zip(requests, results or [[]] * len(requests), strict=True)
        ]

    async def complete(self, reports: Sequence[AttemptReport]) -> Sequence[Verdict]:
        deferred = self._buffer.end(reports)
        rest = [report for report, stored in zip(reports, deferred, strict=True) if stored is None]
        verdicts = iter(await self._complete(rest) if rest else ())
        for stored in deferred:
            if stored is not None:
                await asyncio.shield(stored)
        return [Verdict.STORED if stored is not None else next(verdicts) for stored in deferred]

    async def _complete(self, reports: Sequence[AttemptReport]) -> Sequence[Verdict]:
        request = [
            (
                *report.owner,
                report.task_id,
                report.attempt,
                report.code,
                report.outcome,
                False if report.retry_after_s is None else report.retry_after_s,
                report.crashed,
                report.final,
                self._rng.random(),
                attempts.trimmed(report.code, report.outcome) if report.code else False,
                # The last item of a success is its change, of others how long they are suspended.
                *(() if report.state is None or report.code else (packable_change(report.state),)),
                *_suspended(report),
            )
            for report in reports
        ]
        results = await self._link.run(
            "complete", request, {report.task_id: report.outcome for report in reports}
        )
        return [_VERDICTS[result] for result in results]

    async def progress(self, items: Sequence[ProgressItem]) -> Sequence[ProgressVerdict]:
        if not items:
            return []
        self._buffer.flush(item.task_id for item in items)
        request = [
            (*item.owner, item.task_id, item.attempt, item.index, item.payload, item.headers)
            for item in items
        ]
        limits = (self._limits.max_progress, self._limits.max_progress_bytes)
        results, rows = await self._link.run("progress", [*limits, request])
        for raw_id, sequence, attempt, index in rows or ():
            task_id = raw_id.decode()
            if self._link.listener.has_subscriber(task_id, ended=False):
                row = ProgressRow(sequence, attempt, items[index - 1].payload, items[index - 1].headers)
                self._link.listener.progressed(task_id, [row])
        return [_PROGRESS[result] for result in results]

    async def release(self, owner: Owner, refs: Sequence[AttemptRef]) -> Sequence[bool]:
        self._buffer.flush(ref.task_id for ref in refs)
        return list(await self._link.run("release", [*owner, list(refs)])) if refs else []

    async def adopt(
        self, owner: Owner, held: Sequence[tuple[AttemptRef, int]], *, last: bool = True
    ) -> Sequence[QueueKey | None]:
        self._buffer.flush()
        request = [*owner, [(ref.task_id, ref.attempt, epoch) for ref, epoch in held], last]
        queues = await self._link.run("adopt", request) or ()
        return [queue_key(queue.decode()) if queue else None for queue in queues]

    async def cancel(
        self, task_ids: Sequence[str], reason: str, grace_s: float
    ) -> Sequence[TaskRecord | None]:
        self._buffer.flush(task_ids)
        await self._link.run("cancel", [reason, grace_s, [task_id for task_id in task_ids if is_id(task_id)]])
        return await self.get(task_ids, payloads=False)

    async def retry(self, task_id: str) -> TaskRecord | None:
        if not is_id(task_id):
            return None
        (record,) = await self.get([task_id], payloads=False, history=True)
        last = None if record is None else attempts.kept_last(record)
        before = await self._link.run("retry", [task_id, packable_attempt(last) if last else False])
        if before == 0:
            return None
        if before == -1:
            raise payload_dropped()
        state = State(before)
        if state not in {State.FAILED, State.CANCELLED}:
            raise not_retryable(state)
        return (await self.get([task_id], payloads=False))[0]

    async def get(
        self, task_ids: Sequence[str], *, payloads: bool = True, history: bool = False
    ) -> Sequence[TaskRecord | None]:
        await self._buffer.flushed(task_ids)
        found: Sequence[TaskRecord | None] = await self._link.read(
            "tasks",
            task_reads.read(self._link.client, self._link.keys, task_ids, payloads=payloads, history=history),
        )
        return found

    async def list_tasks(
        self, where: ListFilter, *, limit: int, cursor: str = "", payloads: bool = False
    ) -> Page:
        await self._buffer.flushed()
        found: Page = await self._link.read(
            "listing",
            task_reads.page(self._link.client, self._link.keys, where, limit, cursor, payloads=payloads),
        )
        return found

    async def read_progress(self, task_id: str, after: int, limit: int) -> Sequence[ProgressRow]:
        if not is_id(task_id):
            return []
        rows: Sequence[ProgressRow] = await self._link.read(
            "progress", task_reads.progress(self._link.client, self._link.keys, task_id, after, limit)
        )
        return rows

    async def sweep(self, limit: int) -> SweepReport:
        self._buffer.flush()
        samples = [self._rng.random() for _ in range(_SAMPLES)]
        found = await self._link.run("sweep", [limit, samples, self._grace_s, {}])
        if not found[6]:
            return _sweep_report(found)
        # Ready tasks whose time limit has passed: the next call ends them, and says what they waited for.
        texts = {
            name: self._link.listener.waits_for(queue_key(name.decode()), paused=bool(paused))
            for name, paused in found[6]
        }
        again = await self._link.run("sweep", [limit, samples, self._grace_s, texts])
        return _sweep_report(found).then(_sweep_report(again))


def _sweep_report(found: Sequence[Any]) -> SweepReport:
    promoted, expired, reclaimed, forgotten, lost, next_at, _ = found
    owners = [Owner(agent.decode(), epoch) for agent, epoch in lost or ()]
    return SweepReport(promoted, expired, reclaimed, forgotten, owners, next_at or None)


def _suspended(report: AttemptReport) -> Sequence[Any]:
    until = report.suspension
    if until is None:
        return ()
    return (
        (
            False if until.wake_at is None else until.wake_at,
            False if until.signals is None else until.signals,
            list(until.calls),
        ),
    )


def _claimed_queue(key: QueueKey, cost: int) -> tuple[Any, ...]:
    consumes = key.requirements.consumes
    return (queue_name(key), cost, dict(consumes)) if consumes else (queue_name(key), cost)
