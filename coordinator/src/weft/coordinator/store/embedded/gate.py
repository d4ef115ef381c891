"""Gates: how many attempts they let start, and the tasks that are parked at them.

A gate knows tasks by number. `gate_table` decides who passes, parks and returns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from heapq import heapify, heappop, heappush

from weft.coordinator.store import run_limits
from weft.coordinator.store.embedded.ready import NUMBER_MASK, ReadyQueue
from weft.coordinator.store.run_limits import MAX_PARKED, GateKey, RunLimitRule

NEVER = float("inf")
# An item of a queue's heap has tag and number in the bits below.
_RANK_SHIFT = 128
_ITEM_MASK = (1 << _RANK_SHIFT) - 1


class Lot:
    """The tasks of one queue that are parked at a gate; at a lock, shared and exclusive claims apart. Best first.

    Its heap may hold stale items: the tasks of these have ended, or are parked elsewhere.
    """

    __slots__ = ("gate", "heap", "parked", "queue", "returned", "shared")

    def __init__(self, gate: Gate, queue: ReadyQueue, *, shared: bool) -> None:
        self.gate = gate
        self.queue = queue
        self.shared = shared
        self.heap: list[int] = []
        self.parked = 0
        # Tasks that have returned to the queue from here, and are ready still.
        self.returned = 0

    def push(self, rank: int, item: int) -> None:
        heappush(self.heap, (rank << _RANK_SHIFT) | item)
        self.parked += 1

    def pop(self) -> tuple[int, int]:
        """Rank and item of the best one."""
        entry = heappop(self.heap)
        return entry >> _RANK_SHIFT, entry & _ITEM_MASK

    @staticmethod
    def number(entry: int) -> int:
        return entry & NUMBER_MASK

    @property
    def first(self) -> int:
        """The number of the best one."""
        return self.heap[0] & NUMBER_MASK


class TaskGates:
    """What a task has to do with gates; only tasks that met one have it."""

    __slots__ = ("counted", "lot", "parked", "taken")

    def __init__(self) -> None:
        # Where it is parked, or where it has returned from while it is ready.
        self.lot: Lot | None = None
        self.parked = False
        # While it runs.
        self.taken: tuple[Gate, ...] = ()
        # Limits that count it among their unfinished tasks.
        self.counted: tuple[LimitGate, ...] = ()


class Gate(ABC):
    """A gate. `lots`: with parked tasks, or with ones that have returned."""

    __slots__ = ("key", "lots")

    def __init__(self, key: GateKey) -> None:
        self.key = key
        self.lots: dict[tuple[ReadyQueue, bool], Lot] = {}

    def lot(self, queue: ReadyQueue, *, shared: bool) -> Lot:
        found = self.lots.get((queue, shared))
        if found is None:
            found = self.lots[queue, shared] = Lot(self, queue, shared=shared)
        return found

    @property
    def waiting(self) -> int:
        """Tasks that are parked here, or have returned from here and did not start yet."""
        return sum(lot.parked + lot.returned for lot in self.lots.values())

    @property
    def next_at(self) -> float:
        """When time alone gives it room."""
        return NEVER

    @property
    @abstractmethod
    def idle(self) -> bool:
        """Whether it may be forgotten: a new one would be the same."""

    @abstractmethod
    def has_room(self, number: int, now: float, *, shared: bool) -> bool:
        """Whether this task may start."""

    @abstractmethod
    def room_for(self, lot: Lot) -> int:
        """How many tasks may be back from a lot now, if its best one returns next. As of the last look at the time."""

    @abstractmethod
    def take(self, number: int, *, shared: bool, starts: bool) -> None:
        """A task runs, whether or not there is room. `starts`: its attempt starts now, and was not adopted."""

    @abstractmethod
    def leave(self, number: int) -> None:
        """A task does not run any more."""

    def parks(self, number: int, *, shared: bool) -> None:  # noqa: B027  # most gates need not know
        """A task is parked here."""

    def unparks(self, number: int, *, shared: bool) -> None:  # noqa: B027  # most gates need not know
        """A task is not parked here any more."""


class LimitGate(Gate):
    """One value of a run limit's key."""

    __slots__ = ("at", "indexed_at", "members", "rule", "running", "tokens")

    def __init__(self, key: GateKey, rule: RunLimitRule, tokens: float, now: float) -> None:
        super().__init__(key)
        # None: the rule is gone, and parked tasks are on their way back.
        self.rule: RunLimitRule | None = rule
        self.running = 0
        self.tokens = tokens
        self.at = now
        # Its valid time in the index.
        self.indexed_at = NEVER
        # Unfinished tasks whose cancellation was not requested, oldest first; empty if the rule does not count them.
        self.members: dict[int, None] = {}

    def refresh(self, now: float) -> None:
        """Look at the time: tokens may have come."""
        if self.rule is not None and self.rule.rate_per_s:
            self.tokens = run_limits.tokens_at(self.rule, self.tokens, self.at, now)
            self.at = now

    def change(self, rule: RunLimitRule | None, now: float) -> None:
        """The rule was replaced."""
        self.refresh(now)
        had_rate = self.rule is not None and self.rule.rate_per_s
        self.rule = rule
        if rule is None or not rule.counts_unfinished:
            self.members = {}
        if rule is not None:
            self.tokens = min(self.tokens, rule.bucket_size) if had_rate else rule.bucket_size
            self.at = now

    def refund(self) -> None:
        """An attempt never started."""
        if self.rule is not None:
            self.tokens = min(self.rule.bucket_size, self.tokens + 1.0)

    @property
    def room(self) -> int:
        return MAX_PARKED if self.rule is None else run_limits.room(self.rule, self.running, self.tokens)

    @property
    def next_at(self) -> float:
        rule = self.rule
        if rule is None or not rule.rate_per_s or (rule.max_running and self.running >= rule.max_running):
            return NEVER
        return run_limits.next_token_at(rule, self.tokens, self.at)

    @property
    def idle(self) -> bool:
        if self.running or self.lots or self.members:
            return False
        return self.rule is None or not self.rule.rate_per_s or self.tokens >= self.rule.bucket_size

    def has_room(self, number: int, now: float, *, shared: bool) -> bool:  # noqa: ARG002  # all tasks are alike
        self.refresh(now)
        return self.room > 0

    def room_for(self, lot: Lot) -> int:  # noqa: ARG002  # the same for each queue
        return self.room

    def take(self, number: int, *, shared: bool, starts: bool) -> None:  # noqa: ARG002  # all tasks are alike
        self.running += 1
        if starts and self.rule is not None and self.rule.rate_per_s:
            self.tokens = max(0.0, self.tokens - 1.0)

    def leave(self, number: int) -> None:  # noqa: ARG002  # all tasks are alike
        self.running -= 1


class LockGate(Gate):
    """One lock."""

    __slots__ = ("_by_age", "_waiting", "exclusive", "holders")

    def __init__(self, key: GateKey) -> None:
        super().__init__(key)
        # Number -> whether it shares the lock.
        self.holders: dict[int, bool] = {}
        # Holders that do not share it: more than one only if they were adopted.
        self.exclusive = 0
        # Parked exclusive claims; also as a heap with stale ones.
        self._waiting: set[int] = set()
        self._by_age: list[int] = []

    @property
    def idle(self) -> bool:
        return not self.holders and not self.lots

    def has_room(self, number: int, now: float, *, shared: bool) -> bool:  # noqa: ARG002  # no rate
        return run_limits.lock_has_room(
            shared=shared,
            holders=len(self.holders),
            exclusive=self.exclusive > 0,
            waits_longer=self._waits_longer(number),
        )

    def room_for(self, lot: Lot) -> int:
        if not self.holders:
            # One is enough to go on with; a shared one that starts makes room for the others.
            return MAX_PARKED if lot.shared and not self._waiting else 1
        if not lot.shared or self.exclusive or self._waits_longer(lot.first):
            return 0
        return MAX_PARKED

    def take(self, number: int, *, shared: bool, starts: bool) -> None:  # noqa: ARG002  # no rate
        self.holders[number] = shared
        self.exclusive += not shared

    def leave(self, number: int) -> None:
        self.exclusive -= not self.holders.pop(number)

    def parks(self, number: int, *, shared: bool) -> None:
        if not shared:
            self._waiting.add(number)
            heappush(self._by_age, number)

    def unparks(self, number: int, *, shared: bool) -> None:
        if not shared:
            self._waiting.discard(number)
            if len(self._by_age) > 2 * len(self._waiting) + 1024:
                self._by_age = list(self._waiting)
                heapify(self._by_age)

    def _waits_longer(self, number: int) -> bool:
        """Whether an exclusive claim that is older than this task is parked here."""
        by_age = self._by_age
        while by_age and by_age[0] not in self._waiting:
            heappop(by_age)
        return bool(by_age) and by_age[0] < number


class RecoveryGate(Gate):
    """Holds tasks with gates back after a restart, while attempts that hold these gates may still be named by their agents."""

    __slots__ = ("over",)

    def __init__(self) -> None:
        super().__init__(GateKey("", "recovery", "(agents name the attempts that they hold)"))
        self.over = False

    @property
    def idle(self) -> bool:
        return self.over and not self.lots

    def has_room(self, number: int, now: float, *, shared: bool) -> bool:  # noqa: ARG002  # for all the same
        return self.over

    def room_for(self, lot: Lot) -> int:  # noqa: ARG002  # for all the same
        return MAX_PARKED if self.over else 0

    def take(self, number: int, *, shared: bool, starts: bool) -> None:
        """Nothing to count."""

    def leave(self, number: int) -> None:
        """Nothing to count."""
