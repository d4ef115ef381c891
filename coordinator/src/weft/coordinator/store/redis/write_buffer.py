"""Writes tasks to Redis: acknowledged ones at once, others deferred, so that they are stored with their end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from weft.coordinator.store.event_store import MAX_TOPICS, TooManyTopics
from weft.coordinator.store.group_store import GroupClosed, GroupFull, TooManyGroups
from weft.coordinator.store.linger import LingerTimer
from weft.coordinator.store.records import (
    AtLimit,
    AttemptReport,
    Claimed,
    ClaimRequest,
    Enqueued,
    EnqueueResult,
    Owner,
    RequestIdReused,
    Submission,
    TooManyQueues,
    TooManyTasks,
)
from weft.coordinator.store.redis.deferred_writes import DeferredTask, DeferredTasks
from weft.coordinator.store.redis.encoding import (
    gate_key,
    packable_alternatives,
    packable_gates,
    queue_name,
)
from weft.coordinator.store.redis.redis_link import RedisLink
from weft.coordinator.store.rules import QueueKey
from weft.coordinator.store.state_store import TooManyStates, kept_by
from weft.coordinator.store.step_store import counts_of
from weft.coordinator.store.store_refusals import refusal_of, tell_not_stored
from weft.coordinator.store.stored_options import encode, options_of
from weft.coordinator.store.task_ids import digest_of
from weft.rpc.errors import Unavailable

_LEASES_KEPT = 1024
# Results of enqueue.lua.
_EXISTED, _REUSED, _TOO_MANY_QUEUES, _AT_LIMIT, _GROUP_CLOSED, _GROUP_FULL, _TOO_MANY_GROUPS = range(1, 8)
_CACHED, _TOO_MANY_TASKS, _TOO_MANY_TOPICS, _TOO_MANY_STATES = 8, 9, 10, 11


class WriteBuffer:
    """The tasks on their way to Redis. One method for each request that must see them."""

    def __init__(
        self, link: RedisLink, max_queues: int, bounds: Callable[[], tuple[int, int, int, int]]
    ) -> None:
        self._link = link
        self._max_queues = max_queues
        self._bounds = bounds
        self._deferred = DeferredTasks()
        # Known ends of the leases of sessions here, and the size at which ended ones are removed.
        self._leases: dict[Owner, float] = {}
        self._leases_kept = _LEASES_KEPT
        self._linger = LingerTimer(self._flush_due)
        # Unfinished tasks on their way to Redis.
        self._in_transit = 0
        # Writes under way, and the ids of their tasks.
        self._writes: dict[asyncio.Task[None], frozenset[str]] = {}

    async def close(self, timeout_s: float) -> None:
        """Write the remaining tasks."""
        self._linger.cancel()
        self.flush()
        if self._writes:
            await asyncio.wait(self._writes, timeout=timeout_s)

    # -- new ones -------------------------------------------------------------------------------------------------

    async def enqueue(self, ids: Sequence[str], submissions: Sequence[Submission]) -> Sequence[EnqueueResult]:
        """Store tasks."""
        bounds = self._bounds()
        rows = [
            _row(task_id, submission, bounds) for task_id, submission in zip(ids, submissions, strict=True)
        ]
        results = await self._link.run("enqueue", [self._max_queues, rows])
        return [
            self._result(submission, *result) for submission, result in zip(submissions, results, strict=True)
        ]

    def _result(self, submission: Submission, kind: int, raw: bytes, *most: int) -> EnqueueResult:
        """What enqueue.lua answers for one task. `raw`: its id, or what refuses it: a gate or a group."""
        if kind == _TOO_MANY_QUEUES:
            return TooManyQueues(submission.method, self._max_queues)
        if kind == _AT_LIMIT:
            return AtLimit(gate_key(raw.decode(errors="surrogateescape")), *map(int, most))
        if kind == _TOO_MANY_TASKS:
            return TooManyTasks(submission.submitter, submission.most_unfinished)
        if kind == _TOO_MANY_TOPICS:
            return TooManyTopics(MAX_TOPICS)
        text = raw.decode()
        if kind == _TOO_MANY_STATES:
            return TooManyStates(text, *map(int, most))
        if kind == _GROUP_CLOSED:
            return GroupClosed(text)
        if kind in {_GROUP_FULL, _TOO_MANY_GROUPS}:
            return (GroupFull if kind == _GROUP_FULL else TooManyGroups)(text, *map(int, most))
        if kind == _REUSED:
            return RequestIdReused(text)
        return Enqueued(text, existed=kind in {_EXISTED, _CACHED}, cached=kind == _CACHED)

    def enqueue_deferred(self, ids: Sequence[str], submissions: Sequence[Submission]) -> Sequence[Enqueued]:
        """Accept unacknowledged tasks without a request id.

        Raises:
            Unavailable: Redis is away.
        """
        if not self._link.writable:
            raise self._link.unavailable()
        link, now, now_s = self._link, self._link.now(), asyncio.get_running_loop().time()
        at_once: list[DeferredTask] = []
        for task_id, submission in zip(ids, submissions, strict=True):
            key = QueueKey(submission.method, submission.requirements)
            behind = key in link.ready or submission.method in link.paused
            # At a run limit, Redis alone knows whether there is room.
            behind = behind or submission.method in link.limited
            soon = not behind and link.listener.has_room(key)
            if not soon or not self._deferred.take(task_id, submission, now, now_s):
                at_once.append(DeferredTask(task_id, submission, now, now_s))
                if not submission.delay_s:
                    # So that it is claimed in the same pipeline.
                    link.ready[key] = link.ready.get(key, 0) + 1
        if at_once:
            self._store(at_once)
        if len(self._deferred):
            self._linger.start()
        link.listener.ready()
        return [Enqueued(task_id) for task_id in ids]

    @property
    def unfinished(self) -> int:
        """Unfinished tasks that Redis does not count yet."""
        return len(self._deferred) + self._in_transit

    @property
    def depths(self) -> Mapping[QueueKey, int]:
        """Ready tasks that are not in Redis."""
        return self._deferred.depths

    def note_leases(self, owners: Iterable[Owner], lease_s: float) -> None:
        """Note that the leases of these sessions end so many seconds from now; 0: they may have ended."""
        now = self._link.now()
        for owner in owners:
            if lease_s > 0:
                self._leases[owner] = now + lease_s
            else:
                self._leases.pop(owner, None)
        if len(self._leases) > self._leases_kept:
            self._leases = {owner: ends_at for owner, ends_at in self._leases.items() if ends_at > now}
            self._leases_kept = max(_LEASES_KEPT, 2 * len(self._leases))

    # -- deferred tasks -------------------------------------------------------------------------------------------

    def claim(self, requests: Sequence[ClaimRequest]) -> list[list[Claimed]] | None:
        """Claim deferred tasks; None: the claim must go to Redis.

        It must if Redis has tasks that may come first, or if a lease may have ended.
        """
        if not any(key in self._deferred.depths for request in requests for key in request.costs):
            return None
        now = self._link.now()
        if any(
            self._leases.get(request.owner, 0.0) <= now
            or any(key in self._link.ready for key in request.costs)
            for request in requests
        ):
            self.flush()
            return None
        return [self._deferred.claim(request, now) for request in requests]

    def end(self, reports: Sequence[AttemptReport]) -> list[asyncio.Task[None] | None]:
        """Store the deferred tasks that these reports end with success, with their ends. Others are stored before the reports.

        Returns:
            For each report the write to wait for, which raises Unavailable; None: the report must still be made.
        """
        if not len(self._deferred):
            return [None] * len(reports)
        ended = [(report, self._deferred.succeeded(report)) for report in reports]
        self.flush(report.task_id for report, task in ended if task is None)
        tasks = [task for _, task in ended if task is not None]
        if not tasks:
            return [None] * len(reports)
        outcomes = {report.task_id: report.outcome for report, task in ended if task is not None}
        stored = self._store(tasks, outcomes)
        return [None if task is None else stored for _, task in ended]

    # -- writing ---------------------------------------------------------------------------------------------------

    def flush(self, task_ids: Iterable[str] | None = None) -> None:
        """Write some tasks, or all, as they are: before any later script."""
        if len(self._deferred):
            tasks = self._deferred.pop(task_ids)
            if tasks:
                self._store(tasks)

    async def flushed(self, task_ids: Iterable[str] | None = None) -> None:
        """Write some tasks, or all, and wait until they can be read."""
        wanted = None if task_ids is None else frozenset(task_ids)
        self.flush(wanted)
        awaited = [task for task, ids in self._writes.items() if wanted is None or ids & wanted]
        if awaited:
            await asyncio.wait(awaited)

    def _flush_due(self, now_s: float) -> float | None:
        due = self._deferred.pop_due(now_s)
        if due:
            self._store(due)
        return self._deferred.oldest_at_s

    def _store(
        self, tasks: Sequence[DeferredTask], outcomes: Mapping[str, bytes] | None = None
    ) -> asyncio.Task[None]:
        outcomes = outcomes or {}
        bounds = self._bounds()
        asked = self._link.scripts.run(
            "enqueue",
            [
                self._max_queues,
                [
                    _row(task.task_id, task.submission, bounds, _started(task, outcomes.get(task.task_id)))
                    for task in tasks
                ],
            ],
        )
        unfinished = len(tasks) - len(outcomes)
        self._in_transit += unfinished
        stored = asyncio.get_running_loop().create_task(self._stored(tasks, outcomes, asked))
        self._writes[stored] = frozenset(task.task_id for task in tasks)
        stored.add_done_callback(partial(self._write_done, unfinished))
        return stored

    async def _stored(
        self, tasks: Sequence[DeferredTask], outcomes: Mapping[str, bytes], asked: asyncio.Future[Any]
    ) -> None:
        try:
            reply = await self._link.ask("enqueue", asked)
            for task, raw in zip(tasks, reply.result, strict=True):
                result = self._result(task.submission, *raw)
                if not isinstance(result, Enqueued | RequestIdReused):
                    # It counts as ready here.
                    self._link.reread_all()
                    tell_not_stored(self._link.listener, [task.submission], refusal_of(result))
            await self._link.tell(reply, outcomes)
        except Unavailable as error:
            # They count as ready here.
            self._link.reread_all()
            tell_not_stored(self._link.listener, [task.submission for task in tasks], error)
            raise

    def _write_done(self, unfinished: int, stored: asyncio.Task[None]) -> None:
        self._in_transit -= unfinished
        del self._writes[stored]
        if not stored.cancelled():
            # The subscribers have been told.
            stored.exception()


def _row(
    task_id: str, submission: Submission, bounds: tuple[int, int, int, int], started: Any = None
) -> tuple[Any, ...]:
    """A task for enqueue.lua."""
    row: tuple[Any, ...] = (
        task_id,
        queue_name(QueueKey(submission.method, submission.requirements)),
        submission.priority,
        submission.delay_s or False,
        _or_false(submission.schedule_to_start_s),
        _or_false(submission.schedule_to_close_s),
        encode(options_of(submission)),
        submission.request_id or False,
        digest_of(submission) if submission.request_id else False,
        submission.payload,
        submission.context,
    )
    # Most tasks have none of these.
    gates = packable_gates(submission, bounds[:2])
    state = kept_by(submission.locks) if submission.locks else ""
    if (
        submission.cache_ttl_s
        or submission.alternatives
        or submission.submitter
        or submission.ended is not None
        or submission.steps
        or submission.events
        or state
    ):
        return (
            *row,
            started or False,
            gates or False,
            _more(submission, bounds[2]) | _state(state, bounds[3]),
        )
    if gates is not None:
        return (*row, started or False, gates)
    return row if started is None else (*row, started)


def _state(name: str, most: int) -> dict[str, Any]:
    return {"ks": name, "most_states": most} if name else {}


def _more(submission: Submission, keep_bytes: int) -> dict[str, Any]:
    more: dict[str, Any] = {}
    if submission.cache_ttl_s:
        more["cache"] = submission.cache_ttl_s
    if submission.alternatives:
        more["fb"] = packable_alternatives(submission)
    if submission.alternative:
        more["fo"] = submission.alternative + 1
    if submission.ended is not None:
        state, outcome = submission.ended
        more["ended"] = [int(state), outcome]
    if submission.steps:
        more["steps"] = counts_of(submission.steps)
    if submission.submitter:
        more["by"], more["most"] = submission.submitter, submission.most_unfinished
    if submission.events:
        more["events"] = [
            keep_bytes,
            MAX_TOPICS,
            [(event.topic, event.body, event.id) for event in submission.events],
        ]
    return more


def _started(task: DeferredTask, outcome: bytes | None) -> Any:
    if task.owner is None:
        return False
    return (*task.owner, task.started_at, False if outcome is None else outcome)


def _or_false(value: float | None) -> float | bool:
    # In Lua, nil would end the array.
    return False if value is None else value
