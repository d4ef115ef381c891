"""A `Store` in Redis, shared by any number of coordinators. Each move is one script, by Redis' own clock.

    caller ─► script ─► reply: result, what changed, how deep the touched queues are ─► caches, listener
                  └► published to the other coordinators, which tell their own listeners

What is kept here is only for speed: how many tasks are ready, which methods are paused. It is corrected by every
reply, by the others' events, and by a poll.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import structlog
from redis.exceptions import RedisError

from weft.coordinator.rules import REQUEST_ID_TTL_S, QueueKey, State
from weft.coordinator.store import outcomes
from weft.coordinator.store.base import (
    AgentRecord,
    AttemptRef,
    Claimed,
    ClaimRequest,
    Enqueued,
    ListFilter,
    Owner,
    Page,
    ProgressItem,
    ProgressRow,
    ProgressVerdict,
    QueueDepth,
    Report,
    RequestIdReused,
    StoreListener,
    Submission,
    SweepReport,
    TaskRecord,
    Verdict,
)
from weft.coordinator.store.identity import request_digest
from weft.coordinator.store.redis import connect, listing
from weft.coordinator.store.redis.ids import IdMint, is_id
from weft.coordinator.store.redis.keys import Keys
from weft.coordinator.store.redis.records import (
    options_of,
    queue_key,
    queue_name,
    record_of,
    task,
    unpack,
)
from weft.coordinator.store.redis.scripts import Reply, Scripts
from weft.rpc.channel import BATCH_BYTES
from weft.rpc.errors import FailedPrecondition, NotFound, Unavailable
from weft.v1 import errors_pb2

log = structlog.get_logger(__name__)

# One claim carries no more than this, as its payloads go through the script.
_CLAIM_BYTES = 4 * 1024 * 1024
_DRAWS = 64
# A view that is not renewed is not believed for longer.
_VIEW_S = 5
# A coordinator that does not say that it is there is not told of changes any more.
_PRESENT_S = 10
# An answer that was lost is known to be by then.
_CLAIM_KEPT_S = 60
_RETRY_AFTER_S = 1.0
_VERDICTS = (Verdict.STORED, Verdict.RETRYING, Verdict.STALE)
_PROGRESS = (ProgressVerdict.STORED, ProgressVerdict.KNOWN, ProgressVerdict.STALE, ProgressVerdict.LIMIT)

_name = lru_cache(4096)(queue_name)
_key = lru_cache(4096)(queue_key)


class RedisStore:
    """A `Store` in Redis. Used on one event loop.

    Args:
        url: redis://, rediss:// or unix://, with credentials and database as redis-py takes them.
        durability: "fast": as often as Redis syncs its log; "durable": one that syncs every write; "replicated": a
            replica has it.
        prefix: of every key: stores with different ones do not meet.
        clock: seconds since the epoch, for tests; None: Redis' own clock.
        rng: for jitter and for task ids.
        timeout_s: for an answer of Redis.
        poll_s: how often to look for what was missed, about.
        max_progress: responses that one task may store.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "weft",
        durability: str = "fast",
        clock: Callable[[], float] | None = None,
        rng: random.Random | None = None,
        timeout_s: float = 5.0,
        poll_s: float = 0.5,
        max_progress: int = 1_000_000,
    ) -> None:
        self._url = url
        self._keys = Keys(prefix)
        self._durability = durability
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311  # jitter, not secrets
        self._timeout_s = timeout_s
        self._poll_s = poll_s
        self._max_progress = max_progress
        self._offset_s = 0.0
        self._ready: dict[QueueKey, int] = {}
        self._paused: frozenset[str] = frozenset()
        self._unfinished = 0
        self._writable = True
        # Agents whose views were shared last.
        self._shared: set[str] = set()
        self._fleet = 0
        # Claims whose answers were lost.
        self._in_doubt: list[str] = []
        # Tasks on their way to Redis that nobody waits for by name.
        self._unheard: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._look = asyncio.Event()

    shared = True

    # -- lifecycle ------------------------------------------------------------------------------------------------

    async def open(self, listener: StoreListener) -> None:
        self._listener = listener
        self._client = connect.client_of(self._url, timeout_s=self._timeout_s)
        self._scripts = Scripts(
            self._client,
            self._keys.prefix,
            self._clock,
            replicas=1 if self._durability == "replicated" else 0,
            timeout_s=self._timeout_s,
        )
        try:
            await connect.check(self._client, self._keys, connect.place(self._url), self._durability)
            self._scripts.coordinator = await self._client.incr(self._keys("coordinators"))
            last = await self._client.get(self._keys("last"))
            self._mint = IdMint((last or b"").decode(), self._scripts.coordinator, self._rng)
            await self._refresh()
            self._pubsub = self._client.pubsub(ignore_subscribe_messages=True)
            await self._pubsub.subscribe(self._keys.of("events", str(self._scripts.coordinator)))
        except BaseException:
            await self._client.aclose()
            raise
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._poll(), name="redis-poll"),
            loop.create_task(self._follow(), name="redis-events"),
        ]

    async def close(self) -> None:
        for running in self._tasks:
            running.cancel()
        await asyncio.gather(*self._tasks, *self._unheard, return_exceptions=True)
        with contextlib.suppress(Unavailable):
            await self._run("absent", [])
        await self._scripts.close()
        with contextlib.suppress(RedisError, OSError):
            await self._pubsub.aclose()
        await self._client.aclose()

    @property
    def writable(self) -> bool:
        return self._writable

    def now(self) -> float:
        return self._clock() if self._clock is not None else time.time() + self._offset_s

    # -- scripts, and what they tell ------------------------------------------------------------------------------

    async def _run(self, script: str, request: Any, said: Mapping[str, bytes] | None = None) -> Any:
        """Run a script and tell what it changed; gives its result."""
        reply = await self._ask(self._scripts.run(script, request))
        await self._tell(reply, said or {})
        return reply.result

    async def _ask(self, asked: Any) -> Any:
        try:
            answer = await asked
        except (RedisError, OSError) as error:
            if self._writable:
                log.warning("store.unavailable", error=str(error) or type(error).__name__)
            self._writable = False
            with contextlib.suppress(RedisError, OSError):
                # The other connections are as dead as this one, and would each fail once.
                await self._client.connection_pool.disconnect(inuse_connections=False)
            raise Unavailable(
                "the store cannot be reached at the moment", retry_after_s=_RETRY_AFTER_S
            ) from error
        if not self._writable:
            log.warning("store.available")
            self._writable = True
            self._listener.ready()
        return answer

    async def _tell(self, reply: Reply, said: Mapping[str, bytes]) -> None:
        self._unfinished = reply.unfinished
        self._set_depths(reply.depths)
        for item in reply.revoked:
            self._revoke(item)
        if reply.woke:
            self._listener.ready()
        for raw_id, raw in reply.changed:
            task_id = raw_id.decode()
            if not isinstance(raw, bytes) or not self._listener.wants(task_id, ended=True):
                continue
            record = record_of(raw)
            ended = State(record["s"]).terminal
            if not ended and not self._listener.wants(task_id, ended=False):
                continue
            outcome = said.get(task_id)
            if "o" in record and outcome is None:
                outcome = await self._ask(self._client.get(self._keys.of("o", task_id)))
            self._listener.changed(task(task_id, record, body=None, outcome=outcome))

    def _revoke(self, item: Sequence[Any]) -> None:
        agent, epoch, task_id, attempt, reason, grace_s, lost = item
        self._listener.revoked(
            Owner(agent.decode(), epoch),
            AttemptRef(task_id.decode(), attempt),
            reason.decode(),
            float(grace_s),
            lost=lost,
        )

    def _set_depths(self, depths: Sequence[tuple[bytes, int]]) -> None:
        for name, count in depths:
            key = _key(name.decode())
            if count:
                self._ready[key] = count
            else:
                self._ready.pop(key, None)

    # -- what others changed --------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Hear of what other coordinators' scripts changed."""
        while True:
            try:
                async for message in self._pubsub.listen():
                    await self._heard(unpack(message["data"]))
            except (RedisError, OSError, Unavailable):
                # Dials again by itself; what was missed meanwhile, the poll finds.
                await asyncio.sleep(self._poll_s * (0.5 + self._rng.random()))
            except Exception:
                log.exception("store.event_failed")

    async def _heard(self, event: Any) -> None:
        ids, depths, revoked, woke = event
        self._set_depths(depths)
        for item in revoked:
            self._revoke(item)
        if woke:
            self._look.set()
            self._listener.ready()
        wanted = [name for raw in ids if self._listener.wants(name := raw.decode(), ended=True)]
        for record in await self.get(wanted, payloads=False):
            if record is not None and (
                record.state.terminal or self._listener.wants(record.task_id, ended=False)
            ):
                await self._tell_progress(record)
                self._listener.changed(record)

    async def _tell_progress(self, record: TaskRecord) -> None:
        if record.progress_count and self._listener.wants(record.task_id, ended=False):
            rows = await self.read_progress(record.task_id, 0, record.progress_count)
            self._listener.progressed(record.task_id, rows)

    async def _poll(self) -> None:
        """Look for what no event told, and whether Redis is there."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_s * (0.5 + self._rng.random())):
                    await self._look.wait()
            self._look.clear()
            try:
                await self._refresh()
            except Unavailable:
                continue
            except Exception:
                log.exception("store.poll_failed")
                continue
            if self._ready:
                self._listener.ready()

    async def _refresh(self) -> None:
        paused = await self._ask(self._client.smembers(self._keys("paused")))
        self._paused = frozenset(method.decode() for method in paused)
        began_at = time.time()
        seconds, micros = await self._ask(self._client.time())
        self._offset_s = seconds + micros / 1e6 - (began_at + time.time()) / 2
        await self._run("present", [_PRESENT_S])
        while self._in_doubt:
            taken_back = await self._run("undo", [self._in_doubt[0], _CLAIM_KEPT_S])
            self._in_doubt.pop(0)
            log.warning("claim.undone", attempts=taken_back)
        fleet = int(await self._ask(self._client.get(self._keys("fleet"))) or 0)
        if fleet != self._fleet:
            self._fleet = fleet
            self._listener.fleet_changed()
        depths = await self._run("depths", [])
        known = {_key(name.decode()): queued for name, queued, *_ in depths}
        self._ready = {key: queued for key, queued in known.items() if queued}

    # -- tasks ----------------------------------------------------------------------------------------------------

    def new_task_id(self, method: str) -> str:  # noqa: ARG002  # the whole store is one shard
        return self._mint.next(self.now())

    async def enqueue(
        self, submissions: Sequence[Submission], *, acknowledged: bool = True
    ) -> Sequence[Enqueued | RequestIdReused]:
        if not submissions:
            return []
        names = [given.task_id or self.new_task_id(given.method) for given in submissions]
        request = [
            (
                name,
                _name(QueueKey(given.method, given.requirements)),
                given.priority,
                given.delay_s or False,
                _or_false(given.schedule_to_start_s),
                _or_false(given.schedule_to_close_s),
                options_of(given) or False,
                given.request_id or False,
                request_digest(given.method, given.payload) if given.request_id else False,
                given.payload,
                given.context,
            )
            for name, given in zip(names, submissions, strict=True)
        ]
        if not acknowledged and not any(given.request_id for given in submissions):
            self._enqueue_unheard(submissions, request)
            return [Enqueued(name) for name in names]
        results = await self._run("enqueue", request)
        return [
            RequestIdReused(task_id.decode()) if kind == 2 else Enqueued(task_id.decode(), existed=kind == 1)
            for kind, task_id in results
        ]

    def _enqueue_unheard(self, submissions: Sequence[Submission], request: Any) -> None:
        """Store tasks that nobody was told of, and let them be claimed in the same flight."""
        stored = asyncio.get_running_loop().create_task(
            self._stored(submissions, self._scripts.run("enqueue", request))
        )
        self._unheard.add(stored)
        stored.add_done_callback(self._unheard.discard)
        for given in submissions:
            if not given.delay_s:
                key = QueueKey(given.method, given.requirements)
                self._ready[key] = self._ready.get(key, 0) + 1
        self._listener.ready()

    async def _stored(self, submissions: Sequence[Submission], asked: asyncio.Future[Reply]) -> None:
        try:
            await self._tell(await self._ask(asked), {})
        except Unavailable as error:
            outcome = outcomes.not_stored(error)
            for given in submissions:
                if self._listener.wants(given.task_id, ended=True):
                    record = TaskRecord(given.task_id, State.FAILED, given, outcome=outcome)
                    self._listener.changed(record)

    def unfinished(self) -> int:
        return self._unfinished

    def ready_depths(self) -> Mapping[QueueKey, int]:
        if not self._paused:
            return self._ready
        return {key: count for key, count in self._ready.items() if key.method not in self._paused}

    async def claim(self, requests: Sequence[ClaimRequest]) -> Sequence[Sequence[Claimed]]:
        if not self._writable or not requests:
            return [[] for _ in requests]
        asked = [
            (*each.owner, each.slots, each.limit, [(_name(key), cost) for key, cost in each.costs.items()])
            for each in requests
        ]
        token = f"{self._scripts.coordinator}-{self._rng.getrandbits(64):x}"
        try:
            results = await self._run("claim", [_CLAIM_BYTES, asked, token, _CLAIM_KEPT_S])
        except BaseException:
            # It may have given tasks to agents that will never hear of them.
            self._in_doubt.append(token)
            raise
        return [
            [_claimed(each.owner, *item) for item in claims or ()]
            for each, claims in zip(requests, results or [()] * len(requests), strict=True)
        ]

    async def complete(self, reports: Sequence[Report]) -> Sequence[Verdict]:
        if not reports:
            return []
        request = [
            (
                *report.owner,
                report.task_id,
                report.attempt,
                report.code,
                report.outcome,
                _or_false(report.retry_after_s),
                report.crashed,
                report.final,
                self._rng.random(),
            )
            for report in reports
        ]
        results = await self._run("complete", request, {report.task_id: report.outcome for report in reports})
        return [_VERDICTS[result] for result in results]

    async def progress(self, items: Sequence[ProgressItem]) -> Sequence[ProgressVerdict]:
        if not items:
            return []
        request = [(*item.owner, item.task_id, item.attempt, item.index, item.payload) for item in items]
        results, rows = await self._run("progress", [self._max_progress, request])
        for raw_id, sequence, attempt, index in rows or ():
            task_id = raw_id.decode()
            if self._listener.wants(task_id, ended=False):
                row = ProgressRow(sequence, attempt, items[index - 1].payload)
                self._listener.progressed(task_id, [row])
        return [_PROGRESS[result] for result in results]

    async def release(self, owner: Owner, refs: Sequence[AttemptRef]) -> Sequence[bool]:
        return list(await self._run("release", [*owner, list(refs)])) if refs else []

    async def adopt(self, owner: Owner, held: Sequence[tuple[AttemptRef, int]]) -> Sequence[bool]:
        request = [*owner, [(ref.task_id, ref.attempt, epoch) for ref, epoch in held]]
        return list(await self._run("adopt", request) or ())

    async def cancel(
        self, task_ids: Sequence[str], reason: str, grace_s: float
    ) -> Sequence[TaskRecord | None]:
        await self._run("cancel", [reason, grace_s, [task_id for task_id in task_ids if is_id(task_id)]])
        return await self.get(task_ids, payloads=False)

    async def retry(self, task_id: str) -> TaskRecord | None:
        if not is_id(task_id):
            return None
        before = await self._run("retry", [task_id])
        if before == 0:
            return None
        if before == -1:
            raise NotFound(
                "the task's payload was dropped after its time", reason=errors_pb2.ERROR_REASON_RESULT_EXPIRED
            )
        state = State(before)
        if state not in {State.FAILED, State.CANCELLED}:
            raise FailedPrecondition(
                f"the task is {state.name}; only FAILED and CANCELLED ones can be retried",
                metadata={"state": state.name},
            )
        return (await self.get([task_id], payloads=False))[0]

    async def get(self, task_ids: Sequence[str], *, payloads: bool = True) -> Sequence[TaskRecord | None]:
        found: Sequence[TaskRecord | None] = await self._ask(
            listing.read(self._client, self._keys, task_ids, payloads=payloads)
        )
        return found

    async def list_tasks(
        self, where: ListFilter, *, limit: int, cursor: str = "", payloads: bool = False
    ) -> Page:
        found: Page = await self._ask(
            listing.page(self._client, self._keys, where, limit, cursor, payloads=payloads)
        )
        return found

    async def read_progress(self, task_id: str, after: int, limit: int) -> Sequence[ProgressRow]:
        if not is_id(task_id):
            return []
        name = self._keys.of("p", task_id)
        rows: list[ProgressRow] = []
        size_bytes = 0
        for raw in await self._ask(self._client.lrange(name, after, after + limit - 1)):
            attempt, payload = unpack(raw)
            rows.append(ProgressRow(after + len(rows) + 1, attempt, payload))
            size_bytes += len(payload)
            if size_bytes > BATCH_BYTES:
                break
        return rows

    async def sweep(self, limit: int) -> SweepReport:
        draws = [self._rng.random() for _ in range(_DRAWS)]
        found = await self._run("sweep", [limit, REQUEST_ID_TTL_S, draws])
        promoted, expired, reclaimed, forgotten, lost, next_at = found
        owners = [Owner(agent.decode(), epoch) for agent, epoch in lost or ()]
        return SweepReport(promoted, expired, reclaimed, forgotten, owners, next_at or None)

    # -- owners ---------------------------------------------------------------------------------------------------

    async def register(self, agent_id: str, instance_id: str, description: bytes, lease_s: float) -> int:
        return int(await self._run("register", [agent_id, instance_id, description, lease_s]))

    async def renew(self, owners: Sequence[Owner], lease_s: float) -> Sequence[bool]:
        return list(await self._run("renew", [lease_s, list(owners)])) if owners else []

    async def retire(self, owner: Owner) -> None:
        await self._run("retire", list(owner))

    async def agents(self) -> Sequence[AgentRecord]:
        known = await self._ask(self._client.hgetall(self._keys("agents")))
        about = await self._ask(self._client.hgetall(self._keys("about")))
        desired = await self._ask(self._client.hgetall(self._keys("desired")))
        if not known:
            return []
        views = await self._ask(
            self._client.mget([self._keys.of("view", raw_id.decode()) for raw_id in known])
        )
        found = []
        for (raw_id, raw), view in zip(known.items(), views, strict=True):
            record = unpack(raw)
            found.append(
                AgentRecord(
                    raw_id.decode(),
                    record[b"i"].decode(),
                    record[b"e"],
                    about.get(raw_id, b""),
                    bool(record[b"c"]),
                    int(desired.get(raw_id, 1)),
                    view or b"",
                )
            )
        return found

    async def share(self, views: Mapping[str, bytes]) -> None:
        changed = views.keys() != self._shared
        if views or changed:
            await self._run("share", [_VIEW_S, changed, list(views.items())])
        self._shared = set(views)

    async def set_desired(self, agent_id: str, desired_state: int) -> bool:
        return bool(await self._run("wish", [agent_id, desired_state]))

    async def forget_agent(self, agent_id: str) -> None:
        await self._run("forget", [agent_id])

    # -- contracts and queues ---------------------------------------------------------------------------------------

    async def put_contract(self, digest: str, file_descriptor_set: bytes, methods: Sequence[str]) -> None:
        await self._run("contract", [digest, file_descriptor_set, list(methods)])

    async def contracts(self) -> Mapping[str, tuple[bytes, Sequence[str]]]:
        order = await self._ask(self._client.lrange(self._keys("order"), 0, -1))
        kept = await self._ask(self._client.hgetall(self._keys("contracts")))
        hosted = await self._ask(self._client.hgetall(self._keys("hosted")))
        return {
            digest.decode(): (
                kept[digest],
                sorted(method.decode() for method, of in hosted.items() if of == digest),
            )
            for digest in order
        }

    async def depths(self) -> Mapping[QueueKey, QueueDepth]:
        return {
            _key(name.decode()): QueueDepth(queued, scheduled, running, oldest_at or None)
            for name, queued, scheduled, running, oldest_at in await self._run("depths", []) or ()
        }

    async def set_paused(self, method: str, *, paused: bool) -> None:
        self._paused = self._paused | {method} if paused else self._paused - {method}
        await self._run("pause", [method, paused])

    async def paused(self) -> Sequence[str]:
        return sorted(
            method.decode() for method in await self._ask(self._client.smembers(self._keys("paused")))
        )


def _or_false(value: float | None) -> float | bool:
    # What Lua packs as nil in an array would end it.
    return False if value is None else value


def _claimed(
    owner: Owner, raw_id: bytes, raw: bytes, body: bytes | bool, cost: int, deadline_at: float | bool
) -> Claimed:
    record = record_of(raw)
    payload, context = unpack(body) if isinstance(body, bytes) else (b"", b"")
    return Claimed(
        raw_id.decode(),
        int(record["a"]),
        owner,
        _key(record["q"]).method,
        payload,
        context,
        record.get("r", ""),
        int(record["p"]),
        cost,
        float(deadline_at) if deadline_at is not False else None,
    )
