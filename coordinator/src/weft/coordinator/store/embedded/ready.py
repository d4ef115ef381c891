"""The claimable tasks: for each queue a heap per priority, by age.

An item is a task's number; in a queue with fairness keys, with its tag in the bits above (`fairness`). It is stale if its task
is not QUEUED any more, or in another queue. Stale items are dropped when they surface, so a claim need not remove anything.
Tasks that are parked at a gate are not here (`gate`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterator
from collections.abc import Set as AbstractSet
from heapq import heapify, heappop, heappush, heapreplace
from weakref import WeakValueDictionary

from weft.coordinator.store.embedded.task_demand import TaskDemand
from weft.coordinator.store.fairness import FairOrder
from weft.coordinator.store.records import Submission
from weft.coordinator.store.rules import ANY_AGENT, HIGHEST_PRIORITY, QueueKey
from weft.coordinator.store.task_figures import MethodFigures, StoreFigures

# Whether a task with this number may be claimed from this queue now.
Claimable = Callable[[int, "ReadyQueue"], bool]
# An item without its tag: numbers have 63 bits.
_TAG_SHIFT = 64
NUMBER_MASK = (1 << _TAG_SHIFT) - 1


class ReadyQueue:
    """One queue: its ready tasks in order, and the count of its tasks in each state."""

    __slots__ = (
        "__weakref__",
        "consumes",
        "counts",
        "fair",
        "heaps",
        "held_back",
        "items",
        "key",
        "parked",
        "ready",
        "running",
        "scheduled",
    )

    def __init__(self, key: QueueKey, figures: MethodFigures) -> None:
        self.key = key
        # What happened to tasks of its method, by TaskEvent.
        self.counts = figures.counts
        self.heaps: list[list[int]] = [[] for _ in range(HIGHEST_PRIORITY + 1)]
        # Items in the heaps, including stale ones.
        self.items = 0
        self.ready = 0
        # At gates.
        self.parked = 0
        self.held_back = 0
        self.scheduled = 0
        self.running = 0
        # Names of the resources that its tasks use while they run.
        self.consumes = frozenset(name for name, _ in key.requirements.consumes)
        # The order of its fairness keys, by rank. None: its ready tasks have none, and no tags.
        self.fair: dict[int, FairOrder] | None = None

    @property
    def unfinished(self) -> int:
        return self.ready + self.parked + self.held_back + self.scheduled + self.running

    def add(self, rank: int, number: int, demand: TaskDemand | None = None, *, front: bool = False) -> None:
        """A task becomes ready, with a tag if the queue has fairness keys. `front`: before all others of its rank."""
        if demand is not None or self.fair is not None:
            number |= self._tag(rank, demand, front=front) << _TAG_SHIFT
        self.ready += 1
        self.items += 1
        heappush(self.heaps[rank], number)

    def _tag(self, rank: int, demand: TaskDemand | None, *, front: bool) -> int:
        key, weight = ("", 1.0) if demand is None else (demand.fairness_key, demand.fairness_weight)
        if not self.ready and not self.parked:
            # Nobody waits: nobody is ahead of another.
            self.fair = None
        if self.fair is None:
            if not key:
                return 0
            self.fair = {}
        order = self.fair.setdefault(rank, FairOrder())
        return order.virtual if front else order.tag(key, weight)

    def claimed(self, rank: int) -> None:
        """The first task of a rank is being claimed."""
        if self.fair is not None and (order := self.fair.get(rank)) is not None:
            order.claimed(self.heaps[rank][0] >> _TAG_SHIFT)

    def take(self, rank: int) -> int:
        """Remove the first item of a rank, whose task is ready."""
        self.items -= 1
        return heappop(self.heaps[rank])

    def put_back(self, rank: int, item: int) -> None:
        """Return the item of a task that was parked to its place."""
        self.ready += 1
        self.items += 1
        heappush(self.heaps[rank], item)

    def best(self, claimable: Claimable) -> tuple[int, int] | None:
        """The (rank, number) of the task to claim next. It stays in its heap until it is not claimable any more."""
        if not self.ready:
            return None
        for rank, heap in enumerate(self.heaps):
            while heap:
                number = heap[0]
                if self.fair is not None:
                    number &= NUMBER_MASK
                if claimable(number, self):
                    return rank, number
                heappop(heap)
                self.items -= 1
        return None

    def oldest(self, claimable: Claimable) -> Iterator[int]:
        """The first ready task of each priority that has one: the oldest one if no task has a fairness key."""
        for heap in self.heaps:
            while heap and not claimable(heap[0] & NUMBER_MASK, self):
                heappop(heap)
                self.items -= 1
            if heap:
                yield heap[0] & NUMBER_MASK

    def tidy(self, claimable: Claimable) -> None:
        """Drop stale items if they are the majority: cancelled tasks may never surface."""
        if self.items <= 2 * self.ready + 1024:
            return
        self.heaps = [
            sorted({item for item in heap if claimable(item & NUMBER_MASK, self)}) for heap in self.heaps
        ]
        self.items = sum(map(len, self.heaps))


class Backlog:
    """All queues. A queue without unfinished tasks is forgotten when nothing refers to it."""

    def __init__(self, claimable: Claimable, figures: StoreFigures) -> None:
        self._claimable = claimable
        self._figures = figures
        self._known: WeakValueDictionary[QueueKey, ReadyQueue] = WeakValueDictionary()
        # Queues with unfinished tasks.
        self.active: dict[QueueKey, ReadyQueue] = {}
        # Active queues by their requirements, if any, and the number of such sets by method.
        self._sets: Counter[QueueKey] = Counter()
        self._widths: Counter[str] = Counter()
        self.paused: set[str] = set()
        # Whether tasks may use resources while they run.
        self.consuming = False

    def queue(self, key: QueueKey) -> ReadyQueue:
        """The queue of a key."""
        queue = self._known.get(key)
        if queue is None:
            queue = self._known[key] = ReadyQueue(key, self._figures.of(key.method))
            self.consuming |= bool(queue.consumes)
        return queue

    def open(self, queue: ReadyQueue) -> None:
        """The queue has an unfinished task."""
        key = queue.key
        if key not in self.active:
            self.active[key] = queue
            if key.requirements is not ANY_AGENT:
                self._count(key.base, 1)

    def close(self, queue: ReadyQueue) -> None:
        """The queue has no unfinished task. Does nothing if it is closed."""
        key = queue.key
        if self.active.pop(key, None) is not None and key.requirements is not ANY_AGENT:
            self._count(key.base, -1)

    def _count(self, base: QueueKey, by: int) -> None:
        if base.requirements == ANY_AGENT:
            return
        self._sets[base] += by
        if self._sets[base] == (by > 0):
            self._widths[base.method] += by
        if not self._sets[base]:
            del self._sets[base]
        if not self._widths[base.method]:
            del self._widths[base.method]

    def is_full(self, submission: Submission, limit: int) -> bool:
        """Whether a task would bring one set of requirements more than its method may have."""
        if self._widths.get(submission.method, 0) < limit or submission.requirements == ANY_AGENT:
            return False
        return QueueKey(submission.method, submission.requirements) not in self._sets

    def ready_depths(self) -> dict[QueueKey, int]:
        """Ready tasks by queue, without paused methods."""
        paused = self.paused
        return {
            key: queue.ready
            for key, queue in self.active.items()
            if queue.ready and not (paused and key.method in paused)
        }

    def ahead(self, key: QueueKey, priority: int) -> int:
        """Ready tasks of a queue with this priority or a higher one, with stale ones."""
        queue = self.active.get(key)
        if queue is None or not queue.ready:
            return 0
        return min(queue.ready, sum(map(len, queue.heaps[: HIGHEST_PRIORITY - priority + 1])))

    def ranked(self, keys: Container[QueueKey], closed: AbstractSet[str] = frozenset()) -> Iterator[int]:
        """Ready tasks of these queues, best first. The caller must claim or park each task before it takes the next.

        Args:
            closed: resources; the caller may add to them. Queues that consume one of these are left out.
        """
        paused, claimable = self.paused, self._claimable
        queues = [
            queue
            for key, queue in self.active.items()
            if queue.ready and key in keys and not (paused and key.method in paused)
        ]
        if len(queues) == 1:
            queue = queues[0]
            while (best := queue.best(claimable)) is not None:
                yield best[1]
                if closed and not closed.isdisjoint(queue.consumes):
                    return
            return
        heads = [
            (*best, at) for at, queue in enumerate(queues) if (best := queue.best(claimable)) is not None
        ]
        heapify(heads)
        while heads:
            _, number, at = heads[0]
            if closed and not closed.isdisjoint(queues[at].consumes):
                heappop(heads)
                continue
            yield number
            best = queues[at].best(claimable)
            if best is None:
                heappop(heads)
            else:
                heapreplace(heads, (*best, at))
