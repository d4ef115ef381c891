"""The common parts of store tests: a clock that is moved by hand, a listener that records events, and short calls.

Nothing here or in `conformance` knows which store it tests: a `StoreFactory` opens one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from google.rpc import code_pb2, error_details_pb2

from weft.coordinator.store.base import Store
from weft.coordinator.store.paging import ListFilter
from weft.coordinator.store.queue_moves import LeftQueue
from weft.coordinator.store.records import (
    AttemptRef,
    AttemptReport,
    Claimed,
    ClaimRequest,
    Enqueued,
    Owner,
    ProgressItem,
    ProgressRow,
    ProgressVerdict,
    Submission,
    SweepReport,
    TaskRecord,
    Verdict,
)
from weft.coordinator.store.rules import QueueKey, Requirements, State
from weft.rpc import errors
from weft.v1 import task_pb2

METHOD = "acme.v1.Analyst/Analyze"
OTHER_METHOD = "acme.v1.Analyst/Summarize"


class ManualClock:
    """Seconds since the epoch, moved by hand."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now

    def __call__(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds


@dataclass
class Revoked:
    owner: Owner
    ref: AttemptRef
    reason: str
    grace_s: float
    lost: bool


@dataclass
class RecordingListener:
    """Remembers what it is told; follows every task unless `followed` names some."""

    followed: set[str] | None = None
    room: bool = True
    ready_calls: int = 0
    changes: list[TaskRecord] = field(default_factory=list)
    rows: list[tuple[str, ProgressRow]] = field(default_factory=list)
    revocations: list[Revoked] = field(default_factory=list)
    # When the store asked to be swept.
    dues: list[float] = field(default_factory=list)
    changed_kinds: list[str] = field(default_factory=list)
    posts: list[bytes] = field(default_factory=list)

    def ready(self) -> None:
        self.ready_calls += 1

    def due(self, at: float) -> None:
        self.dues.append(at)

    def fleet_changed(self) -> None:
        pass

    def rows_changed(self, kind: str) -> None:
        self.changed_kinds.append(kind)

    def posted(self, message: bytes) -> None:
        self.posts.append(message)

    def waits_for(self, queue: QueueKey, *, paused: bool) -> str:
        avoided = f", not {queue.avoid}" if queue.avoid else ""
        return f"an agent for {str(queue.requirements) or 'it'}{avoided}{', paused' if paused else ''}"

    def has_room(self, queue: QueueKey) -> bool:
        return self.room

    def has_subscriber(self, task_id: str, *, ended: bool) -> bool:
        return self.followed is None or task_id in self.followed

    def subscribed_tasks(self) -> Sequence[str]:
        return [] if self.followed is None else sorted(self.followed)

    def changed(self, record: TaskRecord) -> None:
        self.changes.append(record)

    def progressed(self, task_id: str, rows: Sequence[ProgressRow]) -> None:
        self.rows += [(task_id, row) for row in rows]

    def revoked(self, owner: Owner, ref: AttemptRef, reason: str, grace_s: float, *, lost: bool) -> None:
        self.revocations.append(Revoked(owner, ref, reason, grace_s, lost))

    def states(self, task_id: str) -> list[State]:
        """The states that a task was seen in, in order."""
        return [record.state for record in self.changes if record.task_id == task_id]


class Harness:
    """An open store, and short ways to say what tests say often."""

    def __init__(self, store: Store, clock: ManualClock, listener: RecordingListener) -> None:
        self.store = store
        self.clock = clock
        self.listener = listener

    async def submit(self, submission: Submission | None = None) -> str:
        return (await self.submit_many([submission or Submission(METHOD)]))[0]

    async def submit_many(self, submissions: Sequence[Submission]) -> list[str]:
        results = await self.store.enqueue(submissions)
        assert all(isinstance(result, Enqueued) for result in results)
        return [result.task_id for result in results]

    async def agent(self, agent_id: str = "a", lease_s: float = 10.0, instance_id: str = "instance") -> Owner:
        """A new session of an agent that holds nothing yet."""
        return Owner(agent_id, await self.store.register(agent_id, instance_id, b"about it", lease_s))

    async def adopt(
        self, owner: Owner, held: Sequence[tuple[AttemptRef, int]], *, last: bool = True
    ) -> list[bool]:
        """Whether each attempt was adopted."""
        return [queue is not None for queue in await self.store.adopt(owner, held, last=last)]

    async def claim(
        self,
        owner: Owner,
        limit: int = 1,
        *,
        methods: Sequence[str] = (METHOD,),
        requirements: Requirements | None = None,
    ) -> Sequence[Claimed]:
        bases = {QueueKey(method, requirements or Requirements()) for method in methods}
        # Retries of its own too: this agent is the only one.
        keys = {*bases, *(key for key in self.store.ready_depths() if key.base in bases)}
        request = ClaimRequest(owner, dict.fromkeys(keys, 1), slots=limit, limit=limit)
        return (await self.store.claim([request]))[0]

    async def claim_all(self, owner: Owner, limit: int = 10_000, **left: float) -> list[Claimed]:
        """Claim from every ready queue until nothing more is given out. `left`: amounts of the owner's resources."""
        claimed: list[Claimed] = []
        for _ in range(10_000):
            room, told = limit - len(claimed), self.listener.ready_calls
            keys = dict.fromkeys(self.store.ready_depths(), 1)
            (claims,) = await self.store.claim([ClaimRequest(owner, keys, room, room, left)])
            claimed += claims
            if not claims and self.listener.ready_calls == told:
                return claimed
        raise AssertionError("claims do not end")

    async def claim_one(self, owner: Owner) -> Claimed:
        (claimed,) = await self.claim(owner)
        return claimed

    async def end(
        self,
        claimed: Claimed,
        code: int = code_pb2.OK,
        *,
        outcome: bytes = b"outcome",
        retry_after_s: float | None = None,
        crashed: bool = False,
        final: bool = False,
    ) -> Verdict:
        """Report a claimed attempt's end as its owner."""
        report = AttemptReport(
            claimed.owner, claimed.task_id, claimed.attempt, code, outcome, retry_after_s, crashed, final
        )
        return (await self.store.complete([report]))[0]

    async def stream(
        self, claimed: Claimed, index: int, payload: bytes = b"item", headers: bytes = b""
    ) -> ProgressVerdict:
        item = ProgressItem(claimed.owner, claimed.task_id, claimed.attempt, index, payload, headers)
        return (await self.store.progress([item]))[0]

    async def cancel(self, task_id: str, grace_s: float = 5.0) -> TaskRecord | None:
        return (await self.store.cancel([task_id], "not needed", grace_s))[0]

    async def leave(self, queue: QueueKey, portion: int = 2) -> int:
        """Let tasks leave a queue that nobody serves, in portions; how many have."""
        moved, left = 0, LeftQueue(0, 0)
        while left.next_at is not None:
            left = await self.store.leave_queue(queue, left.next_at, portion)
            moved += left.moved
        return moved

    async def record(self, task_id: str) -> TaskRecord:
        (record,) = await self.store.get([task_id])
        assert record is not None
        return record

    async def state(self, task_id: str) -> State:
        return (await self.record(task_id)).state

    async def find(self, where: ListFilter | None = None, limit: int = 100) -> list[str]:
        """The ids that a listing gives, over all its pages."""
        found: list[str] = []
        cursor = ""
        for _ in range(1000):
            page = await self.store.list_tasks(where or ListFilter(), limit=limit, cursor=cursor)
            found += [record.task_id for record in page.records]
            cursor = page.cursor
            if not cursor:
                return found
        raise AssertionError("the listing does not end")

    async def sweep(self) -> SweepReport:
        return await self.store.sweep(1000)

    async def pass_time(self, seconds: float) -> SweepReport:
        """Let time pass and do what it brings; the sum of what was done."""
        self.clock.advance(seconds)
        total = SweepReport()
        for _ in range(100):
            report = await self.sweep()
            total = SweepReport(
                total.promoted + report.promoted,
                total.expired + report.expired,
                total.reclaimed + report.reclaimed,
                total.forgotten + report.forgotten,
                [*total.lost_owners, *report.lost_owners],
                report.next_due_at,
            )
            if report.next_due_at is None or report.next_due_at > self.clock():
                return total
        raise AssertionError("there is always more to sweep")


class StoreFactory(Protocol):
    """Opens a store on empty data, with a clock that tests move."""

    clock: ManualClock
    # Whether the store forgets with its process who runs what, and who is connected. It then holds back what may be
    # running until the agents have said so, or a grace has passed.
    forgets_claims: bool

    async def open(self) -> Harness:
        """A store with nothing in it."""
        ...

    async def reopen(self, harness: Harness, *, crash: bool) -> Harness:
        """The store as it is found after its process has stopped, orderly or by a crash."""
        ...

    async def close(self) -> None:
        """Let go of everything that was opened."""
        ...


def ref(claimed: Claimed) -> AttemptRef:
    return AttemptRef(claimed.task_id, claimed.attempt)


def error_of(record: TaskRecord) -> errors.WeftError:
    """The error in a task's outcome."""
    outcome = task_pb2.Outcome.FromString(record.outcome)
    return errors.from_status(outcome.status)


def reason_of(record: TaskRecord) -> tuple[str, dict[str, str]]:
    """Reason and metadata of a task's outcome."""
    outcome = task_pb2.Outcome.FromString(record.outcome)
    info = errors.error_info(outcome.status)
    assert isinstance(info, error_details_pb2.ErrorInfo)
    return info.reason, dict(info.metadata)
