"""The claimable tasks: for each queue a heap per priority, by age.

An item is a task's number. It is stale if its task is not QUEUED any more, or in another queue. Stale items are dropped when
they surface, so a claim need not remove anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterator
from heapq import heapify, heappop, heappush, heapreplace
from weakref import WeakValueDictionary

from weft.coordinator.store.records import Submission
from weft.coordinator.store.rules import ANY_AGENT, HIGHEST_PRIORITY, QueueKey

# Whether a task with this number may be claimed from this queue now.
Claimable = Callable[[int, "ReadyQueue"], bool]


class ReadyQueue:
    """One queue: its ready tasks in order, and the count of its tasks in each state."""

    __slots__ = ("__weakref__", "heaps", "held_back", "items", "key", "ready", "running", "scheduled")

    def __init__(self, key: QueueKey) -> None:
        self.key = key
        self.heaps: list[list[int]] = [[] for _ in range(HIGHEST_PRIORITY + 1)]
        # Items in the heaps, including stale ones.
        self.items = 0
        self.ready = 0
        self.held_back = 0
        self.scheduled = 0
        self.running = 0

    @property
    def unfinished(self) -> int:
        return self.ready + self.held_back + self.scheduled + self.running

    def push(self, priority: int, number: int) -> None:
        heappush(self.heaps[HIGHEST_PRIORITY - priority], number)
        self.items += 1

    def best(self, claimable: Claimable) -> tuple[int, int] | None:
        """The (rank, number) of the task to claim next. It stays in its heap until it is not claimable any more."""
        if not self.ready:
            return None
        for rank, heap in enumerate(self.heaps):
            while heap:
                if claimable(heap[0], self):
                    return rank, heap[0]
                heappop(heap)
                self.items -= 1
        return None

    def oldest(self, claimable: Claimable) -> Iterator[int]:
        """The oldest ready task of each priority that has one."""
        for heap in self.heaps:
            while heap and not claimable(heap[0], self):
                heappop(heap)
                self.items -= 1
            if heap:
                yield heap[0]

    def tidy(self, claimable: Claimable) -> None:
        """Drop stale items if they are the majority: cancelled tasks may never surface."""
        if self.items <= 2 * self.ready + 1024:
            return
        self.heaps = [sorted({number for number in heap if claimable(number, self)}) for heap in self.heaps]
        self.items = sum(map(len, self.heaps))


class Backlog:
    """All queues. A queue without unfinished tasks is forgotten when nothing refers to it."""

    def __init__(self, claimable: Claimable) -> None:
        self._claimable = claimable
        self._known: WeakValueDictionary[QueueKey, ReadyQueue] = WeakValueDictionary()
        # Queues with unfinished tasks.
        self.active: dict[QueueKey, ReadyQueue] = {}
        # Active queues by their requirements, if any, and the number of such sets by method.
        self._sets: Counter[QueueKey] = Counter()
        self._widths: Counter[str] = Counter()
        self.paused: set[str] = set()

    def queue(self, key: QueueKey) -> ReadyQueue:
        """The queue of a key."""
        queue = self._known.get(key)
        if queue is None:
            queue = self._known[key] = ReadyQueue(key)
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

    def ranked(self, keys: Container[QueueKey]) -> Iterator[int]:
        """Ready tasks of these queues, best first. The caller must claim each task before it takes the next."""
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
            return
        heads = [
            (*best, at) for at, queue in enumerate(queues) if (best := queue.best(claimable)) is not None
        ]
        heapify(heads)
        while heads:
            _, number, at = heads[0]
            yield number
            best = queues[at].best(claimable)
            if best is None:
                heappop(heads)
            else:
                heapreplace(heads, (*best, at))
