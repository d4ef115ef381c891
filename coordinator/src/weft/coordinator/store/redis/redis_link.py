"""A coordinator's link to its Redis: runs scripts, tells the listener their changes, and hears of other coordinators' changes.

    script ─► reply: result, changes, depths of the touched queues ─► state kept here, listener
    others' scripts ─► events ─► the same            poll ─► missed changes, and whether Redis is there

The state kept here is only for speed: ready tasks by queue, paused methods, methods with run limits. Replies, events and the poll correct it; a poll
reads the changes since the last one, by versions. An event can be lost with its connection: then all tasks with a subscriber
here are read again. If such a task is not there any more, its subscribers are told that it is lost.

`writable`: Redis takes writes, as far as is known. It is false from the first write that fails because Redis is away, and
true from the next one that succeeds. A refusal for another reason concerns its own request (`redis_errors`).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from redis.exceptions import RedisError

from weft.coordinator.store.records import AttemptRef, Owner
from weft.coordinator.store.redis import task_reads
from weft.coordinator.store.redis.encoding import queue_key, record_of, task, unpack
from weft.coordinator.store.redis.endpoint_resolver import Client
from weft.coordinator.store.redis.ready_depths import ReadyDepths
from weft.coordinator.store.redis.redis_activity import RedisActivity
from weft.coordinator.store.redis.redis_clock import RedisClock
from weft.coordinator.store.redis.redis_errors import STEP_S, Refusals, bounded, refusal
from weft.coordinator.store.redis.redis_keys import RedisKeys
from weft.coordinator.store.redis.scripts import Reply, Scripts
from weft.coordinator.store.rules import QueueKey, State
from weft.coordinator.store.store_listener import StoreListener
from weft.coordinator.store.store_refusals import tell_lost
from weft.rpc import refusals
from weft.rpc.errors import Unavailable
from weft.rpc.process.logs import get_logger

log = get_logger(__name__)

T = TypeVar("T")

# A coordinator gets no events any more if it has not polled for so long.
_PRESENT_S = 10
# How long the attempts of a claim are kept for an undo: until then it is known whether the answer was lost.
CLAIM_KEPT_S = 60
_RETRY_AFTER_S = 1.0
_CLOSE_TRIES = 3
# Report a task as lost if two reads at least so long apart do not find it: it may be on its way to Redis.
_LOST_S = 1.0
# Queues in one answer of a poll.
_LOOK_QUEUES = 1000
# Tasks with subscribers that are read again at a time: each may have a large outcome.
_READ_TASKS = 32


class RedisLink:
    """The link. `await open()` before anything else. Large because it has a method for each way in which changes come.

    Args:
        clock: seconds since the epoch, for tests; None: Redis' own.
        poll_s: mean interval between two polls.
    """

    def __init__(
        self,
        client: Client,
        keys: RedisKeys,
        scripts: Scripts,
        listener: StoreListener,
        rng: random.Random,
        *,
        clock: Callable[[], float] | None,
        poll_s: float,
    ) -> None:
        self.client = client
        self.keys = keys
        self.scripts = scripts
        self.listener = listener
        self.writable = True
        self.unfinished = 0
        self.ready = ReadyDepths()
        self.paused: frozenset[str] = frozenset()
        # Methods with run limits.
        self.limited: frozenset[str] = frozenset()
        self.activity = RedisActivity(poll_s, time.monotonic())
        # Claims whose answers were lost.
        self.in_doubt: list[str] = []
        self._refusals = Refusals()
        self._rng = rng
        self._clock = RedisClock(clock)
        # Redis' clock, estimated.
        self.now = self._clock.now
        self._poll_s = poll_s
        # Known versions of fleet, catalogue and run limits; of `paused`; of `limited`; and of the queues.
        self.versions: list[int] = [0, 0, 0]
        self._pauses = self._rulings = -1
        self._revision = 0
        # The last revision of rows whose changes were told.
        self._rows = -1
        # Grows when Redis was away or an event may be lost: everything read before may be stale.
        self.outages = 0
        # Events may have been lost.
        self._missed = False
        # Tasks with subscribers that were not found, and since when, by the monotonic clock.
        self._absent: dict[str, float] = {}
        self._closing = False
        self._look = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._pubsub: Any = None
        self.posts = keys("posts")

    async def open(self) -> None:
        """Read the present state, and begin to listen."""
        # The first script loads all of them: a look that waits for that tells the time badly.
        await self.run("fence", [])
        await self._refresh()
        self._pubsub = self.client.pubsub()
        for channel in (self.keys.of("events", str(self.scripts.coordinator)), self.posts):
            await self._pubsub.subscribe(channel)
            # Wait for the confirmation: another one will mean a new subscription.
            await self._pubsub.get_message(timeout=STEP_S)
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._poll(), name="redis-poll"),
            loop.create_task(self._listen(), name="redis-events"),
        ]

    async def close(self) -> None:
        """Stop listening and close. Each step is bounded in time."""
        self._closing = True
        async with contextlib.AsyncExitStack() as steps:
            # Also when this is cancelled: nobody else closes the connections.
            for close in (self.client.aclose, self._pubsub.aclose, self.scripts.close):
                steps.push_async_callback(bounded, close)
            for _ in range(_CLOSE_TRIES):
                if not (running := [each for each in self._tasks if not each.done()]):
                    break
                # Repeated, because the client may have swallowed a cancellation.
                for each in running:
                    each.cancel()
                await asyncio.wait(running, timeout=STEP_S)
            await bounded(lambda: self.run("absent", []))

    def _stopping(self) -> bool:
        """Whether this task must end. The client may have swallowed its cancellation while it dialled."""
        task = asyncio.current_task()
        return self._closing or (task is not None and task.cancelling() > 0)

    # -- asking ---------------------------------------------------------------------------------------------------

    async def run(self, script: str, request: Any, outcomes: Mapping[str, bytes] | None = None) -> Any:
        """Run a script and tell its changes; returns its result.

        Args:
            outcomes: outcomes in the request, by task id: they need not be read back.

        Raises:
            Unavailable: Redis cannot be reached, or refuses.
        """
        reply: Reply = await self.ask(script, self.scripts.run(script, request))
        await self.tell(reply, outcomes or {})
        return reply.result

    async def ask(self, what: str, asked: Awaitable[T]) -> T:
        """Wait for an answer of Redis.

        Args:
            what: the script, or the kind of read, for the log.

        Raises:
            Unavailable: no answer, or a refusal.
        """
        self.activity.asks(what, time.monotonic())
        try:
            answer = await asked
        except (RedisError, OSError) as error:
            refused = refusal(error)
            if refused:
                self._refusals.add(what, refused)
                raise refusals.store_unavailable(
                    f"the store refuses: {refused}", retry_after_s=_RETRY_AFTER_S
                ) from error
            await self._note_unavailable(error)
            raise self.unavailable() from error
        self._refusals.over(what)
        self.activity.answered_at_s = time.monotonic()
        return answer

    async def read(self, what: str, asked: Awaitable[T]) -> T:
        """Wait for a read; with `replicated`, until a replica has everything that was read.

        Raises:
            Unavailable: no answer, or a refusal.
        """
        found = await self.ask(what, asked)
        if self.scripts.replicated:
            await self.run("fence", [])
        return found

    async def _note_unavailable(self, error: Exception) -> None:
        if self.writable:
            log.warning("store.unavailable", error=str(error) or type(error).__name__)
        self.writable = False
        with contextlib.suppress(RedisError, OSError):
            # The other connections are dead too, and each would fail once.
            await self.client.connection_pool.disconnect(inuse_connections=False)

    def _note_available(self) -> None:
        """A write succeeded. A read does not show that Redis takes writes."""
        if not self.writable:
            log.info("store.available")
            self.writable = True
            self.reread_all()
            self.listener.ready()

    def reread_all(self) -> None:
        """Changes may have been missed, or lost with a server: read everything again."""
        self._missed = True
        self._revision, self._pauses, self._rows, self._rulings = 0, -1, -1, -1
        self.outages += 1
        self._look.set()

    @staticmethod
    def unavailable() -> Unavailable:
        return refusals.store_unavailable(
            "the store cannot be reached at the moment", retry_after_s=_RETRY_AFTER_S
        )

    async def tell(self, reply: Reply, outcomes: Mapping[str, bytes]) -> None:
        """Tell the listener the changes of a script."""
        if reply.changed:
            self._note_available()
        self.unfinished = reply.unfinished
        self.scripts.figures.add(reply.tally)
        self.ready.set(reply.depths)
        self._revoke(reply.revoked)
        if reply.woke:
            self.listener.ready()
        if reply.due_at is not False:
            self.listener.due(reply.due_at)
        if reply.kinds:
            self.rows_changed(kind.decode() for kind in reply.kinds)
        for raw_id, raw in reply.changed:
            task_id = raw_id.decode()
            if not isinstance(raw, bytes) or not self.listener.has_subscriber(task_id, ended=True):
                continue
            record = record_of(raw)
            if not self._has_subscriber(task_id, State(record["s"])):
                continue
            outcome = outcomes.get(task_id)
            if "o" in record and outcome is None:
                outcome = await self.ask("outcome", self.client.get(self.keys.of("o", task_id)))
            self.listener.changed(task(task_id, record, body=None, outcome=outcome))

    def _has_subscriber(self, task_id: str, state: State) -> bool:
        return state.terminal or self.listener.has_subscriber(task_id, ended=False)

    def _revoke(self, revoked: Sequence[Sequence[Any]]) -> None:
        for agent, epoch, task_id, attempt, reason, grace_s, lost in revoked:
            owner, ref = Owner(agent.decode(), epoch), AttemptRef(task_id.decode(), attempt)
            self.listener.revoked(owner, ref, reason.decode(), float(grace_s), lost=lost)

    def rows_changed(self, kinds: Iterable[str]) -> None:
        """Tell the listener which rows have changed. The next poll tells it once more: it may have missed another change."""
        for kind in kinds:
            self.listener.rows_changed(kind)

    # -- hearing --------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Listen to the changes of other coordinators' scripts."""
        while not self._stopping():
            try:
                async for message in self._pubsub.listen():
                    if message["type"] != "message":
                        # A new subscription: earlier events may be lost.
                        self.reread_all()
                    elif message["channel"] == self.posts.encode():
                        self.listener.posted(message["data"])
                    else:
                        await self._on_event(*unpack(message["data"]))
            except (RedisError, OSError, Unavailable):
                # The client takes the connection for whole, and would fail for ever. On another it subscribes again by itself.
                with contextlib.suppress(RedisError, OSError):
                    await self._pubsub.connection.disconnect(nowait=True)
                self.reread_all()
                await asyncio.sleep(self._poll_s * (0.5 + self._rng.random()))
            except Exception:
                log.exception("store.event_failed")

    async def _on_event(
        self, ids: Any, depths: Any, revoked: Any, woke: bool, row_kinds: Any = False
    ) -> None:
        self.ready.set(depths)
        if row_kinds:
            self.rows_changed({kind.decode() for kind in row_kinds})
        self._revoke(revoked)
        if woke:
            self._look.set()
            self.listener.ready()
        await self._reread([raw.decode() for raw in ids])

    async def _reread(self, task_ids: Iterable[str]) -> list[str]:
        """Read the tasks among these that have a subscriber here, and tell their state. Returns those that are not there."""
        absent: list[str] = []
        wanted = [task_id for task_id in task_ids if self.listener.has_subscriber(task_id, ended=True)]
        for at in range(0, len(wanted), _READ_TASKS):
            some = wanted[at : at + _READ_TASKS]
            records = await self.read("tasks", task_reads.read(self.client, self.keys, some, payloads=False))
            for task_id, record in zip(some, records, strict=True):
                if record is None:
                    absent.append(task_id)
                elif self._has_subscriber(task_id, record.state):
                    # By its count of responses, each subscriber reads on from its own position.
                    self.listener.changed(record)
        return absent

    # -- looking --------------------------------------------------------------------------------------------------

    async def _poll(self) -> None:
        """Poll for missed changes, and for whether Redis is there."""
        while not self._stopping():
            pending = bool(self.unfinished or self.ready or self.in_doubt or self._missed or self._absent)
            mean_s = self.activity.poll_s(time.monotonic(), pending=pending or not self.writable)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(mean_s * (0.5 + self._rng.random())):
                    await self._look.wait()
            self._look.clear()
            try:
                await self._refresh()
            except Unavailable:
                continue
            except Exception:
                log.exception("store.poll_failed")
                continue
            if self.ready:
                self.listener.ready()

    async def _refresh(self) -> None:
        depths: dict[QueueKey, int] = {}
        ranks: dict[QueueKey, Sequence[int]] = {}
        versions = self.versions
        more, anew, missed = True, False, False
        while more:
            began_at = time.time()
            asked = [_PRESENT_S, self._pauses, self._revision, _LOOK_QUEUES, self._rows, self._rulings]
            found = await self.run("look", asked)
            new, now, *versions, pauses, paused, limited, revision, again, more, moved, rows, kinds = found
            self._clock.seen(now, began_at)
            missed, anew = missed or bool(new), anew or bool(again)
            if paused is not False:
                self.paused = frozenset(method.decode() for method in paused or ())
            if limited is not False:
                self.limited = frozenset(method.decode() for method in limited or ())
            self._pauses, self._revision, self._rows, self._rulings = pauses, revision, rows, versions[-1]
            self.rows_changed([kind.decode() for kind in kinds or ()])
            for name, queued, *by_rank in moved or ():
                key = queue_key(name.decode())
                depths[key] = queued
                if by_rank:
                    ranks[key] = by_rank[0]
        self.ready.looked(depths, ranks, anew=anew)
        self._missed = self._missed or missed
        self._note_available()
        while self.in_doubt:
            taken_back = await self.run("undo", [self.in_doubt[0], CLAIM_KEPT_S])
            self.in_doubt.pop(0)
            log.warning("claim.undone", count=taken_back)
        if versions != self.versions:
            self.versions = versions
            self.listener.fleet_changed()
        if self._missed or self._absent:
            await self._reread_missed()

    async def _reread_missed(self) -> None:
        """Read tasks whose changes may have been missed, and tasks that were not found. Since then scripts have run: a task on
        its way to Redis has arrived, or its sender got an error."""
        missed, self._missed = self._missed, False
        try:
            absent = await self._reread(self.listener.subscribed_tasks() if missed else self._absent)
        except Unavailable:
            self._missed = missed
            raise
        now_s = time.monotonic()
        since = {task_id: self._absent.get(task_id, now_s) for task_id in absent}
        lost = [task_id for task_id, since_s in since.items() if now_s - since_s >= _LOST_S]
        self._absent = {task_id: since_s for task_id, since_s in since.items() if task_id not in lost}
        if lost:
            log.error("store.tasks_lost", count=len(lost), task_id=lost[0])
            tell_lost(self.listener, lost)
